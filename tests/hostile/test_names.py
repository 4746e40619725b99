"""By the command line: names in letters that RFC 5280 forbids, as CAs write them and OpenSSL reads them."""

from __future__ import annotations

from base64 import encodebytes
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import core
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from certagent import certificate as facts
from certagent.errors import KeystoreError
from certagent.keys import to_pem
from certagent.keystore import pkcs12_codec
from certagent.lab import Settings
from certagent.scep.asn1 import tlv
from tests.hostile.conftest import hostile
from tests.hostile.lab import Hostile, start_hostile
from tests.hostile.takeover import DEVICE, SIGNS, at_work, keep, real_clock
from tests.renewal.site import DAY, Clock, Site, openssl
from tests.unit.pki import Party, key, party, rsa_key

# Each starts some commands; what they show is held by quicker tests of the rules, too.
pytestmark = pytest.mark.slow

PRINTABLE, T61, IA5 = 0x13, 0x14, 0x16
NAMES = {
    "ampersand in a PrintableString": (PRINTABLE, b"R&D gear", "R&D gear"),
    "underscore in a PrintableString": (PRINTABLE, b"dev_7", "dev_7"),
    "at sign in a PrintableString": (PRINTABLE, b"a@b", "a@b"),
    "asterisk in a PrintableString": (PRINTABLE, b"*.example.net", "*.example.net"),
    "Latin-1 in a T61String": (T61, b"M\xfcller", "Müller"),
}
OTHERS = {
    "Latin-1 in a PrintableString": (PRINTABLE, b"M\xfcller", "Müller"),
    "Latin-1 in an IA5String": (IA5, b"M\xfcller", "Müller"),
    "UTF-8 in a PrintableString": (PRINTABLE, "Müller".encode(), "Müller"),
}


def common_name(tag: int, letters: bytes) -> asn1_x509.Name:
    """A name of one CN, to the byte."""
    oid = core.ObjectIdentifier("2.5.4.3").dump()
    return asn1_x509.Name.load(tlv(tlv(tlv(oid + tlv(letters, tag), 0x30)), 0x30))


def spelled(made: Party, issuer: Party, **names: asn1_x509.Name) -> Party:
    """The certificate once more under other names (`subject`, `issuer_name`), signed with the key of `issuer`."""
    whole = asn1_x509.Certificate.load(facts.to_der(made.certificate))
    body = whole["tbs_certificate"]
    for word, name in names.items():
        body[word.removesuffix("_name")] = name
    content = body.dump()
    assert isinstance(issuer.key, rsa.RSAPrivateKey)
    signature = core.OctetBitString(issuer.key.sign(content, padding.PKCS1v15(), hashes.SHA256()))
    der = tlv(content + whole["signature_algorithm"].dump() + signature.dump(), 0x30)
    return Party(facts.load_der(der), made.key)


@dataclass(frozen=True)
class Odd:
    """A device, and where the odd name is: of the CA, of what it issues."""

    site: Site
    text: str

    def command(self, *words: str, code: int = 0) -> str:
        done = self.site.command(*words)
        told = done.stdout + done.stderr
        assert done.returncode == code, told
        assert "damaged" not in told
        assert "Traceback" not in told
        return told


Make = Callable[..., Odd]


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[Make]:
    """`odd(name, "CA", "leaf", pin="anchor")`: whose name is so written."""
    with ExitStack() as stack:

        def make(name: str, *where: str, pin: str = "fingerprint") -> Odd:
            tag, letters, text = NAMES[name]
            now, usage = real_clock(), (*SIGNS, *DEVICE)
            fields: dict[str, Any] = {"ca": True, "usage": usage, "key_id": True, "with_key": rsa_key("root")}
            root = party("CN=lab CA", start=now - DAY, end=now + 999 * DAY, **fields)
            keep(tmp_path / "lab", root)
            server = stack.enter_context(start_hostile(tmp_path / "lab", Clock(now), Settings(lifetime=90 * DAY)))
            site = Site(tmp_path, Clock(now), server)
            ca, raw = hostile(site), common_name(tag, letters)
            stack.callback(ca.released.set)
            of_ca: dict[str, asn1_x509.Name] = {}
            if "CA" in where:
                root = spelled(root, root, subject=raw, issuer_name=raw)
                of_ca = {"issuer_name": raw}
                at_work(ca, root, [root.certificate])
            of_leaf = {"subject": raw} if "leaf" in where else {}
            ca.spelling = lambda made: spelled(made, root, **of_ca, **of_leaf)
            write(site, root, pin, text if "leaf" in where else "web")
            return Odd(site, text)

        yield make


