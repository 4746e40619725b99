"""What is remembered about an authority between runs: read, proven again, written.

state_dir/authorities/NAME/authority.json   its capabilities, who issues, which CA followed which
                           ca.pem           the issuer and the CAs above it
                           ra.pem           its RA certificates
                           next-ca.pem      the authenticated next CA and the CAs above it
                           old-ca.pem       CAs it had before, until they expire
                           first-ca.pem     the CA where the remembered changes begin, and the CAs above it
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
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
    """authority.json: the authority when it was last trusted. CAs and RAs are named by fingerprints.

    `url` is the first of its addresses; `addresses` are all of them, empty if there is only one. `ras` None: written by
    0.1, which trusted more RAs than this release. `withdrawn`: CAs that were announced as the next one, before another
    one was announced in their place.
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


class Known(msgspec.Struct, frozen=True):
    """What is known about an authority without asking it."""

    memory: Memory
    chain: tuple[x509.Certificate, ...]
    next_chain: tuple[x509.Certificate, ...]
    old: tuple[x509.Certificate, ...]
    first: tuple[x509.Certificate, ...] = ()
    """The CA where the remembered changes begin. Expired or not, it is never among the trusted ones."""

    @property
    def issuer(self) -> x509.Certificate:
        return self.chain[0]

    def trusted(self, now: datetime) -> tuple[x509.Certificate, ...]:
        """The content of ca_file: the current CA, those above it, the next one, and old ones until they expire."""
        every = dict.fromkeys((*self.chain, *self.next_chain, *self.old))
        return tuple(each for each in every if each.not_valid_after_utc > now)


class Look(msgspec.Struct, frozen=True):
    """One look at the disk. `written` is what it holds, `known` the part that is proven; None if its CA is not proven.

    `pins`: the configured ones, and the successors of what they name. `before`: the last CA that is proven, with those
    above it; None if none is. Before the first contact, or if the memory is about another URL, all but `pins` are None.
    `damaged`: what is wrong with the files that cannot be read; they are treated as missing.
    """

    pins: Pins
    memory: Memory | None = None
    written: Known | None = None
    known: Known | None = None
    before: Believed | None = None
    damaged: Mapping[str, str] = msgspec.field(default_factory=dict)


class AuthorityMemory:
    """The memory of one authority. A look holds until something is written: a worker sees one consistent state."""

    def __init__(self, name: str, definition: Authority, directory: Path) -> None:
        self.directory = directory
        self._name = name
        self._definition = definition
        self._look: Look | None = None
        self._nothing = False  # no memory was found; holds as long as a look does
        self._seen = ""

    @property
    def seen(self) -> str:
        """The signature of the CAs that the current look saw; empty if there is none."""
        return self._seen if self._look is not None else ""

    def look(self) -> Look:
        """Read the disk, or return the current look. Raises StateError, ConfigError."""
        if self._look is None:
            self._seen = state.signature_of(self.directory)  # before reading: another process may write at any moment
            self._look = self._read()
        return self._look

    def known(self) -> Known | None:
        """`look().known`, but does not need the configured files before the first contact."""
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
        named = msgspec.structs.replace(
            named,
            known_ras=frozenset(map(Fingerprint.parse, memory.ras or ())),
            withdrawn=frozenset(map(Fingerprint.parse, memory.withdrawn)),
        )
        pool = (*everything, *named.anchors)

        def proven(certificates: tuple[x509.Certificate, ...]) -> tuple[x509.Certificate, ...]:
            return tuple(each for each in certificates if is_rooted(each, pool, named))

        if proven(written.chain[:1]):
            known = msgspec.structs.replace(written, next_chain=proven(written.next_chain), old=proven(written.old))
            return Look(named, memory, written, known, _believed(written.chain), damaged)
        before = _believed(proven((*written.old, *written.first)))
        return Look(named, memory, written, before=before, damaged=damaged)

    def _memory(self, damaged: dict[str, str]) -> Memory | None:
        """A damaged file is noted in `damaged`: the memory starts again, as on a new device. Raises StateError."""
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
                # It is about another URL, or no longer proven.
                for file in ("next-ca.pem", "old-ca.pem", "first-ca.pem"):
                    durable.remove(self.directory / file)
            elif known.memory.issuer != issuer:
                if not any(each.successor == known.memory.issuer for each in memory.changes):
                    # Kept even after it expires: the line of changes leads back to the pin through it.
                    durable.write(self.directory / "first-ca.pem", facts.to_pem(known.chain))
                _keep(self.directory / "old-ca.pem", (*known.chain, *known.old), now, but=believed.chain)
            if memory.next_issuer == issuer:
                memory = msgspec.structs.replace(memory, next_issuer="")
                durable.remove(self.directory / "next-ca.pem")
            _keep(self.directory / "ca.pem", believed.chain, now)
            _keep(self.directory / "ra.pem", sorted(believed.ras, key=lambda ra: ra.serial_number), now)
            durable.write_unless_same(self.directory / "authority.json", msgspec.json.encode(memory))

    def keep_successor(self, current: x509.Certificate, successor: Successor, now: datetime) -> None:
        """Keep it as the only successor of the current CA: it replaces one that was announced before."""
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
        """Take the lock and read the disk again: another process may have written meanwhile."""
        with durable.lock(self.directory / "lock", f"authority {self._name}", wait=True):
            try:
                yield self._read()
            finally:
                self._look, self._nothing = None, False


def _believed(chain: tuple[x509.Certificate, ...]) -> Believed | None:
    return Believed(chain[0], chain[1:], (), chain[0]) if chain else None


def _with_renewals(known: Known | None, believed: Believed, named: Pins) -> tuple[Change, ...]:
    """The changes, plus CAs renewed with the same key, whose old certificates will be gone one day."""
    changes = known.memory.changes if known else ()
    found = renewals(believed, (*known.chain, *known.old) if known else (), named)
    return (*changes, *(each for each in found if each not in changes))


def _read(path: Path, damaged: dict[str, str]) -> tuple[x509.Certificate, ...]:
    """The certificates in a file; none if it is damaged, which is noted in `damaged`. Raises StateError."""
    try:
        content = durable.read_own(path)
        if content is None:
            return ()
        if found := facts.load_pem(content, str(path)):
            return found
        damaged[path.name] = f"{path} holds no certificate"
    except (KeystoreError, DamagedError) as error:
        damaged[path.name] = str(error)
    return ()


def _keep(
    path: Path,
    certificates: Iterable[x509.Certificate],
    now: datetime,
    *,
    but: Iterable[x509.Certificate] = (),
) -> None:
    """Write what has not expired and is not kept elsewhere; without certificates, no file."""
    kept = [each for each in dict.fromkeys(certificates) if each.not_valid_after_utc > now and each not in but]
    if kept:
        durable.write_unless_same(path, facts.to_pem(kept))
    else:
        durable.remove(path)


def pins(definition: Authority) -> Pins:
    """What the definition says may be trusted, with its files read. Raises ConfigError."""
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
