"""Parts that several definitions share: secrets, hooks, the probe.

Pure, like all definitions: nothing here reads a file or a clock. The types are msgspec structs, so the decoder, the
error messages and `certagent schema` are all generated from these lines (docs/decisions/0001).
"""

import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct, field

from certagent.config.values import Argv, Credential, Duration, SecretFile, Variable


class Definition(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base: immutable, by keyword, and strict about unknown keys."""


class Secret(Definition, frozen=True, kw_only=True):
    """Where a secret is read at the moment it is needed: exactly one of file, credential, env or command."""

    file: Annotated[
        SecretFile | None,
        Meta(description="a file that holds the secret; one trailing newline and a byte order mark are dropped"),
    ] = None
    credential: Annotated[Credential | None, Meta(description="a credential of certagent's systemd unit")] = None
    env: Annotated[Variable | None, Meta(description="an environment variable of the certagent process")] = None
    command: Annotated[Argv | None, Meta(description="a command (argv) that prints the secret")] = None

    def __post_init__(self) -> None:
        given = [word for word in ("file", "credential", "env", "command") if getattr(self, word)]
        if len(given) != 1:
            raise ValueError(
                "must have exactly one of file, credential, env and command; write e.g. {file: /etc/certagent/secret}"
            )


class HookCommand(Definition, frozen=True, kw_only=True):
    """One command: an argv, never a shell, and how long it may take."""

    run: Annotated[Argv, Meta(description="the command (argv)")]
    timeout: Annotated[Duration, Meta(description="limit for `run`, and for `only_if`; default 60s")] = field(
        default_factory=lambda: Duration(seconds=60)
    )
    only_if: Annotated[
        Argv | None,
        Meta(description="a command (argv) to run first; if it fails, `run` is not started and counts as failed"),
    ] = None
    once: Annotated[
        bool, Meta(description="run this command once for all keystores that have it, after the last swap")
    ] = False


HookEntry = Argv | HookCommand


def keyed(commands: Iterable[HookCommand]) -> list[tuple[str, HookCommand]]:
    """Each command with a key that does not depend on its place in the list: the digest of what it runs, without time
    limits and the like, and a number if the same command occurs again."""
    found: list[tuple[str, HookCommand]] = []
    seen: Counter[str] = Counter()
    for command in commands:
        key = hashlib.sha256(msgspec.json.encode(command.run)).hexdigest()[:16]
        seen[key] += 1
        found.append((key if seen[key] == 1 else f"{key} {seen[key]}", command))
    return found


_FOR_ONE = ("pre", "failed", "pending", "staged", "expiring")


class Hooks(Definition, frozen=True, kw_only=True):
    """Commands by event; each is an argv, or {run: [..], timeout: 60s, only_if: [..]}."""

    pre: Annotated[tuple[HookEntry, ...], Meta(description="before the swap; a non-zero exit vetoes it")] = ()
    post: Annotated[tuple[HookEntry, ...], Meta(description="after the swap; retried until it succeeds")] = ()
    failed: Annotated[tuple[HookEntry, ...], Meta(description="an attempt failed")] = ()
    pending: Annotated[tuple[HookEntry, ...], Meta(description="somebody at the CA has to approve the request")] = ()
    staged: Annotated[tuple[HookEntry, ...], Meta(description="a shadow is ready (rollover)")] = ()
    ca_changed: Annotated[tuple[HookEntry, ...], Meta(description="ca_file or ca_directory has new content")] = ()
    crl_changed: Annotated[tuple[HookEntry, ...], Meta(description="crl_file has new content")] = ()
    expiring: Annotated[tuple[HookEntry, ...], Meta(description="attempts fail and the certificate expires soon")] = ()

    def __post_init__(self) -> None:
        for event in _FOR_ONE:
            if any(command.once for command in self.commands(event)):
                raise ValueError(f"has once: true under {event}; only post, ca_changed and crl_changed run for several")

    @property
    def once(self) -> tuple[HookCommand, ...]:
        """The commands that run once for all keystores that have them, without duplicates."""
        commands = (*self.commands("ca_changed"), *self.commands("post"))
        return tuple(dict.fromkeys(command for command in commands if command.once))

    def commands(self, event: str) -> tuple[HookCommand, ...]:
        """The commands of one event, each in its full form."""
        return commands(getattr(self, event))


class AuthorityHooks(Definition, frozen=True, kw_only=True):
    """Commands that are run for what belongs to no keystore."""

    crl_changed: Annotated[tuple[HookEntry, ...], Meta(description="crl_file has new content")] = ()


def commands(entries: tuple[HookEntry, ...]) -> tuple[HookCommand, ...]:
    """Each in its full form."""
    return tuple(entry if isinstance(entry, HookCommand) else HookCommand(run=entry) for entry in entries)


Address = Annotated[
    str,
    Meta(
        pattern=r"^(\[[0-9A-Fa-f:.]+\]|[^\s:]+):[0-9]{1,5}$",
        extra={"what": "a host and a port", "hint": 'write e.g. "127.0.0.1:443"', "check": "port"},
    ),
]


class Probe(Definition, frozen=True, kw_only=True):
    """After the post hooks: does the consumer have the new certificate? Exactly one of tls and run."""

    tls: Annotated[Address | None, Meta(description="host:port of a TLS server that should present it")] = None
    starttls: Annotated[
        Literal["smtp", "imap", "postgres"] | None, Meta(description="how its clients start TLS, if not at once")
    ] = None
    server_name: Annotated[str | None, Meta(description="the server name to ask for (SNI)")] = None
    run: Annotated[Argv | None, Meta(description="a command (argv) that exits with 0 once the consumer has it")] = None
    timeout: Annotated[Duration, Meta(description="how long to wait for the new certificate; default 30s")] = field(
        default_factory=lambda: Duration(seconds=30)
    )

    def __post_init__(self) -> None:
        if (self.tls is None) == (self.run is None):
            raise ValueError('must have exactly one of tls and run; write e.g. {tls: "127.0.0.1:443"}')
        if self.run is not None and (self.starttls or self.server_name):
            raise ValueError("has starttls or server_name together with run; they go with tls")

    @property
    def asked(self) -> str:
        """Where it connects: the server's address, or the program."""
        return self.tls or (self.run or ("",))[0]
