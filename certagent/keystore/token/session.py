"""One session on a token: find the token, log in, use the session for one call at a time, reopen it when it is stuck.

What this guards against, measured on SoftHSM and tpm2-pkcs11 (docs/tokens.md): sessions of several threads crash;
a refused login leaks its session; a TPM runs out of contexts, does not see what other processes changed, and stays
stuck after a bad ciphertext. C_Finalize and C_Initialize fix all of these. A fork would not: children are exec'd.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pkcs11
from pkcs11 import Session, Slot
from pkcs11 import Token as Pkcs11Token
from pkcs11.exceptions import DeviceRemoved, NoSuchToken, PKCS11Error, SlotIDInvalid, TokenNotPresent

from certagent import durable
from certagent.believed import file_fault
from certagent.errors import ConfigError, KeystoreError, TokenLockedError
from certagent.keystore.files import explained
from certagent.keystore.token import pin as pins
from certagent.keystore.token.uri import TokenUri, token_of
from certagent.state_directory import StateDirectory, TokenDirectory

T = TypeVar("T")
_GONE = (DeviceRemoved, TokenNotPresent, SlotIDInvalid, NoSuchToken)


class _Module:
    """A loaded PKCS#11 module, one per process and path; its sessions by slot, and by the names keystores use."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.sessions: dict[object, Session] = {}
        if fault := file_fault(Path(path)):
            raise KeystoreError(f"the PKCS#11 module {path} is not loaded: it {fault[0]}", fault[1])
        # A vendor's library that does not load may raise anything.
        try:
            self.library: Any = pkcs11.lib(path)
        except (RuntimeError, OSError, ValueError) as error:
            raise KeystoreError(
                f"the PKCS#11 module {path} does not load: {_words(error)}",
                "is it a PKCS#11 library for this machine, and does its configuration exist?",
            ) from None

    def reset(self) -> None:
        """Close everything and initialise the module again; earlier handles can no longer be used."""
        self.sessions.clear()
        with suppress(PKCS11Error):
            self.library.finalize()
        self.library.initialize()


_modules: dict[str, _Module] = {}
_lock = threading.RLock()


