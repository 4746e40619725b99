"""`certagent crl`: keeps the authorities' CRLs fresh for their consumers. The agent and the timer use it too."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TextIO

import msgspec
from cryptography import x509

from certagent import believed, policy, state, wall_clock
from certagent.certificate import load_der
from certagent.cli import streams
from certagent.cli.assemble import clock
from certagent.config.configuration import Configuration
from certagent.config.crl_files import CrlFile, crl_files
from certagent.config.keystores import Pkcs11Keystore
from certagent.config.load import load_configuration
from certagent.errors import BusyError, CertagentError, ConfigError, StateError
from certagent.host import identifier
from certagent.journald import ERROR, INFO
from certagent.keystore.base import Identity
from certagent.moments import Moment
from certagent.revocation.memory import Memory, next_look
from certagent.revocation.query import get_crls
from certagent.revocation.refresh import Done, Work, refresh
from certagent.state_directory import StateDirectory
from certagent.text import iso, printable, with_hint
from certagent.transaction.configured import certificate_in_place, configured_keystore
from certagent.trust.authorities import Authorities


class Report(msgspec.Struct, frozen=True):
    """One authority's line for programs. `keystores`: those whose certificate was newly found to be revoked."""

    authority: str
    result: str
    next_action_at: Moment | None = None
    message: str | None = None
    hint: str | None = None
    keystores: tuple[str, ...] = ()


def crl(arguments: argparse.Namespace) -> int:
    configuration = load_configuration(arguments.config)
    every = crl_files(configuration)
    for name in arguments.names:
        if name not in every:
            known = ", ".join(sorted(every)) or "none has a crl_file"
            raise ConfigError(f"there is no crl_file for an authority {name!r}", f"known: {known}")
    if not every:
        raise ConfigError("there are no CRLs to keep: neither an authority nor a keystore has a crl_file", "add one")
    chosen = {name: every[name] for name in dict.fromkeys(arguments.names)} or every
    believed.check_state(Path(configuration.state_dir))
    now = clock()
    doubt = wall_clock.look(Path(configuration.state_dir), now, believed=not arguments.due)
    if not policy.clock_is_sane(now) or doubt is not None:
        print(f"the clock says {iso(now)}: no CRL is fetched until the clock is right", file=sys.stderr)
        return 3
    reports = list(serve(configuration, chosen, due=arguments.due, as_json=_as_json(arguments), quiet=arguments.quiet))
    return 1 if any(each.result == "failed" for each in reports) else 0


def _as_json(arguments: argparse.Namespace) -> bool:
    return bool(arguments.json or arguments.report == "json")


def serve(
    configuration: Configuration,
    chosen: dict[str, tuple[CrlFile, ...]],
    *,
    due: bool,
    as_json: bool = False,
    quiet: bool = False,
) -> Iterator[Report]:
    """One authority after the other, each reported as soon as it is done; with `due`, nothing about those not due.

    `quiet`: only failures are reported.
    """
    authorities = Authorities(configuration.authorities, Path(configuration.state_dir))
    for name, files in chosen.items():
        streams.work_on(authority=name)
        report = _attempt(work_for(configuration, name, files, authorities=authorities), due=due)
        if as_json:
            streams.say(msgspec.json.encode(report).decode(), sys.stdout)
        elif report.result == "failed" or (not quiet and _is_told(report, due=due)):
            _tell(report, sys.stderr if due else sys.stdout)
        yield report


def _is_told(report: Report, *, due: bool) -> bool:
    return not due or report.result not in ("nothing", "waiting", "busy")


def _attempt(work: Work, *, due: bool) -> Report:
    try:
        believed.check_state(work.directory, deep=True)
        done = refresh(work, at_once=not due)
    except BusyError as error:
        return Report(work.name, "busy", message=str(error), hint=error.hint)
    except StateError as error:
        return Report(work.name, "failed", message=str(error), hint=error.hint)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return Report(work.name, "failed", message=f"{where}{error.strerror or error}", hint="check the disk")
    return _report(work, done)


