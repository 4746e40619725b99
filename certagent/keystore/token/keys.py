"""Keys that never leave their token, as subclasses of `cryptography`'s private-key classes, so that the code that
makes and opens SCEP messages need not know where a key is kept.

A key is chosen by its CKA_ID alone, sixteen random bytes. Labels are for people: tokens accept duplicates of both.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NoReturn

from asn1crypto import core
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import OAEP, AsymmetricPadding, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo, Prehashed, encode_dss_signature
from pkcs11 import MGF, Attribute, KeyType, Mechanism, Object, ObjectClass, Session
from pkcs11.exceptions import (
    ArgumentsBad,
    AttributeSensitive,
    AttributeTypeInvalid,
    AttributeValueInvalid,
    DataInvalid,
    DataLenRange,
    EncryptedDataInvalid,
    EncryptedDataLenRange,
    FunctionFailed,
    GeneralError,
    PKCS11Error,
)

from certagent.errors import KeystoreError
from certagent.keys import PrivateKey, PublicKey
from certagent.keystore.token.session import Token

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.serialization import Encoding, KeySerializationEncryption, PrivateFormat
    from cryptography.utils import Buffer

Hashing = Prehashed | hashes.HashAlgorithm | NoDigestInfo

# Curves by their OID in DER, as in CKA_EC_PARAMS.
CURVES = {
    "p256": core.ObjectIdentifier("1.2.840.10045.3.1.7").dump(),
    "p384": core.ObjectIdentifier("1.3.132.0.34").dump(),
}
_CURVES: dict[bytes, type[ec.EllipticCurve]] = {CURVES["p256"]: ec.SECP256R1, CURVES["p384"]: ec.SECP384R1}
# DigestInfo up to the digest itself (RFC 8017 §9.2): what CKM_RSA_PKCS pads and signs. Every token has that
# mechanism; not every token has one for each digest.
_DIGEST_INFO = {
    "sha1": bytes.fromhex("3021300906052b0e03021a05000414"),
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
}
# What tokens return for a ciphertext that is damaged or not for the key; some return only a general error.
_BAD_CIPHERTEXT = (
    EncryptedDataInvalid,
    EncryptedDataLenRange,
    DataInvalid,
    DataLenRange,
    ArgumentsBad,
    FunctionFailed,
    GeneralError,
)


def find(session: Session, key_id: bytes, kind: ObjectClass) -> list[Object]:
    """The objects of one class under an ID. Unfiltered, the search fails on what a killed process left."""
    return list(session.get_objects({Attribute.CLASS: kind, Attribute.ID: key_id}))


def load(token: Token, key_id: bytes) -> PrivateKey | None:
    """The key with this CKA_ID; None if there is none. Raises KeystoreError, also if there are two."""
    what = f"look for key {key_id.hex()}"
    key = token.use(what, lambda session: _load(token, session, key_id))
    if key is None:
        # A TPM's module does not see objects that another process made after the module was loaded.
        token.reset()
        key = token.use(what, lambda session: _load(token, session, key_id))
    return key


def _load(token: Token, session: Session, key_id: bytes) -> PrivateKey | None:
    private = find(session, key_id, ObjectClass.PRIVATE_KEY)
    if not private:
        return None
    if len(private) > 1:
        raise KeystoreError(
            f"{token} holds {len(private)} private keys with the ID {key_id.hex()}",
            "consumers may pick any of them: remove those that do not belong there",
        )
    public = find(session, key_id, ObjectClass.PUBLIC_KEY)
    return _key(token, key_id, [*public, *private])


def _key(token: Token, key_id: bytes, sources: Iterable[Object]) -> PrivateKey:
    """The key, with its public half read from the first object that shows it."""
    for source in sources:
        public = _public(source)
        if isinstance(public, rsa.RSAPublicKey):
            return RsaTokenKey(token, key_id, public)
        if isinstance(public, ec.EllipticCurvePublicKey):
            return EcTokenKey(token, key_id, public)
    raise KeystoreError(
        f"{token} does not show the public key of {key_id.hex()}", "the key needs a public key object too"
    )


def _public(source: Object) -> PublicKey | None:
    kind = attribute_of(source, Attribute.KEY_TYPE)
    if kind is KeyType.RSA:
        modulus, exponent = attribute_of(source, Attribute.MODULUS), attribute_of(source, Attribute.PUBLIC_EXPONENT)
        if modulus and exponent:
            return rsa.RSAPublicNumbers(int.from_bytes(exponent), int.from_bytes(modulus)).public_key()
    if kind is KeyType.EC:
        point, curve = (
            attribute_of(source, Attribute.EC_POINT),
            _CURVES.get(attribute_of(source, Attribute.EC_PARAMS) or b""),
        )
        if point and curve:
            # The standard wants a DER OCTET STRING; some tokens return the bare point.
            size = 1 + 2 * ((curve().key_size + 7) // 8)
            bare = point if len(point) == size else bytes(core.OctetString.load(point))
            return ec.EllipticCurvePublicKey.from_encoded_point(curve(), bare)
    return None


def attribute_of(source: Object, attribute: Attribute) -> Any:
    """The attribute; None if the token does not have it, or does not show it."""
    try:
        return source[attribute]
    except (AttributeTypeInvalid, AttributeSensitive, AttributeValueInvalid, FunctionFailed):
        return None


class _Kept:
    """What both kinds of key share: where the key is, and that it stays there."""

    def __init__(self, token: Token, key_id: bytes) -> None:
        self.token, self.id = token, key_id

    def _signed(self, data: bytes, mechanism: Mechanism) -> bytes:
        def operation(session: Session) -> bytes:
            return bytes(_private(self.token, session, self.id).sign(data, mechanism=mechanism))

        return self.token.use(f"sign with key {self.id.hex()}", operation)

    def _stays(self) -> NoReturn:
        raise KeystoreError(f"key {self.id.hex()} never leaves {self.token}", "keys on tokens cannot be exported")

    def private_bytes(
        self,
        encoding: Encoding,
        format: PrivateFormat,  # noqa: A002 -- cryptography's own name
        encryption_algorithm: KeySerializationEncryption,
    ) -> bytes:
        self._stays()


class RsaTokenKey(_Kept, rsa.RSAPrivateKey):
    """An RSA key in a token: signs by PKCS#1 v1.5, decrypts PKCS#1 v1.5 and OAEP. Raises KeystoreError."""

    def __init__(self, token: Token, key_id: bytes, public: rsa.RSAPublicKey) -> None:
        super().__init__(token, key_id)
        self._public = public

    def public_key(self) -> rsa.RSAPublicKey:
        return self._public

    @property
    def key_size(self) -> int:
        return self._public.key_size

    def sign(self, data: bytes, padding: AsymmetricPadding, algorithm: Hashing) -> bytes:
        digest, name = _digest(data, algorithm)
        if not isinstance(padding, PKCS1v15) or name not in _DIGEST_INFO:
            raise KeystoreError(
                f"{self.token} was asked for an unsupported kind of signature",
                "only PKCS#1 v1.5 with SHA-2 is supported",
            )
        return self._signed(_DIGEST_INFO[name] + digest, Mechanism.RSA_PKCS)

    def decrypt(self, ciphertext: bytes, padding: AsymmetricPadding) -> bytes:
        """Raises ValueError for every ciphertext that the token refuses, as a software key does."""
        mechanism, parameters = _decryption(padding)
        modulus = self._public.public_numbers().n
        # A number as large as the modulus breaks swtpm until it is restarted.
        if len(ciphertext) != (self.key_size + 7) // 8 or int.from_bytes(ciphertext) >= modulus:
            raise ValueError("the ciphertext was not made for this key")

        def operation(session: Session) -> bytes:
            key = _private(self.token, session, self.id)
            return bytes(key.decrypt(ciphertext, mechanism=mechanism, mechanism_param=parameters))

        what = f"decrypt with key {self.id.hex()}"
        try:
            return self.token.attempt(operation)
        except PKCS11Error as error:
            if not isinstance(error, _BAD_CIPHERTEXT):
                raise self.token.fault(what, error) from None
        # A general error may also mean that the token is gone; if it is, this raises that.
        self.token.use(what, lambda session: _private(self.token, session, self.id))
        raise ValueError("the token refused the ciphertext")

    def private_numbers(self) -> rsa.RSAPrivateNumbers:
        self._stays()

    def __copy__(self) -> RsaTokenKey:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> RsaTokenKey:
        return self


