"""SignedData (RFC 5652 §5): making it, verifying it, and the degenerate form that only carries certificates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache

from asn1crypto import algos, cms, core
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from msgspec import Struct

from certagent import keys
from certagent.config.key_types import KeyType
from certagent.errors import TrustError
from certagent.keys import PURE_OIDS, PrivateKey, PurePrivateKey, PurePublicKey, type_of
from certagent.scep import asn1, encoding
from certagent.scep.algorithms import DIGESTS, MESSAGE_DIGESTS, Signer
from certagent.text import one_line

CONTENT_TYPE = "1.2.840.113549.1.9.3"
MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
SIGNING_TIME = "1.2.840.113549.1.9.5"
MESSAGE_CONTENT = ("data", "enveloped_data")
"""The content types that a pkiMessage may sign: RFC 8894 §3.2 wants plain data, XiPKI says that it is an envelope."""
_ECDSA_KEY = "1.2.840.10045.2.1"  # id-ecPublicKey, which some write in place of the algorithm


class Signed(Struct, frozen=True):
    """The content of a verified SignedData, and who signed it. `attributes`: the signed ones, value by dotted OID."""

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
    *,
    content_type: str = "data",
) -> bytes:
    """A DER ContentInfo of SignedData over `content` (None: absent) with one SignerInfo.

    `attributes` (value by dotted OID) are signed, together with contentType and messageDigest. `content_type`
    is `data`, `signed_data` or `enveloped_data`. `digest` as `message_digest` changes it for this signer.
    """
    digest = message_digest(signer.key, digest)
    signed = _attributes_of(content, attributes, digest, content_type)
    return _assembled(content, signed, signer, digest, certificates, content_type=content_type)


def message_digest(key: PrivateKey, digest: str) -> str:
    """The digest of a message that this key signs: the wanted one, unless the key's kind has one of its own.

    RFC 8419 §3.1 names one each for Ed25519 and Ed448; RFC 9882 §3.3 wants SHA-512 known to everybody for ML-DSA.
    """
    kind = type_of(key.public_key())
    if kind == KeyType.ED448:
        return "shake256_len"
    return "sha512" if isinstance(key, PurePrivateKey) else digest


def signed_attributes(
    content: bytes | None, attributes: Mapping[str, core.Asn1Value], digest: str, content_type: str = "data"
) -> cms.CMSAttributes:
    """contentType and messageDigest, which RFC 5652 §5.3 requires, unless `attributes` has its own."""
    return cms.CMSAttributes.load(_attributes_of(content, attributes, digest, content_type))


def _attributes_of(
    content: bytes | None, attributes: Mapping[str, core.Asn1Value], digest: str, content_type: str
) -> bytes:
    """The DER of `signed_attributes`."""
    complete = {
        CONTENT_TYPE: encoding.CONTENT_TYPES[content_type],
        MESSAGE_DIGEST: encoding.octets(_hash(content or b"", digest)),
        **{name: bytes(value.dump()) for name, value in attributes.items()},
    }
    each = (encoding.sequence(encoding.oid(name), encoding.set_of(value)) for name, value in complete.items())
    return encoding.set_of(*each)


def signing_time_value(moment: datetime) -> core.Asn1Value:
    """The value of signingTime: UTCTime as long as it can express the year (RFC 5652 §11.3)."""
    second = moment.astimezone(UTC).replace(microsecond=0)
    return core.UTCTime(second) if second.year < 2050 else core.GeneralizedTime(second)


def assemble(
    content: bytes | None,
    attributes: cms.CMSAttributes | None,
    signer: Signer,
    digest: str,
    certificates: Sequence[x509.Certificate],
    *,
    content_type: str = "data",
) -> bytes:
    """The ContentInfo around finished signed attributes; None: the signature covers the content itself."""
    signed = bytes(attributes.dump()) if attributes is not None else None
    return _assembled(content, signed, signer, digest, certificates, content_type=content_type)


def _assembled(
    content: bytes | None,
    attributes: bytes | None,
    signer: Signer,
    digest: str,
    certificates: Sequence[x509.Certificate],
    *,
    content_type: str,
) -> bytes:
    covered = attributes if attributes is not None else content or b""
    hashed, kind = _digest_algorithm(digest), encoding.CONTENT_TYPES[content_type]
    info = encoding.sequence(
        encoding.integer(1),
        asn1.issuer_and_serial(signer.certificate),
        hashed,
        *(() if attributes is None else (asn1.tlv(asn1.contents(attributes), 0xA0),)),
        _signature_algorithm(signer.key, digest),
        encoding.octets(sign(signer.key, covered, digest)),
    )
    encapsulated = () if content is None else (encoding.explicit(0, encoding.octets(content)),)
    body = encoding.sequence(
        encoding.integer(1 if content_type == "data" else 3),  # RFC 5652 §5.1
        encoding.set_of(hashed),
        encoding.sequence(kind, *encapsulated),
        asn1.certificate_set(certificates),
        encoding.set_of(info),
    )
    return encoding.sequence(encoding.CONTENT_TYPES["signed_data"], encoding.explicit(0, body))


def degenerate(certificates: Sequence[x509.Certificate], revocations: bytes | None = None) -> bytes:
    """A certs-only ContentInfo: certificates and at most one CRL (DER), no content, no signer (RFC 8894 §3.4)."""
    body = encoding.sequence(
        encoding.integer(1),
        encoding.set_of(),
        encoding.sequence(encoding.CONTENT_TYPES["data"]),
        asn1.certificate_set(certificates),
        *(() if revocations is None else (asn1.tlv(revocations, 0xA1),)),
        encoding.set_of(),
    )
    return encoding.sequence(encoding.CONTENT_TYPES["signed_data"], encoding.explicit(0, body))


def read_degenerate(
    data: bytes, what: str
) -> tuple[tuple[x509.Certificate, ...], tuple[x509.CertificateRevocationList, ...]]:
    """Certificates and CRLs of a SignedData without signers, as a ContentInfo or bare. Raises TrustError."""
    with asn1.parsing(what):
        if asn1.measure(data, elements=asn1.MAX_LISTED) != len(data):
            raise ValueError("bytes after its end")
        is_wrapped = asn1.is_content_info(data)
    if is_wrapped:
        inner = asn1.content_info(data, "signed_data", what)
    else:
        with asn1.parsing(what):
            inner = cms.SignedData.load(data, strict=True)
    with asn1.parsing(what):
        if inner["signer_infos"].contents:
            raise TrustError(f"{what} is signed twice", "certificates must come in a SignedData without signers")
    return asn1.certificates_of(inner, what), asn1.revocations_of(inner, what)


def sign(key: PrivateKey, data: bytes, digest: str) -> bytes:
    """RSA PKCS#1 v1.5, ECDSA, EdDSA or ML-DSA over `data`, wherever the key is kept."""
    return keys.sign(key, data, MESSAGE_DIGESTS[digest]())


