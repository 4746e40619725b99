"""The lab CA's generations: which one is current, which comes next and when, and which came before.

    time ──────────────────────────────────────────────────────────►
    first  ├───────────────────────────┤
                              ╎ rollover ╎
                              ╎ announced├──────────────────────────┤  second, `overlap` earlier if there is one

The first generation is in the lab's directory itself, each later one in `generation-NUMBER/` with the same layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from certagent.errors import CertagentError, StateError
from certagent.lab.generation import Generation, Settings, open_generation
from certagent.lab.store import Store
from certagent.scep import Request, decode_request


class ShadowRequest(Request, frozen=True):
    """A request that was enveloped to the next CA: it asks for a certificate under that CA in advance."""


class Generations:
    """The generations of one lab, oldest first. The caller makes sure that only one thread at a time advances it."""

    def __init__(self, store: Store, settings: Settings, now: datetime) -> None:
        """Open the existing ones, or make the first generation. Raises StateError if the last has expired for good."""
        self._store = store
        self._settings = settings
        self._generations = [open_generation(store, settings, now)]
        while (kept := self._store_of(len(self._generations) + 1)).exists():
            self._generations.append(open_generation(kept, settings, now))
        self._current = 0
        self.advance(now)
        if settings.rollover is None and self.current.ends <= now:
            raise StateError(f"the CA in {store.directory} has expired", "use a new --dir")

    @property
    def current(self) -> Generation:
        return self._generations[self._current]

    @property
    def following(self) -> Generation | None:
        """The next CA, once it exists."""
        rest = self._generations[self._current + 1 :]
        return rest[0] if rest else None

    def all(self) -> Sequence[Generation]:
        """The previous ones, the current one, and those to come."""
        return tuple(self._generations)

    def advance(self, now: datetime) -> None:
        """Make the next generation when it is time to announce it, and switch to it when its time comes."""
        while True:
            rollover = self._settings.rollover
            if self.following is None and rollover is not None and now >= self.current.ends - rollover:
                self._generations.append(self._made(max(self.current.ends - self._settings.overlap, now)))
            if self.following is None or self.following.begins > now:
                return
            self._current += 1

    def grace_for(self, issued_until: datetime) -> timedelta:
        """How long after its end a certificate may still be renewed: more than zero if it only ended with its CA."""
        ended_with_its_ca = any(issued_until == old.ends for old in self._generations[: self._current])
        return self._settings.rollover or timedelta(0) if ended_with_its_ca else timedelta(0)

    def _made(self, begins: datetime) -> Generation:
        store = self._store_of(len(self._generations) + 1)
        store.create()
        return open_generation(store, self._settings, begins, begins=begins)

    def _store_of(self, number: int) -> Store:
        return Store(self._store.directory / f"generation-{number}")


def open_request(message: bytes, current: Generation, following: Generation | None, password: bytes) -> Request:
    """Verify and open a request to the current CA, or to the next one. Raises what `decode_request` raises."""
    if following is not None:
        try:
            request = decode_request(message, recipients=[following.recipient])
        except CertagentError:
            pass  # then it is for the current CA, or for nobody
        else:
            return ShadowRequest(**{name: getattr(request, name) for name in Request.__struct_fields__})
    return decode_request(message, recipients=[current.recipient], password=password)
