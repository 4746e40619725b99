"""What an attempt is made for."""

from __future__ import annotations

from enum import StrEnum


class Wish(StrEnum):
    """What was asked for. DUE: what is due by the clock and the backoff. NOW: what is due, now. RENEW: a renewal.
    ENROLL: an enrollment, or the one under way. ENROLL_ANEW: a new enrollment, whatever is under way. COMPROMISED:
    another key in place of one that others know. FINISH: finish what is open, begin nothing.
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
        """Whether a new request replaces one that is under way, as `--force` says."""
        return self in (Wish.RENEW, Wish.ENROLL_ANEW)
