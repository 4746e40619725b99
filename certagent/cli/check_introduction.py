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
from certagent.errors import CertagentError
from certagent.hooks import read_secret
from certagent.keystore.introduction import read_introduction, shown_certificate
from certagent.state_directory import StateDirectory
from certagent.text import ends
from certagent.transaction.ladder import CannotIntroduceError, check_introduction


def about_introduction(
    introduction: Introduction | None,
    key: str,
    authority: Authority,
    *,
    state_dir: Path,
    secrets: Secrets,
    now: datetime,
) -> Iterator[Finding]:
    """The factory identity configured at `key`, if one is; nothing is signed with it."""
    if introduction is None:
        return
    what = f"the factory identity in {introduction.place}"
    if secrets.is_lacking(key):
        yield Finding(Mark.WARNING, f"{what} was not looked at", "first correct what it needs, see above")
        return
    for word, secret in introduction.secrets.items():
        yield from secrets.findings(f"{word} of {what}", secret, f"{key}.{word}")
    try:
        certificate = looked_at(introduction, state_dir)
    except CertagentError as error:
        yield Finding(Mark.WRONG, f"{what}: {error}", error.hint)
        return
    if certificate is None:
        yield Finding(Mark.FINE, f"{what} is looked at when it is needed: a command has its password")
        return
    kind = keys.type_of(certificate.public_key())
    who = f"{what}: {facts.subject_text(certificate)}, {kind}, by {facts.name_text(certificate.issuer)}"
    end = certificate.not_valid_after_utc
    if end <= now:
        yield Finding(Mark.WARNING, f"{who}, {ends(end, now)}", "certagent tries it all the same: the CA decides")
    else:
        yield Finding(Mark.FINE, f"{who}, valid {ends(end, now)}; it is only read")
    try:
        check_introduction(kind, authority)
    except CannotIntroduceError as error:
        yield Finding(Mark.WARNING if authority.challenge is not None else Mark.WRONG, str(error), error.hint)


def looked_at(introduction: Introduction, state_dir: Path) -> x509.Certificate | None:
    """Its certificate, whose key was read too; None if only a command could open it. Raises CertagentError."""
    if any(secret.command is not None for secret in introduction.secrets.values()):
        return shown_certificate(introduction)
    return read_introduction(introduction, StateDirectory(state_dir), read_secret).certificate
