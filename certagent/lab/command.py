"""`certagent lab`: serve a lab CA, and decide on the requests that wait in it."""

from __future__ import annotations

import argparse
import ipaddress
import json
import logging
import shlex
import sys
from collections.abc import Container
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from certagent import certificate as facts
from certagent import durable
from certagent.config.key_types import KeyType
from certagent.config.values import Duration, Fingerprint
from certagent.errors import ConfigError
from certagent.lab import background
from certagent.lab.ca import LabCA
from certagent.lab.generation import Settings
from certagent.lab.server import LabServer, log, serve
from certagent.lab.store import Record, Store, Waiting, read_challenge
from certagent.text import printable, span

_DIRECTORY = Path("certagent-lab")
_LONGEST_LIFE = 100 * 366 * 86400  # seconds; X.509 itself ends with the year 9999


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`certagent lab [options]` serves; `approve`, `reject`, `revoke`, `list` and `stop` are for its operator."""
    add = parser.add_argument
    add("--dir", type=Path, default=_DIRECTORY, help="directory for its files (default: ./%(default)s)")
    add("--port", type=_port, default=8080, help="where it listens; 0 for any free port (default: %(default)s)")
    add("--listen", metavar="ADDRESS", default="127.0.0.1", help="on which address (default: this host only)")
    add(
        "--lifetime",
        type=_duration,
        metavar="TIME",
        default="90d",
        help="lifetime of certificates (default: %(default)s)",
    )
    add("--crl-lifetime", type=_duration, metavar="TIME", default="1d", help="of a CRL (default: %(default)s)")
    add(
        "--ca-lifetime",
        type=_duration,
        metavar="TIME",
        default="3650d",
        help="of a new CA (default: %(default)s)",
    )
    add("--ca-key", type=KeyType, choices=tuple(KeyType), default=KeyType.RSA_2048,
        help="of a new CA; if it is not RSA, it gets an RA with RSA keys (default: %(default)s)")  # fmt: skip
    add("--intermediate", action="store_true", help="put a root above a new CA")
    add("--pss", action="store_true", help="sign certificates and CRLs with RSASSA-PSS")
    add("--ra", action="store_true", help="put an RA with two certificates in front of the CA")
    _add_rollover(parser)
    add("--background", action="store_true", help="leave it running, and end it with `certagent lab stop`")
    add("--manual", action="store_true", help="requests wait until `certagent lab approve`")
    add("--accept", action="append", choices=("sha1", "3des", "des"), default=[],
        help="also accept requests with a weak algorithm, for old clients (repeatable)")  # fmt: skip
    add("--introduce", action="append", type=Path, metavar="FILE", default=[],
        help="PEM file of a maker's CA, whose factory certificates may sign first requests, without a challenge "
        "(repeatable)")  # fmt: skip
    add("--challenge-file", type=Path, metavar="FILE",
        help="file with the challenge password (default: DIR/challenge, created if missing)")  # fmt: skip
    _add_actions(parser)


def _add_actions(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="lab_action", metavar="ACTION", title="actions, of a CA's operator")

    def action(name: str, text: str, example: str) -> argparse.ArgumentParser:
        made = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        made.epilog = f"examples:\n  certagent lab {name}{example}\n  certagent lab {name}{example} --dir /tmp/lab"
        # SUPPRESS: keeps a --dir that was given before the action's name.
        made.add_argument("--dir", type=Path, default=argparse.SUPPRESS, help=f"of the lab (default: ./{_DIRECTORY})")
        return made

    which = action("approve", "issue waiting requests", " --all").add_mutually_exclusive_group(required=True)
    which.add_argument("transaction", nargs="?", metavar="ID", help="a transaction ID, or the start of one")
    which.add_argument("--all", action="store_true", help="all waiting requests")
    reject = action("reject", "refuse a waiting request", " 4DA7")
    reject.add_argument("transaction", metavar="ID", help="a transaction ID, or the start of one")
    revoke = action("revoke", "revoke a certificate: it appears in the CRL and cannot be renewed", " 4DA7C26D")
    revoke.add_argument(
        "serial", type=_serial, metavar="SERIAL", help="in hexadecimal, as `certagent lab list` and openssl print it"
    )
    action("stop", "end the lab that runs in a directory", "")
    listing = action("list", "list waiting requests and issued certificates", "")
    listing.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON, for programs")


def _add_rollover(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rollover",
        type=_duration,
        metavar="TIME",
        help="create and announce the next CA this long before the CA expires (default: never)",
    )
    parser.add_argument(
        "--overlap",
        type=_duration,
        metavar="TIME",
        help="the next CA becomes valid this long before that (default: exactly then)",
    )
    parser.add_argument(
        "--next-ca",
        choices=("nested", "flat"),
        default="nested",
        help="how to announce it: nested under the CA's signature, or as in the drafts (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command; the exit code. Raises ConfigError, StateError or BusyError."""
    match arguments.lab_action:
        case "approve":
            return _decide(arguments.dir, None if arguments.all else arguments.transaction, "approved")
        case "reject":
            return _decide(arguments.dir, arguments.transaction, "rejected")
        case "revoke":
            return _revoke(arguments.dir, arguments.serial, datetime.now(UTC))
        case "stop":
            return background.stop(_existing(arguments.dir).directory)
        case "list":
            return _list(arguments.dir, as_json=arguments.json)
        case _:
            return _serve(arguments)


