"""The algorithms that SCEP messages use: their names here, in ASN.1 and in `cryptography`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import partial

from cryptography import x509
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from msgspec import Struct

from certagent.errors import TrustError
from certagent.keys import PrivateKey

WEAK = frozenset({"sha1", "md5", "3des", "des"})

DIGESTS: dict[str, Callable[[], hashes.HashAlgorithm]] = {
    "md5": hashes.MD5,
    "sha1": hashes.SHA1,
    "sha224": hashes.SHA224,
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}
MESSAGE_DIGESTS: dict[str, Callable[[], hashes.HashAlgorithm]] = {
    **DIGESTS,
    # Of a message that Ed448 signs, 512 bits: the first as RFC 8419 §3.1 wants it, the second as OpenSSL writes it.
    # OpenSSL raises errors where anything else than a message's content is to be hashed with it.
    "shake256_len": partial(hashes.SHAKE256, 64),
    "shake256": partial(hashes.SHAKE256, 64),
}


class Algorithms(Struct, frozen=True):
    """What protects a message: `cipher` and `digest`, words of CIPHERS and DIGESTS (aes128-cbc, sha256)."""

    cipher: str
    digest: str


class Signer(Struct, frozen=True):
    """A certificate and its key: signs what is sent, decrypts what comes back.

    Only an RSA key can decrypt: for others, envelopes are locked with a password (RFC 8894 §3.1). `chain`: the
    certificates above it that a request carries, for a CA that does not have them (RFC 8894 §2.3).
    """

    key: PrivateKey
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...] = ()


class Cipher(Struct, frozen=True):
    """A block cipher."""

    oid: str
    key_size: int  # bytes, as transported
    block_size: int  # bytes

    def algorithm(self, key: bytes) -> BlockCipherAlgorithm:
        if self.key_size == 8:
            # Single DES is 3DES with the same key three times; `cryptography` has no other way to do it.
            return TripleDES(key * 3)
        return TripleDES(key) if self.block_size == 8 else AES(key)


CIPHERS: dict[str, Cipher] = {
    "aes128-cbc": Cipher("2.16.840.1.101.3.4.1.2", 16, 16),
    "aes192-cbc": Cipher("2.16.840.1.101.3.4.1.22", 24, 16),
    "aes256-cbc": Cipher("2.16.840.1.101.3.4.1.42", 32, 16),
    "3des": Cipher("1.2.840.113549.3.7", 24, 8),
    "des": Cipher("1.3.14.3.2.7", 8, 8),
}
AEADS: dict[str, Cipher] = {
    "aes128-gcm": Cipher("2.16.840.1.101.3.4.1.6", 16, 16),
    "aes192-gcm": Cipher("2.16.840.1.101.3.4.1.26", 24, 16),
    "aes256-gcm": Cipher("2.16.840.1.101.3.4.1.46", 32, 16),
}
"""In GCM (RFC 5084), which SCEP does not have: read in answers, never sent."""

CIPHER_NAMES = {cipher.oid: name for name, cipher in CIPHERS.items()}
AEAD_NAMES = {cipher.oid: name for name, cipher in AEADS.items()}


def refuse_weak(used: Iterable[str], accept: Collection[str]) -> None:
    """Raise TrustError if a weak algorithm was used that `accept` does not name."""
    refused = sorted(WEAK.intersection(used).difference(accept))
    if refused:
        words = " and ".join(refused)
        raise TrustError(
            f"the CA protects its reply with {words}, which is too weak to accept by default",
            f"enable better algorithms at the CA, or add {words} to the authority's `accept`",
        )
