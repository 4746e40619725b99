"""`certagent check` for a factory identity: whether it can be read, and whether it can introduce a device here."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from cryptography import x509

from certagent import certificate as facts
from certagent import keys
from certagent.cli.check_secrets import Secrets
from certagent.cli.terminal import Finding, Mark
from certagent.config.authority import Authority
from certagent.config.introduction import Introduction
from certagent.errors import CertagentError, once
from certagent.hooks import read_secret
from certagent.keystore.introduction import read_introduction, shown_certificate
from certagent.state_directory import StateDirectory
from certagent.text import ends
from certagent.transaction.configured import ConfiguredKeystore
from certagent.transaction.ladder import CannotIntroduceError, check_introduction


class Introductions:
    """The factory identities of a configuration. Each is read once, for many keystores share one."""

    def __init__(self, state_dir: Path, secrets: Secrets, now: datetime) -> None:
        self._state = StateDirectory(state_dir)
        self._secrets = secrets
        self._now = now
        self._seen: dict[Introduction, x509.Certificate | CertagentError | None] = {}

    def findings(self, introduction: Introduction | None, key: str, authority: Authority) -> Iterator[Finding]:
        """About the factory identity configured at `key`, if one is; nothing is signed with it."""
        if introduction is None:
            return
        what = f"the factory identity in {introduction.place}"
        if self._secrets.is_lacking(key):
            yield Finding(Mark.WARNING, f"{what} was not looked at", "first correct what it needs, see above")
            return
        for word, secret in introduction.secrets.items():
            yield from self._secrets.findings(f"{word} of {what}", secret, f"{key}.{word}")
        try:
            certificate = self._certificate(introduction)
        except CertagentError as error:
            yield Finding(Mark.WRONG, f"{what}: {error}", error.hint)
            return
        if certificate is None:
            yield Finding(Mark.FINE, f"{what} is looked at when it is needed: a command has its password")
            return
        kind = keys.type_of(certificate.public_key())
        who = f"{what}: {facts.subject_text(certificate)}, {kind}, by {facts.name_text(certificate.issuer)}"
        end = certificate.not_valid_after_utc
        if end <= self._now:
            told = f"{who}, {ends(end, self._now)}"
            yield Finding(Mark.WARNING, told, "certagent tries it all the same: the CA decides")
        else:
            yield Finding(Mark.FINE, f"{who}, valid {ends(end, self._now)}; it is only read")
        try:
            check_introduction(kind, authority)
        except CannotIntroduceError as error:
            yield Finding(Mark.WARNING if authority.challenge is not None else Mark.WRONG, str(error), error.hint)

    def introducing(self, configured: ConfiguredKeystore) -> x509.Certificate | None:
        """The factory certificate that can introduce a keystore; None without one. Its faults are told elsewhere."""
        if configured.introduction is None:
            return None
        try:
            found = self._certificate(configured.introduction)
            if found is not None:
                check_introduction(keys.type_of(found.public_key()), configured.authority)
        except CertagentError:
            return None
        return found

    def _certificate(self, introduction: Introduction) -> x509.Certificate | None:
        """Its certificate, whose key was read too; None if only a command could open it. Raises CertagentError."""
        return once(self._seen, introduction, lambda: self._look(introduction))

    def _look(self, introduction: Introduction) -> x509.Certificate | None:
        if any(secret.command is not None for secret in introduction.secrets.values()):
            return shown_certificate(introduction)
        return read_introduction(introduction, self._state, read_secret).certificate
