"""Whether this host's OpenSSL can use a kind of key: certagent brings an OpenSSL of its own, consumers do not."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from datetime import timedelta
from functools import cache

from certagent.cli.terminal import Finding, Mark
from certagent.config.key_types import KeyType
from certagent.errors import HookError
from certagent.hooks import succeeds

# As `openssl genpkey -algorithm` takes them, and the first release that can use such keys.
_ALGORITHMS = {
    KeyType.ED25519: ("ED25519", "1.1.1"),
    KeyType.ED448: ("ED448", "1.1.1"),
    KeyType.ML_DSA_44: ("ML-DSA-44", "3.5"),
    KeyType.ML_DSA_65: ("ML-DSA-65", "3.5"),
    KeyType.ML_DSA_87: ("ML-DSA-87", "3.5"),
}
_LIMIT = timedelta(seconds=20)


def consumers(kinds: Iterable[str]) -> Iterator[Finding]:
    """For each kind of key (words of `keys.type_of`) that not every OpenSSL can use: what the one on PATH can.

    It makes such a key and forgets it. This says nothing about consumers that bring another library: they are named.
    """
    for kind in dict.fromkeys(kinds):
        if kind not in _ALGORITHMS:
            continue
        name, since = _ALGORITHMS[KeyType(kind)]
        try:
            able = _makes(name)
        except HookError as error:
            yield Finding(Mark.WARNING, f"whether this host's OpenSSL can use {kind} keys is not known: {error}", _TRY)
            continue
        if able is None:
            hint = f"OpenSSL can since {since}; {_TRY}"
            yield Finding(Mark.WARNING, f"no `openssl` is on PATH that could tell whether {kind} keys work here", hint)
        elif able:
            yield Finding(Mark.FINE, f"this host's OpenSSL can use {kind} keys; consumers with another library may not")
        else:
            hint = f"OpenSSL can since {since}: use another key_type, unless all consumers bring a library that can"
            yield Finding(
                Mark.WARNING, f"this host's OpenSSL cannot use {kind} keys, nor can programs that use it", hint
            )


_TRY = "try such a pair with each consumer first"


@cache
def _makes(algorithm: str) -> bool | None:
    """Whether the `openssl` on PATH makes such a key; None if there is no such program. Raises HookError."""
    program = shutil.which("openssl")
    return succeeds((program, "genpkey", "-algorithm", algorithm), _LIMIT) if program else None
