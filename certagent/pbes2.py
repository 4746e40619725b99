"""PBES2 (RFC 8018 §6.2) with AES-CBC: how OpenSSL, Java and certagent encrypt private keys."""

from __future__ import annotations

from asn1crypto import algos
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.padding import PKCS7

ROUNDS_LIMIT = 1_000_000
DIGESTS: dict[str, hashes.HashAlgorithm] = {
    "sha1": hashes.SHA1(),  # noqa: S303 -- to read what older tools wrote
    "sha224": hashes.SHA224(),
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


def rounds_of(algorithm: algos.EncryptionAlgorithm) -> int:
    """The number of key derivation rounds. Raises ValueError for a number that would take too long."""
    rounds = algorithm.kdf_iterations if algorithm.kdf == "pbkdf2" else None
    if not isinstance(rounds, int) or not 0 < rounds <= ROUNDS_LIMIT:
        raise ValueError
    return rounds


def decrypt(algorithm: algos.EncryptionAlgorithm, data: bytes, password: bytes) -> bytes:
    """The plain text. Raises ValueError, LookupError or the like for other algorithms and for a wrong password."""
    if algorithm.encryption_cipher != "aes" or algorithm.encryption_mode != "cbc":
        raise ValueError
    if algorithm.key_length not in (16, 24, 32):  # the file may ask for gigabytes
        raise ValueError
    kdf = PBKDF2HMAC(DIGESTS[algorithm.kdf_hmac], algorithm.key_length, algorithm.kdf_salt, rounds_of(algorithm))
    decryptor = Cipher(AES(kdf.derive(password)), modes.CBC(algorithm.encryption_iv)).decryptor()
    unpadder = PKCS7(128).unpadder()
    padded = decryptor.update(data) + decryptor.finalize()
    return unpadder.update(padded) + unpadder.finalize()
