"""PasswordRecipientInfo (RFC 5652 §6.2.4, RFC 8894 §3.1): an envelope's key under a password.

A key-encryption key is derived from the password by PBKDF2 (RFC 8018 §5.2) and wraps by PWRI-KEK (RFC 3211 §2.3).
"""

from __future__ import annotations

import hmac
import secrets

from asn1crypto import cms, core
from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, Cipher
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from msgspec import Struct

from certagent.errors import TrustError
from certagent.scep.algorithms import CIPHER_NAMES, CIPHERS, DIGESTS

_PWRI_KEK = "1.2.840.113549.1.9.16.3.9"
_ITERATIONS = 100_000  # 15 ms on a server; a challenge should not be guessable anyway (RFC 8894 §7)
_MAX_ITERATIONS = 2_000_000  # the sender of the envelope chooses how long we work on it
_MAX_SALT = 1024  # bytes
_SALT = 16  # bytes


class PasswordLock(Struct, frozen=True):
    """An envelope's key, encrypted with a password. `cipher` wraps it: a word of CIPHERS."""

    digest: str
    salt: bytes
    iterations: int
    cipher: str
    iv: bytes
    encrypted_key: bytes

    @staticmethod
    def make(key: bytes, password: bytes, cipher: str) -> cms.PasswordRecipientInfo:
        """`key` wrapped under `password`, with the same `cipher` as the content."""
        chosen = CIPHERS[cipher]
        salt, iv = secrets.token_bytes(_SALT), secrets.token_bytes(chosen.block_size)
        lock = PasswordLock("sha256", salt, _ITERATIONS, cipher, iv, b"")
        derivation = {"salt": core.OctetString(salt), "iteration_count": _ITERATIONS, "prf": {"algorithm": "sha256"}}
        wrapping = cms.EncryptionAlgorithm({"algorithm": chosen.oid, "parameters": core.OctetString(iv)})
        return cms.PasswordRecipientInfo(
            {
                "version": "v0",
                "key_derivation_algorithm": {"algorithm": "pbkdf2", "parameters": derivation},
                "key_encryption_algorithm": {"algorithm": _PWRI_KEK, "parameters": wrapping},
                "encrypted_key": lock.wrap(key, password),
            }
        )

    @classmethod
    def read(cls, info: cms.PasswordRecipientInfo, what: str) -> PasswordLock:
        """Parse it. Raises TrustError for what is unknown or too much work, ValueError if it is malformed."""
        derivation, wrapping = info["key_derivation_algorithm"], info["key_encryption_algorithm"]
        if isinstance(derivation, core.Void) or derivation["algorithm"].native != "pbkdf2":
            raise TrustError(f"{what} derives its key from the password in an unknown way", "CMS requires PBKDF2")
        if wrapping["algorithm"].dotted != _PWRI_KEK:
            raise TrustError(f"{what} wraps its key in an unknown way", "CMS requires PWRI-KEK (RFC 3211)")
        parameters = derivation["parameters"]
        digest, iterations = parameters["prf"]["algorithm"].native, parameters["iteration_count"].native
        if parameters["salt"].name != "specified":
            raise ValueError("a salt from another source")
        salt = parameters["salt"].chosen.native
        if digest not in DIGESTS or not 0 < iterations <= _MAX_ITERATIONS or len(salt) > _MAX_SALT:
            raise TrustError(
                f"{what} needs too much work, or an unknown digest, for its password", "check the CA's log"
            )
        inner = wrapping["parameters"].parse(cms.EncryptionAlgorithm)
        lock = cls(
            digest=digest,
            salt=salt,
            iterations=iterations,
            cipher=cipher_of(inner, what),
            iv=bytes(inner["parameters"]),
            encrypted_key=bytes(info["encrypted_key"]),
        )
        if parameters["key_length"].native not in (None, CIPHERS[lock.cipher].key_size):
            raise ValueError("a derived key of another length than its cipher's")
        return lock

    def wrap(self, key: bytes, password: bytes) -> bytes:
        """RFC 3211 §2.3.1: length, three check bytes, key, random padding; encrypted twice in one go."""
        size = CIPHERS[self.cipher].block_size
        plain = bytes([len(key), *(byte ^ 0xFF for byte in key[:3])]) + key
        plain += secrets.token_bytes(max(2 * size - len(plain), -len(plain) % size))
        encryptor = Cipher(self._derived(password), CBC(self.iv)).encryptor()
        return encryptor.update(encryptor.update(plain)) + encryptor.finalize()

    def open(self, password: bytes) -> bytes:
        """RFC 3211 §2.3.2. Raises ValueError for every failure."""
        size, wrapped = CIPHERS[self.cipher].block_size, self.encrypted_key
        if len(wrapped) < 2 * size or len(wrapped) % size:
            raise ValueError
        derived = self._derived(password)
        # The second pass continued from the last block of the first: that block, decrypted, is its IV.
        last = _decrypted(derived, wrapped[-2 * size : -size], wrapped[-size:])
        plain = _decrypted(derived, self.iv, _decrypted(derived, last, wrapped))
        length, check, key = plain[0], plain[1:4], plain[4:]
        if not 8 <= length <= len(key) or not hmac.compare_digest(bytes(byte ^ 0xFF for byte in key[:3]), check):
            raise ValueError
        return key[:length]

    def _derived(self, password: bytes) -> BlockCipherAlgorithm:
        chosen = CIPHERS[self.cipher]
        kdf = PBKDF2HMAC(DIGESTS[self.digest](), chosen.key_size, self.salt, self.iterations)
        return chosen.algorithm(kdf.derive(password))


def _decrypted(algorithm: BlockCipherAlgorithm, iv: bytes, data: bytes) -> bytes:
    decryptor = Cipher(algorithm, CBC(iv)).decryptor()
    return decryptor.update(data) + decryptor.finalize()


def cipher_of(algorithm: cms.EncryptionAlgorithm, what: str) -> str:
    """Its word in CIPHERS. Raises TrustError for any other."""
    oid = algorithm["algorithm"].dotted
    if oid not in CIPHER_NAMES:
        raise TrustError(f"{what} uses the unknown cipher {oid}", "set AES-128 in CBC mode at the CA; SCEP requires it")
    return CIPHER_NAMES[oid]
