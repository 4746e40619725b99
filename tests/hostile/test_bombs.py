"""What costs most of all that anybody can answer: the real command, its CPU and memory beside those of an honest run.

At most a second of CPU and 32 MiB more, whatever comes.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import socket
from typing import Any

import pytest
from asn1crypto import core
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certagent import certificate as facts
from certagent.certificate import to_der, to_pem
from certagent.lab import HttpAnswer
from certagent.scep import degenerate
from certagent.scep.asn1 import tlv
from certagent.scep.transport import MAX_SIZE
from tests.hostile import answers as web
from tests.hostile.conftest import hostile
from tests.hostile.lab import CA_CERTIFICATES, CAPABILITIES, Fault, Forger, Hostile, body, offering, raw, replying
from tests.hostile.measured import MEMORY, SECOND, Measured, measured
from tests.hostile.takeover import DEVICE, devices, held, real_clock
from tests.renewal.site import DAY, Site
from tests.unit.paths import (
    AKI,
    SAN,
    SIGNS,
    SKI,
    Extension,
    altered,
    basic,
    constraints,
    made,
    san,
    usage,
)
from tests.unit.pki import CMC_RA, Party, key

ROOM = MAX_SIZE - 4096  # bytes: what the transport lets through


def filled(element: bytes, size: int = ROOM) -> bytes:
    return element * (size // len(element))


def deep(size: int = ROOM) -> bytes:
    return b"\x30\x80" * (size // 4) + bytes(size // 4 * 2)


def signed_data(*fields: bytes) -> bytes:
    inner = tlv(tlv(b"".join(fields), 0x30), 0xA0)
    return tlv(bytes.fromhex("06092a864886f70d010702") + inner, 0x30)


HEAD = bytes.fromhex("0201013100300b06092a864886f70d010701")
OID = tlv(b"\x8f" * 300_000 + b"\x01", 0x06)

# Certificates of nobody; each is within every bound.


def ca(subject: str, issuer: Party | None, *changes: Extension, **fields: Any) -> Party:
    now = real_clock()
    words: dict[str, Any] = {"begins": now - DAY, "ends": now + DAY, "but": [SKI, AKI], **fields}
    return made(subject, issuer, basic(True), usage(*SIGNS), *changes, **words)


def with_numbers(modulus: int, exponent: int) -> x509.Certificate:
    """A CA named like all the others, whose key costs whoever verifies with it."""
    numbers = tlv(core.Integer(modulus).dump() + core.Integer(exponent).dump(), 0x30)
    info = tlv(bytes.fromhex("300d06092a864886f70d0101010500") + tlv(b"\0" + numbers, 0x03), 0x30)
    signature = bytes.fromhex("300d06092a864886f70d01010b0500")  # RSA, as if one of the others had signed it
    return altered(ca("CN=many", None), ca("CN=many", None), key=info, algorithm=signature).certificate


def absurd_exponents(count: int = 99) -> list[x509.Certificate]:
    return [with_numbers((1 << 3071) + 2 * number + 1, (1 << 3070) + 1) for number in range(count)]


def large_moduli(count: int = 19) -> list[x509.Certificate]:
    return [with_numbers((1 << 8191) + 2 * number + 1, (1 << 33) - 1) for number in range(count)]


def crowd(*, names: int, keys: int, count: int = 19, **fields: Any) -> list[x509.Certificate]:
    """CAs that all could have certified each other, by so many names and keys."""
    issuer = ca("CN=0", None, own=key("crowd 0"))
    made_so_far = [issuer]
    for number in range(count - 1):
        own = key(f"crowd {number % keys}")
        issuer = ca(f"CN={number % names}", issuer, own=own, **fields)
        made_so_far.append(issuer)
    return [each.certificate for each in made_so_far]


def constrained(count: int = 19, size: int = 600) -> list[x509.Certificate]:
    """CAs of one name, each with 600 names and constraints on 600."""
    trees = constraints([f"dns:n{number}.example" for number in range(size)])
    names = san(*(f"dns:n{number}.example" for number in range(size)))
    above = ca("CN=0", None, trees, names)
    return [ca("CN=0", above, trees, names).certificate for _ in range(count)]


def ras(by: Hostile, count: int = 98, **fields: Any) -> list[x509.Certificate]:
    words: dict[str, Any] = {"usage": DEVICE, "purposes": [CMC_RA], **fields}
    return [held(by, **words).certificate for _ in range(count)]


def wide_names(count: int = 7) -> list[x509.Certificate]:
    pair = tlv(tlv(tlv(b"\x55\x04\x03", 0x06) + tlv(b"x", 0x0C), 0x30))
    top = ca("CN=0", None)
    return [altered(top, top, subject=tlv(filled(pair, 60_000), 0x30)).certificate for _ in range(count)]


def wrong_letters(count: int = 99, parts: int = 450) -> list[x509.Certificate]:
    """Names in letters that their strings have not, in as many parts as are read."""
    pair = tlv(tlv(tlv(b"\x55\x04\x03", 0x06) + tlv(b"&", 0x13), 0x30))
    top = ca("CN=0", None)
    return [altered(top, top, subject=tlv(pair * parts, 0x30)).certificate for _ in range(count)]


def many_names() -> list[x509.Certificate]:
    """As many of the shortest names as bundles may have."""
    names = x509.UnrecognizedExtension(SAN, tlv(filled(b"\x82\x01a", 60_000), 0x30))
    return [ca("CN=0", None, (names, False)).certificate for _ in range(8)]


def one_of_many_names() -> bytes:
    names = x509.UnrecognizedExtension(SAN, tlv(filled(b"\x82\x01a", ROOM - 2000), 0x30))
    return to_der(ca("CN=0", None, (names, False)).certificate)


def beside(certificates: Callable[[], Sequence[x509.Certificate]]) -> Fault:
    """The CA's own, and these."""
    return offering(lambda by: [by.issuer.certificate, *certificates()])


