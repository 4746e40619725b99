"""GetNextCACert: the nested form proves who announces the next CA, the flat form proves nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from asn1crypto import cms, core
from cryptography import x509

from certagent import keys
from certagent.certificate import to_der, to_pem
from certagent.errors import CertagentError, TransientError, TrustError
from certagent.scep import NextCA, PkiStatus, Signer, degenerate, encode_next_ca, read_next_ca
from certagent.scep.asn1 import tlv
from certagent.scep.signed import assemble, signed_attributes, signed_data

from .parts import World, indefinite, parts

Make = Callable[[World], bytes]


@pytest.fixture
def successors(world: World) -> list[x509.Certificate]:
    """A next CA and its RA, for the purpose of these tests."""
    return [world.stranger.certificate, world.issued]


def read(world: World, data: bytes, accept: Sequence[str] = ()) -> NextCA:
    return read_next_ca(data, signers=world.signers, accept=accept)


def successor(world: World) -> list[x509.Certificate]:
    return [world.stranger.certificate]


def nested(world: World, content: bytes | None = None, *, content_type: str = "data") -> bytes:
    content = degenerate(successor(world)) if content is None else content
    return signed_data(content, {}, world.ca, "sha256", [], content_type=content_type)


@pytest.mark.parametrize("attributes", [True, False], ids=["signed attributes", "signed content (OpenXPKI)"])
@pytest.mark.parametrize("digest", ["sha256", "sha512"])
def test_nested(world: World, successors: list[x509.Certificate], digest: str, attributes: bool) -> None:
    data = encode_next_ca(successors, world.ca, digest=digest, signed_attributes=attributes)
    assert read(world, data) == NextCA(tuple(successors), world.ca.certificate, nested=True)


def test_nested_signed_by_the_ra(world: World, successors: list[x509.Certificate]) -> None:
    assert read(world, encode_next_ca(successors, world.ra)).signed_by == world.ra.certificate


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(nested, id="id-data with attributes"),
        pytest.param(lambda w: nested(w, content_type="signed_data"), id="id-signedData (xipki)"),
        pytest.param(
            lambda w: nested(w, parts(parts(degenerate(successor(w)))[1])[0], content_type="signed_data"),
            id="a SignedData without its ContentInfo",
        ),
        pytest.param(lambda w: indefinite(b"\x30", *parts(nested(w))), id="indefinite length"),
    ],
)
def test_nested_of_other_servers(world: World, make: Make) -> None:
    assert read(world, make(world)) == NextCA(tuple(successor(world)), world.ca.certificate, nested=True)


@pytest.mark.parametrize("attributes", [True, False], ids=["signed attributes", "signed content"])
@pytest.mark.parametrize("digest", ["sha256", "sha1"])
def test_flat_is_vouched_for_by_nobody(
    world: World, successors: list[x509.Certificate], digest: str, attributes: bool
) -> None:
    """And so a weak digest does no harm either: trust asks for another proof."""
    data = encode_next_ca(successors, world.ca, nested=False, digest=digest, signed_attributes=attributes)
    assert read(world, data) == NextCA(tuple(successors), None, nested=False)


def test_flat_with_other_certificates_put_in_is_still_vouched_for_by_nobody(world: World) -> None:
    info = cms.ContentInfo.load(encode_next_ca([world.ra.certificate], world.ca, nested=False))
    info["content"]["certificates"] = [cms.CertificateChoices("certificate", _asn1(world.stranger.certificate))]
    assert read(world, info.dump(force=True)) == NextCA((world.stranger.certificate,), None, nested=False)


def test_flat_around_empty_content(world: World) -> None:
    data = signed_data(b"", {}, world.ca, "sha256", successor(world))
    assert read(world, data) == NextCA(tuple(successor(world)), None, nested=False)


def _asn1(certificate: x509.Certificate) -> cms.Certificate:
    return cms.Certificate.load(to_der(certificate))


def edited(edit: Callable[[cms.SignedData], None], *, nested: bool = True, attributes: bool = True) -> Make:
    """An honest answer, changed by somebody without a key."""

    def make(world: World) -> bytes:
        content = degenerate([world.ra.certificate]) if nested else None
        signed = signed_attributes(content, {}, "sha256") if attributes else None
        data = assemble(content, signed, world.ca, "sha256", [world.ra.certificate])
        info = cms.ContentInfo.load(data)
        edit(info["content"])
        return bytes(info.dump(force=True))

    return make


def unsigned(signed: cms.SignedData) -> None:
    signed["signer_infos"] = []


def signed_twice(signed: cms.SignedData) -> None:
    signed["signer_infos"].append(signed["signer_infos"][0].copy())


def other_signature(signed: cms.SignedData) -> None:
    signed["signer_infos"][0]["signature"] = bytes(256)


def stripped(signed: cms.SignedData) -> None:
    """What remains is a signature over attributes, shown as one over the content."""
    del signed["signer_infos"][0]["signed_attrs"]


def unwrapped(signed: cms.SignedData) -> None:
    """Nested made flat, with the certificates of one's choice outside."""
    signed["encap_content_info"] = cms.ContentInfo({"content_type": "data"})