def _serve(arguments: argparse.Namespace) -> int:
    settings = Settings(
        lifetime=arguments.lifetime,
        crl_lifetime=arguments.crl_lifetime,
        ca_lifetime=arguments.ca_lifetime,
        ca_key=arguments.ca_key,
        pss=arguments.pss,
        intermediate=arguments.intermediate,
        ra=arguments.ra,
        manual=arguments.manual,
        accept=frozenset(arguments.accept),
        rollover=arguments.rollover,
        overlap=arguments.overlap or timedelta(0),
        flat_next_ca=arguments.next_ca == "flat",
        makers=tuple(each for file in arguments.introduce for each in _makers(file)),
        challenge=read_challenge(arguments.challenge_file) if arguments.challenge_file else None,
    )
    if not arguments.background:
        return _serve_here(
            arguments, settings, lambda text: print(f"{text}\n\nPress Ctrl-C to stop. Requests:", flush=True)
        )
    return background.start(arguments.dir, lambda ready: _serve_here(arguments, settings, ready))


def _makers(file: Path) -> tuple[x509.Certificate, ...]:
    try:
        found = facts.load_pem(file.read_bytes(), str(file))
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}", "name the maker's CA certificate") from None
    if not found:
        raise ConfigError(f"{file} holds no certificate in PEM form", "name the maker's CA certificate")
    return found


def _serve_here(arguments: argparse.Namespace, settings: Settings, ready: background.Ready) -> int:
    Store(arguments.dir).create()
    with durable.lock(background.lock_of(arguments.dir), f"the lab in {arguments.dir}"):
        ca = LabCA(arguments.dir, lambda: datetime.now(UTC), settings)
        challenge_file = (arguments.challenge_file or ca.store.challenge_file).resolve()
        background.hold_signals()
        handler = logging.StreamHandler(sys.stdout)
        log.addHandler(handler)
        log.setLevel(logging.WARNING if arguments.quiet else logging.INFO)
        log.propagate = False
        with serve(ca, arguments.listen, arguments.port) as server:
            ready(_banner(server, arguments, challenge_file))
            background.wait_for_the_end()
        log.removeHandler(handler)
    return 0


def _banner(server: LabServer, arguments: argparse.Namespace, challenge_file: Path) -> str:
    ca = server.ca
    fingerprint = Fingerprint("sha256", ca.generation.issuer.certificate.fingerprint(hashes.SHA256()))
    approval = f"certagent lab approve --dir {arguments.dir}" if arguments.manual else "automatic"
    exposed = [] if _is_loopback(arguments.listen) else [f"Others can reach it: it listens on {arguments.listen}."]
    return "\n".join(
        [
            "certagent lab: a SCEP CA to try things out. NOT FOR PRODUCTION: its keys are in plain files.",
            *exposed,
            "",
            f"  URL          {server.url}",
            f"  CA           {fingerprint}",
            f"  kept in      {arguments.dir.resolve()}",
            f"  challenge    {challenge_file}",
            f"  lifetime     {span(arguments.lifetime)}{', behind an RA' if ca.generation.has_ra else ''}",
            f"  approval     {approval}",
            *(f"  introduced   by factory certificates of {facts.subject_text(each)}" for each in ca.settings.makers),
            *([f"  rollover     {_schedule(ca, arguments.rollover)}"] if arguments.rollover else []),
            "",
            "For `certagent init`, which asks for the rest:",
            "",
            f"  certagent init --url {server.url} --challenge-file {shlex.quote(str(challenge_file))} \\",
            f"      --fingerprint {fingerprint}",
            "",
            "Or for agent.yaml, in place of what it has there:",
            "",
            "authorities:",
            "  corp:",
            f"    url: {server.url}",
            f"    fingerprint: {fingerprint}",
            f"    challenge: {{file: {json.dumps(str(challenge_file))}}}",
        ]
    )


