"""`certagent man`: the manual pages, generated from what they describe: the parser, and the configuration's schema."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from certagent import __version__
from certagent.cli import commands, parser
from certagent.cli.parser import Parser
from certagent.config.key_types import KeyType
from certagent.config.schema import json_schema

Schema = Mapping[str, Any]


def add_arguments(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "page", nargs="?", choices=tuple(PAGES), default="certagent", metavar="PAGE",
        help="certagent or agent.yaml (default: certagent)",
    )  # fmt: skip
    made.add_argument(
        "--install", type=Path, metavar="DIR", help="write both pages below it, e.g. /usr/local/share/man"
    )


def man(arguments: argparse.Namespace) -> int:
    date = _date()
    if arguments.install is None:
        print(PAGES[arguments.page][1](date), end="")
        return 0
    for page, (section, made) in PAGES.items():
        path = arguments.install / f"man{section}" / f"{page}.{section}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(made(date), encoding="utf-8")
        print(path)
    return 0


def _date() -> str:
    """Today, or the date that a reproducible build sets."""
    said = os.environ.get("SOURCE_DATE_EPOCH", "")
    moment = datetime.fromtimestamp(int(said), UTC) if said.isdigit() else datetime.now(UTC)
    return f"{moment:%Y-%m-%d}"


# ── certagent(1) ──────────────────────────────────────────────────────────────────────────────────

_EXIT_CODES = (
    ("0", "done"),
    ("1", "at least one keystore or authority failed"),
    ("2", "usage or configuration"),
    ("3", "waiting: for an approval, for a clock that is right, or for a certificate to become valid"),
    ("130", "stopped by Ctrl-C; a line says what is left and how to continue"),
)
_FILES = (
    (str(commands.DEFAULT_CONFIG), "the configuration, see agent.yaml(5)"),
    ("/etc/certagent/keystores/*.yaml", "a file for each consumer, where the configuration includes them"),
    ("/var/lib/certagent", "what certagent keeps of each keystore and authority"),
)
_ENVIRONMENT = (
    ("NO_COLOR", "if set, no colours in a terminal"),
    ("http_proxy, https_proxy, all_proxy, no_proxy", "the proxy, where an authority names none"),
)


def certagent_1(date: str) -> str:
    """The manual of the commands."""
    top = parser.build((), whole=True)
    lines = [
        _title("CERTAGENT", 1, date, "certagent"),
        ".SH NAME",
        r"certagent \- keeps certificates alive over SCEP",
        ".SH SYNOPSIS",
        ".B certagent",
        *_bare(r"[options] COMMAND [arguments]"),
        ".SH DESCRIPTION",
        *_text(top.description or ""),
        ".SH OPTIONS",
        "These stand before or after the command.",
        *_arguments(top),
        ".SH COMMANDS",
    ]
    for each in _below(top):
        lines += [f".SS {_escaped(each.prog)}", *_command(each)]
    lines += [".SH EXIT STATUS", *_list(_EXIT_CODES)]
    lines += [".PP", *_bare("certagent health has its own: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.")]
    lines += [".SH FILES", *_list(_FILES), ".SH ENVIRONMENT", *_list(_ENVIRONMENT)]
    lines += [".SH EXAMPLES", *_examples(top.epilog or ""), ".SH SEE ALSO", ".BR agent.yaml (5)"]
    return "\n".join(lines) + "\n"


def _below(top: Parser) -> Iterator[Parser]:
    for inside in parser.subparsers(top):
        for each in inside.values():
            yield each
            yield from _below(each)


def _command(each: Parser) -> list[str]:
    usage = " ".join(each.format_usage().removeprefix("usage: ").split())
    return [
        *_bare(usage),
        ".PP",
        *_text(each.description or ""),
        *_arguments(each),
        ".PP",
        *_examples(each.epilog or ""),
    ]


def _arguments(of: Parser) -> list[str]:
    """Options and arguments, except those that all commands have."""
    lines: list[str] = []
    for action in parser.actions(of):
        if action.help == argparse.SUPPRESS or action.dest == "help" or parser.subparsers_of(action):
            continue
        if action.default == argparse.SUPPRESS and action.dest in parser.COMMON:
            continue  # described once for all commands
        value = "" if action.nargs == 0 else f" {_value(action)}"
        name = ", ".join(f"{option}{value}" for option in action.option_strings) or _value(action)
        default = {"default": action.default, "prog": of.prog}
        lines += _item(name, (action.help or "") % default)
    return lines


def _value(action: argparse.Action) -> str:
    return str(action.metavar or "|".join(map(str, action.choices or ())) or action.dest.upper())


# ── agent.yaml(5) ─────────────────────────────────────────────────────────────────────────────────

_ABOUT = """\
The configuration of certagent is YAML: tables of keys and values. Unknown keys, wrong values and names that lead
nowhere are errors, all told at once with file, line, key and what to do; certagent check tells them. The file, and
those it includes, must belong to root or to the user certagent runs as, and be writable by nobody else.

