"""Logging in without ever locking a token: attempts are remembered, for each token, across restarts.

An attempt is recorded before it is made, and forgotten once the token has accepted the PIN. So an attempt that a kill
interrupted counts too. The PIN itself is never stored: a salted scrypt digest shows whether it has changed.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from pathlib import Path

import msgspec
from pkcs11 import Token as Pkcs11Token
from pkcs11 import TokenFlag
from pkcs11.exceptions import PinExpired, PinIncorrect, PinInvalid, PinLenRange, PinLocked, PKCS11Error

from certagent import durable
from certagent.errors import KeystoreError, TokenLockedError

VERSION = 1
# Tokens lock after three wrong PINs, some after more, none after fewer. The third is left to the owner.
_TRIES = 2
_REFUSED = (PinIncorrect, PinInvalid, PinLenRange, PinExpired, PinLocked)


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """Logins since the last good one: how many, and a digest of the latest PIN. `wrong`: the token said so."""

    version: int = VERSION
    token: str
    salt: bytes
    digest: bytes
    tries: int
    wrong: bool = False


def digest(pin: bytes, salt: bytes) -> bytes:
    return hashlib.scrypt(pin, salt=salt, n=1 << 13, r=8, p=1)


def login(token: Pkcs11Token, pin: bytes, file: Path, open_session: Callable[[str], object]) -> None:
    """Log in once with `open_session`, unless that might be one attempt too many. `file` is the token's memory.

    The caller holds the token's lock. Raises TokenLockedError; KeystoreError for a PIN that is not text;
    StateError for a memory that cannot be read; and whatever else `open_session` raises.
    """
    name = token.label or token.serial.decode("ascii", "replace")
    hint = "log in by hand with the right PIN, then remove the file"
    before = durable.read_versioned(file, Tried, VERSION, if_damaged=hint)
    _check_flags(token.flags, name)
    if before is not None:
        _check_attempts(before, pin, name, file)
    try:
        text = pin.decode()
    except UnicodeDecodeError:
        raise KeystoreError(f"the PIN of token {name} is not text", "use a PIN in UTF-8") from None
    salt = secrets.token_bytes(16)
    tries = 1 + (before.tries if before else 0)
    tried = Tried(token=name, salt=salt, digest=digest(pin, salt), tries=tries)
    _keep(file, tried)
    try:
        open_session(text)
    except _REFUSED as error:
        _keep(file, msgspec.structs.replace(tried, wrong=True))
        raise _refused(error, name) from None
    except PKCS11Error as error:
        # The name of a standard error code says what went wrong, and never holds the PIN. A vendor's own text might.
        if type(error) is not PKCS11Error:
            _forget(file, before)
        raise
    durable.remove(file)


def _check_flags(flags: TokenFlag, name: str) -> None:
    if flags & TokenFlag.USER_PIN_LOCKED:
        raise TokenLockedError(f"the PIN of token {name} is locked", _UNLOCK)
    if flags & TokenFlag.USER_PIN_FINAL_TRY:
        raise TokenLockedError(
            f"token {name} has one try left before its PIN is locked; certagent did not use it",
            "log in once by hand with the right PIN (pkcs11-tool --login --test), which resets the count",
        )


def _check_attempts(before: Tried, pin: bytes, name: str, file: Path) -> None:
    if before.wrong and hmac.compare_digest(digest(pin, before.salt), before.digest):
        raise TokenLockedError(
            f"the PIN of token {name} is wrong: the token refused it before, and it has not changed since", _CORRECT
        )
    if before.tries >= _TRIES:
        raise TokenLockedError(
            f"{before.tries} logins in a row to token {name} failed or were cut off; a third might lock it",
            f"log in once by hand with the right PIN (pkcs11-tool --login --test), then remove {file}",
        )


def _refused(error: PKCS11Error, name: str) -> TokenLockedError:
    if isinstance(error, PinLocked):
        return TokenLockedError(f"the PIN of token {name} is locked", _UNLOCK)
    if isinstance(error, PinExpired):
        return TokenLockedError(f"the PIN of token {name} has expired", "set a new one, and store it where `pin` says")
    return TokenLockedError(f"the PIN of token {name} is wrong; certagent does not try it again", _CORRECT)


_UNLOCK = "unlock it with the SO PIN (pkcs11-tool --init-pin; a TPM: tpm2_dictionarylockout --clear-lockout)"
_CORRECT = "store the right PIN where the keystore's `pin` says; certagent uses no more tries until it changes"


def _keep(file: Path, tried: Tried) -> None:
    durable.make_directory(file.parent)
    durable.write(file, msgspec.json.encode(tried))


def _forget(file: Path, before: Tried | None) -> None:
    if before is None:
        durable.remove(file)
    else:
        _keep(file, before)