def pure_oid(key: PrivateKey) -> str | None:
    """The OID of this key's signatures if no digest is named with them: EdDSA, ML-DSA."""
    return PURE_OIDS.get(type_of(key.public_key()))


@cache
def _digest_algorithm(digest: str) -> bytes:
    # Its length in bits: RFC 8419 §3.1.
    length: dict[str, object] = {"parameters": core.Integer(512)} if digest == "shake256_len" else {}
    return bytes(cms.DigestAlgorithm({"algorithm": digest, **length}).dump())


def _signature_algorithm(key: PrivateKey, digest: str) -> bytes:
    if (pure := pure_oid(key)) is not None:
        return _algorithm(pure)
    # For RSA the plain rsaEncryption OID: strongSwan accepts no other in a SignerInfo, and everybody accepts this one.
    return _algorithm("rsassa_pkcs1v15" if isinstance(key, rsa.RSAPrivateKey) else f"{digest}_ecdsa")


@cache
def _algorithm(name: str) -> bytes:
    return bytes(algos.SignedDigestAlgorithm({"algorithm": name}).dump())


def _hash(data: bytes, digest: str) -> bytes:
    context = hashes.Hash(MESSAGE_DIGESTS[digest]())
    context.update(data)
    return context.finalize()


# ── verified ──────────────────────────────────────────────────────────────────────────────────────


