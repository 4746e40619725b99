"""What an attempt is made for."""

from __future__ import annotations

from enum import StrEnum


class Wish(StrEnum):
    """What was asked for: what is due by the clock and the backoff; what is due, now; a renewal; an enrollment, also
    one that is under way; an enrollment, whatever is under way; another key in place of one that others know; that what
    is open be carried on, and nothing begun.
    """

    DUE = "due"
    NOW = "now"
    RENEW = "renew"  # --force
    ENROLL = "enroll"
    ENROLL_ANEW = "enroll anew"  # --force
    COMPROMISED = "compromised"
    FINISH = "finish"

    @property
    def forces(self) -> bool:
        """Whether something new is wanted, due or not."""
        return self.enrolls or self in (Wish.RENEW, Wish.COMPROMISED)

    @property
    def enrolls(self) -> bool:
        return self in (Wish.ENROLL, Wish.ENROLL_ANEW)

    @property
    def begins_anew(self) -> bool:
        """Whether a request that is under way gives way to another: what `--force` says."""
        return self in (Wish.RENEW, Wish.ENROLL_ANEW)