def instead(certificates: Callable[[], Sequence[x509.Certificate]]) -> Fault:
    return offering(lambda _: certificates())


def answering(data: Callable[[], bytes]) -> Fault:
    return body(CA_CERTIFICATES, lambda _: data())


def pem(der: bytes) -> bytes:
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"


GET_CA_CERT: dict[str, Fault] = {
    "CAs of one name with absurd exponents": beside(absurd_exponents),
    "CAs of one name with absurd exponents, the CA missing": instead(absurd_exponents),
    "CAs of one name with the largest keys": beside(large_moduli),
    "CAs of one name with the largest keys, the CA missing": instead(large_moduli),
    "CAs of one name and one key": beside(partial(crowd, names=1, keys=1)),
    "CAs of one name and many keys": beside(partial(crowd, names=1, keys=19)),
    "CAs of two names and two keys, in a ring": beside(partial(crowd, names=2, keys=2)),
    "CAs in a ring, the CA missing": instead(partial(crowd, names=2, keys=2)),
    "CAs with 600 names under 600 constraints": beside(constrained),
    "CAs with 600 names under 600 constraints, the CA missing": instead(constrained),
    "98 RAs": offering(lambda by: [by.issuer.certificate, *ras(by)]),
    "98 that are no RAs": offering(lambda by: [by.issuer.certificate, *ras(by, purposes=())]),
    "names of 60 KB": beside(wide_names),
    "99 names in wrong letters": beside(partial(wrong_letters, parts=40)),
    "names of 450 parts in wrong letters": beside(partial(wrong_letters, count=9)),
    "certificates of 20,000 names": beside(many_names),
    "one certificate of 700,000 names": answering(one_of_many_names),
    "PEM: 90 blocks full of elements": answering(lambda: pem(tlv(filled(b"\x05\x00", 15_000), 0x30)) * 90),
    "PEM: a thousand blocks": answering(lambda: filled(pem(to_der(ca("CN=0", None).certificate)))),
    "PEM: begun and never ended": answering(lambda: filled(b"-----BEGIN CERTIFICATE-----\n")),
    "PEM: one line of two megabytes": answering(lambda: b"-----BEGIN CERTIFICATE-----\n" + filled(b"A")),
    "an endless OID": answering(lambda: signed_data(HEAD, tlv(tlv(OID, 0x30), 0xA0), b"\x31\x00")),
    "an endless OID in a certificate": answering(lambda: tlv(tlv(OID, 0x30), 0x30)),
    "deep": answering(deep),
    "elements": answering(lambda: signed_data(HEAD, tlv(filled(b"\x30\x00"), 0xA0), b"\x31\x00")),
    "one octet string": answering(lambda: tlv(filled(b"\0"), 0x04)),
}


