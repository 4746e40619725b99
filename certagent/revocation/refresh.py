"""One attempt at an authority's CRLs: fetch if due, verify, keep, put where consumers read them, run hooks.

    lock → what consumers' files hold now → fetch → verify → keep → put → hooks → look for our own certificates

A list that has expired stays where it is: its consumer decides what to do. A list never replaces a newer one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certagent import certificate as facts
from certagent import durable, policy
from certagent.config.crl_files import EVENT, CrlFile, digest
from certagent.errors import (
    CertagentError,
    DamagedError,
    KeystoreError,
    StateError,
    TransientError,
    TrustError,
    longest_wait,
    once,
)
from certagent.keystore.hash_directory import hash_of
from certagent.revocation import freshness, memory, placing, sources
from certagent.revocation.files import Lists, read, signature
from certagent.revocation.known import kept_list
from certagent.revocation.memory import Issue, Memory, Revoked
from certagent.state import LastError, Track
from certagent.state_directory import AuthorityDirectory
from certagent.text import span
from certagent.trust import crl

List = x509.CertificateRevocationList


class Work(msgspec.Struct, frozen=True):
    """An authority whose CRLs are to be kept fresh. `cas`: those to trust now. `certificates`: of its keystores, read
    only if needed to learn where a list is. `serials`: of the certificates in place, by keystore.
    """

    name: str
    directory: Path
    files: tuple[CrlFile, ...]
    urls: tuple[str, ...]
    source: tuple[str, ...]
    """Where lists come from, as configured."""
    accept: frozenset[str]
    timeout: timedelta
    proxy: str | None
    share: float
    clock: Callable[[], datetime]
    log: Callable[[str], None]
    cas: Callable[[], Sequence[x509.Certificate]]
    certificates: Callable[[], Iterable[x509.Certificate]]
    serials: Callable[[], Iterable[tuple[str, str, str]]]
    """Keystore, issuer in RFC 4514 form, serial number in hex."""
    query: Callable[[], Sequence[List]] | None = None
    """Asks the CA itself for its list; None if that is not configured."""
    fetched: dict[str, List | CertagentError] = msgspec.field(default_factory=dict)


class Done(msgspec.Struct, frozen=True):
    """The result of an attempt. `revoked`: those of our certificates on the lists; `newly`: not known before."""

    memory: Memory
    changed: tuple[str, ...] = ()
    newly: tuple[Revoked, ...] = ()
    fetched: bool = False
    waits: bool = False
    """No certificate says yet where a list is: keystores must be enrolled first."""


def refresh(work: Work, *, at_once: bool) -> Done:
    """Do what is due; `at_once`: fetch even if it is not due. Raises BusyError, StateError; OSError.

    Other errors are recorded in the memory, and tried again.
    """
    place = AuthorityDirectory(work.directory)
    with durable.lock(place.crl_lock, f"the CRLs of {work.name}"):
        before = _memory(work)
        defined = digest(work.files, work.source)
        now = work.clock()
        due = freshness.next_fetch(before.validities, before.fetched_at, before.attempts.past, work.share, now)
        try:
            cas = tuple(work.cas())
        except CertagentError as error:
            after = msgspec.structs.replace(
                _failed(before, [error], now, work.share), definition=defined, share=work.share
            )
            memory.save(work.directory, after)
            return Done(after)
        kept = _kept(work, cas)
        found = _adopted(work, before, cas, kept)
        fetches = at_once or due <= now or before.definition != defined
        if fetches and not work.urls and not before.issues and next(iter(work.certificates()), None) is None:
            return Done(before, waits=True)
        errors: list[CertagentError] = []
        uris = before.points
        if fetches:
            uris = _addresses(work, cas, uris)
            errors = _fetch_all(work, cas, uris, {**kept, **found}, found)
        _keep(work, found, set(map(sources.ca_id, cas)))
        kept |= found
        after = _remembered(before, cas, kept, uris)
        if fetches:
            errors += _stale(kept.values(), now) if not errors else []
            after = _failed(after, errors, now, work.share) if errors else _went_well(after, now)
        lists = _lists(cas, kept)
        run = placing.Run(work.clock, work.log, {"CERTAGENT_EVENT": EVENT, "CERTAGENT_AUTHORITY": work.name})
        after, changed = placing.place(after, work.files, lists, run, at_once=at_once)
        after, newly = _with_revoked(work, cas, kept, after)
        after = msgspec.structs.replace(after, definition=defined, share=work.share)
        memory.save(work.directory, after)
        return Done(after, changed, newly, fetches)


def try_out(work: Work) -> tuple[list[List], list[CertagentError]]:
    """What a fetch would bring now, and what is wrong with it; keeps and puts nothing."""
    try:
        before = memory.recall(work.directory)
        cas = tuple(work.cas())
        uris = _addresses(work, cas, before.points)
        if work.query is None and not uris and next(iter(work.certificates()), None) is None:
            return [], []
        kept, found = _kept(work, cas), dict[str, List]()
        errors = _fetch_all(work, cas, uris, kept, found)
    except CertagentError as error:
        return [], [error]
    return list({**kept, **found}.values()), errors


def _memory(work: Work) -> Memory:
    try:
        return memory.load(work.directory) or Memory()
    except DamagedError as damaged:
        kept = durable.set_aside(AuthorityDirectory(work.directory).crl_memory)
        work.log(f"{damaged}; it is kept as {kept.name}, and certagent rebuilds what was in it")
        return Memory()


def _order(cas: Sequence[x509.Certificate]) -> list[str]:
    return list(dict.fromkeys(map(sources.ca_id, cas)))


def _lists(cas: Sequence[x509.Certificate], kept: Mapping[str, List]) -> Lists:
    """In the order of the CAs; a CA that was renewed with the same key has one list."""
    by_ca = {sources.ca_id(ca): ca for ca in reversed(cas)}
    return Lists(tuple((hash_of(by_ca[ca]), kept[ca].public_bytes(Encoding.PEM)) for ca in _order(cas) if ca in kept))


def _addresses(
    work: Work, cas: Sequence[x509.Certificate], remembered: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    """Where each CA's list is: as configured, or as the certificates say."""
    if work.urls:
        return dict.fromkeys(map(sources.ca_id, cas), work.urls)
    return sources.points(cas, work.certificates(), remembered)