def spliced(world: World, *, attributes: bool) -> bytes:
    """The signed content replaced by one with other certificates."""

    def edit(signed: cms.SignedData) -> None:
        signed["encap_content_info"]["content"] = core.OctetString(degenerate([world.stranger.certificate]))

    return edited(edit, attributes=attributes)(world)


def attributes_as_content(world: World) -> bytes:
    """A signature made over the attributes of a reply, shown as one over content that is those attributes."""
    honest = cms.ContentInfo.load(world.reply())["content"]["signer_infos"][0]
    shown = cms.ContentInfo.load(assemble(honest["signed_attrs"].untag().dump(), None, world.ca, "sha256", []))
    shown["content"]["signer_infos"][0]["signature"] = bytes(honest["signature"])
    return bytes(shown.dump(force=True))


def of_another_type(world: World) -> bytes:
    """The attributes call the content plain data, the message a SignedData."""
    content = degenerate(successor(world))
    attributes = signed_attributes(content, {}, "sha256", "data")
    return assemble(content, attributes, world.ca, "sha256", [], content_type="signed_data")


def namesake(world: World) -> bytes:
    return encode_next_ca([world.ra.certificate], Signer(world.stranger.key, world.ca.certificate))


FLAT = {"nested": False}


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        pytest.param(lambda _: b"", TransientError, "is empty", id="nothing"),
        pytest.param(lambda _: b"<html>", TransientError, "a web page", id="a web page"),
        pytest.param(lambda w: nested(w)[:-1], TransientError, "cut off", id="cut short"),
        pytest.param(lambda w: nested(w) + b"\0", TrustError, "1 bytes of extra data", id="trailing bytes"),
        pytest.param(lambda w: to_der(w.ca.certificate), TrustError, "nobody signed it", id="a bare certificate"),
        pytest.param(lambda w: degenerate(successor(w)), TrustError, "no signature", id="flat: no signature"),
        pytest.param(edited(unsigned, **FLAT), TrustError, "no signature", id="flat: signature taken away"),
        pytest.param(edited(unsigned), TrustError, "contains certificates that nobody", id="nested: no signature"),
        pytest.param(edited(signed_twice), TrustError, "2 signatures", id="two signatures"),
        pytest.param(
            lambda w: encode_next_ca(successor(w), w.stranger), TrustError, "unknown party", id="a stranger's"
        ),
        pytest.param(
            lambda w: encode_next_ca(successor(w), w.stranger, nested=False),
            TrustError,
            "stranger",
            id="flat: stranger",
        ),
        pytest.param(lambda w: encode_next_ca(successor(w), w.device), TrustError, "unknown party", id="a device's"),
        pytest.param(namesake, TrustError, "is wrong", id="a stranger as the CA"),
        pytest.param(edited(other_signature), TrustError, "is wrong", id="signature of zeros"),
        pytest.param(edited(other_signature, **FLAT), TrustError, "is wrong", id="flat: signature of zeros"),
        pytest.param(edited(stripped), TrustError, "is wrong", id="attributes taken away"),
        pytest.param(lambda w: spliced(w, attributes=True), TrustError, "message digest", id="spliced certificates"),
        pytest.param(lambda w: spliced(w, attributes=False), TrustError, "is wrong", id="spliced, no attributes"),
        pytest.param(edited(unwrapped), TrustError, "message digest", id="nested made flat"),
        pytest.param(edited(unwrapped, attributes=False), TrustError, "is wrong", id="nested made flat, no attributes"),
        pytest.param(attributes_as_content, TrustError, "malformed", id="attributes as content"),
        pytest.param(of_another_type, TrustError, "not plain data", id="another content type"),
        pytest.param(World.reply, TrustError, "answer to another", id="a CertRep"),
        pytest.param(lambda w: w.reply(PkiStatus.PENDING), TrustError, "answer to another", id="a refusal as flat"),
        pytest.param(lambda w: nested(w, nested(w)), TrustError, "signed twice", id="nested twice"),
        pytest.param(lambda w: nested(w, degenerate([])), TrustError, "no certificate", id="nested: empty"),
        pytest.param(lambda w: encode_next_ca([], w.ca, nested=False), TrustError, "no certificate", id="flat: empty"),
        pytest.param(lambda w: nested(w, to_der(w.issued)), TrustError, "malformed", id="a bare certificate inside"),
        pytest.param(lambda w: nested(w, b"\0"), TrustError, "malformed", id="a byte inside"),
        pytest.param(lambda w: nested(w, degenerate(successor(w)) + b"\0"), TrustError, "malformed", id="more inside"),
        pytest.param(lambda w: tlv(b"", 0x30), TrustError, "nobody signed it", id="an empty SEQUENCE"),
    ],
)
def test_refused(world: World, make: Make, error: type[CertagentError], says: str) -> None:
    with pytest.raises(error, match=says) as caught:
        read(world, make(world), accept=["sha1", "md5"])
    assert type(caught.value) is error
    assert caught.value.hint


