"""Revocation lists: where they lie, how they come over HTTP, whose they are, what they say."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from certagent.errors import CertagentError, ConfigError, TransientError, TrustError
from certagent.keys import PrivateKey
from certagent.trust import crl
from tests.waiting import PATIENCE

NOW = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
SOON = timedelta(seconds=PATIENCE)


def name(text: str) -> x509.Name:
    return x509.Name.from_rfc4514_string(text)


def certificate(key: PrivateKey, *uris: str, usage: str = "crl_sign", subject: str = "CN=CA") -> x509.Certificate:
    """A CA's certificate, or anybody's; `uris` become its distribution points."""
    usages = dict.fromkeys(
        (
            *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
            *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
        ),
        False,
    ) | {usage: True}
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name("CN=CA"))
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
        .add_extension(x509.KeyUsage(**usages), critical=True)
    )
    if uris:
        points = [x509.DistributionPoint([x509.UniformResourceIdentifier(uri)], None, None, None) for uri in uris]
        builder = builder.add_extension(x509.CRLDistributionPoints(points), critical=False)
    return builder.sign(key, hashes.SHA256())


def revocations(
    key: PrivateKey,
    *,
    issuer: str = "CN=CA",
    last: datetime = NOW - DAY,
    extension: x509.ExtensionType | None = None,
    reason: x509.ReasonFlags | None = None,
) -> x509.CertificateRevocationList:
    """A list that revokes serial number 7."""
    entry = x509.RevokedCertificateBuilder().serial_number(7).revocation_date(NOW - DAY)
    if reason is not None:
        entry = entry.add_extension(x509.CRLReason(reason), critical=False)
    builder = x509.CertificateRevocationListBuilder().issuer_name(name(issuer)).last_update(last)
    builder = builder.next_update(last + 2 * DAY).add_revoked_certificate(entry.build())
    if extension is not None:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(key, hashes.SHA256())


# ── where ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("uris", "found"),
    [
        pytest.param([], [], id="none"),
        pytest.param(["http://x/ca.crl"], ["http://x/ca.crl"], id="http"),
        pytest.param(["ldap://x/cn=CA", "https://x/crl"], ["ldap://x/cn=CA", "https://x/crl"], id="in their order"),
        pytest.param(["ftp://x/crl", "file:///etc/passwd", "HTTP://x/crl"], ["HTTP://x/crl"], id="other kinds"),
        pytest.param(["http://x/crl", "http://x/crl"], ["http://x/crl"], id="each once"),
    ],
)
def test_distribution_points(rsa_keys: list[PrivateKey], uris: list[str], found: list[str]) -> None:
    assert list(crl.distribution_points(certificate(rsa_keys[0], *uris))) == found


# ── whose ─────────────────────────────────────────────────────────────────────────────────────────


def test_the_cas_own_list_is_believed(rsa_keys: list[PrivateKey]) -> None:
    ca = certificate(rsa_keys[0])
    assert crl.check(revocations(rsa_keys[0]), [ca], (), NOW) == ca


@pytest.mark.parametrize(
    ("case", "told"),
    [
        pytest.param({"key": 1}, "not signed by the pinned CA", id="another key"),
        pytest.param({"issuer": "CN=Other"}, "not signed by the pinned CA", id="another name"),
        pytest.param({"usage": "key_cert_sign"}, "not signed by the pinned CA", id="a CA that may not sign lists"),
        pytest.param({"last": NOW + DAY}, "the future", id="from the future"),
    ],
)
def test_other_lists_are_refused(rsa_keys: list[PrivateKey], case: dict[str, Any], told: str) -> None:
    ca = certificate(rsa_keys[0], usage=case.pop("usage", "crl_sign"))
    found = revocations(rsa_keys[case.pop("key", 0)], **case)
    with pytest.raises(TrustError, match=told):
        crl.check(found, [ca], (), NOW)


def test_a_list_is_stale_when_the_next_one_is_due(rsa_keys: list[PrivateKey]) -> None:
    found = revocations(rsa_keys[0], last=NOW)
    assert not crl.is_stale(found, NOW + DAY)
    assert crl.is_stale(found, NOW + 2 * DAY)


# ── what it says ──────────────────────────────────────────────────────────────────────────────────


PART = x509.IssuingDistributionPoint(
    full_name=None,
    relative_name=None,
    only_contains_user_certs=False,
    only_contains_ca_certs=True,
    only_some_reasons=None,
    indirect_crl=False,
    only_contains_attribute_certs=False,
)


@pytest.mark.parametrize(
    ("serial", "case", "told"),
    [
        pytest.param(8, {}, "not revoked", id="not on it"),
        pytest.param(7, {}, "revoked on 2029-12-31 00:00:00 UTC", id="on it"),
        pytest.param(
            7,
            {"reason": x509.ReasonFlags.key_compromise},
            "revoked on 2029-12-31 00:00:00 UTC, keyCompromise",
            id="on it, and why",
        ),
        pytest.param(8, {"extension": PART}, "proves nothing", id="a list of CA certificates"),
        pytest.param(8, {"extension": x509.DeltaCRLIndicator(1)}, "proves nothing", id="a delta"),
        pytest.param(8, {"extension": x509.CRLNumber(1)}, "not revoked", id="a numbered list"),
    ],
)
def test_verdict(rsa_keys: list[PrivateKey], serial: int, case: dict[str, Any], told: str) -> None:
    said = crl.verdict(revocations(rsa_keys[0], **case), serial)
    assert said.endswith(told)


# ── over HTTP ─────────────────────────────────────────────────────────────────────────────────────


class _Shelf(BaseHTTPRequestHandler):
    files: ClassVar[dict[str, bytes]]

    def do_GET(self) -> None:
        body = self.files.get(self.path)
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_: object) -> None:
        """Silence."""


@pytest.fixture(scope="module")
def shelf(rsa_keys: list[PrivateKey]) -> Iterator[str]:
    """A web server with a list as DER and as PEM, and with other things."""
    found = revocations(rsa_keys[0])

    class Filled(_Shelf):
        files: ClassVar[dict[str, bytes]] = {
            "/der": found.public_bytes(Encoding.DER),
            "/pem?v=1": found.public_bytes(Encoding.PEM),
            "/page": b"<html>",
            "/empty": b"",
            "/cut": found.public_bytes(Encoding.DER)[:-9],
            "/more": found.public_bytes(Encoding.DER) + b"x",
        }

    with ThreadingHTTPServer(("127.0.0.1", 0), Filled) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("path", ["/der", "/pem?v=1"])
def test_it_comes_over_http(shelf: str, rsa_keys: list[PrivateKey], path: str) -> None:
    assert crl.fetch(shelf + path, timeout=SOON) == revocations(rsa_keys[0])


@pytest.mark.parametrize(
    ("path", "error", "told"),
    [
        pytest.param("/page", TrustError, "is not a CRL", id="a web page"),
        pytest.param("/empty", TrustError, "is not a CRL", id="nothing"),
        pytest.param("/cut", TrustError, "is not a CRL", id="cut short"),
        pytest.param("/more", TrustError, "is not a CRL", id="trailing bytes"),
        pytest.param("/none", TransientError, "HTTP 404", id="not there"),
    ],
)
def test_what_is_no_list_is_refused(shelf: str, path: str, error: type[CertagentError], told: str) -> None:
    with pytest.raises(error, match=told):
        crl.fetch(shelf + path, timeout=SOON)


@pytest.mark.parametrize("uri", ["ftp://127.0.0.1/crl", "file:///etc/passwd", "crl"])
def test_other_kinds_of_address_are_not_tried(uri: str) -> None:
    with pytest.raises(ConfigError):
        crl.fetch(uri, timeout=SOON)


@pytest.mark.parametrize("scheme", ["http", "ldap"])
def test_a_server_that_says_nothing_is_left_behind(scheme: str) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(TransientError):
            crl.fetch(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/o=x", timeout=timedelta(seconds=0.5))


@given(st.binary(max_size=200))
def test_only_our_errors_come_out_of_bytes(data: bytes) -> None:
    with pytest.raises(TrustError):
        crl.read(data, "here")


@given(st.sampled_from(["ldap", "ldaps", "http", "gopher", ""]), st.text(max_size=40))
def test_only_our_errors_come_out_of_addresses(scheme: str, rest: str) -> None:
    """Where nothing listens; what cannot be an address is said to be none."""
    uri = f"{scheme}://127.0.0.1:1/{rest}"
    with pytest.raises(CertagentError):
        crl.fetch(uri, timeout=SOON)
