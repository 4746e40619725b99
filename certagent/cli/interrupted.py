"""What Ctrl-C leaves of a keystore that was being worked on, and how to go on: read from its journals."""

from __future__ import annotations

from certagent.errors import CertagentError
from certagent.transaction.context import Context
from certagent.transaction.journal import Phase
from certagent.transaction.report import Outcome, Result

_LEFT = {
    Phase.STARTED: "nothing was sent yet",
    Phase.REQUESTED: "{authority} may have received the request; certagent keeps it",
    Phase.PENDING: "the request is pending at {authority}",
    Phase.ISSUED: "the new certificate has arrived, but is not in place yet",
    Phase.ACTIVATED: "the new pair is in place, but hooks still have to run",
    Phase.REVERTED: "the old pair is back in place, but hooks still have to run",
}


def outcome(context: Context) -> Outcome:
    """The report of the keystore that an interrupted command was working on. Reads only the journals."""
    name = context.configured.name
    for journal in (context.journal, context.configured.rollover):
        try:
            transaction = journal.open()
        except CertagentError as error:
            return Outcome(name, Result.STOPPED, message=f"interrupted; {error}", hint=error.hint)
        if transaction is not None and transaction.phase in _LEFT:
            left = _LEFT[transaction.phase].format(authority=transaction.authority)
            again = f"`certagent renew {name}` goes on with the {transaction.kind}, and so does the agent"
            return Outcome(name, Result.STOPPED, message=f"interrupted; {left}", hint=again)
    return Outcome(name, Result.STOPPED, message="interrupted", hint="nothing is in progress")