# HTTP itself


def writing(*pieces: bytes, turns: int = 1) -> Callable[[socket, bytes, Hostile], None]:
    """What is written to the client, until it hangs up."""

    def write(connection: socket, _honest: bytes, _by: Hostile) -> None:
        for piece in pieces[:-1]:
            connection.sendall(piece)
        for _ in range(turns):
            connection.sendall(pieces[-1])

    return write


def packed(times: int) -> bytes:
    data = bytes(64 << 20)
    for _ in range(times):
        data = gzip.compress(data, 1)
    return web.head("200 OK", Content_Encoding=", ".join(["gzip"] * times), Content_Length=len(data)) + data


def redirecting(location: str) -> bytes:
    return web.head("302 Found", Location=location, Content_Encoding="gzip", Content_Length=1 << 40)


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
TRANSPORT: dict[str, Fault] = {
    "packed": raw(lambda connection, _, __: connection.sendall(packed(1)), CA_CERTIFICATES),
    "packed three times": raw(lambda connection, _, __: connection.sendall(packed(3)), CA_CERTIFICATES),
    "redirects with bodies without end": raw(
        writing(redirecting("/scep?operation=GetCACert"), gzip.compress(bytes(1 << 20)), turns=1000), CA_CERTIFICATES
    ),
    "two megabytes of chunks of one byte": raw(writing(CHUNKED, b"1\r\n0\r\n" * 20_000, turns=100), CA_CERTIFICATES),
    "chunks with long extensions": raw(
        writing(CHUNKED, b"1;" + b"x" * 60_000 + b"\r\n0\r\n", turns=2000), CA_CERTIFICATES
    ),
    "continue, without end": raw(writing(b"HTTP/1.1 100 Continue\r\n\r\n" * 4000, turns=1000), CA_CERTIFICATES),
    "a hundred headers of 60 KB": raw(writing(OK + (b"X: " + b"x" * 60_000 + b"\r\n") * 99 + b"\r\n"), CA_CERTIFICATES),
    "a trailer without end": raw(writing(CHUNKED + b"0\r\n", b"X: y\r\n" * 10_000, turns=1000), CA_CERTIFICATES),
    "a body without end": raw(web.endless, CA_CERTIFICATES),
    "two megabytes of capabilities": body(
        CAPABILITIES, lambda _: b"AES\nSHA-256\nPOSTPKIOperation\n" + b"".join(b"w%d\n" % n for n in range(250_000))
    ),
}

# Replies, of whoever is on the way, and of a CA itself


def inside(content: Callable[[Forger], bytes]) -> Fault:
    """The CA's own signature around an envelope that holds this."""
    return replying(lambda forger: forger.signed(content=forger.envelope(content(forger))))


def as_envelope(content: bytes) -> Fault:
    """The CA's own signature around this instead of an envelope."""
    return replying(lambda forger: forger.signed(content=content))


def instead_of_a_reply(data: bytes) -> Fault:
    return body("PKIOperation", lambda _: data)


def enveloped(*fields: bytes) -> bytes:
    inner = tlv(tlv(b"".join(fields), 0x30), 0xA0)
    return tlv(bytes.fromhex("06092a864886f70d010703") + inner, 0x30)


