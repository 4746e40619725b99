"""The kinds of keys that certagent makes, as `key_type` writes them."""

from __future__ import annotations

from enum import StrEnum


class KeyType(StrEnum):
    RSA_2048 = "rsa:2048"
    RSA_3072 = "rsa:3072"
    RSA_4096 = "rsa:4096"
    EC_P256 = "ec:p256"
    EC_P384 = "ec:p384"
    ED25519 = "ed25519"
    ED448 = "ed448"
    ML_DSA_44 = "ml-dsa:44"
    ML_DSA_65 = "ml-dsa:65"
    ML_DSA_87 = "ml-dsa:87"

    @property
    def family(self) -> str:
        """The part before the size: `rsa`, `ec`, `ed25519`, `ed448` or `ml-dsa`."""
        return self.value.partition(":")[0]


WITH_PKCS1 = frozenset({"rsa", "ec"})
"""Families with a form from before PKCS#8: PKCS#1, for EC keys SEC 1."""
IN_TOKENS = frozenset({"rsa", "ec"})
"""Families that certagent makes in a token. ML-DSA came with PKCS#11 3.2, which neither python-pkcs11 nor SoftHSM
speaks."""
