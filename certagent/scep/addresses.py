"""The addresses of one authority: if one cannot be reached, or is out of order (HTTP 5xx), the next one is asked.

A refusal (HTTP 4xx, or a signed one) and an answer that cannot be trusted count as the authority's, whichever server
gave them: then no other server is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from certagent.errors import HttpError, TransientError, UnreachableError, longest_wait
from certagent.text import with_hint

if TYPE_CHECKING:
    from certagent.scep.transport import Transport

Answer = TypeVar("Answer")


class Addresses:
    """The addresses in order of preference. The one that answered last is asked first: one server, one conversation.

    An address that could not be reached is not asked again while another one works: a dead address costs its timeout
    once, not with every message. `passed_over` says why others were asked.
    """

    def __init__(self, transports: Sequence[Transport]) -> None:
        self._transports = tuple(transports)
        self._unreachable: set[str] = set()
        self.answered = ""
        self.server = ""  # from its Server header
        self.passed_over: list[TransientError] = []

    def ask(self, exchange: Callable[[Transport], Answer], first: str = "") -> Answer:
        """The first answer; `first` is asked before the others. Raises what `exchange` raises.

        If no address answers, the last HTTP error counts, or the last error: with the others in its hint, and the
        longest wait that any of them asked for.
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
        """How long the server that answered last asked certagent to wait; None if it did not."""
        return next((each.wait for each in self._transports if each.url == self.answered), None)

    def others(self) -> tuple[Transport, ...]:
        """The addresses not heard from yet: neither the unreachable ones, nor the one that answers."""
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
    told.wait = longest_wait(failures)
    return told
