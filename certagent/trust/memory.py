"""What is remembered of an authority between runs: read, proven anew, written.

state_dir/authorities/NAME/authority.json   what it could do, who issues, which CA followed which
                           ca.pem           the issuer and what is above it
                           ra.pem           its RA certificates
                           next-ca.pem      the authenticated next CA and what is above it
                           old-ca.pem       CAs it had before, until they expire
                           first-ca.pem     the CA that the remembered changes begin at, and what is above it
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import msgspec
from cryptography import x509

from certagent import certificate as facts
from certagent import durable, forms, state
from certagent.believed import file_fault
from certagent.config.authority import Authority
from certagent.config.values import Fingerprint
from certagent.errors import ConfigError, DamagedError, KeystoreError, StateError
from certagent.scep import Capabilities
from certagent.trust.next_ca import Change, Successor, extended, is_rooted, renewals
from certagent.trust.rules import Believed, Pins

VERSION = 1
_MAX_WITHDRAWN = 50


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """authority.json: the authority when it was last believed. CAs and RAs are named by fingerprints.

    `url` is the first of its addresses; `addresses` are all of them, empty where there is one.
    `ras` None: written by 0.1, which believed more RAs than are believed now. `withdrawn`: CAs that were announced as
    the next one, and another instead of them since.
    """

    version: int = VERSION
    url: str
    addresses: tuple[str, ...] = ()
    capabilities: tuple[str, ...]
    issuer: str
    next_issuer: str = ""
    changes: tuple[Change, ...] = ()
    ras: tuple[str, ...] | None = None
    withdrawn: tuple[str, ...] = ()


@dataclass(frozen=True)
class Known:
    """What is known of an authority without asking it."""

    memory: Memory
    chain: tuple[x509.Certificate, ...]
    next_chain: tuple[x509.Certificate, ...]
    old: tuple[x509.Certificate, ...]
    first: tuple[x509.Certificate, ...] = ()
    """Where the remembered changes begin. Expired or not, and no part of what is trusted."""

    @property
    def issuer(self) -> x509.Certificate:
        return self.chain[0]

    def trusted(self, now: datetime) -> tuple[x509.Certificate, ...]:
        """What belongs into ca_file: the current CA, what is above it, the next one, and old ones until they expire."""
        every = dict.fromkeys((*self.chain, *self.next_chain, *self.old))
        return tuple(each for each in every if each.not_valid_after_utc > now)


@dataclass(frozen=True)
class Look:
    """One look at the disk. `written` is what lies there, `known` what of it is proven; None where its CA is not.

    `pins`: the configured ones, and the successors of what they name. `before`: the last CA that is proven, with what
    is above it; None where none is. All but `pins` is None before the first contact, and of another URL. `damaged`:
    what is wrong with the files that cannot be read, as if they were not there.
    """

    pins: Pins
    memory: Memory | None = None
    written: Known | None = None
    known: Known | None = None
    before: Believed | None = None
    damaged: Mapping[str, str] = field(default_factory=dict)


class AuthorityMemory:
    """The memory of one authority. A look holds until something is written: whoever works wants to see one thing."""

    def __init__(self, name: str, definition: Authority, directory: Path) -> None:
        self.directory = directory
        self._name = name
        self._definition = definition
        self._look: Look | None = None
        self._nothing = False  # was there when it was looked for; holds as long as a look does
        self._seen = ""

    @property
    def seen(self) -> str:
        """The signature of the CAs that the look at hand saw; empty where there is none."""
        return self._seen if self._look is not None else ""

    def look(self) -> Look:
        """Raises StateError, ConfigError."""
        if self._look is None:
            self._seen = state.signature_of(self.directory)  # before: another process may write at any moment
            self._look = self._read()
        return self._look

    def known(self) -> Known | None:
        """As `look`, without a need for the configured files before the first contact."""
        if self._look is None and not self._nothing:
            self._nothing = self._memory({}) is None
        if self._nothing:
            return None
        return self.look().known

    def _read(self) -> Look:
        damaged: dict[str, str] = {}
        configured, memory = pins(self._definition), self._memory(damaged)
        written = self._written(memory, damaged) if memory else None
        if memory is None or written is None:
            return Look(configured, memory, damaged=damaged)
        everything = (*written.chain, *written.next_chain, *written.old, *written.first)
        named = extended(configured, memory.changes, everything, memory.issuer)
        named = replace(
            named,
            known_ras=frozenset(map(Fingerprint.parse, memory.ras or ())),
            withdrawn=frozenset(map(Fingerprint.parse, memory.withdrawn)),
        )
        pool = (*everything, *named.anchors)

        def proven(certificates: tuple[x509.Certificate, ...]) -> tuple[x509.Certificate, ...]:
            return tuple(each for each in certificates if is_rooted(each, pool, named))

        if proven(written.chain[:1]):
            known = replace(written, next_chain=proven(written.next_chain), old=proven(written.old))
            return Look(named, memory, written, known, _believed(written.chain), damaged)
        before = _believed(proven((*written.old, *written.first)))
        return Look(named, memory, written, before=before, damaged=damaged)

    def _memory(self, damaged: dict[str, str]) -> Memory | None:
        """A damaged one joins `damaged`: it is made again, from no more than a fresh device has. Raises StateError."""
        file = "authority.json"
        try:
            memory = durable.read_versioned(self.directory / file, Memory, VERSION)
            for each in (*memory.ras, *memory.withdrawn) if memory and memory.ras is not None else ():
                Fingerprint.parse(each)
        except DamagedError as error:
            damaged[file] = str(error)
            return None
        except ValueError as error:
            damaged[file] = f"{self.directory / file} is damaged: {error}"
            return None
        if memory is None or not {memory.url, *memory.addresses}.intersection(self._definition.urls):
            return None
        return memory

    def _written(self, memory: Memory, damaged: dict[str, str]) -> Known | None:
        files = ("ca.pem", "next-ca.pem", "old-ca.pem", "first-ca.pem")
        chain, next_chain, old, first = (_read(self.directory / file, damaged) for file in files)
        return Known(memory, chain, next_chain, old, first) if chain else None

    def keep(self, capabilities: Capabilities, believed: Believed, now: datetime) -> None:
        """Remember a contact."""
        with self._changing() as look:
            known, issuer = look.known, str(facts.fingerprint(believed.issuer))
            for file in look.damaged:
                durable.set_aside(self.directory / file)
            memory = Memory(
                url=self._definition.urls[0],
                addresses=self._definition.urls if len(self._definition.urls) > 1 else (),
                capabilities=tuple(sorted(capabilities.names)),
                issuer=issuer,
                next_issuer=known.memory.next_issuer if known else "",
                changes=_with_renewals(known, believed, look.pins),
                ras=tuple(str(facts.fingerprint(ra)) for ra in believed.ras),
                withdrawn=known.memory.withdrawn if known else (),
            )
            if known is None:
                # Of another URL, or not proven any more.
                for file in ("next-ca.pem", "old-ca.pem", "first-ca.pem"):
                    durable.remove(self.directory / file)
            elif known.memory.issuer != issuer:
                if not any(each.successor == known.memory.issuer for each in memory.changes):
                    # Kept after its end: the line of changes leads back to the pin through it.
                    durable.write(self.directory / "first-ca.pem", facts.to_pem(known.chain))
                _keep(self.directory / "old-ca.pem", (*known.chain, *known.old), now, but=believed.chain)
            if memory.next_issuer == issuer:
                memory = msgspec.structs.replace(memory, next_issuer="")
                durable.remove(self.directory / "next-ca.pem")
            _keep(self.directory / "ca.pem", believed.chain, now)
            _keep(self.directory / "ra.pem", sorted(believed.ras, key=lambda ra: ra.serial_number), now)
            durable.write(self.directory / "authority.json", msgspec.json.encode(memory))

    def keep_successor(self, current: x509.Certificate, successor: Successor, now: datetime) -> None:
        """Keep it as the one successor of the current CA: one announced before and replaced since is so no more."""
        with self._changing() as look:
            if look.memory is None:
                place = self.directory / "authority.json"
                raise StateError(f"{place} is gone", "it is created again at the next contact")
            memory, change = look.memory, successor.change(current)
            if change not in memory.changes:
                others = tuple(each for each in memory.changes if each.predecessor != change.predecessor)
                replaced = {each.successor for each in memory.changes if each not in others}
                withdrawn = {*memory.withdrawn, *replaced} - {change.successor}
                memory = msgspec.structs.replace(
                    memory, changes=(*others, change), withdrawn=tuple(sorted(withdrawn))[:_MAX_WITHDRAWN]
                )
            _keep(self.directory / "next-ca.pem", successor.believed.chain, now)
            memory = msgspec.structs.replace(memory, next_issuer=change.successor)
            durable.write(self.directory / "authority.json", msgspec.json.encode(memory))

    @contextmanager
    def _changing(self) -> Iterator[Look]:
        """With the lock held, what is there now: another process may have written meanwhile."""
        with durable.lock(self.directory / "lock", f"authority {self._name}", wait=True):
            try:
                yield self._read()
            finally:
                self._look, self._nothing = None, False


def _believed(chain: tuple[x509.Certificate, ...]) -> Believed | None:
    return Believed(chain[0], chain[1:], (), chain[0]) if chain else None


def _with_renewals(known: Known | None, believed: Believed, named: Pins) -> tuple[Change, ...]:
    """The changes, and that a CA was renewed with its key: its old certificate will be gone one day."""
    changes = known.memory.changes if known else ()
    found = renewals(believed, (*known.chain, *known.old) if known else (), named)
    return (*changes, *(each for each in found if each not in changes))


def _read(path: Path, damaged: dict[str, str]) -> tuple[x509.Certificate, ...]:
    """Its certificates; none of a damaged file, which joins `damaged`. Raises StateError."""
    try:
        if found := facts.load_pem(path.read_bytes(), str(path)):
            return found
        damaged[path.name] = f"{path} holds no certificate"
    except FileNotFoundError:
        pass
    except KeystoreError as error:
        damaged[path.name] = str(error)
    except OSError as error:
        raise StateError(f"{path} cannot be read: {error.strerror}", durable.remedy(error)) from None
    return ()


def _keep(
    path: Path,
    certificates: Iterable[x509.Certificate],
    now: datetime,
    *,
    but: Iterable[x509.Certificate] = (),
) -> None:
    """Write what has not expired and is not kept elsewhere; no file for nothing."""
    kept = [each for each in dict.fromkeys(certificates) if each.not_valid_after_utc > now and each not in but]
    if kept:
        durable.write(path, facts.to_pem(kept))
    else:
        durable.remove(path)


def pins(definition: Authority) -> Pins:
    """What the definition says may be believed, its files read. Raises ConfigError."""
    anchors = [each for path in definition.trust_anchors for each in _configured(path, "trust_anchor")]
    return Pins(
        definition.fingerprints,
        tuple(anchors),
        frozenset(definition.accept),
        recipient=_configured(Path(definition.recipient), "recipient")[0] if definition.recipient else None,
        signer=_configured(Path(definition.signer), "signer")[0] if definition.signer else None,
    )


def _configured(path: Path, word: str) -> tuple[x509.Certificate, ...]:
    if fault := file_fault(path):
        raise ConfigError(f"{word} {path} {fault[0]}", fault[1])
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{word} {path}: {error.strerror}", "put the certificate there, as PEM") from None
    found = facts.load_pem(content, str(path))
    if not found:
        what, hint = forms.told(content, str(path), otherwise="put the certificate there, as PEM")
        raise ConfigError(f"{word} {path} holds no certificate{what}", hint)
    return found
