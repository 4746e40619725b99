"""A state directory that came from another host: an image of a running host, or a backup restored elsewhere.

What the other host began belongs to it, and is given up here. The certificate in place stays, because a service needs
it; until it is replaced, certagent reports that the other host may use the same key.
"""

from __future__ import annotations

import hashlib

import msgspec
from cryptography import x509

from certagent import keys
from certagent.host import Host
from certagent.state import State
from certagent.transaction import events
from certagent.transaction.configured import ConfiguredKeystore, certificate_in_place
from certagent.transaction.context import Context
from certagent.transaction.journal import NOT_ISSUED, Phase, Transaction

SHARED = "the key in place came with a copy of another host's state directory, so that host may use it too"


def was_copied(transaction: Transaction, host: Host) -> str:
    """Why a transaction begun on another host is not put in place here; empty if it was begun here, or nobody knows.

    What is in place already is finished: its hooks are for the services of this host.
    """
    begun_here = transaction.host is None or transaction.host.may_be(host)
    if begun_here or transaction.phase not in (*NOT_ISSUED, Phase.ISSUED):
        return ""
    return "it was started on another host, and this state directory is a copy"


def recognised(context: Context, before: State) -> State:
    """The memory, now as this host's; if it was another host's, certagent reports that the two share a key."""
    here = context.host
    if before.host is None or before.host.may_be(here):
        return before if here == Host() else msgspec.structs.replace(before, host=here)
    certificate = certificate_in_place(context.configured.keystore)
    if certificate is not None:
        context.log(f"{SHARED}; if it still runs, {remedy(context.configured)}")
        events.record(context, "copied", message=SHARED)
    return msgspec.structs.replace(before, host=here, shared_key=_digest(certificate))


def is_shared(before: State, certificate: x509.Certificate | None) -> bool:
    """Whether another host may use the key of this certificate."""
    return before.shared_key != "" and before.shared_key == _digest(certificate)


def remedy(configured: ConfiguredKeystore) -> str:
    """How this host gets its own key."""
    command = "enroll" if configured.definition.rekey == "never" else "renew"
    return f"`certagent {command} --force {configured.name}` makes a key that only this host has"


def _digest(certificate: x509.Certificate | None) -> str:
    return "" if certificate is None else hashlib.sha256(keys.public_bytes(certificate.public_key())).hexdigest()
