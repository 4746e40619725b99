"""EnvelopedData (RFC 5652 §6): to one recipient by RSA key transport or by password, and back."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

from asn1crypto import algos, cms, core
from cryptography import x509
from cryptography.hazmat.primitives import padding as block_padding
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.padding import AsymmetricPadding
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.modes import CBC
from msgspec import Struct

from certagent.certificate import name_text
from certagent.config.values import KeyTransport
from certagent.errors import KeystoreError, TrustError
from certagent.keys import type_of
from certagent.scep import asn1, encoding
from certagent.scep.algorithms import CIPHERS, DIGESTS, Signer
from certagent.scep.encrypted_content import EncryptedContent
from certagent.scep.password import PasswordLock

NEEDS_RSA = (
    "a CA whose own key is not RSA needs an RA with an RSA encryption certificate; or set key_transport: password if "
    "the CA supports it"
)
"""The hint where nobody at the CA can open an envelope: only RSA keys can (RFC 8894 §3.1)."""
_PKCS1 = encoding.sequence(encoding.oid("1.2.840.113549.1.1.1"), encoding.NULL)  # RSA PKCS#1 v1.5


def enveloped_data(
    content: bytes,
    recipient: x509.Certificate | None,
    cipher: str,
    *,
    key_transport: KeyTransport = "rsa",
    password: bytes | None = None,
) -> bytes:
    """A DER ContentInfo of EnvelopedData: by `rsa` or `oaep` for `recipient`, by `password` for whoever knows it.

    Raises TrustError if the recipient's key is not RSA, or if what the `key_transport` needs is missing.
    """
    chosen = CIPHERS[cipher]
    key, iv = secrets.token_bytes(chosen.key_size), secrets.token_bytes(chosen.block_size)
    if key_transport == "password":
        if not password:
            raise TrustError(
                "there is no password to protect the envelope with", "key_transport: password needs a challenge"
            )
        version, info = 3, bytes(cms.RecipientInfo("pwri", PasswordLock.make(key, password, cipher)).dump())
    else:
        version, info = 0, _key_transport(key, recipient, key_transport)
    padder = block_padding.PKCS7(chosen.block_size * 8).padder()
    encryptor = Cipher(chosen.algorithm(key), CBC(iv)).encryptor()
    padded = padder.update(content) + padder.finalize()
    body = encoding.sequence(
        encoding.integer(version),  # RFC 5652 §6.1
        encoding.set_of(info),
        encoding.sequence(
            encoding.CONTENT_TYPES["data"],
            encoding.sequence(encoding.oid(chosen.oid), encoding.octets(iv)),
            asn1.tlv(encryptor.update(padded) + encryptor.finalize(), 0x80),
        ),
    )
    return encoding.sequence(encoding.CONTENT_TYPES["enveloped_data"], encoding.explicit(0, body))


def _key_transport(key: bytes, recipient: x509.Certificate | None, key_transport: KeyTransport) -> bytes:
    if recipient is None:
        raise TrustError(
            "requests cannot be encrypted: neither the CA nor an RA has an RSA key",
            NEEDS_RSA,
        )
    public = recipient.public_key()
    if not isinstance(public, rsa.RSAPublicKey):
        raise TrustError(
            f"the certificate {name_text(recipient.subject)!r} cannot be encrypted to: its key is not RSA",
            NEEDS_RSA,
        )
    algorithm = _PKCS1
    scheme: AsymmetricPadding = padding.PKCS1v15()
    if key_transport == "oaep":
        algorithm, scheme = _oaep_algorithm("sha256"), _oaep("sha256", "sha256")
    encrypted = encoding.octets(public.encrypt(key, scheme))
    return encoding.sequence(encoding.integer(0), asn1.issuer_and_serial(recipient), algorithm, encrypted)


def _oaep_algorithm(digest: str) -> bytes:
    mask = {"algorithm": "mgf1", "parameters": {"algorithm": digest}}
    parameters = algos.RSAESOAEPParams({"hash_algorithm": {"algorithm": digest}, "mask_gen_algorithm": mask})
    return bytes(cms.KeyEncryptionAlgorithm({"algorithm": "rsaes_oaep", "parameters": parameters}).dump())


def _oaep(digest: str, mask_digest: str) -> padding.OAEP:
    return padding.OAEP(padding.MGF1(DIGESTS[mask_digest]()), DIGESTS[digest](), label=None)


class RsaLock(Struct, frozen=True):
    """An envelope's key, encrypted for an RSA recipient."""

    recipient: cms.RecipientIdentifier
    scheme: AsymmetricPadding
    encrypted_key: bytes

    @classmethod
    def read(cls, info: cms.KeyTransRecipientInfo, what: str) -> RsaLock:
        """Parse it. Raises TrustError for an unknown scheme, ValueError if it is malformed."""
        algorithm = info["key_encryption_algorithm"]
        scheme = _scheme(algorithm)
        if scheme is None:
            word = algorithm["algorithm"].native
            raise TrustError(f"{what} uses an unknown key transport: {word}", "SCEP requires RSA PKCS#1 v1.5")
        return cls(info["rid"], scheme, bytes(info["encrypted_key"]))

    def is_for(self, certificate: x509.Certificate) -> bool:
        by_serial = self.recipient.name == "issuer_and_serial_number"
        return by_serial and asn1.names_certificate(self.recipient, certificate)


