"""Puts CRLs into each consumer's file and runs its hooks `crl_changed`: each separately, until it succeeds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import msgspec

from certagent.config.crl_files import EVENT, CrlFile
from certagent.config.parts import HookCommand, keyed
from certagent.errors import CertagentError, HookError
from certagent.hooks import run_hook, still_owed
from certagent.revocation import freshness
from certagent.revocation.files import Lists, put, signature
from certagent.revocation.memory import Memory, Placed, file_due
from certagent.state import LastError, Track
from certagent.text import iso

Log = Callable[[str], None]


def place(
    memory: Memory, files: Sequence[CrlFile], lists: Lists, run: Run, *, at_once: bool
) -> tuple[Memory, tuple[str, ...]]:
    """Put the lists into each file, and run the hooks owed for it; returns the files that changed. Without lists, puts
    nothing.

    What failed before waits until its retry is due, unless `at_once`.
    """
    if not lists.every:
        return msgspec.structs.replace(memory, files={}), ()
    run.environment["CERTAGENT_NEXT_UPDATE"] = iso(memory.ends) if memory.ends else ""
    after: dict[str, Placed] = {}
    changed: list[str] = []
    for file in files:
        before = memory.files.get(file.path, Placed())
        if before.attempts.failures and not at_once and file_due(before, run.clock()) > run.clock():
            after[file.path] = before
            continue
        try:
            is_new = put(file, lists)
        except CertagentError as error:
            run.log(f"{file.path}: {error}")
            placed = _failed(before, error, run.clock())
        else:
            if is_new:
                changed.append(file.path)
                run.log(f"{file.path}: new CRLs are in place")
            digest = hashlib.sha256(lists.together).hexdigest()
            succeeded = before.succeeded if before.digest == digest and not is_new else ()
            placed = run.hooks(file, Placed(digest=digest, succeeded=succeeded, attempts=before.attempts))
        after[file.path] = msgspec.structs.replace(placed, seen=signature(file))
    return msgspec.structs.replace(memory, files=after), tuple(changed)


class Run(msgspec.Struct, frozen=True):
    """The hooks of one attempt. `once`: those that run once for all files, with their results."""

    clock: Callable[[], datetime]
    log: Log
    environment: dict[str, str]
    once: dict[HookCommand, HookError | None] = msgspec.field(default_factory=dict)

    def hooks(self, file: CrlFile, placed: Placed) -> Placed:
        """Run the hooks that have not succeeded for what is in place now. If one fails, the others still run."""
        told = {
            "CERTAGENT_CRL_FILE": "" if file.apart else file.path,
            "CERTAGENT_CRL_DIRECTORY": file.path if file.apart else "",
            "CERTAGENT_KEYSTORE": file.keystore,
            "CERTAGENT_KEYSTORES": file.keystore,
            "CERTAGENT_ATTEMPT": str(placed.attempts.failures + 1),
        }
        succeeded, failed = list(placed.succeeded), []
        for key, command in keyed(file.hooks):
            if key in succeeded:
                continue
            if not command.once or command not in self.once:
                self.once[command] = self._run(command, told)
            if (error := self.once[command]) is None:
                succeeded.append(key)
            else:
                failed.append(error)
        if not failed:
            return msgspec.structs.replace(placed, succeeded=tuple(succeeded), owes=False, attempts=Track())
        placed = msgspec.structs.replace(placed, succeeded=tuple(succeeded), owes=True)
        self.log(f"{file.path}: {'; '.join(dict.fromkeys(map(str, failed)))}")
        return _failed(placed, still_owed("in place", [(EVENT, error) for error in failed]), self.clock())

    def _run(self, command: HookCommand, told: Mapping[str, str]) -> HookError | None:
        try:
            run_hook(command, {**self.environment, **told}, self.log)
        except HookError as error:
            return error
        self.log(f"{EVENT} hook {command.run[0]} succeeded")
        return None


def _failed(before: Placed, error: CertagentError, now: datetime) -> Placed:
    failures = before.attempts.failures + 1
    attempts = Track(failures=failures, last_error=LastError.of(error, now), wait=error.wait)
    retry_at = freshness.pause(attempts.past, (), now)
    return msgspec.structs.replace(before, attempts=msgspec.structs.replace(attempts, retry_at=retry_at))