def _report(work: Work, done: Done) -> Report:
    memory, errors = done.memory, done.memory.errors
    again = next_look(memory, work.clock())
    for each in done.newly:
        work.log(f"the certificate of {each.keystore}, {each.serial}, was revoked at {iso(each.since)}")
    newly = tuple(dict.fromkeys(each.keystore for each in done.newly))
    if errors:
        told = "; ".join(dict.fromkeys(each.message for each in errors))
        return Report(work.name, "failed", again, told, errors[0].hint, newly)
    if done.waits:
        return Report(work.name, "waiting", None, "no keystore has a certificate yet, which would say where the CRL is")
    result = "fetched" if done.fetched else "put in place" if done.changed else "nothing"
    return Report(work.name, result, again, _fresh(memory), keystores=newly)


def _fresh(memory: Memory) -> str:
    many = len(memory.issues)
    until = f"fresh until {iso(memory.ends)}" if memory.ends else "which do not say when they expire"
    return f"{many} {'CRL' if many == 1 else 'CRLs'}, {until}"


def _tell(report: Report, file: TextIO) -> None:
    line = f"{report.authority}: {report.result}"
    if report.message:
        line += f": {with_hint(report.message, report.hint)}"
    if report.next_action_at is not None:
        line += f", next fetch at {iso(report.next_action_at)}"
    failed = report.result == "failed"
    streams.say(printable(line), sys.stderr if failed else file, priority=ERROR if failed else INFO)


def work_for(
    configuration: Configuration,
    name: str,
    files: Sequence[CrlFile],
    *,
    authorities: Authorities,
    clock: Callable[[], datetime] = clock,
) -> Work:
    """What there is to do for the CRLs of one authority; nothing is read yet."""
    definition, here = configuration.authorities[name], identifier()

    def cas() -> Sequence[x509.Certificate]:
        known = authorities.known(name)
        if known is None:
            authorities.contact(name, clock())
            known = authorities.known(name)
        return known.trusted(clock()) if known is not None else ()

    def query() -> Sequence[x509.CertificateRevocationList]:
        contact = authorities.contact(name, clock())
        return get_crls(contact, _identities(configuration, names, here), definition.accept, clock())

    names = [each for each, keystore in configuration.keystores.items() if keystore.authority == name]
    return Work(
        name=name,
        directory=StateDirectory(Path(configuration.state_dir)).authority(name),
        files=tuple(files),
        urls=definition.crl_urls,
        source=definition.crl_source,
        accept=frozenset(definition.accept),
        timeout=definition.timeout,
        proxy=definition.proxy,
        share=policy.jitter_share(f"crl {name}", here),
        clock=clock,
        log=lambda line: streams.say(f"{name}: {printable(line)}", sys.stderr),
        cas=cas,
        query=query if definition.crl_from == "scep" else None,
        certificates=partial(_certificates, configuration, names, here),
        serials=partial(_serials, configuration, names),
    )


def _identities(configuration: Configuration, names: Sequence[str], here: str) -> Iterator[Identity]:
    """The identities of keystores in files."""
    for name in names:
        if isinstance(configuration.keystores[name], Pkcs11Keystore):
            continue
        try:
            found = configured_keystore(configuration, name, here).keystore.read()
        except CertagentError:
            continue  # its own worker reports it
        if found is not None:
            yield found


def _certificates(configuration: Configuration, names: Sequence[str], here: str) -> Iterator[x509.Certificate]:
    """The keystores' certificates: those in place, and those that wait for the next CA."""
    for name in names:
        configured = configured_keystore(configuration, name, here)
        if (found := certificate_in_place(configured.keystore)) is not None:
            yield found
        try:
            staged = configured.rollover.open()
            if staged is not None and staged.certificate:
                yield load_der(staged.certificate)
        except (CertagentError, ValueError):
            continue  # its own worker reports it


def _serials(configuration: Configuration, names: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """The serial numbers of the certificates in place, as their workers last saw them."""
    directory = StateDirectory(Path(configuration.state_dir))
    for name in names:
        try:
            known = state.load(directory.keystore(name).path)
        except StateError:
            continue
        if known is not None and known.seen is not None:
            yield name, known.seen.issuer, known.seen.serial
