"""The ways back to a certificate, told before one is needed: for `status`, `plan` and `check`."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime

from certagent.config.introduction import Introduction
from certagent.errors import CertagentError
from certagent.status.snapshot import Snapshot
from certagent.text import date
from certagent.transaction.ladder import Rung


def is_needed(it: Snapshot, now: datetime) -> bool:
    """Whether there is no valid certificate."""
    lifetime = it.certificate.lifetime if it.certificate else None
    return lifetime is None or lifetime.not_after <= now


def ladders(taken: Iterable[Snapshot], now: datetime) -> dict[str, list[str]]:
    """A line for each ladder that is needed, or has a factory identity in it; and the keystores that share it."""
    found: dict[str, list[str]] = {}
    ends: dict[Introduction | None, datetime | None] = {None: None}  # many keystores share one
    for each in taken:
        introduction = each.introduction
        if each.ways and (introduction is not None or (is_needed(each, now) and each.certificate is not None)):
            if introduction is not None and introduction not in ends:
                ends[introduction] = _end(introduction)
            found.setdefault(_line(each, ends[introduction], now), []).append(each.name)
    return found


def _end(introduction: Introduction) -> datetime | None:
    """When the factory identity ends; None if that cannot be read without a secret."""
    from certagent.keystore.introduction import shown_certificate  # noqa: PLC0415 -- no cryptography without one

    with suppress(CertagentError):  # whoever needs it gets the error
        if (certificate := shown_certificate(introduction)) is not None:
            return certificate.not_valid_after_utc
    return None


def _line(it: Snapshot, end: datetime | None, now: datetime) -> str:
    *others, _ = [_words(rung, end, now) for rung in it.ways]
    if it.certificate is None:
        begin = "for its first certificate"
    else:
        begin = "back to a certificate" if is_needed(it, now) else "should its certificate expire"
    return f"{begin}: {'; then '.join([*others, 'a person has to help'])}"


def _words(rung: Rung, end: datetime | None, now: datetime) -> str:
    if rung is Rung.CERTIFICATE:
        return f"{rung.words}, if the CA still renews it"
    if rung is Rung.INTRODUCTION and end is not None:
        return f"{rung.words} (which {'expired' if end <= now else 'expires'} {date(end, now)})"
    return rung.words