def _schedule(ca: LabCA, rollover: timedelta) -> str:
    end = ca.generation.ends
    return f"a next CA is announced at {end - rollover:%F %T} UTC, the CA ends at {end:%F %T} UTC; and so on"


def _decide(directory: Path, transaction: str | None, decision: str) -> int:
    """Record the decision on one request, or on all that wait."""
    store = _existing(directory)
    open_requests = [waiting for waiting in store.all_waiting() if waiting.decision == "waiting"]
    chosen = open_requests if transaction is None else [_choose(store.all_waiting(), transaction)]
    for waiting in chosen:
        store.decide(waiting, decision)
        print(f"{decision}: {_waiting_line(waiting)}")
    if not chosen:
        print("nothing waits")
    return 0


def _choose(waiting: list[Waiting], transaction: str) -> Waiting:
    found = [each for each in waiting if each.transaction_id.startswith(transaction)]
    exact = [each for each in found if each.transaction_id == transaction]
    if len(exact or found) != 1:
        many = "several waiting requests start" if found else "no waiting request starts"
        raise ConfigError(f"{many} with {printable(transaction)}", "see `certagent lab list`")
    return (exact or found)[0]


def _revoke(directory: Path, serial: int, now: datetime) -> int:
    store = _existing(directory)
    found = next((record for record in store.all_issued() if record.serial == serial), None)
    if found is None:
        raise ConfigError(f"no certificate with serial {serial:x} was issued here", "see `certagent lab list`")
    store.revoke(serial, now)
    print(f"revoked: {serial:x}  {printable(found.subject)}")
    return 0


def _list(directory: Path, *, as_json: bool) -> int:
    store = _existing(directory)
    revoked = store.revoked()
    waiting, issued = store.all_waiting(), store.all_issued()
    if as_json:
        print(json.dumps([*map(_waiting_entry, waiting), *(_issued_entry(each, revoked) for each in issued)], indent=2))
        return 0
    for each in waiting:
        print(f"{each.decision:9} {_waiting_line(each)}")
    for record in issued:
        it = _issued_entry(record, revoked)
        print(
            f"{it['state']:9} {it['transaction']}  {it['kind']}  {it['subject']}  "
            f"serial {it['serial']}  until {it['until']}"
        )
    return 0


def _waiting_entry(waiting: Waiting) -> dict[str, str]:
    """One element of `list --json`."""
    subject = printable(waiting.csr.subject.rfc4514_string())
    transaction = printable(waiting.transaction_id)
    return {"state": waiting.decision, "transaction": transaction, "kind": waiting.kind, "subject": subject}


def _issued_entry(record: Record, revoked: Container[int]) -> dict[str, str]:
    return {
        "state": "revoked" if record.serial in revoked else "issued",
        "transaction": printable(record.transaction_id),
        "kind": record.kind,
        "subject": printable(record.subject),
        "serial": f"{record.serial:x}",
        "until": f"{record.not_after:%Y-%m-%dT%H:%M:%SZ}",
    }


def _existing(directory: Path) -> Store:
    store = Store(directory)
    if not store.exists():
        raise ConfigError(f"there is no lab in {directory}", "name the directory with --dir")
    return store


def _waiting_line(waiting: Waiting) -> str:
    subject = waiting.csr.subject.rfc4514_string()
    return f"{printable(waiting.transaction_id)}  {waiting.kind}  {printable(subject)}"


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _duration(text: str) -> Duration:
    try:
        duration = Duration.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not 1 <= duration.total_seconds() <= _LONGEST_LIFE:
        raise argparse.ArgumentTypeError("a lifetime is from one second to a hundred years")
    return duration


def _serial(text: str) -> int:
    try:
        return int(text.replace(":", ""), 16)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a hexadecimal serial number") from None


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; write a number up to 65535")
    return int(text)
