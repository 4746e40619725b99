"""Where identities are kept. `open_keystore` returns the driver for a definition.

Importing this package loads no cryptography (the agent and `certagent recover` use only `swap`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from certagent.config.keystores import KeystoreDefinition
    from certagent.config.parts import Secret
    from certagent.keystore.base import Keystore


def open_keystore(
    name: str,
    definition: KeystoreDefinition,
    *,
    directory: Path,
    live_dir: Path,
    read_secret: Callable[[Secret], bytes],
) -> Keystore:
    """The driver for `definition`; nothing is read yet.

    `directory` is state_dir/keystores/NAME, `live_dir` the common parent of all live directories.
    `read_secret` is called only when a secret is needed.
    """
    # The agent, which opens none, does not load the definitions.
    from certagent.config.keystores import PemKeystore, Pkcs11Keystore, Pkcs12Keystore  # noqa: PLC0415

    match definition:
        case PemKeystore():
            from certagent.keystore.pem import PemFiles  # noqa: PLC0415 -- only opening a keystore loads cryptography

            return PemFiles(name, definition, directory=directory, live=live_dir / name, read_secret=read_secret)
        case Pkcs12Keystore():
            from certagent.keystore.pkcs12 import Pkcs12File  # noqa: PLC0415 -- as above

            return Pkcs12File(name, definition, directory=directory, live=live_dir / name, read_secret=read_secret)
        case Pkcs11Keystore():
            from certagent.keystore.token.driver import Pkcs11Token  # noqa: PLC0415 -- as above

            return Pkcs11Token(name, definition, directory=directory, live=live_dir / name, read_secret=read_secret)
