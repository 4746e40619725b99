"""The network between a device and its CA: answers get lost, are repeated, damaged, or are an error page."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

from certagent.errors import TransientError
from certagent.lab import Call, LabCA
from certagent.scep.transport import Answer, Transport

# Of a hundred exchanges: so many go wrong in each way.
_UNREACHABLE, _LOST, _ERROR_PAGE, _FLIPPED, _REPEATED = 4, 4, 2, 3, 2


class Network:
    """What one device's requests meet. `is_down` is asked at each exchange; `counts` says what happened."""

    def __init__(self, ca: LabCA, dice: random.Random, is_down: Callable[[], bool]) -> None:
        self.counts: Counter[str] = Counter()
        self._ca = ca
        self._dice = dice
        self._is_down = is_down
        self._before: dict[str, Answer] = {}

    def exchange(self, call: Call) -> Answer:
        fate = self._dice.random() * 100
        if self._is_down() or (fate := fate - _UNREACHABLE) < 0:
            self.counts["unreachable"] += 1
            raise TransientError("the CA cannot be reached", "simulated")
        answered = self._ca.respond_http(call)
        answer = Answer(answered.status, answered.body)
        if (fate := fate - _LOST) < 0:
            self.counts["lost"] += 1
            raise TransientError("the answer was lost", "simulated")
        if (fate := fate - _ERROR_PAGE) < 0:
            self.counts["error page"] += 1
            return Answer(500, b"<html>out of order</html>")
        if (fate := fate - _FLIPPED) < 0 and answer.body:
            self.counts["flipped"] += 1
            return Answer(answer.status, self._flipped(answer.body))
        before, self._before[call.operation] = self._before.get(call.operation), answer
        if (fate := fate - _REPEATED) < 0 and before is not None:
            self.counts["repeated"] += 1
            return before
        return answer

    def _flipped(self, body: bytes) -> bytes:
        # By share, and with as many throws for any length: what is random about keys and nonces changes no other throw.
        place, bit = int(self._dice.random() * len(body)), int(self._dice.random() * 8)
        return body[:place] + bytes([body[place] ^ (1 << bit)]) + body[place + 1 :]


class Wire(Transport):
    """A `Transport` whose exchanges go over `network` instead of HTTP; all that is above it is the real one."""

    network: Network

    def _exchange(self, method: str, url: str, body: bytes | None) -> Answer:
        query = parse_qs(urlsplit(url).query)
        message = body if body is not None else query.get("message", [""])[0]
        return self.network.exchange(Call(query["operation"][0], message))
