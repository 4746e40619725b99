"""The addresses of one authority: where one cannot be reached, or is out of order (HTTP 5xx), the next is asked.

A refusal (HTTP 4xx, or a signed one) and an answer that cannot be believed are the authority's, whichever server gave
them: nobody else is asked then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from certagent.errors import HttpError, TransientError, UnreachableError
from certagent.text import with_hint

if TYPE_CHECKING:
    from certagent.scep.transport import Transport

Answer = TypeVar("Answer")


class Addresses:
    """In order of preference. Who answered last is asked first, so that one server hears a whole conversation.

    Who could not be reached is asked no more as long as somebody else can be: a dead address costs its time once, not
    with every message. `passed_over` says why others were asked.
    """

    def __init__(self, transports: Sequence[Transport]) -> None:
        self._transports = tuple(transports)
        self._unreachable: set[str] = set()
        self.answered = ""
        self.server = ""  # what it says it is, in its Server header
        self.passed_over: list[TransientError] = []

    def ask(self, exchange: Callable[[Transport], Answer], first: str = "") -> Answer:
        """The first answer; `first` is asked before the others. Raises what `exchange` raises.

        Where nobody answers, the last HTTP error counts, or the last error, with the others in its hint.
        """
        failures: list[TransientError] = []
        for transport in self._in_order(first):
            try:
                answer = exchange(transport)
            except UnreachableError as error:
                self._unreachable.add(transport.url)
                failures.append(error)
            except HttpError as error:
                if error.status < 500:
                    raise
                failures.append(error)
            else:
                self.answered, self.server = transport.url, transport.server
                self.passed_over += failures
                return answer
        raise _all_of(failures)

    @property
    def wait(self) -> timedelta | None:
        """How long the one that answered last asked to be left alone; None where it did not."""
        return next((each.wait for each in self._transports if each.url == self.answered), None)

    def others(self) -> tuple[Transport, ...]:
        """Those that were not heard of yet: neither asked and silent, nor the one that answers."""
        heard = {*self._unreachable, self.answered}
        return tuple(each for each in self._transports if each.url not in heard)

    def _in_order(self, first: str) -> list[Transport]:
        alive = [each for each in self._transports if each.url not in self._unreachable] or list(self._transports)
        wanted = (first, self.answered)
        return sorted(alive, key=lambda each: wanted.index(each.url) if each.url in wanted else len(wanted))


def _all_of(failures: Sequence[TransientError]) -> TransientError:
    told = next((each for each in reversed(failures) if isinstance(each, HttpError)), failures[-1])
    others = "; ".join(str(each) for each in failures if each is not told)
    if others:
        told.hint = with_hint(told.hint, f"of its other addresses, {others}")
    return told
