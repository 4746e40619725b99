"""What a CA means when it sends no certificate, in whatever form, and what follows from it. Pure.

Some CAs sign their refusal, others answer HTTP 400, 403 or 500, drop the connection, or show a web page. A clear
refusal ends the transaction; an answer that may be a refusal or bad luck counts once it has come twice.
"""

from __future__ import annotations

from enum import Enum, auto

from certagent.errors import OUT_OF_ORDER, CertagentError, HttpError, RejectedError
from certagent.scep import FailInfo, MessageType
from certagent.transaction.journal import Phase, Transaction

# After this many requests in a row without an answer, the silence counts as a refusal.
PATIENCE = 2
_NOT_IMPLEMENTED = 501  # the server does not know how, and never will
_OF_THE_TYPE = (FailInfo.BAD_REQUEST.word, FailInfo.BAD_MESSAGE_CHECK.word)


class Way(Enum):
    """What to do after an answer without a certificate."""

    LATER = auto()  # wait for the pause after a failure, then the same again
    PLAIN = auto()  # now, as PKCSReq signed by the old certificate, instead of RenewalReq
    REQUEST = auto()  # now and from now on, the request itself instead of a poll
    END = auto()  # close the transaction: the next request is a new one


def is_refusal(error: CertagentError) -> bool:
    """Whether the CA said no, in a signed answer or by an HTTP status."""
    if isinstance(error, HttpError):
        return (400 <= error.status < 500 and error.status not in OUT_OF_ORDER) or error.status == _NOT_IMPLEMENTED
    return isinstance(error, RejectedError)


def rejected(error: CertagentError) -> RejectedError:
    """The error as a RejectedError, because it counts as a refusal."""
    if isinstance(error, RejectedError):
        return error
    refusal = RejectedError(str(error), error.hint)
    refusal.wait = error.wait
    return refusal


def way(transaction: Transaction, error: CertagentError, *, may_enroll: bool) -> Way:
    """What follows from an answer to the request, or to a poll for it. `transaction.unheard` counts those before.

    `may_enroll`: another rung of the ladder (ladder.py) may get a certificate.
    """
    refused, again = is_refusal(error), transaction.unheard + 1 >= PATIENCE
    waits = transaction.phase is Phase.PENDING
    if waits and not transaction.polls_in_vain:
        no_poll = isinstance(error, HttpError) and error.status not in OUT_OF_ORDER
        return Way.REQUEST if refused or no_poll or again else Way.LATER
    may_be_the_type = _may_mean_the_type(error) if refused else again
    if may_be_the_type and not waits and transaction.message_type == MessageType.RENEWAL_REQ:
        return Way.PLAIN
    # A person may be about to decide, or another way costs a challenge: only the CA's own word ends that at once.
    # Anybody on the path can say HTTP 400.
    if (waits or may_enroll) and not again:
        refused = isinstance(error, RejectedError)
    return Way.END if refused or (may_enroll and again) else Way.LATER


def _may_mean_the_type(error: CertagentError) -> bool:
    """Whether a refusal may be about the message type; HTTP does not say."""
    return not isinstance(error, RejectedError) or error.fail_info in _OF_THE_TYPE
