"""`certagent init`: a first agent.yaml, from questions at a terminal, or from options alone.

First everything is asked and compared; then all files are written, one after the other, or none; then `check` runs.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_args

from msgspec import Struct
from msgspec.structs import replace

from certagent import durable, interrupt, shipped
from certagent.cli.check import look
from certagent.cli.check_report import Shown
from certagent.cli.init import asking, ca, texts
from certagent.cli.init.answers import KINDS, Answers, alternative_name, fault, in_directory
from certagent.config.meant import did_you_mean
from certagent.config.values import Fingerprint, Weak
from certagent.errors import CertagentError, ConfigError

_PRIVATE = durable.Ownership(0o600)
_PLAIN_NAME = "web"
_READABLE = durable.Ownership(0o640)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--url", help="the SCEP address of the CA")
    add("--fingerprint", metavar="FP", help="of the CA: sha256:…, from whoever runs it; never taken from the network")
    add("--for", dest="consumer", metavar="CONSUMER", choices=tuple(_consumers()),
        help="who uses the certificate: nginx, haproxy …; pem: two files")  # fmt: skip
    add("--name", action="append", metavar="NAME", help="that clients use, e.g. web.example.net (repeatable)")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--challenge-file", metavar="FILE", help="holds the challenge password")
    how.add_argument("--challenge-command", metavar="COMMAND", help="prints it; words in quotes")
    how.add_argument("--no-challenge", action="store_true", help="the CA does not need one")
    add("--subject", help="e.g. CN=web.example.net,O=Example (default: CN= and the first name)")
    add("--authority", metavar="WORD", default="corp", help="what the CA is called here (default: %(default)s)")
    add("--ca-identifier", metavar="WORD", help="if the CA asks for one (EJBCA: the name of the CA)")
    add("--proxy", metavar="URL", help="an HTTP proxy (default: the environment's)")
    add("--accept", action="append", default=[], choices=get_args(Weak), help="a weak algorithm (repeatable)")
    add("--key-file", metavar="FILE", help="with --for pem (default: as in the example)")
    add("--certificate-file", metavar="FILE", help="with --for pem (default: as in the example)")
    add("--state-dir", metavar="DIR", help="where certagent keeps its state (default: /var/lib/certagent)")
    add("--force", action="store_true", help="overwrite existing files")


def _consumers() -> dict[str, str]:
    """The consumers with a shipped definition, with its text; and `pem`, whose text is the example's."""
    try:
        found = {each.stem: each.read_text("utf-8") for each in sorted(shipped.directory("keystores").glob("*.yaml"))}
        return {texts.PLAIN: shipped.example().read_text("utf-8"), **found}
    except (ConfigError, OSError):  # reported when `init` runs
        return {}


def init(arguments: argparse.Namespace) -> int:
    """The exit code of `check`. Raises ConfigError, TransientError, TrustError; then nothing was written."""
    consumers = _consumers()
    if not consumers:
        shipped.directory("keystores")
        shipped.example().read_text("utf-8")
    _check_options(arguments)
    at_a_terminal = sys.stdin.isatty()
    if not at_a_terminal:
        _check_complete(arguments)
    _check_free(arguments, arguments.config)
    url, pin = _authority(arguments, ask=at_a_terminal)
    answers = _answers(arguments, url, pin, consumers)
    name = _PLAIN_NAME if answers.consumer == texts.PLAIN else texts.name_of(consumers[answers.consumer])
    files = _files(arguments.config, answers, consumers[answers.consumer], name)
    for path in files:
        _check_free(arguments, path)
    try:
        _write(files)
        print()
        for path in files:
            print(f"wrote {path}")
        code = look(arguments.config, [], Shown(quiet=False), debug=arguments.debug)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the files are written; `certagent check` looks at them") from None
    _tell_next(arguments, name, code)
    return code


def _check_options(arguments: argparse.Namespace) -> None:
    """Report all options that have a fault, at once. Raises ConfigError."""
    given = {kind: [value] for kind in KINDS if isinstance(value := getattr(arguments, kind, None), str)}
    given["name"] = [alternative_name(each) for each in arguments.name or ()]
    faults = [
        f"--{kind.replace('_', '-')} {value}: {told}"
        for kind, values in given.items()
        for value in values
        if (told := fault(kind, value))
    ]
    if arguments.challenge_command and (told := _command_fault(arguments.challenge_command)):
        faults.append(f"--challenge-command {arguments.challenge_command}: {told}")
    if arguments.consumer != texts.PLAIN and (arguments.key_file or arguments.certificate_file) and arguments.consumer:
        faults.append(f"--key-file and --certificate-file are for --for {texts.PLAIN}; change the file that is written")
    if faults:
        raise ConfigError(faults[0], problems=tuple(faults))


def _check_complete(arguments: argparse.Namespace) -> None:
    """Without a terminal nobody can be asked. Raises ConfigError that names everything that is missing."""
    needed = {"--url": arguments.url, "--fingerprint": arguments.fingerprint, "--for": arguments.consumer}
    missing = [option for option, value in {**needed, "--name": arguments.name}.items() if not value]
    if not (arguments.challenge_file or arguments.challenge_command or arguments.no_challenge):
        missing.append("one of --challenge-file, --challenge-command and --no-challenge")
    if missing:
        raise ConfigError(
            f"this is not a terminal, and these options are missing: {', '.join(missing)}",
            "add them, or run it in a terminal",
        )


def _check_free(arguments: argparse.Namespace, path: Path) -> None:
    if path.exists() and not arguments.force:
        hint = "to add a keystore, put a file beside those in keystores/; --force overwrites everything"
        raise ConfigError(f"{path} is there already, and was left as it is", hint)