def verify(
    signed: cms.SignedData,
    candidates: Sequence[x509.Certificate],
    what: str,
    *,
    content_types: Sequence[str] = ("data",),
    bare: bool = False,
) -> Signed:
    """Check the one signature against the only certificates that may have made it (RFC 5652 §5.6).

    Requires signed attributes, each once and with one value, a contentType that is the content's (or none: quirk of old
    servers; not if the content says that it is an envelope) and a messageDigest that matches. `bare`: also accept a
    signature without attributes, over the content itself; only for content that cannot be mistaken for attributes,
    which begin with the byte 0x31. Raises TrustError; the caller has to judge weak digests.
    """
    with asn1.parsing(what):
        info = _only_signer(signed, what)
        named = [candidate for candidate in candidates if asn1.names_certificate(info["sid"], candidate)]
        if not named:
            raise TrustError(f"{what} is signed by an unknown party: {_describe(info['sid'])}", _STRANGER)
        content = asn1.encapsulated(signed)
        raw = _raw_attributes(info)
        if raw is None and not bare:
            raise TrustError(f"{what} does not sign its attributes, and so not its transaction", _FORGED)
        digest = _digest_of(info, what)
        check = _check_of(info["signature_algorithm"], digest)
        signature = bytes(info["signature"])
        content_type = signed["encap_content_info"]["content_type"]
        kind, oid = content_type.native, content_type.dotted
        covered = _orders(raw) if raw is not None else (content or b"",)
    signer = next((one for one in named if check is not None and _signed_by(one, check, signature, covered)), None)
    if signer is None:
        raise TrustError(f"the signature of {what} is wrong", _FORGED)
    attributes = _attributes(raw, what) if raw is not None else {}
    stated_type = _text(attributes.pop(CONTENT_TYPE, None))
    may_be_silent = kind != "enveloped_data"
    if kind not in content_types or (stated_type != oid and not (stated_type is None and may_be_silent)):
        raise TrustError(f"{what} signs content that is not plain data", _FORGED)
    stated = attributes.pop(MESSAGE_DIGEST, None)
    fits = isinstance(stated, core.OctetString) and bytes(stated) == _hash(content or b"", digest)
    if raw is not None and not fits:
        raise TrustError(f"{what} was changed after it was signed (message digest)", _FORGED)
    return Signed(content, attributes, signer, digest)


_FORGED = "somebody in between may have changed it; it was not used"
_STRANGER = "only the CA, its RA or its proven successor may sign: was the CA's certificate replaced?"


def _only_signer(signed: cms.SignedData, what: str) -> cms.SignerInfo:
    number = len(asn1.split(signed["signer_infos"].contents))
    if number != 1:
        raise TrustError(f"{what} has {number} signatures instead of one", _FORGED)
    return asn1.no_more(signed["signer_infos"][0])


def _raw_attributes(info: cms.SignerInfo) -> bytes | None:
    """The signed attributes as they were signed: as a SET, in the received order (RFC 5652 §5.4); None: absent."""
    attributes = info["signed_attrs"]
    if isinstance(attributes, core.Void):
        return None
    # For an indefinite-length SET, dump() converts it to DER first.
    der = attributes.untag().dump()
    return bytes(der)


def _orders(raw: bytes) -> tuple[bytes, ...]:
    """The encodings of these attributes that a signature may cover: the SET as it was sent, and in DER's order.

    RFC 5652 §5.4 requires a signature over DER, even from a sender that sends something else. Both have the same
    meaning, because no attribute is there twice.
    """
    in_order = encoding.set_of(*asn1.split(asn1.contents(raw)))
    return (raw,) if in_order == raw else (raw, in_order)


def _digest_of(info: cms.SignerInfo, what: str) -> str:
    digest = str(info["digest_algorithm"]["algorithm"].native)
    if digest not in MESSAGE_DIGESTS:
        raise TrustError(f"{what} uses the unknown digest {digest}", "SCEP requires SHA-256")
    return digest


class _Check(Struct, frozen=True):
    """How to check a signature. `kind`: of key, `rsa`, `ec` or an OID of PURE_OIDS, which needs no `digest`.

    `scheme`: for RSA keys.
    """

    kind: str
    scheme: padding.PKCS1v15 | padding.PSS | None
    digest: hashes.HashAlgorithm | None