def request(forger: Forger) -> bytes:
    """A CSR with as many attributes as fit, where a certificate should be."""
    public = forger.issued.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pair = tlv(bytes.fromhex("06092a864886f70d010907") + tlv(tlv(b"x", 0x13)), 0x30)
    info = tlv(b"\x02\x01\x00\x30\x00" + public, 0x30)
    return tlv(info + tlv(filled(pair, 1_000_000), 0xA0), 0x30)


def with_crl(_: Forger) -> bytes:
    entry = tlv(b"\x02\x01\x01" + tlv(b"270101000000Z", 0x17), 0x30)
    return signed_data(HEAD, tlv(tlv(tlv(filled(entry, 1_000_000), 0x30), 0x30), 0xA1), b"\x31\x00")


REPLIES: dict[str, Fault] = {
    "an endless OID": instead_of_a_reply(signed_data(HEAD, tlv(tlv(OID, 0x30)))),
    "deep": instead_of_a_reply(deep()),
    "elements": instead_of_a_reply(signed_data(HEAD, tlv(filled(b"\x30\x00")))),
    "an endless OID for an envelope": as_envelope(enveloped(b"\2\1\0", tlv(OID), OID)),
    "a deep envelope": as_envelope(deep(1_000_000)),
    "many recipients": as_envelope(enveloped(b"\2\1\0", tlv(filled(b"\x30\x00", 1_000_000)))),
    "an endless OID inside": inside(lambda _: signed_data(HEAD, tlv(tlv(OID, 0x30), 0xA0), b"\x31\x00")),
    "deep inside": inside(lambda _: deep(1_000_000)),
    "elements inside": inside(lambda _: signed_data(HEAD, tlv(filled(b"\x30\x00", 900_000), 0xA0), b"\x31\x00")),
    "certificates with absurd keys inside": inside(lambda f: degenerate([f.issued, *absurd_exponents()])),
    "certificates with the largest keys inside": inside(lambda f: degenerate([f.issued, *large_moduli(99)])),
    "a ring of CAs inside": inside(lambda f: degenerate([f.issued, *crowd(names=2, keys=2)])),
    "constraints inside": inside(lambda f: degenerate([f.issued, *constrained()])),
    "a CRL inside": inside(with_crl),
    "a CSR inside": inside(request),
    "junk inside": inside(lambda _: filled(b"\0", 1_000_000)),
}

NEXT_CAS: dict[str, Callable[[], bytes]] = {
    "an endless OID": lambda: signed_data(HEAD, tlv(tlv(OID, 0x30), 0xA0), b"\x31\x00"),
    "deep": deep,
    "elements": lambda: signed_data(HEAD, tlv(filled(b"\x30\x00"), 0xA0), b"\x31\x00"),
    "CAs with absurd exponents": lambda: degenerate(absurd_exponents()),
    "CAs with the largest keys": lambda: degenerate(large_moduli()),
    "a ring of CAs": lambda: degenerate(crowd(names=2, keys=2)),
    "CAs with 600 names under 600 constraints": lambda: degenerate(constrained()),
    "certificates of 20,000 names": lambda: degenerate(many_names()),
}


# Revocation lists, where a certificate points

LIST = 50 << 20  # bytes; what the largest public ones have
ENTRY = tlv(b"\x02\x10" + bytes(range(1, 17)) + tlv(b"261101000000Z", 0x17), 0x30)
RSA_SHA256 = bytes.fromhex("300d06092a864886f70d01010b0500")


def revocations(by: Hostile, entries: bytes, *, issuer: bytes = b"", extensions: bytes = b"") -> bytes:
    """A list that the CA has signed. `issuer`: another name than its own."""
    dates = tlv(b"261101000000Z", 0x17) + tlv(b"361101000000Z", 0x17)
    name = issuer or by.issuer.certificate.subject.public_bytes()
    body = tlv(b"\x02\x01\x01" + RSA_SHA256 + name + dates + tlv(entries, 0x30) + extensions, 0x30)
    assert isinstance(by.issuer.key, rsa.RSAPrivateKey)
    signature = by.issuer.key.sign(body, padding.PKCS1v15(), hashes.SHA256())
    return tlv(body + RSA_SHA256 + tlv(b"\0" + signature, 0x03), 0x30)


