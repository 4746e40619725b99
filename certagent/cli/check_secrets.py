"""`certagent check`: secrets that cannot be read, and secrets that too many people can read."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from certagent.cli.terminal import Finding, Mark
from certagent.config.configuration import Configuration
from certagent.config.parts import Secret
from certagent.config.programs import own_path_fault
from certagent.errors import CertagentError
from certagent.hooks import read_secret


class Secrets(Struct, frozen=True):
    """`lacking`: lines about files, variables and programs that the host lacks; they are not repeated.

    `readers`: groups that need to read secrets: root's, and those of the user that certagent runs as.
    """

    lacking: Sequence[str]
    readers: frozenset[int]

    @classmethod
    def on_this_host(cls, configuration: Configuration, lacking: Sequence[str]) -> Secrets:
        readers = {0, os.getegid(), *os.getgroups()}
        with suppress(OSError, KeyError):  # not made yet; a user without a name
            state = os.stat(configuration.state_dir)
            readers |= {state.st_gid, pwd.getpwuid(state.st_uid).pw_gid}
        return cls(lacking, frozenset(readers))

    def is_lacking(self, key: str) -> bool:
        """Whether the host lacks what is configured at or below this key."""
        return any(f": {key}{mark}" in line for line in self.lacking for mark in (":", ".", "["))

    def findings(self, what: str, secret: Secret | None, key: str, *, group: str | None = None) -> Iterator[Finding]:
        """About one secret, configured at `key`. `group`: that of its keystore's files, which may need it too.

        A command is not run: it may use up a one-time password.
        """
        if secret is None or self.is_lacking(key):
            return
        if secret.command is not None:
            if fault := own_path_fault(secret.command[0]):
                yield Finding(Mark.WARNING, *fault)
            return
        try:
            text = read_secret(secret).decode()
        except CertagentError as error:
            yield Finding(Mark.WRONG, f"{what}: {error}", error.hint)
            return
        except UnicodeDecodeError:
            yield Finding(Mark.WRONG, f"{what} is not text", "use a password in UTF-8")
            return
        if text != text.strip():
            hint = "it is used as it is; if the space is not meant, remove it"
            yield Finding(Mark.WARNING, f"{what} begins or ends with a space", hint)
        if secret.file is not None:
            yield from self._readable(Path(secret.file), group)

    def _readable(self, file: Path, group: str | None) -> Iterator[Finding]:
        status = file.stat()
        if not status.st_mode & 0o060 or status.st_gid in self.readers or status.st_gid == _number(group):
            return
        what = "read" if status.st_mode & 0o040 else "change"
        mode = f"mode {status.st_mode & 0o777:04o}"
        hint = f"run chmod g= {file}, unless that group needs the secret"
        yield Finding(Mark.WARNING, f"group {_name(status.st_gid)} can {what} the secret in {file} ({mode})", hint)


def _number(group: str | None) -> int | None:
    with suppress(KeyError, ValueError):
        return None if group is None else int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    return None


def _name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
