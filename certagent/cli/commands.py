"""Every command: where its code is, what it takes, and its text in `--help`, manual and completion."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

from certagent.errors import CertagentError

DEFAULT_CONFIG = Path("/etc/certagent/agent.yaml")
_FEW = 12  # this many names fit into a line

Add = Callable[[argparse.ArgumentParser], None]

CONFIG, JSON, VERBOSE, QUIET = "config", "json", "verbose", "quiet"


class Command(Struct, frozen=True):
    """`module` below certagent, and its function that takes the arguments and returns the exit code.

    A module is imported only when its command is used: the agent must stay without cryptography, and `recover` runs in
    milliseconds at boot. `brings`: the module has `add_arguments`, which loads what it needs. `interrupted`: what
    Ctrl-C leaves behind, if that is the same for the whole command.
    """

    module: str
    function: str
    summary: str
    text: str
    examples: tuple[tuple[str, str], ...]
    takes: tuple[str, ...] = ()
    add: Add | None = None
    brings: bool = False
    interrupted: str = ""

    @property
    def epilog(self) -> str:
        return examples(*self.examples)


def examples(*pairs: tuple[str, str]) -> str:
    """Command lines, each with what it does next to it."""
    width = max((len(line) for line, what in pairs if what), default=0) + 3
    return "examples:\n" + "\n".join(f"  {line:{width}}{what}".rstrip() for line, what in pairs)


# ── arguments ─────────────────────────────────────────────────────────────────────────────────────


def _units(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--install", action="store_true", help="write them below /etc/systemd/system")
    parser.add_argument("--user", metavar="NAME", default="", help="run as this user (default: root)")
    parser.add_argument(
        "--root", type=Path, default=Path("/"), metavar="DIR", help="of an image (default: %(default)s)"
    )


def _names(parser: argparse.ArgumentParser, default: str = "all keystores") -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"a keystore (default: {default})")


def _run(parser: argparse.ArgumentParser) -> None:
    # For the agent, which reads its configuration in a separate process.
    parser.add_argument("--definitions-to-stdout", action="store_true", help=argparse.SUPPRESS)


def _check(parser: argparse.ArgumentParser) -> None:
    _names(parser, "all keystores, and every authority")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--offline", action="store_true", help="contact no authority")
    how.add_argument("--syntax", action="store_true", help="only whether the agent would take this configuration")


def _plan(parser: argparse.ArgumentParser) -> None:
    _names(parser)
    parser.add_argument(
        "--until", metavar="DATE", help="the end (default: two lifetimes, and beyond a rollover in progress)"
    )
    parser.add_argument("--svg", action="store_true", help="print a picture, in SVG")


def _enroll(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="+", metavar="NAME", help="a keystore")
    parser.add_argument("--force", action="store_true", help="replace a valid identity; an open request is abandoned")
    parser.add_argument("--into", metavar="NEW", help="move the identity: enroll NEW, signed by the identity in NAME")
    _worker(parser)


def _renew(parser: argparse.ArgumentParser) -> None:
    _names(parser)
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--due", action="store_true", help="as the agent does it: after a failed attempt, wait for its pause"
    )
    how.add_argument("--force", action="store_true", help="renew even if it is not due; an open request is abandoned")
    how.add_argument("--compromised", action="store_true", help="make a new key, because others know the present one")
    # For the agent, which already knows the definitions: like `-c`, for the named keystores only. It writes metrics
    # when all its workers are done.
    parser.add_argument("--definitions-from-stdin", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--only-metrics", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--dry-run", action="store_true", help="say what would happen, change nothing")
    # For processes that a worker starts: finish what is open, and begin nothing. The worker itself runs the hooks
    # that several keystores share.
    how.add_argument("--finish", action="store_true", help=argparse.SUPPRESS)
    _worker(parser)


def _crl(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="AUTHORITY", help="(default: all that have a crl_file)")
    parser.add_argument("--due", action="store_true", help="as the agent does it: only what is due")
    parser.add_argument("--report", choices=["json"], help="the same as --json, by its older name")


def _worker(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--now", action="store_true", help="swap and run hooks at once, whatever activate_in says")
    parser.add_argument("--leave-once", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--report", choices=["json"], help="the same as --json, by its older name")


def _one(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="a keystore")
    _asking(parser)


def _rename(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("old", metavar="OLD", help="its name until now")
    parser.add_argument("new", metavar="NEW", help="its name in the configuration")
    _asking(parser)


def _asking(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, change nothing")
    parser.add_argument("-y", "--yes", action="store_true", help="do it without asking")


# ── what there is ─────────────────────────────────────────────────────────────────────────────────

_LOOK = (CONFIG, JSON)
_WORK = (CONFIG, JSON, VERBOSE, QUIET)
_UNCHANGED = "nothing was changed"
_ONCE_AGAIN = "`certagent renew` goes on where this stood"

_INIT = (
    "certagent init --url http://scep.example.net/scep --fingerprint sha256:8d5c… \\\n"
    "      --for nginx --name www.example.net --challenge-file /etc/certagent/corp.challenge"
)

COMMANDS = {
    "init": Command(
        "cli.init.command", "init", "a first agent.yaml, by asking or by options",
        "Fetches the CA, shows its fingerprint to compare, writes agent.yaml and a keystore for a consumer, and runs "
        "check. Asks for what the options do not say. It trusts no CA that you have not compared, and overwrites "
        "no existing file.",
        (("certagent init", "asks"), (_INIT, "")),
        (CONFIG, VERBOSE), brings=True, interrupted="nothing was written",
    ),
    "run": Command(
        "cli.run", "run", "the agent, in the foreground",
        "Serves the configured keystores until SIGTERM or Ctrl-C: when something is due, it starts a "
        "worker. systemd starts it (certagent.service); SIGHUP makes it read the configuration again.",
        (("certagent run", "as systemd starts it"), ("certagent run -v", "and log every exchange with the CA")),
        (CONFIG, VERBOSE), _run,
    ),
    "check": Command(
        "cli.check", "check", "is all in order? configuration, keystores, authorities",
        "Looks at the configuration, the host, every authority and keystore, and says what would happen at the "
        "next renewal. Changes nothing, sends no secret. Exit code 1: something is wrong.",
        (("certagent check", "all of it"), ("certagent check web", "a keystore and its authority"),
         ("certagent check --offline", "without asking any CA"), ("certagent check -q", "only faults and warnings"),
         ("certagent check --syntax", "what `systemctl reload` does first")),
        _WORK, _check, interrupted=_UNCHANGED,
    ),
    "status": Command(
        "cli.status", "status", "what is in place and what happens next",
        "Shows each keystore's certificate, its state and what comes next, from the files in place and the state "
        "directory. Nobody is contacted.",
        (("certagent status", "all keystores"), ("certagent status web", "one, with its rollover"),
         ("certagent status --json", "for programs")),
        _LOOK, _names,
    ),
    "plan": Command(
        "cli.plan", "plan", "all coming events, as a table and a timeline",
        "Shows the coming renewals, rollovers and expiries of all keystores, by the rules that the agent uses.",
        (("certagent plan", "two lifetimes"), ("certagent plan --until 2027-12-31", "to that day"),
         ("certagent plan --svg >plan.svg", "as a picture")),
        _LOOK, _plan,
    ),
    "history": Command(
        "cli.history", "history", "what happened: attempts, certificates, hooks",
        "Lists what happened to the keystores, oldest first, including those that are no longer configured.",
        (("certagent history", "of all"), ("certagent history web --json", "of one, one event per line, for programs")),
        _LOOK, _names,
    ),
    "health": Command(
        "cli.health", "health", "one line and an exit code (0, 1, 2, 3) for monitoring",
        "Prints one line and ends with the exit code of a monitoring plugin: 0 OK, 1 WARNING, 2 CRITICAL, 3 "
        "UNKNOWN. Nobody is contacted.",
        (("certagent health", "all keystores"), ("certagent health web", "one")),
        _LOOK, _names,
    ),
    "enroll": Command(
        "cli.renew", "enroll", "the first certificate",
        "Makes a key, asks the CA for the first certificate, puts both in place and runs the hooks. Refuses to replace "
        "a valid identity without --force.",
        (("certagent enroll web", "the first certificate"),
         ("certagent enroll --force web", "again, with the challenge"),
         ("certagent enroll web --into web-token", "move it to another keystore, signed by web")),
        _WORK, _enroll, interrupted=_ONCE_AGAIN,
    ),
    "renew": Command(
        "cli.due", "renew", "renew the certificates that are due",
        "Does what is due: renews, continues open transactions, prepares for the next CA, runs hooks that "
        "are still owed. The agent does the same on its own.",
        (("certagent renew", "everything that is due"), ("certagent renew --dry-run", "what would be done"),
         ("certagent renew --force web", "a successor, due or not"),
         ("certagent renew --compromised web", "a new key, because others know the old one")),
        _WORK, _renew, interrupted=_ONCE_AGAIN,
    ),
    "crl": Command(
        "cli.crl", "crl", "fetch the authorities' CRLs, and put them where consumers read them",
        "Fetches the revocation lists of authorities that have a crl_file, verifies them, puts them where consumers "
        "read them and runs the hooks. The agent does the same on its own.",
        (("certagent crl", "of all, now"), ("certagent crl corp", "of one"), ("certagent crl --due", "where due")),
        _WORK, _crl, interrupted=_UNCHANGED,
    ),
    "recover": Command(
        "cli.recover", "recover", "finish or undo an interrupted swap; local only",
        "Finishes or undoes a swap that a power cut interrupted: local, no network, a fraction of a second. A unit "
        "runs it at boot before the consumers. Silent if there is nothing to do.",
        (("certagent recover", "as the unit runs it"),),
        (CONFIG, JSON, QUIET),
    ),
    "cancel": Command(
        "cli.housekeeping", "cancel", "give up an open transaction",
        "Gives up the open transaction of a keystore, and a rollover in preparation. The certificate in "
        "place stays; what is due starts again.",
        (("certagent cancel web", "shows it, then asks"), ("certagent cancel web --dry-run", "only says it")),
        (CONFIG, JSON), _one, interrupted=_UNCHANGED,
    ),
    "remove": Command(
        "cli.housekeeping", "remove", "remove the records of a keystore that is no longer configured",
        "Removes the state, the history and the previous pair of a keystore that is no longer in the "
        "configuration. The files of its consumer stay.",
        (("certagent remove old-web", "shows it, then asks"), ("certagent remove old-web --yes", "without asking")),
        (CONFIG, JSON), _one, interrupted=_UNCHANGED,
    ),
    "rename": Command(
        "cli.housekeeping", "rename", "give the records of OLD to NEW, which is configured in its place",
        "Once the configuration calls OLD by the name NEW, this gives NEW the state of OLD, including an open "
        "transaction.",
        (("certagent rename web www", "shows it, then asks"),),
        (CONFIG, JSON), _rename, interrupted=_UNCHANGED,
    ),
    "units": Command(
        "cli.units", "units", "systemd's units for this host: where they may write, which devices they may open",
        "Shows a drop-in for certagent's systemd units, made for this configuration: the directories they may write "
        "to, and the devices and groups that tokens need. --install writes it, and the units too where no package "
        "brought them. Run it again after a keystore was added.",
        (("certagent units", "look first"), ("certagent units --install", "write them"),
         ("certagent units --install --user certagent", "to run as a user other than root")),
        (CONFIG,), _units,
    ),
    "schema": Command(
        "cli.schema", "schema", "a JSON Schema of the configuration, for editors",
        "Prints the JSON Schema of agent.yaml and of the files it includes.",
        (("certagent schema >certagent.schema.json", "for `# yaml-language-server: $schema=certagent.schema.json`"),),
    ),
    "man": Command(
        "cli.manual", "man", "the manual pages certagent(1) and agent.yaml(5)",
        "Prints a manual page, made of the same source as --help and the schema, or installs both.",
        (("certagent man | man -l -", "read it"), ("certagent man agent.yaml | man -l -", "the configuration's"),
         ("certagent man --install /usr/local/share/man", "for `man certagent` and `man agent.yaml`")),
        brings=True,
    ),
    "completion": Command(
        "cli.completion", "completion", "completion for bash, zsh and fish",
        "Prints a script that makes a shell complete commands, options and keystore names. The script "
        "asks certagent itself, so an update does not need a new one.",
        (("certagent completion bash >/etc/bash_completion.d/certagent", ""),
         ('certagent completion zsh >"${fpath[1]}/_certagent"', ""),
         ("certagent completion fish >~/.config/fish/completions/certagent.fish", "")),
        brings=True,
    ),
    "scep": Command(
        "cli.scep.command", "run", "SCEP by hand: getcaps, getca, getnextca, enroll, getcert, getcrl",
        "The protocol by hand, without agent.yaml. Takes sscep's place in scripts.",
        (("certagent scep getca --url http://scep.example.net/scep", "the CA, and its fingerprint to compare"),
         ("certagent scep enroll --help", "how to request a certificate")),
        (VERBOSE, QUIET), brings=True,
    ),
    "lab": Command(
        "lab.command", "run", "a SCEP CA on loopback, to try things out",
        "A small SCEP CA to try things with. Not for production: its keys lie in plain files.",
        (("certagent lab", "serve, until Ctrl-C"), ("certagent lab --manual", "requests wait for a person"),
         ("certagent lab approve --all", "approve those that wait")),
        (QUIET,), brings=True,
    ),
    "demo": Command(
        "demo", "run", "lab CA, agent and a TLS service: enrollment, renewals, a rollover, hooks, in a minute",
        "Shows certificates being enrolled, renewed and picked up. No root needed; it ends by itself in a minute.",
        (("certagent demo", "in a temporary directory"), ("certagent demo --dir /tmp/demo", "keep its files there")),
        brings=True,
    ),
}  # fmt: skip


def offered(given: Sequence[str]) -> str:
    """The configured keystores, for a user who named none; empty if they are not known, or too many."""
    from certagent.config.load import load_configuration  # noqa: PLC0415 -- only a wrong command line pays for it

    try:
        names = list(load_configuration(configured_at(given)).keystores)
    except CertagentError:
        return ""
    if len(names) == 1:
        return f"the only keystore is {names[0]}"
    return f"configured: {', '.join(names)}" if 1 < len(names) <= _FEW else ""


def configured_at(given: Sequence[str]) -> Path:
    """The value of -c on a command line that may be wrong elsewhere."""
    path = DEFAULT_CONFIG
    for word, following in zip(given, [*given[1:], ""], strict=True):
        if word in ("-c", "--config") and following:
            path = Path(following)
        elif word.startswith("--config="):
            path = Path(word.partition("=")[2])
    return path