def point_names(size: int) -> bytes:
    """An issuing distribution point of so many names."""
    names = tlv(tlv(tlv(filled(b"\x82\x01a", size), 0xA0), 0xA0), 0x30)
    extension = tlv(bytes.fromhex("0603551d1c0101ff") + tlv(names, 0x04), 0x30)
    return tlv(tlv(extension, 0x30), 0xA0)


def wide(size: int) -> bytes:
    """A name of so many bytes."""
    return tlv(filled(tlv(tlv(tlv(b"\x55\x04\x03", 0x06) + tlv(b"x", 0x0C), 0x30)), size), 0x30)


def as_pem(der: bytes) -> bytes:
    return b"-----BEGIN X509 CRL-----\n" + base64.encodebytes(der) + b"-----END X509 CRL-----\n"


LISTS: dict[str, Callable[[Hostile], bytes]] = {
    "nothing but zeros": lambda _: bytes(LIST),
    "entries without contents": lambda by: revocations(by, filled(b"\x30\x00", LIST)),
    "entries in each other": lambda by: revocations(by, deep(LIST)),
    "an extension of many names": lambda by: revocations(by, b"", extensions=point_names(LIST)),
    "an issuer of many names": lambda by: revocations(by, b"", issuer=wide(LIST)),
    "PEM that is none": lambda _: as_pem(b"")[:25] + filled(b"A", LIST),
    "without end": lambda _: filled(b"\x30\x80", LIST + (32 << 20)),
}