def test_a_weak_digest_is_believed_only_where_it_is_accepted(world: World) -> None:
    data = encode_next_ca(successor(world), world.ca, digest="sha1")
    with pytest.raises(TrustError, match="sha1"):
        read(world, data)
    assert read(world, data, accept=["sha1"]).signed_by == world.ca.certificate


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("options", [(), ("-noattr",)], ids=["attributes", "no attributes"])
def test_what_openssl_signs_is_read(world: World, tmp_path: Path, options: tuple[str, ...]) -> None:
    files = {name: tmp_path / name for name in ("inner.der", "ca.pem", "ca.key")}
    files["inner.der"].write_bytes(degenerate(successor(world)))
    files["ca.pem"].write_bytes(to_pem([world.ca.certificate]))
    files["ca.key"].write_bytes(keys.to_pem(world.ca.key))
    command = ["openssl", "cms", "-sign", "-binary", "-nodetach", "-outform", "DER", *options]
    command += ["-in", str(files["inner.der"]), "-signer", str(files["ca.pem"]), "-inkey", str(files["ca.key"])]
    answer = subprocess.run(command, check=True, capture_output=True).stdout
    assert read(world, answer) == NextCA(tuple(successor(world)), world.ca.certificate, nested=True)


@pytest.mark.needs("openssl")
def test_openssl_reads_what_we_sign(world: World, tmp_path: Path) -> None:
    answer, ca = tmp_path / "answer.der", tmp_path / "ca.pem"
    answer.write_bytes(encode_next_ca(successor(world), world.ca))
    ca.write_bytes(to_pem([world.ca.certificate]))
    command = ["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", str(answer), "-CAfile", str(ca)]
    command += ["-no_check_time", "-purpose", "any"]
    assert subprocess.run(command, check=True, capture_output=True).stdout == degenerate(successor(world))