def write(site: Site, root: Party, pin: str, subject: str) -> None:
    anchor = site.path("anchor.pem")
    anchor.write_bytes(facts.to_pem([root.certificate]))
    pins = {
        "fingerprint": f"fingerprint: {facts.fingerprint(root.certificate)}",
        "anchor": f"trust_anchor: {anchor}\nfingerprint: sha256:{'00' * 32}",
    }
    keystore = (
        f'subject: "CN={subject}"\nchain_file: {site.path("files/chain.pem")}\nca_file: {site.path("files/ca.pem")}'
    )
    site.write(keystore, pins[pin], subject=False)


def in_place(site: Site) -> x509.Certificate:
    """What OpenSSL as the consumer's reader makes of it, too."""
    anchor = str(site.path("files/ca.pem"))
    assert "OK" in openssl("verify", "-CAfile", anchor, "-partial_chain", str(site.certificate))
    return site.leaf()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pin", ["fingerprint", "anchor"])
def test_of_the_ca(odd: Make, name: str, pin: str) -> None:
    device = odd(name, "CA", pin=pin)
    device.command("check")
    device.command("enroll", "web")
    first = in_place(device.site)
    assert first.issuer.public_bytes() == hostile(device.site).issuer.certificate.subject.public_bytes(), "to the byte"
    assert device.text in device.command("check")
    assert "1 valid" in device.command("status")
    assert device.text in device.command("status", "web")
    device.command("plan")
    device.command("renew", "--force", "web")
    assert in_place(device.site) != first
    assert device.site.pair_matches()


@pytest.mark.parametrize("name", NAMES)
def test_of_what_is_issued(odd: Make, name: str) -> None:
    device = odd(name, "leaf")
    told = device.command("enroll", "web")
    assert "failed" not in told
    first = in_place(device.site)
    tag, letters, text = NAMES[name]
    assert first.subject.public_bytes() == common_name(tag, letters).dump()
    assert text in device.command("status")
    told = device.command("check")
    assert f"CN={text}" in told
    assert "the certificate in place has" not in told, "it is the name that was asked for"
    device.command("renew", "--force", "web")
    assert in_place(device.site) != first


def test_of_both_and_told_to_hooks_history_and_programs(odd: Make) -> None:
    device = odd("Latin-1 in a T61String", "CA", "leaf")
    site = device.site
    hook = site.path("hook.sh")
    hook.write_text(f'#!/bin/sh\nprintf %s "$CERTAGENT_SUBJECT" > {site.path("told")}\n')
    hook.chmod(0o755)
    with site.config.open("a") as config:
        config.write(f"    hooks: {{post: [[{hook}]]}}\n")
    device.command("enroll", "web")
    assert site.path("told").read_text() == "CN=Müller"
    device.command("renew", "--force", "web")
    assert '"subject": "CN=M\\u00fcller"' in device.command("status", "--json")
    device.command("history")


@pytest.mark.parametrize("name", NAMES)
def test_of_the_identity_that_another_tool_put_there(odd: Make, name: str) -> None:
    """It is adopted: named in `status`, renewed for its own name, signed with it."""
    device = odd(name, "leaf")
    site, ca = device.site, hostile(device.site)
    tag, letters, text = NAMES[name]
    site.write(authority=f"fingerprint: {facts.fingerprint(ca.issuer.certificate)}", subject=False)
    now, own = real_clock(), rsa_key("adopted")
    made = party("CN=web", ca.issuer, with_key=own, usage=DEVICE, key_id=True, start=now - DAY, end=now + 80 * DAY)
    put = spelled(made, ca.issuer, subject=common_name(tag, letters))
    site.key.write_bytes(to_pem(own))
    site.certificate.write_bytes(facts.to_pem([put.certificate]))
    assert text in device.command("status")
    assert f"CN={text}" in device.command("check")
    accept_any(ca)
    device.command("renew", "--force", "web")
    assert site.leaf() != put.certificate
    assert site.leaf().subject == put.certificate.subject