def _kept(work: Work, cas: Sequence[x509.Certificate]) -> dict[str, List]:
    """The list of each CA as last verified, if it still verifies."""
    found = {}
    for ca in cas:
        try:
            revocations = kept_list(work.directory, ca, work.accept)
        except TrustError as error:
            work.log(f"{error}: it is fetched again")
        except OSError as error:
            crl_directory, hint = AuthorityDirectory(work.directory).crls, "run it as the user that the agent runs as"
            raise StateError(f"{error.filename or crl_directory} cannot be read: {error.strerror}", hint) from None
        else:
            if revocations is not None:
                found[sources.ca_id(ca)] = revocations
    return found


def _adopted(work: Work, before: Memory, cas: Sequence[x509.Certificate], kept: Mapping[str, List]) -> dict[str, List]:
    """Lists that somebody else put into a consumer's file and that are newer than ours: they stay."""
    found: dict[str, List] = {}
    for file in work.files:
        placed = before.files.get(file.path)
        if placed is not None and signature(file) == placed.seen:
            continue
        try:
            content = read(file)
        except KeystoreError:
            continue  # whoever puts the list there reports it
        for each in crl.read_all(content) if content else ():
            try:
                _take(work, each, cas, {**kept, **found}, found)
            except TrustError:
                continue
    return found


def _take(
    work: Work, each: List, cas: Sequence[x509.Certificate], kept: Mapping[str, List], found: dict[str, List]
) -> str:
    """Verify a list, and add it to `found` if it is newer than the one we have; returns its CA. Raises TrustError."""
    issuer = crl.check(each, cas, work.accept, work.clock())
    crl.check_whole(each)
    ca = sources.ca_id(issuer)
    try:
        if ca not in kept or crl.follows(each, kept[ca]):
            found[ca] = each
    except TrustError as error:
        file = AuthorityDirectory(work.directory).crls / ca
        error.hint = f"a server or proxy has an old copy; if the CA itself was restored from a backup, remove {file}"
        raise
    return ca


def _fetch_all(
    work: Work,
    cas: Sequence[x509.Certificate],
    uris: Mapping[str, tuple[str, ...]],
    kept: Mapping[str, List],
    found: dict[str, List],
) -> list[CertagentError]:
    """Fetch the list of each CA that says where it is, and add it to `found` if it is newer; returns the errors."""
    order = _order(cas)

    def take(each: List) -> str:
        return _take(work, each, cas, {**kept, **found}, found)

    errors: list[CertagentError] = []
    if work.query is not None:
        try:
            for each in work.query():
                take(each)
        except CertagentError as error:
            errors.append(error)
        order = order[1:]
    elif not any(uris.values()):
        hint = "set `crl_url`, if the CA publishes one"
        return [
            TransientError(f"no address is known for the CRL of {work.name}: its certificates do not give one", hint)
        ]
    for ca in order:
        failure = _from_addresses(work, ca, uris.get(ca, ()), take)
        # Every CA is looked for at the configured addresses; the lists of a higher or next CA may not be there.
        if failure is not None and (not work.urls or ca == order[0]):
            errors.append(failure)
    return errors