def _scheme(algorithm: cms.KeyEncryptionAlgorithm) -> AsymmetricPadding | None:
    """PKCS#1 v1.5, or OAEP without a label over digests we know (RFC 4055 §4.1; absent parameters mean SHA-1)."""
    if algorithm["algorithm"].native == "rsaes_pkcs1v15":
        return padding.PKCS1v15()
    if algorithm["algorithm"].native != "rsaes_oaep":
        return None
    given = algorithm["parameters"]
    parameters = given if isinstance(given, algos.RSAESOAEPParams) else algos.RSAESOAEPParams({})
    mask, source = parameters["mask_gen_algorithm"], parameters["p_source_algorithm"]
    digest, mask_digest = parameters["hash_algorithm"]["algorithm"].native, mask["parameters"]["algorithm"].native
    known = digest in DIGESTS and mask_digest in DIGESTS and mask["algorithm"].native == "mgf1"
    return _oaep(digest, mask_digest) if known and not source["parameters"].native else None


class Envelope(Struct, frozen=True):
    """A received envelope, still closed. `lock`: what holds its key."""

    content: EncryptedContent
    lock: RsaLock | PasswordLock
    what: str

    @classmethod
    def read(cls, data: bytes, what: str, beside: Sequence[x509.Certificate] = ()) -> Envelope:
        """Parse a ContentInfo of EnvelopedData, or AuthEnvelopedData (RFC 5083), with exactly one recipient.

        Recipients `beside` it do not count: Go's servers encrypt an answer for every certificate in the request, so
        for the issuers of its signer too. Raises TrustError.
        """
        with asn1.parsing(what):
            if asn1.measure(data) != len(data):
                raise ValueError("bytes after its end")
        body = asn1.content_info(data, "enveloped_data", what, or_else="authenticated_enveloped_data")
        with asn1.parsing(what):
            recipients = [each for each in body["recipient_infos"] if not _is_for_any(each, beside)]
            if len(recipients) != 1 or recipients[0].name not in ("ktri", "pwri"):
                raise TrustError(f"{what} is not encrypted to exactly one RSA key or password", _NOT_OURS)
            recipient = recipients[0].chosen
            by_key = recipients[0].name == "ktri"
            lock = RsaLock.read(recipient, what) if by_key else PasswordLock.read(recipient, what)
            return cls(_content(body, what), lock, what)

    @property
    def cipher(self) -> str:
        """A word of `algorithms.CIPHERS` or AEADS."""
        return self.content.cipher

    @property
    def key_transport(self) -> KeyTransport:
        """How its key was sent, and so how the answer's key may be sent."""
        if isinstance(self.lock, PasswordLock):
            return "password"
        return "oaep" if isinstance(self.lock.scheme, padding.OAEP) else "rsa"

    @property
    def ciphers(self) -> frozenset[str]:
        """Every cipher that protects the content."""
        return frozenset({self.cipher, *([self.lock.cipher] if isinstance(self.lock, PasswordLock) else [])})

    def open(self, owners: Sequence[Signer], password: bytes | None = None) -> bytes:
        """Decrypt with the key of the one of `owners` that the envelope names, or with `password`.

        If there is only one owner, its key is used without a check: servers write an issuer's name differently, or name
        a recipient by its key.
        Every failure to decrypt is the same TrustError, whatever its cause: a difference between a bad padding and a
        bad key would answer an attacker's questions about the key (Bleichenbacher, Vaudenay).
        """
        lock = self.lock
        if isinstance(lock, PasswordLock):
            if not password:
                raise TrustError(
                    f"{self.what} is encrypted with a password", "set the authority's key_transport: password"
                )
            return self._opened(lambda: lock.open(password), f"{self.what} cannot be decrypted", _WHOLE)
        with asn1.parsing(self.what):
            named = next((one for one in owners if lock.is_for(one.certificate)), None)
        owner = named or (owners[0] if len(owners) == 1 else None)
        if owner is None:
            raise TrustError(f"{self.what} is encrypted to somebody else", _NOT_OURS)
        key = owner.key
        if not isinstance(key, rsa.RSAPrivateKey):
            kind = type_of(key.public_key())
            raise KeystoreError(f"{self.what} cannot be opened with a key of type {kind}", "it takes RSA or a password")
        if named is None:
            refusal = f"{self.what} is encrypted to somebody else", _NOT_OURS
        else:
            refusal = f"{self.what} cannot be decrypted", _WHOLE
        return self._opened(lambda: key.decrypt(lock.encrypted_key, lock.scheme), *refusal)

    def _opened(self, key: Callable[[], bytes], refusal: str, hint: str) -> bytes:
        """The content, decrypted with the key from the lock."""
        try:
            return self.content.open(key())
        except ValueError:
            raise TrustError(refusal, hint) from None


def _is_for_any(info: cms.RecipientInfo, certificates: Sequence[x509.Certificate]) -> bool:
    if not certificates or info.name != "ktri":
        return False
    named = info.chosen["rid"]
    by_serial = named.name == "issuer_and_serial_number"
    return by_serial and any(asn1.names_certificate(named, each) for each in certificates)


def _content(body: cms.EnvelopedData | cms.AuthEnvelopedData, what: str) -> EncryptedContent:
    if not isinstance(body, cms.AuthEnvelopedData):
        return EncryptedContent.read(body["encrypted_content_info"], what)
    attributes = body["auth_attrs"]
    beside = b"" if isinstance(attributes, core.Void) else bytes(attributes.untag().dump())  # RFC 5083 §2.2
    return EncryptedContent.read(body["auth_encrypted_content_info"], what, tag=bytes(body["mac"]), beside=beside)


_WHOLE = "is it meant for this key, and complete?"
_NOT_OURS = "the CA must encrypt its reply to the certificate that signed the request, and to nobody else"