def _authority(arguments: argparse.Namespace, *, ask: bool) -> tuple[str, Fingerprint]:
    """The URL, and the fingerprint of the CA that answers there. Asks again for a typed address that fails."""
    while True:
        url = arguments.url or asking.ask("URL of the CA's SCEP service", lambda text: fault("url", text))
        try:
            certificates = ca.offered(url, arguments)
        except CertagentError as error:
            if arguments.url or not ask:
                raise
            print(f"  {error}\n  {error.hint}")
            continue
        ca.show(certificates)
        pin = Fingerprint.parse(arguments.fingerprint) if arguments.fingerprint else ca.compared(certificates)
        return url, ca.believed(certificates, pin, arguments.accept)


def _answers(arguments: argparse.Namespace, url: str, pin: Fingerprint, consumers: Mapping[str, str]) -> Answers:
    """The options given, and the answers to the remaining questions."""

    def unknown(word: str) -> str:
        return "" if word in consumers else did_you_mean(word, consumers)

    about = [(word, "two files, key and certificate" if word == texts.PLAIN else texts.about(text))
             for word, text in consumers.items()]  # fmt: skip
    consumer = arguments.consumer or asking.choose("Who uses the certificate?", about, unknown, default=texts.PLAIN)
    typed = arguments.name or [
        asking.ask("Name that clients use, e.g. web.example.net", lambda text: fault("name", alternative_name(text)))
    ]
    answers = Answers(
        url=url,
        fingerprint=pin,
        consumer=consumer,
        names=tuple(map(alternative_name, typed)),
        subject=arguments.subject or "",
        authority=arguments.authority,
        ca_identifier=arguments.ca_identifier or "",
        proxy=arguments.proxy or "",
        accept=tuple(arguments.accept),
        key_file=arguments.key_file or "",
        certificate_file=arguments.certificate_file or "",
        state_dir=str(Path(arguments.state_dir).absolute()) if arguments.state_dir else "",
    )
    return _with_challenge(arguments, answers)


_WAYS = (
    ("type", "I type it now; it is kept in a file that only root reads"),
    ("file", "it is in a file"),
    ("command", "a command prints it"),
    ("none", "the CA does not need one"),
)


def _with_challenge(arguments: argparse.Namespace, answers: Answers) -> Answers:
    file, command = arguments.challenge_file, arguments.challenge_command
    if not (file or command or arguments.no_challenge):
        words = [word for word, _ in _WAYS]
        way = asking.choose(
            "Where is the challenge password?", _WAYS, lambda word: "" if word in words else did_you_mean(word, words),
            default="type",
        )  # fmt: skip
        if way == "type":
            return _typed(answers, arguments.config)
        if way == "file":
            file = asking.ask("  the file", _challenge_fault)
        if way == "command":
            command = asking.ask("  the command", _command_fault)
    if command:
        return replace(answers, challenge=f"{{command: {json.dumps(shlex.split(command))}}}")
    return replace(answers, challenge=f"{{file: {json.dumps(file)}}}") if file else answers


def _challenge_fault(text: str) -> str:
    told = fault("challenge_file", text)
    return told or ("" if Path(text).is_file() else "there is no such file; create it first, or correct the path")


def _command_fault(text: str) -> str:
    try:
        return "" if shlex.split(text) else "names no program; write it and its arguments"
    except ValueError:
        return "has a quote that is not closed; close it, or put a backslash before it"


def _typed(answers: Answers, config: Path) -> Answers:
    secret = asking.secret("  the challenge password (not shown)")
    if not secret:
        return answers
    file = in_directory(config, f"{answers.authority}.challenge")
    return replace(answers, challenge=f"{{file: {json.dumps(file)}}}", secret=secret)


# ── files ─────────────────────────────────────────────────────────────────────────────────────────


class _File(Struct, frozen=True):
    content: str
    ownership: durable.Ownership


def _files(config: Path, answers: Answers, definition: str, name: str) -> dict[Path, _File]:
    """The files to write, agent.yaml last: only with it does the configuration exist."""
    here = config.absolute().parent
    text = texts.keystore(definition, answers, name).replace("/etc/certagent/", f"{here}/")
    files = {}
    if answers.secret:
        files[here / f"{answers.authority}.challenge"] = _File(f"{answers.secret}\n", _PRIVATE)
    for each in _templates(definition):
        files[here / "keystores" / each.name] = _File(each.read_text("utf-8"), _READABLE)
    files[here / "keystores" / f"{name}.yaml"] = _File(text, _READABLE)
    files[config.absolute()] = _File(texts.agent_yaml(shipped.example().read_text("utf-8"), answers), _READABLE)
    return files


def _templates(definition: str) -> Iterator[Path]:
    """The shipped templates that a definition reads from its own directory."""
    for each in sorted(shipped.directory("keystores").iterdir()):
        if each.suffix != ".yaml" and f"/etc/certagent/keystores/{each.name}" in definition:
            yield each


def _write(files: Mapping[Path, _File]) -> None:
    """Write all files, or leave none that was not there before. Raises ConfigError."""
    new = [path for path in files if not path.exists()]
    try:
        with interrupt.held():
            for path, file in files.items():
                durable.make_directory(path.parent, 0o755)
                durable.write(path, file.content.encode(), file.ownership)
    except OSError as error:
        for path in new:
            durable.remove(path)
        hint = "run it as root, or name another file with -c"
        raise ConfigError(f"{error.filename} cannot be written: {error.strerror}", hint) from None


def _tell_next(arguments: argparse.Namespace, name: str, code: int) -> None:
    config = f" -c {shlex.quote(str(arguments.config))}" if str(arguments.config) != "/etc/certagent/agent.yaml" else ""
    if code:
        print(f"\nFix what is marked, then: certagent{config} check")
    print(f"\nnext: certagent{config} enroll {name}")
