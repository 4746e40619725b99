"""`status`, `plan` and `health` do not read a certificate again that is as its worker saw it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from certagent import keys, state
from certagent.config.key_types import KeyType
from certagent.policy import Condition
from certagent.state_directory import KeystoreDirectory
from certagent.status.snapshot import Snapshot, take_snapshot
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.renewal.site import DAY, Site


@contextmanager
def opened() -> Iterator[list[str]]:
    """The names of files that are opened meanwhile, without their directories."""
    real, names = os.open, []

    def counted(path: str | Path, *arguments: int, dir_fd: int | None = None) -> int:
        names.append(Path(path).name)
        return real(path, *arguments, dir_fd=dir_fd)

    os.open = counted  # type: ignore[assignment]  # the narrow signature is all that is used
    try:
        yield names
    finally:
        os.open = real


def look(site: Site) -> tuple[Snapshot, list[str]]:
    context = site.context()
    with opened() as names:
        snapshot = take_snapshot(context.configured, lambda: context.authorities, site.clock())
    return snapshot, names


@pytest.fixture
def enrolled(site: Site) -> Site:
    site.write("mode: '0640'")
    site.run()
    return site


def test_nothing_of_the_consumers_is_opened(enrolled: Site) -> None:
    snapshot, names = look(enrolled)
    assert snapshot.certificate is not None
    assert snapshot.certificate.subject == "CN=web.example.net,O=Example"
    assert not {"web.pem", "web.key"} & set(names)


def replaced(site: Site) -> None:
    site.certificate.write_bytes(site.certificate.read_bytes())


def shown_to_all(site: Site) -> None:
    site.key.chmod(0o644)


def defined_otherwise(site: Site) -> None:
    site.write("mode: '0640'\nextended_key_usage: [code_signing]")


def under_other_cas(site: Site) -> None:
    (site.path("state/authorities/lab/old-ca.pem")).write_bytes(site.path("state/authorities/lab/ca.pem").read_bytes())


def remembered_by_an_older_certagent(site: Site) -> None:
    file = KeystoreDirectory(site.keystore_directory).state
    kept = json.loads(file.read_bytes())
    kept["seen"] = kept.pop("in_place")
    file.write_text(json.dumps(kept))


def damaged(site: Site) -> None:
    KeystoreDirectory(site.keystore_directory).state.write_text("{")


CHANGES = [replaced, shown_to_all, defined_otherwise, under_other_cas, remembered_by_an_older_certagent, damaged]


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changed_it_is_read_again(enrolled: Site, change: Callable[[Site], None]) -> None:
    change(enrolled)
    snapshot, names = look(enrolled)
    assert "web.pem" in names
    assert snapshot.certificate is not None


def test_a_key_that_was_shown_to_all_is_told(enrolled: Site) -> None:
    shown_to_all(enrolled)
    assert "can be read by everybody" in str(look(enrolled)[0].exposed)


def test_a_certificate_that_cannot_be_read_is_not_remembered(enrolled: Site) -> None:
    enrolled.certificate.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    enrolled.run()
    kept = state.load(enrolled.keystore_directory)
    assert kept is not None
    assert kept.seen is None
    assert not look(enrolled)[0].situation.readable


def test_after_a_renewal_it_is_the_new_one(enrolled: Site) -> None:
    before = look(enrolled)[0].certificate
    enrolled.clock.advance(80 * DAY)
    enrolled.run(Wish.RENEW)
    after, names = look(enrolled)
    assert before is not None
    assert after.certificate is not None
    assert after.certificate.serial != before.serial
    assert "web.pem" not in names


def another_key(site: Site) -> None:
    site.key.write_bytes(keys.to_pem(keys.generate(KeyType.EC_P256)))


def no_key(site: Site) -> None:
    site.key.unlink()


@pytest.mark.parametrize(
    ("spoil", "told"), [(another_key, "does not match the certificate"), (no_key, "has no private key")]
)
def test_a_key_that_does_not_serve_its_certificate_is_seen(
    enrolled: Site, spoil: Callable[[Site], None], told: str
) -> None:
    kept = enrolled.key.read_bytes()
    spoil(enrolled)
    assert enrolled.run().result is Result.FAILED
    snapshot, _ = look(enrolled)
    assert snapshot.assessment.condition is Condition.FAILED
    assert snapshot.last_error is not None
    assert told in snapshot.last_error.message
    assert snapshot.certificate is not None, "what can be seen is shown"
    assert "`certagent enroll --force web`" in snapshot.last_error.hint
    enrolled.key.write_bytes(kept)
    enrolled.run()
    assert look(enrolled)[0].assessment.condition is Condition.VALID
