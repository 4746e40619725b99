"""Where shadows are: one file each in `shadow/`, with the key or its name. The journal keeps their certificates.

Releases 0.1 and 0.2 had a directory for each, with the certificate in it: a transaction that they began goes on with
that.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from msgspec.structs import replace

from certagent import durable
from certagent.certificate import load_pem
from certagent.errors import KeystoreError
from certagent.keystore.base import Shadow
from certagent.keystore.files import read_own


def find(shadows: Path, shadow_id: str, name: str) -> Path:
    """The file of a shadow: `shadow/ID.pem`, or `shadow/ID/NAME` of an older release. It need not exist."""
    older = shadows.joinpath(shadow_id, name)
    return older if older.exists() else shadows / f"{shadow_id}{older.suffix}"


def sweep(shadows: Path, keep: Collection[str]) -> None:
    """Remove all of them except those under the ids to keep. Raises OSError."""
    for other in shadows.glob("*"):
        if other.name.partition(".")[0] not in keep:
            durable.discard(other)  # if a power cut brings it back, the next sweep finds it


def completed(shadow: Shadow, directory: Path) -> Shadow:
    """The shadow, with the certificate that an older release kept in its directory, if it did. Raises KeystoreError."""
    content = read_own(directory / "certificate.pem")
    if content is None:
        return shadow
    certificates = load_pem(content, str(directory / "certificate.pem"))
    if not certificates:
        raise KeystoreError(f"{directory / 'certificate.pem'} is damaged", "start the renewal again")
    chain = load_pem(read_own(directory / "chain.pem") or b"", str(directory / "chain.pem"))
    return replace(shadow, certificate=certificates[0], chain=chain)
