"""PKCS#11 URIs (RFC 7512): which token, and which key in it."""

from __future__ import annotations

import re
from urllib.parse import quote_from_bytes, unquote_to_bytes

from msgspec import Struct

# Everything else is written %XX (RFC 7512 §2.3 allows more, but not every reader supports it).
_PLAIN = "-._~:()"
_TOKEN_WORDS = ("token", "manufacturer", "serial", "model")
_ATTRIBUTE = re.compile(r"[a-z0-9_-]+=[^;?&\s]*", re.IGNORECASE)


class TokenUri(Struct, frozen=True):
    """A `pkcs11:` URI. `token`: what it says about the token (token, manufacturer, serial, model); `id`: the CKA_ID.

    Anything else in it (object, type, slot-id, library …) is ignored: keys are chosen by their ID alone.
    """

    token: tuple[tuple[str, str], ...]
    id: bytes | None = None

    @classmethod
    def parse(cls, text: str) -> TokenUri:
        """Read one. ValueError if it is not a PKCS#11 URI, or has a PIN in it; the error never quotes it."""
        scheme, _, rest = text.strip().partition(":")
        path, _, query = rest.partition("?")
        if scheme.lower() != "pkcs11":
            raise ValueError("it is not a pkcs11: URI")
        if re.search(r"pin-(value|source)=", query):
            raise ValueError("it holds a PIN, which does not belong there")
        found: dict[str, bytes] = {}
        for part in filter(None, path.split(";")):
            word, _, value = part.partition("=")
            if not _ATTRIBUTE.fullmatch(part) or word in found:
                raise ValueError("its attributes are malformed, or one appears twice")
            found[word] = unquote_to_bytes(value)
        token = tuple((word, found[word].decode()) for word in _TOKEN_WORDS if word in found)
        return cls(token, found.get("id") or None)

    def __str__(self) -> str:
        parts = [f"{word}={quote_from_bytes(value.encode(), _PLAIN)}" for word, value in self.token]
        if self.id is not None:
            # Every byte as %XX, as p11-kit and libp11 write it.
            parts += ["id=" + "".join(f"%{byte:02x}" for byte in self.id), "type=private"]
        return "pkcs11:" + ";".join(parts)


def token_of(selector: str) -> TokenUri:
    """What a keystore's `token` means: a label, `serial:NUMBER`, or a pkcs11: URI. Raises ValueError."""
    if selector.startswith("pkcs11:"):
        return TokenUri.parse(selector)
    word, _, serial = selector.partition(":")
    return TokenUri((("serial", serial),) if word == "serial" and serial else (("token", selector),))
