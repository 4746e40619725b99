"""`certagent check`: is everything in order, and what would the next renewal do? Changes nothing, sends no secret.

Findings come in groups, each printed as soon as it is known: the configuration on this host (with the remains of
keystores that are no longer configured), every authority, every keystore.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import chain
from pathlib import Path

from certagent import policy, state, wall_clock
from certagent.cli import assemble, check_state
from certagent.cli.check_authority import about_authority
from certagent.cli.check_crls import check_crls
from certagent.cli.check_findings import Seen, in_place, little_memory, misnamed, next_step, rollover, warnings
from certagent.cli.check_introduction import Introductions
from certagent.cli.check_openssl import consumers
from certagent.cli.check_report import AsJson, Report, Shown, many
from certagent.cli.check_secrets import Secrets
from certagent.cli.terminal import Finding, Mark, indented
from certagent.config.configuration import Configuration
from certagent.config.crl_files import crl_files
from certagent.config.file_roles import FileRole, Swap
from certagent.config.keystores import KeystoreDefinition
from certagent.config.load import load_configuration, load_for_host
from certagent.directories import Look
from certagent.errors import CertagentError, KeystoreError, internal_fault, named
from certagent.host import identifier
from certagent.keystore.attributes import lost
from certagent.keystore.base import Identity, Keystore
from certagent.keystore.files import explained, look_at, ownership, resolve
from certagent.keystore.hash_directory import A_NAME
from certagent.mounts import Mounts
from certagent.state_directory import StateDirectory
from certagent.status.ladder import ladders
from certagent.status.snapshot import InPlace, take_snapshot
from certagent.text import iso
from certagent.transaction import copies
from certagent.transaction.configured import configured_keystore
from certagent.transaction.journal import Transaction, open_transactions
from certagent.trust.authorities import Authorities, Contact
from certagent.trust.proof_of_use import untried

Findings = Iterator[Finding]


def check(arguments: argparse.Namespace) -> int:
    """0 if all is in order, also with warnings; 1 if something is wrong. A wrong configuration raises ConfigError."""
    if arguments.syntax:
        count = len(assemble.chosen(load_configuration(arguments.config), arguments.names))
        if arguments.json:
            print(indented({"keystores": count}))
        elif not arguments.quiet:
            print(f"{arguments.config} can be read, with {count} keystore{'' if count == 1 else 's'}")
        return 0
    report: Report = AsJson() if arguments.json else Shown(quiet=arguments.quiet)
    return look(arguments.config, arguments.names, report, offline=arguments.offline, debug=arguments.debug)


def look(config: Path, names: Sequence[str], report: Report, *, offline: bool = False, debug: bool = False) -> int:
    """Check everything, or the keystores named and their authorities, and tell `report`; returns the exit code."""
    configuration, lacking = load_for_host(config)
    for title, findings in _groups(configuration, config, lacking, names, offline=offline):
        report.begin(title)
        for finding in _guarded(findings, debug=debug):
            report.add(finding)
    report.end()
    return 1 if report.counts[Mark.WRONG] else 0


def _guarded(findings: Findings, *, debug: bool) -> Findings:
    """The findings of a group; an error ends the group, as its last finding, and the next group is checked all the
    same."""
    try:
        yield from findings
    except CertagentError as error:
        yield Finding(Mark.WRONG, str(error), error.hint)
    except Exception as fault:
        if debug:
            raise
        internal = internal_fault(fault)
        yield Finding(Mark.WRONG, str(internal), internal.hint)


def _groups(
    configuration: Configuration, path: Path, lacking: Sequence[str], wanted: Sequence[str], *, offline: bool
) -> Iterator[tuple[str, Findings]]:
    """Titles with their findings; nothing is checked before its turn. `wanted`: keystores, or empty for all.

    Raises ConfigError for one that is not configured.
    """
    now = assemble.clock()
    yield f"configuration {path}", _host(configuration, lacking, now)
    authorities, files = Authorities(configuration.authorities, Path(configuration.state_dir)), crl_files(configuration)
    reached: dict[str, Contact] = {}
    if os.path.lexists(configuration.state_dir) and not os.path.isdir(configuration.state_dir):  # noqa: PTH112
        return  # already reported; everything else would be in there
    secrets = Secrets.on_this_host(configuration, lacking)
    introductions = Introductions(Path(configuration.state_dir), secrets, now)
    names = assemble.chosen(configuration, wanted)
    used = dict.fromkeys(configuration.keystores[each].authority for each in names)
    for name in used if wanted else configuration.authorities:
        authority = configuration.authorities[name]
        about = about_authority(
            name, authority, None if offline else authorities, reached=reached, secrets=secrets, now=now
        )
        memory = StateDirectory(Path(configuration.state_dir)).authority(name)
        yield f"authority {name}", chain(check_state.usable(memory), about)
        if authority.introduce_with is not None:
            at = f"authorities.{name}.introduce_with"
            yield f"introductions to {name}", introductions.findings(authority.introduce_with, at, authority)
        if name in files:
            yield f"CRLs of {name}", check_crls(configuration, files[name], authorities, reached, now)
    for name in names:
        yield (
            f"keystore {name}",
            _keystore(configuration, name, authorities, introductions, reached=reached, secrets=secrets, now=now),
        )


def _host(configuration: Configuration, lacking: Sequence[str], now: datetime) -> Findings:
    if not policy.clock_is_sane(now):
        yield Finding(Mark.WRONG, f"the clock says {iso(now)}: nothing is done until it is set", "set the clock")
    elif doubt := wall_clock.doubt(Path(configuration.state_dir), now):
        yield Finding(Mark.WRONG, doubt.reason, "if it is right, run `certagent renew`; otherwise set it")
    for line in lacking:
        what, _, hint = line.partition("; ")
        yield Finding(Mark.WRONG, what, hint)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    yield from little_memory(memory, configuration.max_workers)
    closed = False
    for finding in check_state.directories(configuration):
        closed = True
        yield finding
    if not configuration.keystores:
        yield Finding(
            Mark.WARNING, "no keystores are configured: there is nothing to keep alive", "add one, see README.md"
        )
    if Path(configuration.state_dir).exists() and not Path(configuration.state_dir).is_dir():
        return
    yield from check_state.trusted(Path(configuration.state_dir), deep=False)
    if not closed:
        keystores = many(len(configuration.keystores), "keystore")
        yield Finding(Mark.FINE, f"{keystores}, state in {configuration.state_dir}")
    yield from _strays(configuration)


def _keystore(
    configuration: Configuration,
    name: str,
    authorities: Authorities,
    introductions: Introductions,
    *,
    reached: dict[str, Contact],
    secrets: Secrets,
    now: datetime,
) -> Findings:
    configured = configured_keystore(configuration, name, identifier())
    definition, authority, keystore = configured.definition, configured.authority, configured.keystore
    wrong = list(_files(keystore, definition, Path(configuration.live_dir) / name))
    yield from wrong
    if secrets.is_lacking(f"keystores.{name}.module"):
        yield Finding(Mark.WARNING, f"{name} was not looked at", "first correct its PKCS#11 module, see above")
        return
    yield from check_state.trusted(configured.directory, deep=True)
    yield from check_state.usable(configured.directory)
    if definition.swap == "symlink":
        yield from check_state.usable(Path(configuration.live_dir) / name)
    snapshot = take_snapshot(configured, lambda: authorities, now)
    if not snapshot.situation.readable and snapshot.last_error is not None:
        if snapshot.last_error.message not in [each.text for each in wrong]:
            hint = named(snapshot.last_error.hint, name)
            yield Finding(Mark.WRONG, snapshot.last_error.message, hint)
        return
    identity = _identity(keystore, name)
    for word, secret in definition.secrets.items():
        found = secrets.findings(word, secret, f"keystores.{name}.{word}", group=definition.group)
        yield from (each for each in found if identity is None or each.mark is Mark.WARNING)
    yield from _replaced_key(keystore, definition, identity)
    certificate = identity.certificate if identity else None
    if snapshot.certificate is not None:
        yield in_place(snapshot.certificate, now)
    if copies.is_shared(state.recall(configured.directory), certificate):
        yield Finding(Mark.WARNING, copies.SHARED, f"if it still runs, {copies.remedy(configured)}")
    if identity is not None and (why := untried(identity.key)):
        yield Finding(Mark.FINE, f"new certificates cannot be tried out with TLS before the swap: {why}")
    yield from consumers(_kinds(snapshot.certificate, definition))
    for remark in keystore.remarks():
        yield Finding(Mark.WARNING if remark.hint else Mark.FINE, remark.message, remark.hint)
    yield from introductions.findings(definition.introduce_with, f"keystores.{name}.introduce_with", authority)
    contact, factory = reached.get(definition.authority), introductions.introducing(configured)
    seen = Seen(definition, authority, snapshot, certificate, contact, factory)
    yield next_step(seen, now)
    yield from (Finding(Mark.FINE, line) for line in ladders([snapshot], now))
    yield from misnamed(definition)
    yield from rollover(seen, now)
    yield from warnings(seen, now)


def _kinds(certificate: InPlace | None, definition: KeystoreDefinition) -> Iterator[str]:
    """The kinds of keys that the consumer meets: of the pair in place, and of the next one."""
    if certificate is not None:
        yield certificate.key
    if certificate is None or definition.rekey != "never":
        yield definition.key_type


def _identity(keystore: Keystore, name: str) -> Identity | None:
    try:
        return keystore.read()
    except KeystoreError as error:
        error.hint = named(error.hint, name)
        raise


def _replaced_key(keystore: Keystore, definition: KeystoreDefinition, identity: Identity | None) -> Findings:
    """A key without a certificate; an enrollment does not use it."""
    key = definition.paths.get(FileRole.KEY)
    if identity is None and key is not None and keystore.read_certificate() is None and key.exists():
        hint = "to use that key, put its certificate in place too"
        yield Finding(Mark.WARNING, f"{key} exists without a certificate: enrolling replaces the key", hint)


def _files(keystore: Keystore, definition: KeystoreDefinition, live: Path) -> Findings:
    """Whether every file can be replaced as configured."""
    faults: list[Finding] = []
    paths = list(definition.paths.values())
    cas = [Path(definition.ca_directory)] if definition.ca_directory else []
    for path in (*paths, *(each / A_NAME for each in cas)):
        try:
            faults.extend(_file(path, keystore, definition, live))
        except CertagentError as error:
            faults.append(Finding(Mark.WRONG, str(error), error.hint))
    if not any(each.mark is Mark.WRONG for each in faults):
        try:
            keystore.check_targets()  # the same check as before requesting a certificate
        except CertagentError as error:
            faults.append(Finding(Mark.WRONG, str(error), error.hint))
    yield from dict.fromkeys(faults)  # a fault that all of them share is reported once
    if not any(each.mark is Mark.WRONG for each in faults):
        yield Finding(Mark.FINE, f"can write {', '.join(map(str, paths + cas))}")


def _file(path: Path, keystore: Keystore, definition: KeystoreDefinition, live: Path) -> Findings:
    target, found = resolve(path, live), look_at(path, live)
    keeps_inode = keystore.keeps_inode(found)
    keystore.check_target(target, over=keeps_inode)
    wanted = ownership(found, owner=definition.owner, group=definition.group, mode=definition.mode, default=0o600)
    if found is not None and (without := lost(found, wanted)):
        words = ", ".join(without)
        hint = "if it is needed, a post hook can set it again"
        yield Finding(Mark.WARNING, f"{target} has attributes that the new file will not have: {words}", hint)
    if found is not None:
        yield from _other_readers(found, definition.swap)
    written, rights = (target, os.W_OK) if keeps_inode else (target.parent, os.W_OK | os.X_OK)
    if not os.access(written, rights, effective_ids=True):
        yield Finding(Mark.WRONG, f"{written} is not writable", check_state.AS_ROOT)


def _other_readers(found: Look, swap: Swap | None) -> Findings:
    """Who would keep reading the old file after a swap: through hard links, and mounts of the file alone."""
    if swap == "in-place":
        return
    if found.status.st_nlink > 1:
        yield Finding(
            Mark.WARNING,
            f"{found.path} has {found.status.st_nlink} names (hard links): after a swap the others still hold the "
            "old file",
            "let their readers use this one, or set `swap: in-place` (docs/swap.md)",
        )
    for point in Mounts.read().of(found.path):
        what = f"{found.path} is mounted at {point} as a single file, as for a container: "
        if swap is None:
            hint = (
                "mount its directory instead, or set `swap: in-place`: a confined unit cannot see the "
                "mount (docs/swap.md)"
            )
            yield Finding(Mark.WARNING, f"{what}certagent overwrites it in place, which is not atomic", hint)
        else:
            hint = "mount its directory instead, or remove `swap` (docs/swap.md)"
            yield Finding(Mark.WARNING, f"{what}after a swap the mount still shows the old file", hint)


def _strays(configuration: Configuration) -> Findings:
    """Keystores with a state on the disk that are no longer configured."""
    state_dir = Path(configuration.state_dir)
    keystores = StateDirectory(state_dir).keystores
    with explained(f"look at {keystores}"):
        names = sorted(each.name for each in keystores.iterdir()) if keystores.is_dir() else []
    transactions = open_transactions(state_dir)
    for name in names:
        if name not in configuration.keystores:
            yield _stray(keystores / name, transactions.get(name))


def _stray(directory: Path, transaction: Transaction | None) -> Finding:
    gone = f"{directory.name} is no longer configured"
    if transaction is None:
        hint = f"remove {directory} once its history and previous key are no longer needed"
        return Finding(Mark.WARNING, f"{gone}, but its state is still kept", hint)
    remedy = f"configure it again to finish it, or remove {directory}"
    if transaction.swap is not None:
        return Finding(
            Mark.WARNING, f"{gone}, but a swap of its files was interrupted", f"run `certagent recover`; {remedy}"
        )
    return Finding(Mark.WARNING, f"{gone}, but its {transaction.kind} is still open ({transaction.phase})", remedy)
