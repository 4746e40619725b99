"""How others learn what happens to a keystore: a line in its history, and the hooks of the event."""

from __future__ import annotations

from cryptography import x509

from certagent import certificate as facts
from certagent import state
from certagent.config.parts import HookCommand
from certagent.errors import CertagentError, StateError
from certagent.hooks import run_hook
from certagent.text import iso
from certagent.transaction.configured import certificate_in_place
from certagent.transaction.context import Context
from certagent.transaction.journal import Phase, Transaction


def record(context: Context, event: str, transaction: Transaction | None = None, message: str = "") -> None:
    """Add a line to the history."""
    line = state.Event(at=context.clock(), event=event, message=message)
    if transaction is not None:
        line = state.Event(
            at=line.at,
            event=event,
            message=message,
            transaction=transaction.id,
            kind=transaction.kind.value,
            serial=transaction.serial,
            not_after=transaction.not_after,
        )
    try:
        state.append_history(context.configured.directory, line)
    except (StateError, OSError) as error:  # a failure to record never stops the work
        context.log(f"{event!r} cannot be added to the history: {error}")


def ask_pre_hooks(context: Context, transaction: Transaction) -> None:
    """Run the commands of `pre` in order. Raises HookError at the first that fails, which vetoes the swap."""
    commands = context.configured.definition.hooks.commands("pre")
    environment = hook_environment(context, transaction) if commands else {}
    for command in commands:
        _run(context, "pre", command, environment)


def notify(context: Context, event: str, transaction: Transaction | None, attempt: int = 1) -> None:
    """Run hooks that only inform: a failure is logged, and the other hooks still run."""
    for command in context.configured.definition.hooks.commands(event):
        try:
            _run(context, event, command, hook_environment(context, transaction, attempt))
        except CertagentError as error:
            context.log(f"{event} hook: {error}")


def _run(context: Context, event: str, command: HookCommand, environment: dict[str, str]) -> None:
    context.say(f"running {event} hook {command.run[0]}")
    run_hook(command, {**environment, "CERTAGENT_EVENT": event}, context.log)


def hook_environment(context: Context, transaction: Transaction | None, attempt: int = 1) -> dict[str, str]:
    """The environment variables for hooks (docs/hooks.md). Nothing secret."""
    configured = context.configured
    paths = configured.definition.hook_paths
    certificate = _certificate(context, transaction)
    return {
        "CERTAGENT_KEYSTORE": configured.name,
        "CERTAGENT_KEYSTORES": configured.name,
        "CERTAGENT_KIND": transaction.kind.value if transaction else "",
        "CERTAGENT_KEY_FILE": paths["key"],
        "CERTAGENT_CERTIFICATE_FILE": paths["certificate"],
        "CERTAGENT_CHAIN_FILE": paths["chain"],
        "CERTAGENT_CA_FILE": paths["ca"],
        "CERTAGENT_CA_DIRECTORY": configured.definition.ca_directory or "",
        "CERTAGENT_SERIAL": facts.serial_hex(certificate) if certificate else "",
        "CERTAGENT_OLD_SERIAL": transaction.old_serial if transaction else "",
        "CERTAGENT_NOT_AFTER": iso(certificate.not_valid_after_utc) if certificate else "",
        "CERTAGENT_SUBJECT": facts.subject_text(certificate) if certificate else configured.definition.subject or "",
        "CERTAGENT_ATTEMPT": str(attempt),
    }


def _certificate(context: Context, transaction: Transaction | None) -> x509.Certificate | None:
    """The successor once it is issued, for `pre` decides about it; otherwise, or after a revert, the one in place."""
    if transaction is not None and transaction.certificate and transaction.phase is not Phase.REVERTED:
        return facts.load_der(transaction.certificate)
    return certificate_in_place(context.configured.keystore)