def _check_of(algorithm: algos.SignedDigestAlgorithm, digest: str) -> _Check | None:
    """RSA PKCS#1 v1.5, RSA-PSS (RFC 4056) or ECDSA, over the same digest that the SignerInfo names; EdDSA or ML-DSA,
    whose own digest is none of the message's (RFC 8419, RFC 9882); None: another.
    """
    word = algorithm["algorithm"].native
    if (oid := algorithm["algorithm"].dotted) in PURE_OIDS.values():
        return _Check(oid, None, None)
    if digest not in DIGESTS:
        return None
    if word in ("rsassa_pkcs1v15", f"{digest}_rsa"):
        return _Check("rsa", padding.PKCS1v15(), DIGESTS[digest]())
    if word in (f"{digest}_ecdsa", _ECDSA_KEY):
        return _Check("ec", None, DIGESTS[digest]())
    return _pss_check(algorithm["parameters"], digest) if word == "rsassa_pss" else None


def _pss_check(parameters: object, digest: str) -> _Check | None:
    if not isinstance(parameters, algos.RSASSAPSSParams):
        return None
    mask = parameters["mask_gen_algorithm"]
    mask_digest = mask["parameters"]["algorithm"].native
    salt = parameters["salt_length"].native
    known = mask["algorithm"].native == "mgf1" and mask_digest in DIGESTS and 0 <= salt <= 512
    if parameters["hash_algorithm"]["algorithm"].native != digest or not known:
        return None
    return _Check("rsa", padding.PSS(padding.MGF1(DIGESTS[mask_digest]()), salt), DIGESTS[digest]())


def _signed_by(certificate: x509.Certificate, check: _Check, signature: bytes, covered: Sequence[bytes]) -> bool:
    """Whether its key made the signature over one of `covered`."""
    key = certificate.public_key()
    return any(_is_signature(key, check, signature, data) for data in covered)


def _is_signature(key: object, check: _Check, signature: bytes, data: bytes) -> bool:
    try:
        if isinstance(key, rsa.RSAPublicKey) and check.scheme is not None and check.digest is not None:
            key.verify(signature, data, check.scheme, check.digest)
            return True
        if isinstance(key, ec.EllipticCurvePublicKey) and check.kind == "ec" and check.digest is not None:
            key.verify(signature, data, ec.ECDSA(check.digest))
            return True
        if isinstance(key, PurePublicKey) and check.kind == PURE_OIDS[type_of(key)]:
            key.verify(signature, data)
            return True
    except InvalidSignature:
        pass
    return False


def _attributes(raw: bytes, what: str) -> dict[str, core.Asn1Value]:
    """The signed attributes by dotted OID. Raises TrustError for one that is there twice or not single-valued."""
    found: dict[str, core.Asn1Value] = {}
    with asn1.parsing(what):
        for attribute in asn1.split(asn1.contents(raw)):
            oid, values = _attribute(attribute)
            if oid in found or len(values) != 1:
                raise TrustError(f"{what} gives the signed attribute {oid} more than one value, or none", _FORGED)
            found[oid] = core.load(values[0], strict=True)
    return found


def _attribute(encoded: bytes) -> tuple[str, list[bytes]]:
    """Type and values. asn1crypto checks those that it has a type for, and takes long. Raises ValueError."""
    kind, values, *_ = asn1.split(asn1.contents(encoded))
    if kind in _OF_SCEP and encoded[0] == 0x30 and values[0] == 0x31:
        return _OF_SCEP[kind], asn1.split(asn1.contents(values))
    attribute = cms.CMSAttribute.load(encoded, strict=True)
    return attribute["type"].dotted, [bytes(each.dump()) for each in attribute["values"]]


_OF_SCEP = {encoding.oid(name): name for name in (f"2.16.840.1.113733.1.9.{number}" for number in range(2, 8))}


def _text(value: core.Asn1Value | None) -> str | None:
    return value.dotted if isinstance(value, core.ObjectIdentifier) else None if value is None else "?"


def _describe(identifier: cms.SignerIdentifier) -> str:
    if identifier.name != "issuer_and_serial_number":
        return one_line("key identifier " + bytes(identifier.chosen).hex())
    issuer = identifier.chosen["issuer"].human_friendly
    return one_line(f"issuer {issuer!r}, serial {identifier.chosen['serial_number'].native:X}")