class EcTokenKey(_Kept, ec.EllipticCurvePrivateKey):
    """An EC key in a token: signs by ECDSA. Raises KeystoreError."""

    def __init__(self, token: Token, key_id: bytes, public: ec.EllipticCurvePublicKey) -> None:
        super().__init__(token, key_id)
        self._public = public

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._public

    @property
    def curve(self) -> ec.EllipticCurve:
        return self._public.curve

    @property
    def key_size(self) -> int:
        return self._public.key_size

    def sign(self, data: Buffer, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        digest, _ = _digest(bytes(data), signature_algorithm.algorithm)
        # Only the leftmost bits of a longer digest count (FIPS 186-5 §6.4); not every token cuts it by itself.
        raw = self._signed(digest[: (self.key_size + 7) // 8], Mechanism.ECDSA)
        half = len(raw) // 2
        return encode_dss_signature(int.from_bytes(raw[:half]), int.from_bytes(raw[half:]))

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> bytes:
        raise KeystoreError(f"{self.token} was asked for a key exchange", "its keys only sign")

    def private_numbers(self) -> ec.EllipticCurvePrivateNumbers:
        self._stays()

    def __copy__(self) -> EcTokenKey:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> EcTokenKey:
        return self


def _private(token: Token, session: Session, key_id: bytes) -> Any:
    """The one private key object under this ID."""
    found = find(session, key_id, ObjectClass.PRIVATE_KEY)
    if len(found) != 1:
        raise KeystoreError(
            f"{token} holds {len(found) or 'no'} private keys with the ID {key_id.hex()}",
            "was it initialised again, or the key removed or copied? list its objects with pkcs11-tool --login -O",
        )
    return found[0]


def _digest(data: bytes, algorithm: Hashing) -> tuple[bytes, str]:
    if isinstance(algorithm, Prehashed):
        return data, algorithm._algorithm.name  # noqa: SLF001 -- it is not public
    if not isinstance(algorithm, hashes.HashAlgorithm):
        return data, "none"
    context = hashes.Hash(algorithm)
    context.update(data)
    return context.finalize(), algorithm.name


def _decryption(padding: AsymmetricPadding) -> tuple[Mechanism, Any]:
    if isinstance(padding, OAEP):
        names = padding.algorithm.name, padding.mgf._algorithm.name  # noqa: SLF001 -- it is not public
        known = {"sha1": (Mechanism.SHA_1, MGF.SHA1), "sha256": (Mechanism.SHA256, MGF.SHA256)}
        return Mechanism.RSA_PKCS_OAEP, (known[names[0]][0], known[names[1]][1], None)
    return Mechanism.RSA_PKCS, None