Durations are written 90s, 15m, 6h or 30d, shares 66%. A command is a list of words, never a shell's line:
[systemctl, reload, nginx]."""
_EXAMPLE = """\
authorities:
  corp:
    url: http://scep.example.net/scep
    fingerprint: sha256:8d5c...
    challenge: {file: /etc/certagent/corp.challenge}

keystores:
  web:
    type: pem
    authority: corp
    subject: CN=web.example.net
    san: [dns:web.example.net]
    key_file: /etc/ssl/private/web.key
    certificate_file: /etc/ssl/certs/web.pem
    hooks: {post: [[systemctl, reload, nginx]]}"""
_KEYSTORES = ("PemKeystore", "Pkcs12Keystore", "Pkcs11Keystore")
_SECTIONS = {
    "Configuration": "KEYS OF THE FILE",
    "Authority": "AUTHORITIES",
    "Secret": "SECRETS",
    "PemIntroduction": "INTRODUCTIONS WITH PEM FILES",
    "Pkcs12Introduction": "INTRODUCTIONS WITH A PKCS#12 FILE",
    "TokenIntroduction": "INTRODUCTIONS WITH A TOKEN",
    "Hooks": "HOOKS OF A KEYSTORE",
    "AuthorityHooks": "HOOKS OF AN AUTHORITY",
    "HookCommand": "COMMANDS",
    "Probe": "PROBES",
    "PemKeystore": "PEM KEYSTORES",
    "Pkcs12Keystore": "PKCS#12 KEYSTORES",
    "Pkcs11Keystore": "PKCS#11 KEYSTORES",
    "Snippet": "SNIPPETS",
    "KeystoreDefaults": "DEFAULTS",
    "": "ALL KEYSTORES",
}
_OWN_WORDS = {
    "Configuration": "Included files may have authorities and keystores, too.",
    "": "Keys that keystores of every type have.",
    "KeystoreDefaults": "These values hold for every keystore that does not set its own. The keys are those that all "
    "keystores have, from authority to mode.",
}


def agent_yaml_5(date: str) -> str:
    """The manual of the configuration."""
    definitions: Schema = json_schema()["$defs"]  # type: ignore[assignment]
    lines = [
        _title("AGENT.YAML", 5, date, "certagent"),
        ".SH NAME",
        r"agent.yaml \- the configuration of certagent",
        ".SH DESCRIPTION",
        *_text(_ABOUT),
        ".SH EXAMPLE",
        *_literal(_EXAMPLE),
    ]
    shared = _shared(definitions)
    for name, section in (("Configuration", {}), ("Authority", {}), ("", shared)):
        lines += _section(name, definitions.get(name, {"properties": section}))
    for name in _KEYSTORES:
        own = {key: each for key, each in definitions[name]["properties"].items() if key not in shared}
        lines += _section(name, {**definitions[name], "properties": own})
    lines += _section("KeystoreDefaults", {**definitions["KeystoreDefaults"], "properties": {}})
    for name, found in definitions.items():
        if "properties" in found and name not in ("Configuration", "Authority", "KeystoreDefaults", *_KEYSTORES):
            lines += _section(name, found)
    lines += [".SH FILES", *_list(_FILES[:2]), ".SH SEE ALSO", ".BR certagent (1)"]
    return "\n".join(lines) + "\n"


def _shared(definitions: Schema) -> dict[str, Any]:
    """The keys that every type of keystore has."""
    first, *others = (definitions[name]["properties"] for name in _KEYSTORES)
    return {key: each for key, each in first.items() if all(other.get(key) == each for other in others)}


def _section(name: str, found: Schema) -> list[str]:
    lines = [f".SH {_escaped(_SECTIONS[name])}", *_bare(_OWN_WORDS.get(name) or str(found["description"]))]
    needed = found.get("required", ())
    for key, each in found["properties"].items():
        kind, default = _kind(each), each.get("default")
        words = [kind, *(["required"] if key in needed else [])]
        if default not in (None, "", False):
            words.append(f"default: {default}")
        about = str(each.get("description", ""))
        lines += _item(f"{key}:", f"{about}{' ' if about else ''}({'; '.join(words)})")
    return lines


def _kind(each: Schema) -> str:
    """The type of a value, in words."""
    if "$ref" in each:
        name = str(each["$ref"]).rpartition("/")[2]
        found = f"see {_SECTIONS[name]}" if name in _SECTIONS else " | ".join(map(str, KeyType))
    elif "anyOf" in each:
        found = " or ".join(dict.fromkeys(_kind(one) for one in each["anyOf"] if one.get("type") != "null"))
    elif "enum" in each:
        found = " | ".join(map(str, each["enum"]))
    elif each.get("type") == "array":
        found = f"list of {_kind(each.get('items', {}))}"
    elif "additionalProperties" in each:
        found = f"table of names; {_kind(each['additionalProperties'])}"
    elif "minimum" in each and "maximum" in each:
        found = f"{each['minimum']} to {each['maximum']}"
    else:
        found = {"integer": "number", "boolean": "true or false"}.get(str(each.get("type")), "text")
    return found


# ── man(7) ────────────────────────────────────────────────────────────────────────────────────────


def _title(name: str, section: int, date: str, package: str) -> str:
    """Then the text is ragged: a list of choices has no spaces to stretch."""
    return f'.TH {name} {section} "{date}" "{package} {__version__}"\n.ds AD l\n.ad l'


def _escaped(text: str) -> str:
    """One line of text for roff: its special characters are escaped, and a hyphen can be copied."""
    text = (
        text.replace("\\", r"\e").replace("-", r"\-").replace("`", r"\(ga").replace("'", r"\(aq").replace("^", r"\(ha")
    )
    text = text.replace("~", r"\(ti")
    text = re.sub(r"([|,])(?=\S)", r"\1\\:", text)  # a long list of choices may be broken there
    return rf"\&{text}" if text.startswith(".") else text


def _bare(text: str) -> list[str]:
    """A paragraph, one line per sentence."""
    return [_escaped(line) for line in re.split(r"(?<=[.:;]) +", " ".join(text.split())) if line]


def _text(text: str) -> list[str]:
    lines: list[str] = []
    for paragraph in text.split("\n\n"):
        lines += [*([".PP"] if lines else []), *_bare(paragraph)]
    return lines


def _item(name: str, text: str) -> list[str]:
    return [".TP", f"\\fB{_escaped(name)}\\fR", *_bare(text)]


def _list(pairs: Sequence[tuple[str, str]]) -> list[str]:
    return [line for name, text in pairs for line in _item(name, text)]


def _literal(text: str) -> list[str]:
    return [".nf", ".RS 4", *(_escaped(line) or r"\&" for line in text.splitlines()), ".RE", ".fi"]


def _examples(epilog: str) -> list[str]:
    found = epilog.partition("\n")[2]
    return _literal(re.sub(r"(?m)^  ", "", found.rstrip()))


PAGES = {"certagent": (1, certagent_1), "agent.yaml": (5, agent_yaml_5)}
