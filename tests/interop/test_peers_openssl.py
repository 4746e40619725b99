"""A recorded enrollment and a recorded renewal, opened and judged by the openssl command line alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from certagent.lab import HttpAnswer, LabCA, Settings
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.renewal.site import Site, Sites, openssl

pytestmark = [pytest.mark.needs("openssl")]


class Recording(LabCA):
    """Keeps each request and its reply beside its directory: 0-request.der, 0-reply.der, 1-request.der …"""

    def __init__(self, directory: Path, clock: Callable[[], datetime], settings: Settings | None = None) -> None:
        super().__init__(directory, clock, settings)
        self.exchanges = 0

    def pki_operation(self, message: bytes) -> HttpAnswer:
        answer = super().pki_operation(message)
        for name, content in (("request", message), ("reply", answer.body)):
            (self.store.directory.parent / f"{self.exchanges}-{name}.der").write_bytes(content)
        self.exchanges += 1
        return answer


@pytest.fixture
def site(make_site: Sites) -> Site:
    """Enrolled and renewed; the first key and certificate are kept as old.key and old.pem."""
    made = make_site(ca=Recording, real_time=True)
    made.write()
    assert made.run().result is Result.ENROLLED
    made.path("old.key").write_bytes(made.key.read_bytes())
    made.path("old.pem").write_bytes(made.certificate.read_bytes())
    assert made.run(Wish.RENEW).result is Result.RENEWED
    return made


def opened(site: Site, message: str, trust: list[str], key: Path, certificate: Path) -> Path:
    """The content of a SCEP message: its signature verified, its envelope opened. The signer goes to signer.pem."""
    envelope, content, signer = (site.path(name) for name in ("envelope.der", "content.der", "signer.pem"))
    verified = ["cms", "-verify", "-inform", "DER", "-binary", "-in", str(site.path(message)), "-out", str(envelope)]
    openssl(*verified, "-signer", str(signer), "-purpose", "any", *trust)
    decrypted = ["cms", "-decrypt", "-inform", "DER", "-binary", "-in", str(envelope), "-out", str(content)]
    openssl(*decrypted, "-inkey", str(key), "-recip", str(certificate))
    return content


def opened_request(site: Site, message: str, trust: list[str]) -> str:
    """The request's PKCS#10, proven to be signed by its own key, as text."""
    ca = site.path("lab")
    content = opened(site, message, trust, ca / "ca.key", ca / "ca.pem")
    return openssl("req", "-verify", "-inform", "DER", "-in", str(content), "-noout", "-text", "-nameopt", "RFC2253")


def trusting(site: Site) -> list[str]:
    return ["-CAfile", str(site.path("lab/ca.pem"))]


def test_an_enrollments_request(site: Site) -> None:
    text = opened_request(site, "0-request.der", ["-noverify"])  # nobody has certified the signer yet
    assert "Subject: CN=web.example.net,O=Example" in text
    assert "DNS:web.example.net" in text
    assert f"challengePassword        :{site.ca.challenge}" in text
    shown = openssl("x509", "-in", str(site.path("signer.pem")), "-noout", "-subject", "-issuer", "-nameopt", "RFC2253")
    assert shown == "subject=CN=web.example.net,O=Example\nissuer=CN=web.example.net,O=Example\n"


def test_a_renewals_request(site: Site) -> None:
    text = opened_request(site, "1-request.der", trusting(site))
    assert "Subject: CN=web.example.net,O=Example" in text
    assert "challengePassword" not in text
    serial = ("-noout", "-serial", "-fingerprint")
    old = openssl("x509", "-in", str(site.path("old.pem")), *serial)
    assert openssl("x509", "-in", str(site.path("signer.pem")), *serial) == old


@pytest.mark.parametrize(
    ("number", "installed"),
    [pytest.param(0, "old.pem", id="of an enrollment"), pytest.param(1, "files/web.pem", id="of a renewal")],
)
def test_a_reply(site: Site, number: int, installed: str) -> None:
    """Signed by the CA, for the request's signer alone, and what is in it is what was installed."""
    opened_request(site, f"{number}-request.der", ["-noverify"])
    recipient = site.path("signer.pem").rename(site.path("recipient.pem"))
    content = opened(site, f"{number}-reply.der", trusting(site), site.path("old.key"), recipient)
    certificate = openssl("pkcs7", "-inform", "DER", "-in", str(content), "-print_certs").encode()
    assert certificate.count(b"BEGIN CERTIFICATE") == 1
    assert openssl("x509", stdin=certificate) == openssl("x509", "-in", str(site.path(installed)))
    assert openssl("verify", *trusting(site), stdin=certificate) == "stdin: OK\n"
    envelope = openssl("cms", "-cmsout", "-print", "-inform", "DER", "-in", str(site.path("envelope.der")))
    assert envelope.count("d.ktri:") == envelope.count("serialNumber:") == 1


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        pytest.param("0-request.der", {2, 5, 7}, id="request: message type, sender nonce, transaction ID"),
        pytest.param("0-reply.der", {2, 3, 5, 6, 7}, id="reply: the status and the recipient nonce too"),
    ],
)
def test_the_attributes_are_those_of_rfc_8894(site: Site, message: str, wanted: set[int]) -> None:
    text = openssl("asn1parse", "-inform", "DER", "-in", str(site.path(message)))
    oids = {f"2.16.840.1.113733.1.9.{number}" for number in range(2, 8)}
    found = {oid for oid in oids if f":{oid}\n" in text}
    assert {int(oid.rpartition(".")[2]) for oid in found} == wanted