class Token:
    """The token that holds a keystore's key.

    `selector` is a label, `serial:NUMBER` or a pkcs11: URI; `state` is the state directory, which remembers logins
    for all keystores together.
    """

    def __init__(self, module: str, selector: str, read_pin: Callable[[], bytes], state: StateDirectory) -> None:
        self._path = module
        self._selector = selector
        self._read_pin = read_pin
        self._state = state
        self._held = False

    @property
    def uri(self) -> TokenUri:
        """What tells the token from others, as configured. Raises ConfigError."""
        try:
            return token_of(self._selector)
        except ValueError as error:
            raise ConfigError(f"token {self._selector!r}: {error}", "write its label, or serial:NUMBER") from None

    def __str__(self) -> str:
        return f"token {self._selector}"

    def is_named_by(self, uri: TokenUri) -> bool:
        """Whether what a URI says about its token matches this one."""
        return _fits(self._present().get_token(), uri)

    def use(self, what: str, operation: Callable[[Session], T]) -> T:
        """Do something that may be repeated: if it fails, it is tried once more in a new session.

        `what` completes “cannot …” in the error. Raises KeystoreError, TokenLockedError, and any of our own errors that
        `operation` raises.
        """
        try:
            return self.attempt(operation)
        except PKCS11Error as error:
            raise self.fault(what, error) from None

    def attempt(self, operation: Callable[[Session], T], *, again: bool = True) -> T:
        """Like `use`, but lets PKCS11Error through, for callers that know what it means.

        `again=False`: for an operation that must not be repeated. In both cases, a new session follows an error.
        """
        try:
            with _lock:
                if again:
                    with suppress(PKCS11Error):
                        return operation(self._session())
                    self.reset()
                try:
                    return operation(self._session())
                except PKCS11Error:
                    self.reset()
                    raise
        except (ValueError, TypeError, LookupError, ArithmeticError, MemoryError) as error:
            # An attribute that is not text, an unknown key type: certagent takes no answer of the module for granted.
            raise KeystoreError(f"{self} gave an answer that makes no sense: {type(error).__name__}", _LOG) from None

    def reset(self) -> None:
        """Initialise the module again. Raises KeystoreError if that fails."""
        with _lock:
            try:
                self._module().reset()
            except PKCS11Error as error:
                raise self.fault("initialise the module again", error) from None

    def fault(self, what: str, error: PKCS11Error) -> KeystoreError:
        if isinstance(error, _GONE):
            return KeystoreError(f"{self} is gone: cannot {what}", "is it plugged in, and is its service running?")
        return KeystoreError(f"{self}: cannot {what}: {_words(error)}", _LOG)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other certagent processes away from the token meanwhile."""
        if self._held:
            yield
            return
        memory = self._memory(self._present().get_token())
        with explained(f"lock {self}"), durable.lock(memory.lock, str(self), wait=True):
            self._held = True
            try:
                yield
            finally:
                self._held = False

    def _memory(self, token: Pkcs11Token) -> TokenDirectory:
        """One directory for all keystores on this token, whatever name they use for it."""
        facts = (token.manufacturer_id, token.model, token.label, token.serial.hex())
        return self._state.token(hashlib.sha256("\0".join(facts).encode()).hexdigest()[:32])

    def _module(self) -> _Module:
        module = _modules.get(self._path)
        if module is None:
            module = _modules[self._path] = _Module(self._path)
        return module

    def _session(self) -> Session:
        """The open session, or a new one that is logged in."""
        sessions = self._module().sessions
        session = sessions.get(self._selector)
        if session is None:
            slot = self._present()
            session = sessions.get(slot.slot_id)
            if session is None:
                with self.alone():
                    session = self._login(slot.get_token())
            sessions[self._selector] = sessions[slot.slot_id] = session
        return session

    def _login(self, token: Pkcs11Token) -> Session:
        opened: list[Session] = []

        def open_session(text: str) -> None:
            opened.append(token.open(rw=True, user_pin=text))

        try:
            pins.login(token, self._read_pin(), self._memory(token).pin, open_session)
        except TokenLockedError:
            self.reset()  # a refused login leaks its session
            raise
        return opened[0]

    def _present(self) -> Slot:
        """The slot that holds the token. Raises KeystoreError if there is none, or if more than one could be meant."""
        try:
            found = [(slot, token) for slot, token in _tokens(self._module()) if _fits(token, self.uri)]
        except PKCS11Error as error:
            raise self.fault("look at the slots", error) from None
        if len(found) == 1:
            return found[0][0]
        if found:
            hint = f"name one by its serial number: token: serial:{found[0][1].serial.decode('ascii', 'replace')}"
            raise KeystoreError(f"{len(found)} tokens match {self._selector}", hint)
        labels = ", ".join(token.label for _, token in _tokens(self._module()) if token.label) or "none"
        raise KeystoreError(
            f"there is no {self} in {self._path}",
            f"present: {labels}; is it plugged in, and does the module find its configuration?",
        )


_LOG = "see the module's own log, and docs/tokens.md"


def _tokens(module: _Module) -> Iterator[tuple[Slot, Pkcs11Token]]:
    """Every token that can be looked at; slots that cannot are skipped."""
    for slot in module.library.get_slots(token_present=True):
        with suppress(PKCS11Error):
            yield slot, slot.get_token()


def _fits(token: Pkcs11Token, uri: TokenUri) -> bool:
    """Whether everything that the URI says about the token matches (RFC 7512 §2.5)."""
    facts = {
        "token": token.label,
        "manufacturer": token.manufacturer_id,
        "model": token.model,
        "serial": token.serial.decode("ascii", "replace"),
    }
    return all(facts[word] == value for word, value in uri.token)


def _words(error: Exception) -> str:
    """What the library says, or the name of the standard's error code: `DeviceError`."""
    return str(error) or type(error).__name__
