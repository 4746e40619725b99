"""EncryptedContentInfo (RFC 5652 §6.1): in CBC, as SCEP requires, or in GCM (RFC 5084), as some servers answer."""

from __future__ import annotations

from asn1crypto import cms, core
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.modes import CBC, GCM
from msgspec import Struct

from certagent.scep import asn1
from certagent.scep.algorithms import AEAD_NAMES, AEADS, CIPHERS
from certagent.scep.password import cipher_of

_TAG_SIZES = range(12, 17)  # bytes, RFC 5084 §3.2
_NONCE_SIZES = range(8, 17)  # bytes; everybody sends 12
_CONSTRUCTED_SEQUENCE, _PRIMITIVE_SEQUENCE = 0x30, 0x10
_OCTET_STRING, _TAGGED_4 = 0x04, 0x84


class EncryptedContent(Struct, frozen=True):
    """`cipher`: its word in CIPHERS, or in AEADS if there is a `tag`, which also covers `beside`: open attributes."""

    cipher: str
    iv: bytes
    ciphertext: bytes
    tag: bytes | None = None
    beside: bytes = b""

    @classmethod
    def read(
        cls, info: cms.EncryptedContentInfo, what: str, *, tag: bytes | None = None, beside: bytes = b""
    ) -> EncryptedContent:
        """Parse it. `tag`: given in an AuthEnvelopedData; in an EnvelopedData, the end of the ciphertext is the tag.

        Raises TrustError for an unknown cipher, ValueError if it is malformed.
        """
        algorithm = info["content_encryption_algorithm"]
        _, encoded, ciphertext = asn1.split(info.contents)
        octets = asn1.octets(ciphertext)
        name = AEAD_NAMES.get(algorithm["algorithm"].dotted)
        if name is None:
            if tag is not None:
                raise ValueError("a tag with a cipher that has none")
            return cls(cipher_of(algorithm, what), bytes(algorithm["parameters"]), octets)
        nonce, size = _gcm_parameters(asn1.split(asn1.contents(encoded))[1])
        if tag is None:
            octets, tag = octets[:-size], octets[-size:]
        if len(tag) != size:
            raise ValueError("a tag of another size than announced")
        return cls(name, nonce, octets, tag, beside)

    def open(self, key: bytes) -> bytes:
        """The content. Raises ValueError for every failure."""
        chosen = CIPHERS[self.cipher] if self.tag is None else AEADS[self.cipher]
        if len(key) != chosen.key_size:
            raise ValueError
        if self.tag is not None:
            unlocked = Cipher(chosen.algorithm(key), GCM(self.iv, self.tag, min_tag_length=len(self.tag))).decryptor()
            unlocked.authenticate_additional_data(self.beside)
            try:
                return unlocked.update(self.ciphertext) + unlocked.finalize()
            except InvalidTag:
                raise ValueError from None
        decryptor = Cipher(chosen.algorithm(key), CBC(self.iv)).decryptor()
        unpadder = padding.PKCS7(chosen.block_size * 8).unpadder()
        padded = decryptor.update(self.ciphertext) + decryptor.finalize()
        return unpadder.update(padded) + unpadder.finalize()


def _gcm_parameters(encoded: bytes) -> tuple[bytes, int]:
    """Nonce and size of the tag: GCMParameters, as in RFC 5084 §3.2, or as Go's pkcs7 libraries write them.

    Those put one SEQUENCE in another, with the tag of a primitive value, and the nonce under [4]. Raises ValueError.
    """
    if encoded[0] == _PRIMITIVE_SEQUENCE:
        (encoded,) = asn1.split(asn1.contents(encoded))
    nonce, *rest = asn1.split(asn1.contents(encoded))
    if encoded[0] != _CONSTRUCTED_SEQUENCE or nonce[0] not in (_OCTET_STRING, _TAGGED_4) or len(rest) > 1:
        raise ValueError("no GCMParameters")
    size = core.Integer.load(rest[0], strict=True).native if rest else _TAG_SIZES[0]
    octets = asn1.contents(nonce)
    if size not in _TAG_SIZES or len(octets) not in _NONCE_SIZES:
        raise ValueError("absurdly large GCMParameters")
    return octets, size
