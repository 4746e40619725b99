"""SignedData (RFC 5652 §5): made, verified, and the degenerate form that only carries certificates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from asn1crypto import cms, core, crl
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from certagent.errors import TrustError
from certagent.keys import PrivateKey
from certagent.scep import asn1
from certagent.scep.algorithms import DIGESTS, Signer

CONTENT_TYPE = "1.2.840.113549.1.9.3"
MESSAGE_DIGEST = "1.2.840.113549.1.9.4"


@dataclass(frozen=True)
class Signed:
    """What a verified SignedData says, and who says it. `attributes`: the signed ones, value by dotted OID."""

    content: bytes | None
    attributes: Mapping[str, core.Asn1Value]
    signer: x509.Certificate
    digest: str


# ── made ──────────────────────────────────────────────────────────────────────────────────────────


def signed_data(
    content: bytes | None,
    attributes: Mapping[str, core.Asn1Value],
    signer: Signer,
    digest: str,
    certificates: Sequence[x509.Certificate],
) -> bytes:
    """A DER ContentInfo of SignedData over `content` (None: absent) with one SignerInfo.

    `attributes` (value by dotted OID) are signed, together with contentType and messageDigest.
    """
    return assemble(content, signed_attributes(content, attributes, digest), signer, digest, certificates)


def signed_attributes(
    content: bytes | None, attributes: Mapping[str, core.Asn1Value], digest: str
) -> cms.CMSAttributes:
    """contentType and messageDigest, which RFC 5652 §5.3 wants, unless `attributes` brings its own."""
    complete = {
        CONTENT_TYPE: cms.ContentType("data"),
        MESSAGE_DIGEST: core.OctetString(_hash(content or b"", digest)),
        **attributes,
    }
    return cms.CMSAttributes([cms.CMSAttribute({"type": oid, "values": [v]}) for oid, v in complete.items()])


def assemble(
    content: bytes | None,
    attributes: cms.CMSAttributes | None,
    signer: Signer,
    digest: str,
    certificates: Sequence[x509.Certificate],
) -> bytes:
    """The ContentInfo around signed attributes that are ready."""
    signature = sign(signer.key, attributes.dump() if attributes is not None else content or b"", digest)
    fields = {
        "version": "v1",
        "sid": cms.SignerIdentifier("issuer_and_serial_number", asn1.issuer_and_serial(signer.certificate)),
        "digest_algorithm": {"algorithm": digest},
        "signature_algorithm": {"algorithm": _signature_algorithm(signer.key, digest)},
        "signature": signature,
    }
    if attributes is not None:
        fields["signed_attrs"] = attributes
    body = {
        "version": "v1",
        "digest_algorithms": [{"algorithm": digest}],
        "encap_content_info": _encapsulated(content),
        "certificates": asn1.certificate_set(certificates),
        "signer_infos": [cms.SignerInfo(fields)],
    }
    info = cms.ContentInfo({"content_type": "signed_data", "content": cms.SignedData(body)})
    return bytes(info.dump())


def degenerate(certificates: Sequence[x509.Certificate], revocations: bytes | None = None) -> bytes:
    """A certs-only ContentInfo: certificates and at most one CRL (DER), no content, no signer (RFC 8894 §3.4)."""
    fields = {
        "version": "v1",
        "digest_algorithms": [],
        "encap_content_info": {"content_type": "data"},
        "certificates": asn1.certificate_set(certificates),
        "signer_infos": [],
    }
    if revocations is not None:
        fields["crls"] = [cms.RevocationInfoChoice("crl", crl.CertificateList.load(revocations))]
    return bytes(cms.ContentInfo({"content_type": "signed_data", "content": cms.SignedData(fields)}).dump())


def sign(key: PrivateKey, data: bytes, digest: str) -> bytes:
    """RSA PKCS#1 v1.5 or ECDSA over `data`, by whatever holds the key."""
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), DIGESTS[digest]())
    return key.sign(data, ec.ECDSA(DIGESTS[digest]()))


def _signature_algorithm(key: PrivateKey, digest: str) -> str:
    # For RSA the plain rsaEncryption OID: strongSwan takes no other in a SignerInfo, and everybody takes this one.
    return "rsassa_pkcs1v15" if isinstance(key, rsa.RSAPrivateKey) else f"{digest}_ecdsa"


def _encapsulated(content: bytes | None) -> cms.ContentInfo:
    if content is None:
        return cms.ContentInfo({"content_type": "data"})
    return cms.ContentInfo({"content_type": "data", "content": core.OctetString(content)})


def _hash(data: bytes, digest: str) -> bytes:
    context = hashes.Hash(DIGESTS[digest]())
    context.update(data)
    return context.finalize()


