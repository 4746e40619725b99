"""Devices on the real clock, and somebody who answers in the place of their CA."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certagent import certificate as facts
from certagent import durable, keys
from certagent.lab import LabCA, Settings
from certagent.scep import Request, Signer
from tests.hostile.lab import REPLY, Hostile, start_hostile
from tests.renewal.site import DAY, Clock, Site
from tests.unit.pki import Party, party, rsa_key

SIGNS = ("key_cert_sign", "crl_sign")
DEVICE = ("digital_signature", "key_encipherment")


def real_clock() -> datetime:
    return datetime.now(UTC)


def keep(directory: Path, ca: Party) -> None:
    """The CA of a lab that is to be opened in `directory`."""
    directory.mkdir()
    durable.write(directory / "ca.key", keys.to_pem(ca.key))
    durable.write(directory / "ca.pem", ca.certificate.public_bytes(Encoding.PEM))


@contextmanager
def devices(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """A device that has a certificate and has seen its CA, on the real clock: `device("fingerprint")`.

    Its CA is `age` days old and has 999 left.
    """
    with ExitStack() as stack:

        def make(pin: str, age: int = 1) -> Site:
            now, usage = real_clock(), (*SIGNS, *DEVICE)
            # Its path length has no limit: nothing of what is refused below is refused for that.
            fields: dict[str, Any] = {"ca": True, "usage": usage, "key_id": True, "with_key": rsa_key("root")}
            keep(tmp_path / "lab", party("CN=lab CA", start=now - age * DAY, end=now + 999 * DAY, **fields))
            server = stack.enter_context(start_hostile(tmp_path / "lab", Clock(now), Settings(lifetime=90 * DAY)))
            site = Site(tmp_path, Clock(now), server)
            stack.callback(_ca(site).released.set)
            anchor = site.path("anchor.pem")
            anchor.write_bytes(facts.to_pem([_ca(site).issuer.certificate]))
            # A fingerprint of nothing that exists keeps the CA's own out of the configuration.
            pins = {"fingerprint": "", "anchor": f"trust_anchor: {anchor}\nfingerprint: sha256:{'00' * 32}"}
            site.write(authority=pins[pin])
            done = site.command("enroll", "web")
            assert done.returncode == 0, done.stderr
            return site

        yield make


def _ca(site: Site) -> Hostile:
    assert isinstance(site.ca, Hostile)
    return site.ca


class Impostor(LabCA):
    """A CA of somebody else; it issues to whoever asks."""

    def authenticate(self, request: Request, csr: x509.CertificateSigningRequest) -> str:
        return "renewal"


def take_over(site: Site, held: list[Party], issuer: Party, **changes: Any) -> x509.Certificate:
    """Let the holder of `issuer`'s key answer in the CA's place; `held`: what leads from the CA to his own."""
    ca = _ca(site)
    start = ca.issuer.certificate.not_valid_before_utc
    fields: dict[str, Any] = {"usage": SIGNS, "key_id": True, "start": start, "end": start + 3000 * DAY}
    false = party("CN=false CA", issuer, with_key=rsa_key("false CA"), ca=True, **{**fields, **changes})
    keep(site.path("impostor"), false)
    impostor = Impostor(site.path("impostor"), real_clock, Settings(lifetime=90 * DAY, ra=True))
    ca.offered = [ca.issuer.certificate, *(each.certificate for each in held), *impostor.generation.certificates]
    ca.serving[REPLY] = impostor.respond_http
    return false.certificate


def held(by: Hostile, **fields: Any) -> Party:
    """What the CA certified for `CN=device7`."""
    now = real_clock()
    words: dict[str, Any] = {"start": now - 9 * DAY, "end": now + 300 * DAY, "with_key": rsa_key("device7")}
    return party("CN=device7", by.issuer, **{**words, **fields})


def at_work(ca: Hostile, new: Party, offered: Sequence[x509.Certificate]) -> None:
    """The CA works with `new` from now on, and shows what is `offered`."""
    signer = Signer(new.key, new.certificate)
    ca.generations._generations[ca.generations._current] = type(ca.generation)(signer, signer, signer)
    ca.offered = offered
