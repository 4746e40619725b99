"""Adjust files that are not as the definition says, though the certificate is: changed options, a lost file."""

from __future__ import annotations

import secrets

from certagent.certificate import serial_hex, to_der
from certagent.policy import Arrival
from certagent.transaction import activation, hours
from certagent.transaction.configured import certificate_in_place
from certagent.transaction.context import Context
from certagent.transaction.journal import Kind, Phase
from certagent.transaction.seen import is_arrival_of


def adjust(context: Context, arrival: Arrival | None) -> bool:
    """Bring the files in line with the definition, in its own transaction; whether it did.

    Only while no other transaction is open: its swap would do it. What another program put in place is left as it is
    until its renewal. Raises KeystoreError, HookError.
    """
    keystore = context.configured.keystore
    certificate = certificate_in_place(keystore)
    if certificate is None or context.journal.open() is not None:
        return False
    name = secrets.token_hex(16)
    placed = arrival is not None and is_arrival_of(certificate, arrival)
    plan = keystore.plan_adjustment(name, context.trusted(), placed=placed)
    if plan is None:
        return False
    transaction = context.begin(Kind.ADJUSTMENT, Phase.ISSUED, name).at(
        Phase.ISSUED,
        certificate=to_der(certificate),
        serial=serial_hex(certificate),
        not_after=certificate.not_valid_after_utc,
    )
    if hours.put_off(context, transaction):
        return False
    files = ", ".join(str(file.target) for file in plan.files)
    context.log(f"updating {files} to the changed configuration")
    activation.conclude(context, activation.replace_files(context, context.journal.write_early(transaction), plan))
    return True
