"""Enrollment and renewals in a token: where keys come from, where they stay, what others see, what is left."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certagent.config.key_types import IN_TOKENS, KeyType
from certagent.errors import KeystoreError
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.renewal.site import DAY, recording_hook
from tests.tokens.conftest import Sites
from tests.tokens.site import Place, TokenSite, forget_modules

pytestmark = pytest.mark.needs("opensc")

ONE_IDENTITY = Counter({"Private Key": 1, "Public Key": 1, "Certificate": 1})
HOUR = timedelta(hours=1)


@pytest.fixture
def site(place: Place, make_site: Sites) -> TokenSite:
    made = make_site(place)
    made.write()
    return made


def test_three_renewals_leave_one_identity_that_consumers_can_use(site: TokenSite) -> None:
    assert site.run().result is Result.ENROLLED
    seen = {site.id}
    for _ in range(3):
        site.clock.advance(61 * DAY)
        forget_modules()
        assert site.run().result is Result.RENEWED
        seen.add(site.id)
        site.clock.advance(HOUR + timedelta(minutes=1))
        assert site.run().result is Result.NOTHING
    assert len(seen) == 4
    assert site.place.objects() == ONE_IDENTITY
    assert site.place.ids() == [site.id] == site.place.ids("Certificate") == site.place.ids("Public Key")
    assert site.pair_matches()
    assert [record.kind for record in site.ca.issued()] == ["enrollment", *["renewal"] * 3]
    assert site.leftovers() == []


def test_the_private_key_cannot_be_read(site: TokenSite) -> None:
    site.run()
    listed = site.place.tool("--list-objects", "--type", "privkey")
    assert "sensitive" in listed
    assert "never extractable" in listed
    identity = site.context().configured.keystore.read()
    assert identity is not None
    with pytest.raises(KeystoreError, match="never leaves"):
        identity.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    secret = [each for each in site.path("state").rglob("*") if each.is_file() and b"PRIVATE KEY" in each.read_bytes()]
    assert secret == []


@pytest.mark.parametrize(
    "key_type", [each for each in KeyType if each.family in IN_TOKENS and each is not KeyType.RSA_4096]
)
def test_every_type_of_key(place: Place, make_site: Sites, key_type: KeyType) -> None:
    site = make_site(place)
    site.write(f"key_type: {key_type}")
    assert site.run().result is Result.ENROLLED
    assert site.run(Wish.RENEW).result is Result.RENEWED
    assert site.pair_matches()


def test_the_old_key_stays_until_the_post_hook_succeeded_and_its_time_of_grace_passed(
    place: Place, make_site: Sites
) -> None:
    site = make_site(place)
    hook = recording_hook(site, "post")
    site.write(f"retire_after: 2h\nhooks: {{post: [[{hook}]]}}")
    site.run()
    old = site.id
    site.path("post.exit").write_text("1")
    site.clock.advance(61 * DAY)
    assert site.run().result is Result.FAILED
    site.clock.advance(DAY)
    assert old in site.place.ids()
    site.path("post.exit").write_text("0")
    assert site.run().result is Result.RENEWED
    site.clock.advance(HOUR)
    site.run()
    assert old in site.place.ids()
    site.clock.advance(HOUR)
    site.run()
    assert site.place.ids() == [site.id]


def test_a_kept_key_gets_one_new_certificate_beside_it(place: Place, make_site: Sites) -> None:
    site = make_site(place)
    site.write("rekey: never")
    site.run()
    before, old = site.id, site.leaf()
    site.clock.advance(61 * DAY)
    assert site.run().result is Result.RENEWED
    assert site.id == before
    assert site.leaf().serial_number != old.serial_number
    assert site.place.objects() == ONE_IDENTITY
    assert site.pair_matches()


CHANGES = [
    pytest.param("chain_file: {files}/chain.pem", "chain.pem", b"BEGIN CERTIFICATE", id="chain_file"),
    pytest.param("snippet: {{template: {files}/t, file: {files}/web.conf}}", "web.conf", b"id=", id="snippet"),
]


@pytest.mark.parametrize(("line", "name", "expected"), CHANGES)
def test_a_file_that_is_configured_later_is_written_at_the_next_look(
    site: TokenSite, line: str, name: str, expected: bytes
) -> None:
    files = site.path("files")
    assert site.run().result is Result.ENROLLED
    (files / "t").write_text("key $uri\n")
    site.write(line.format(files=files))
    assert site.run().result is Result.ADJUSTED
    assert expected in (files / name).read_bytes()
    assert (len(site.ca.issued()), site.run().result) == (1, Result.NOTHING)
    assert site.pair_matches()


def test_a_template_that_was_changed_is_filled_in_at_the_next_look(site: TokenSite) -> None:
    files = site.path("files")
    (files / "t").write_text("key $uri\n")
    site.write(f"snippet: {{template: {files}/t, file: {files}/web.conf}}")
    assert site.run().result is Result.ENROLLED
    (files / "t").write_text("ssl_certificate_key $uri;\n")
    assert site.run().result is Result.ADJUSTED
    assert (files / "web.conf").read_text().startswith("ssl_certificate_key pkcs11:")
    assert site.run().result is Result.NOTHING