def accept_any(ca: Hostile) -> None:
    """It has not issued what signs the request, and renews it all the same."""
    ca.authenticate = lambda *_: "renewal"  # type: ignore[method-assign]  # of a CA that is ours


@pytest.mark.parametrize("name", NAMES | OTHERS)
def test_it_is_read_under_its_own_bytes(name: str) -> None:
    tag, letters, text = (NAMES | OTHERS)[name]
    root = party("CN=root", ca=True, with_key=rsa_key("root"))
    raw = common_name(tag, letters)
    made = spelled(root, root, subject=raw, issuer_name=raw).certificate
    der = facts.to_der(made)
    assert made.subject == made.issuer == x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
    assert made.subject.public_bytes() == raw.dump()
    assert facts.is_readable(made)
    assert isinstance(made, x509.Certificate)
    assert facts.is_self_signed(made)
    assert facts.is_ca(made)
    assert facts.load_pem(facts.to_pem([made]), "x.pem") == (made,) == (facts.load_der(der),)
    assert {made} == {facts.load_der(der)}
    assert made != root.certificate
    assert facts.fingerprint(made).digest.hex() == openssl_fingerprint(der)


@pytest.mark.parametrize("name", NAMES)
def test_in_a_pkcs12_file(name: str) -> None:
    tag, letters, _ = NAMES[name]
    root = party("CN=root", ca=True, with_key=rsa_key("root"))
    made = spelled(root, root, subject=common_name(tag, letters), issuer_name=common_name(tag, letters))
    file = pkcs12_codec.dump(pkcs12_codec.entry(made.key, [made.certificate], "web", b"secret"), b"secret")
    found = [each.certificate for each in pkcs12_codec.load(file, b"secret", "web.p12")]
    assert made.certificate in found


def openssl_fingerprint(der: bytes) -> str:
    found = openssl("x509", "-inform", "DER", "-noout", "-fingerprint", "-sha256", stdin=der)
    return found.partition("=")[2].strip().replace(":", "").lower()


def test_in_an_extension_it_is_read_too() -> None:
    """An authority key identifier that names the CA above, as `openssl ca` writes it."""
    der = facts.to_der(party("CN=web", san=[x509.DirectoryName(facts.parse_subject("CN=devx7"))]).certificate)
    found = facts.load_der(der.replace(b"\x0c\x05devx7", b"\x13\x05dev_7"))
    assert facts.alternative_names(found) == {"dir:CN=dev_7"}


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        pytest.param(b"\x0c\x04aaaa", b"\x30\x04aaaa", "", id="no string at all"),
        pytest.param(b"\x0c\x04aaaa", b"\x0c\x04a\xe4aa", "its subject", id="a UTF8String that is none"),
        pytest.param(b"\x17\x0d27", b"\x17\x0dxx", "", id="a date"),
        pytest.param(b"\x82\x01b", b"\x82\x01\xff", "its extensions", id="an alternative name"),
    ],
)
def test_what_is_wrong_in_another_way_is_told_as_it_is(old: bytes, new: bytes, part: str) -> None:
    der = facts.to_der(party("CN=aaaa", with_key=key("aaaa"), san=[x509.DNSName("b")]).certificate)
    assert old in der
    text = b"-----BEGIN CERTIFICATE-----\n" + encodebytes(der.replace(old, new)) + b"-----END CERTIFICATE-----\n"
    with pytest.raises(KeystoreError, match=r"certificate 1 in web\.pem cannot be read(: )?" + part):
        facts.load_pem(text, "web.pem")