# ── verified ──────────────────────────────────────────────────────────────────────────────────────


def verify(signed: cms.SignedData, candidates: Sequence[x509.Certificate], what: str) -> Signed:
    """Check the one signature against the only certificates it may come from.

    Demands signed attributes, each once and with one value, contentType data (or none: quirk of old
    servers) and a messageDigest that fits. Raises TrustError; weak digests are left for the caller to judge.
    """
    with asn1.parsing(what):
        if len(signed["signer_infos"]) != 1:
            raise TrustError(f"{what} has {len(signed['signer_infos'])} signatures instead of one", _FORGED)
        info = signed["signer_infos"][0]
        named = [candidate for candidate in candidates if asn1.names_certificate(info["sid"], candidate)]
        if not named:
            raise TrustError(f"{what} is signed by a stranger: {_describe(info['sid'])}", _STRANGER)
        raw = _raw_attributes(info, what)
        digest = _digest_of(info, what)
        algorithm = info["signature_algorithm"]["algorithm"].native
        signature = bytes(info["signature"])
        content_type = signed["encap_content_info"]["content_type"].native
        content = asn1.encapsulated(signed)
    signer = next((one for one in named if _signed_by(one, algorithm, digest, signature, raw)), None)
    if signer is None:
        raise TrustError(f"the signature of {what} is wrong", _FORGED)
    attributes = _attributes(raw, what)
    if content_type != "data" or _text(attributes.pop(CONTENT_TYPE, None)) not in (None, "1.2.840.113549.1.7.1"):
        raise TrustError(f"{what} signs content that is not plain data", _FORGED)
    stated = attributes.pop(MESSAGE_DIGEST, None)
    if not isinstance(stated, core.OctetString) or bytes(stated) != _hash(content or b"", digest):
        raise TrustError(f"{what} was changed after it was signed (message digest)", _FORGED)
    return Signed(content, attributes, signer, digest)


_FORGED = "somebody between may have changed it; nothing of it was used"
_STRANGER = "only the CA, its RA or its authenticated successor may sign: was the CA's certificate replaced?"


def _raw_attributes(info: cms.SignerInfo, what: str) -> bytes:
    """The signed attributes as they were signed: as a SET, in the order they came (RFC 5652 §5.4)."""
    attributes = info["signed_attrs"]
    if isinstance(attributes, core.Void):
        raise TrustError(f"{what} signs no attributes, so no transaction either", _FORGED)
    # dump() of an indefinite-length SET writes it as DER first.
    der = attributes.untag().dump()
    return bytes(der)


def _digest_of(info: cms.SignerInfo, what: str) -> str:
    digest = str(info["digest_algorithm"]["algorithm"].native)
    if digest not in DIGESTS:
        raise TrustError(f"{what} uses the unknown digest {digest}", "SHA-256 is what SCEP asks for")
    return digest


def _signed_by(
    certificate: x509.Certificate, algorithm: str, digest: str, signature: bytes, data: bytes
) -> bool:
    key = certificate.public_key()
    try:
        if isinstance(key, rsa.RSAPublicKey) and algorithm in ("rsassa_pkcs1v15", f"{digest}_rsa"):
            key.verify(signature, data, padding.PKCS1v15(), DIGESTS[digest]())
            return True
        if isinstance(key, ec.EllipticCurvePublicKey) and algorithm == f"{digest}_ecdsa":
            key.verify(signature, data, ec.ECDSA(DIGESTS[digest]()))
            return True
    except InvalidSignature:
        pass
    return False


def _attributes(raw: bytes, what: str) -> dict[str, core.Asn1Value]:
    """The signed attributes by dotted OID. Raises TrustError for one that is there twice or not single-valued."""
    found: dict[str, core.Asn1Value] = {}
    with asn1.parsing(what):
        for attribute in cms.CMSAttributes.load(raw, strict=True):
            oid = attribute["type"].dotted
            values = list(attribute["values"])
            if oid in found or len(values) != 1:
                raise TrustError(f"{what} gives the signed attribute {oid} more than one value, or none", _FORGED)
            found[oid] = core.load(values[0].dump(), strict=True)
    return found


def _text(value: core.Asn1Value | None) -> str | None:
    return value.dotted if isinstance(value, core.ObjectIdentifier) else None if value is None else "?"


def _describe(identifier: cms.SignerIdentifier) -> str:
    if identifier.name != "issuer_and_serial_number":
        return "key identifier " + bytes(identifier.chosen).hex()
    issuer = identifier.chosen["issuer"].human_friendly
    return f"issuer {issuer!r}, serial {identifier.chosen['serial_number'].native:X}"
