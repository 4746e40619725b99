"""EnvelopedData (RFC 5652 §6): to one recipient by RSA key transport, and back."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from asn1crypto import cms, core
from cryptography import x509
from cryptography.hazmat.primitives import padding as block_padding
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.modes import CBC

from certagent.errors import KeystoreError, TrustError
from certagent.scep import asn1
from certagent.scep.algorithms import CIPHER_NAMES, CIPHERS, Signer


def enveloped_data(content: bytes, recipient: x509.Certificate, cipher: str) -> bytes:
    """A DER ContentInfo of EnvelopedData for `recipient`, whose key must be RSA. Raises TrustError."""
    public = recipient.public_key()
    if not isinstance(public, rsa.RSAPublicKey):
        raise TrustError(
            f"the certificate {recipient.subject.rfc4514_string()!r} cannot receive an envelope: its key is not RSA",
            "SCEP needs an RSA key on the receiving side; give an EC CA an RA with an RSA encryption certificate",
        )
    chosen = CIPHERS[cipher]
    key, iv = secrets.token_bytes(chosen.key_size), secrets.token_bytes(chosen.block_size)
    padder = block_padding.PKCS7(chosen.block_size * 8).padder()
    encryptor = Cipher(chosen.algorithm(key), CBC(iv)).encryptor()
    padded = padder.update(content) + padder.finalize()
    transport = cms.KeyTransRecipientInfo(
        {
            "version": "v0",
            "rid": cms.RecipientIdentifier("issuer_and_serial_number", asn1.issuer_and_serial(recipient)),
            "key_encryption_algorithm": {"algorithm": "rsaes_pkcs1v15"},
            "encrypted_key": public.encrypt(key, padding.PKCS1v15()),
        }
    )
    body = {
        "version": "v0",
        "recipient_infos": [cms.RecipientInfo("ktri", transport)],
        "encrypted_content_info": {
            "content_type": "data",
            "content_encryption_algorithm": {"algorithm": chosen.oid, "parameters": core.OctetString(iv)},
            "encrypted_content": encryptor.update(padded) + encryptor.finalize(),
        },
    }
    info = cms.ContentInfo({"content_type": "enveloped_data", "content": cms.EnvelopedData(body)})
    return bytes(info.dump())


@dataclass(frozen=True)
class Envelope:
    """An envelope as it came, closed. `cipher` is its word in `algorithms.CIPHERS`."""

    cipher: str
    iv: bytes
    ciphertext: bytes
    recipient: cms.RecipientIdentifier
    encrypted_key: bytes
    what: str

    @classmethod
    def read(cls, data: bytes, what: str) -> Envelope:
        """Parse a ContentInfo of EnvelopedData with exactly one recipient. Raises TrustError."""
        body = asn1.content_info(data, "enveloped_data", what)
        with asn1.parsing(what):
            recipients = body["recipient_infos"]
            if len(recipients) != 1 or recipients[0].name != "ktri":
                raise TrustError(f"{what} is not for exactly one recipient's RSA key", _NOT_OURS)
            transport = recipients[0].chosen
            if transport["key_encryption_algorithm"]["algorithm"].native != "rsaes_pkcs1v15":
                raise TrustError(f"{what} uses an unknown way to transport its key", "SCEP wants RSA PKCS#1 v1.5")
            inner = body["encrypted_content_info"]
            oid = inner["content_encryption_algorithm"]["algorithm"].dotted
            if oid not in CIPHER_NAMES:
                raise TrustError(f"{what} uses the unknown cipher {oid}", "AES in CBC mode is what SCEP asks for")
            return cls(
                cipher=CIPHER_NAMES[oid],
                iv=bytes(inner["content_encryption_algorithm"]["parameters"]),
                ciphertext=asn1.octets(asn1.split(inner.contents)[2]),
                recipient=transport["rid"],
                encrypted_key=bytes(transport["encrypted_key"]),
                what=what,
            )

    def open(self, owners: Sequence[Signer]) -> bytes:
        """Decrypt with the one of `owners` whose issuer and serial number the envelope names.

        Every failure to decrypt is the same TrustError, whatever its cause: telling a bad padding from a
        bad key would answer an attacker's questions about the key (Bleichenbacher, Vaudenay).
        """
        with asn1.parsing(self.what):
            owner = next((one for one in owners if self._is_for(one.certificate)), None)
        if owner is None:
            raise TrustError(f"{self.what} is for somebody else", _NOT_OURS)
        if not isinstance(owner.key, rsa.RSAPrivateKey):
            raise KeystoreError(f"{self.what} cannot be opened with an EC key", "SCEP envelopes need an RSA key")
        try:
            chosen = CIPHERS[self.cipher]
            key = owner.key.decrypt(self.encrypted_key, padding.PKCS1v15())
            if len(key) != chosen.key_size:
                raise ValueError
            decryptor = Cipher(chosen.algorithm(key), CBC(self.iv)).decryptor()
            unpadder = block_padding.PKCS7(chosen.block_size * 8).unpadder()
            padded = decryptor.update(self.ciphertext) + decryptor.finalize()
            return unpadder.update(padded) + unpadder.finalize()
        except ValueError:
            raise TrustError(f"{self.what} cannot be decrypted", "is it for this key, and whole?") from None

    def _is_for(self, certificate: x509.Certificate) -> bool:
        by_serial = self.recipient.name == "issuer_and_serial_number"
        return by_serial and asn1.names_certificate(self.recipient, certificate)


_NOT_OURS = "the CA must encrypt its reply to the certificate that signed the request, and to nobody else"