# The device


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One device for all: what is refused changes nothing."""
    with devices(tmp_path_factory.mktemp("bombs")) as make:
        yield make("fingerprint")


@pytest.fixture(scope="module")
def run(site: Site) -> Callable[..., Measured]:
    def run(*words: str | Path) -> Measured:
        return measured(["-c", site.config, *words], site.path("measured.json"))

    return run


CHECK, RENEW = ("check",), ("renew", "--force", "web")


@pytest.fixture(scope="module")
def honest(site: Site, run: Callable[..., Measured]) -> Callable[..., Measured]:
    """What a command costs before an honest CA; looked at once."""

    @cache
    def honest(*words: str | Path) -> Measured:
        hostile(site).behave()
        found = run(*words)
        assert found.returncode == 0, found.output
        return found

    return honest


def assert_bearable(bomb: Measured, honest: Measured, *, succeeds: bool | None = False) -> None:
    if succeeds is not None:
        assert (bomb.returncode == 0) is succeeds, bomb.output
    assert "Traceback" not in bomb.output
    assert max(map(len, bomb.output.splitlines()), default=0) < 2100
    more = (bomb.cpu - honest.cpu, bomb.memory - honest.memory)
    print(f"{more[0] / SECOND:.2f} s, {more[1] / 1024:.0f} MiB more than {honest.memory / 1024:.0f} MiB")
    assert more[0] <= SECOND, f"{more[0] / SECOND:.1f} s of CPU more: {bomb.output}"
    assert more[1] <= MEMORY, f"{more[1] / 1024:.0f} MiB more: {bomb.output}"


# What costs most, and what once cost too much. The others are for `make test-more`; of many of them the functions are
# measured every day (scep/test_bounds.py, unit/test_proof.py, unit/test_limbo.py).
QUICK = {
    "CAs of one name with the largest keys, the CA missing",
    "CAs with 600 names under 600 constraints, the CA missing",
    "one certificate of 700,000 names",
    "two megabytes of chunks of one byte",
    "continue, without end",
    "elements inside",
    "an extension of many names",
}


def looked_at(look: Callable[[], Measured], honest: Measured) -> Measured:
    """What it costs; of three looks the first that is bearable: a busy machine adds to CPU, and takes none away."""
    for _ in range(3):
        found = look()
        if found.cpu - honest.cpu <= SECOND:
            break
    return found


def rows(*names: str) -> list[object]:
    return [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow, id=name) for name in names]


@pytest.mark.parametrize("name", rows(*GET_CA_CERT, *TRANSPORT))
def test_an_authoritys_answer(site: Site, run: Any, honest: Any, name: str) -> None:
    usual = honest(*CHECK)
    {**GET_CA_CERT, **TRANSPORT}[name](hostile(site))
    found = looked_at(partial(run, *CHECK), usual)
    hostile(site).behave()
    assert_bearable(found, usual, succeeds=None)


@pytest.mark.parametrize("name", rows(*REPLIES))
def test_a_reply(site: Site, run: Any, honest: Any, name: str) -> None:
    usual = honest(*RENEW)
    REPLIES[name](hostile(site))
    found = looked_at(partial(run, *RENEW), usual)
    hostile(site).behave()
    assert_bearable(found, usual, succeeds=None)


@pytest.mark.parametrize("name", rows(*NEXT_CAS))
def test_a_next_ca(site: Site, run: Any, honest: Any, name: str) -> None:
    pinned = ("--url", site.server.url, "--fingerprint", str(facts.fingerprint(hostile(site).issuer.certificate)))
    usual = honest("scep", "getca", *pinned)
    data = NEXT_CAS[name]()
    hostile(site).serving["GetNextCACert"] = lambda _: HttpAnswer(200, "application/x-x509-next-ca-cert", data, "")
    found = looked_at(partial(run, "scep", "getnextca", *pinned), usual)
    hostile(site).behave()
    assert found.returncode == 1, found.output
    assert_bearable(found, usual)


@pytest.fixture(scope="module")
def listed(site: Site, run: Any) -> Iterator[Callable[[bytes], Measured]]:
    """`listed(data)`: what `getcrl` makes of it, where a certificate of the CA points at it."""

    class Point(BaseHTTPRequestHandler):
        body = b""

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(Point.body)))
            self.end_headers()
            with contextlib.suppress(OSError):  # it hung up
                self.wfile.write(Point.body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Point) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        where = x509.UniformResourceIdentifier(f"http://127.0.0.1:{server.server_port}/ca.crl")
        points = x509.CRLDistributionPoints([x509.DistributionPoint([where], None, None, None)])
        by, now = hostile(site).issuer, real_clock()
        device = made("CN=device7", by, (points, False), begins=now - DAY, ends=now + DAY).certificate
        site.path("device7.pem").write_bytes(to_pem([device]))
        site.path("issuer.pem").write_bytes(to_pem([by.certificate]))
        words = ("--certificate", site.path("device7.pem"), "--ca", site.path("issuer.pem"))

        def listed(data: bytes) -> Measured:
            Point.body = data
            found: Measured = run("scep", "getcrl", "--from-certificate", *words, "--out", site.path("got.crl"))
            return found

        yield listed
        server.shutdown()


@pytest.fixture(scope="module")
def long_list(site: Site, listed: Callable[[bytes], Measured]) -> Measured:
    """What the longest honest list costs."""
    found = listed(revocations(hostile(site), filled(ENTRY, LIST)))
    assert found.returncode == 0, found.output
    return found


@pytest.mark.parametrize("form", [bytes, as_pem], ids=["DER", "PEM"])
def test_a_list_of_five_megabytes_is_read(site: Site, listed: Any, form: Callable[[bytes], bytes]) -> None:
    found = listed(form(revocations(hostile(site), filled(ENTRY, 5 << 20))))
    assert found.returncode == 0, found.output
    assert "not revoked" in found.output


@pytest.mark.parametrize("name", rows(*LISTS))
def test_a_list(site: Site, listed: Any, long_list: Measured, name: str) -> None:
    data = LISTS[name](hostile(site))
    found = looked_at(lambda: listed(data), long_list)
    assert_bearable(found, long_list, succeeds=None)
