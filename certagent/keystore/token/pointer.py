"""Files that name a key in a token: one line, a PKCS#11 URI. Consumers read them, and so do we."""

from __future__ import annotations

from pathlib import Path

from certagent.errors import KeystoreError
from certagent.keystore.token.uri import TokenUri


def read_uri(path: Path, content: bytes | None) -> TokenUri:
    """The URI in this file. Raises KeystoreError, also if the file is missing."""
    try:
        return TokenUri.parse((content or b"").decode())
    except ValueError as error:
        raise KeystoreError(
            f"{path} does not hold a usable PKCS#11 URI: {error}", "write pkcs11:token=…;id=%…"
        ) from None


def key_id_of(uri: TokenUri, path: Path) -> bytes:
    """The ID of the key that a URI names; `path` is where it was read. Raises KeystoreError if it names none."""
    if uri.id is None:
        raise KeystoreError(f"the URI in {path} does not name a key by its ID", "write id=%…; labels are not unique")
    return uri.id


def key_id_in(path: Path, content: bytes | None) -> bytes:
    """The ID of the key that this file names; empty if there is no such file. Raises KeystoreError."""
    return b"" if content is None else key_id_of(read_uri(path, content), path)