def _from_addresses(work: Work, ca: str, uris: Sequence[str], take: Callable[[List], str]) -> CertagentError | None:
    """The list of this CA from the first address that has it; returns the error if none has."""
    failure: CertagentError | None = None
    failures = []
    for uri in uris:
        try:
            if take(_fetched(work, uri)) == ca:
                return None
        except CertagentError as error:
            failures.append(error)
            failure = type(error)(f"{uri}: {error}" if uri not in str(error) else str(error), error.hint)
            failure.wait = longest_wait(failures)
    if uris and failure is None:
        hint = "name the address of its CRL in `crl_url`"
        failure = TrustError(f"none of the CRLs at {', '.join(uris)} belongs to the CA we asked for", hint)
    return failure


def _fetched(work: Work, uri: str) -> List:
    """Fetch a list; each address only once a run. Raises CertagentError."""
    return once(work.fetched, uri, lambda: crl.fetch(uri, timeout=work.timeout, proxy=work.proxy))


def _keep(work: Work, found: Mapping[str, List], wanted: set[str]) -> None:
    """Save them durably before any consumer gets it: an older list is refused from now on. Raises OSError."""
    place = AuthorityDirectory(work.directory).crls
    if found:
        durable.make_directory(place)
    for ca, revocations in found.items():
        durable.write(place / ca, revocations.public_bytes(Encoding.DER))
    for other in place.glob("*") if place.is_dir() else ():
        if other.name not in wanted:
            durable.remove(other)


def _remembered(
    before: Memory, cas: Sequence[x509.Certificate], kept: Mapping[str, List], uris: Mapping[str, tuple[str, ...]]
) -> Memory:
    issues = {}
    for ca in _order(cas):
        if ca in kept:
            each, counted = kept[ca], crl.number(kept[ca])
            issues[ca] = Issue(
                issuer=facts.name_text(each.issuer),
                this_update=each.last_update_utc,
                next_update=each.next_update_utc,
                number="" if counted is None else str(counted),
                revoked=len(each),
                points=uris.get(ca, ()),
            )
    return msgspec.structs.replace(before, issues=issues)


def _stale(lists: Iterable[List], now: datetime) -> list[CertagentError]:
    """Lists that have expired without a newer one."""
    return [
        TransientError(
            f"the newest CRL of {facts.name_text(each.issuer)} expired {span(now - each.next_update_utc)} ago",
            "the CA has published no newer one: ask its operator; crl_file stays as it is",
        )
        for each in lists
        if each.next_update_utc is not None and each.next_update_utc <= now
    ]


def _failed(after: Memory, errors: Sequence[CertagentError], now: datetime, share: float) -> Memory:
    error, failures = errors[0], after.attempts.failures + 1
    told = LastError(kind=error.kind, message="; ".join(map(str, errors)), hint=error.hint, at=now)
    attempts = Track(failures=failures, last_error=told, wait=longest_wait(errors))
    retry_at = freshness.pause(attempts.past, after.validities, now, policy.another_share(share, failures))
    return msgspec.structs.replace(after, attempts=msgspec.structs.replace(attempts, retry_at=retry_at))


def _went_well(after: Memory, now: datetime) -> Memory:
    return msgspec.structs.replace(after, attempts=Track(), fetched_at=now)


def _with_revoked(
    work: Work, cas: Sequence[x509.Certificate], kept: Mapping[str, List], after: Memory
) -> tuple[Memory, tuple[Revoked, ...]]:
    """Record which of our own certificates are on the lists; returns also those that were not known before."""
    ours: dict[str, dict[int, list[tuple[str, str]]]] = {}
    names = {facts.subject_text(ca): sources.ca_id(ca) for ca in cas}
    for keystore, issuer, serial in work.serials():
        if issuer in names:
            ours.setdefault(names[issuer], {}).setdefault(int(serial, 16), []).append((keystore, serial))
    found = tuple(
        Revoked(keystore=keystore, serial=serial, since=since)
        for ca, revocations in kept.items()
        for number, since in crl.revoked_among(revocations, ours.get(ca, ())).items()
        for keystore, serial in ours[ca][number]
    )
    newly = tuple(each for each in found if each not in after.revoked)
    return msgspec.structs.replace(after, revoked=found), newly
