"""Renewals in a token, killed at random instants: one usable identity afterwards, and nothing left behind.

CERTAGENT_TOKEN_KILLS says how often; CERTAGENT_SEED repeats what a failure printed.
"""

from __future__ import annotations

import os
import random
import signal
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.tokens.conftest import Sites
from tests.tokens.site import Place, TokenSite

pytestmark = pytest.mark.needs("opensc")

KILLS = int(os.environ.get("CERTAGENT_TOKEN_KILLS", "20"))
ONE_IDENTITY = {"Private Key": 1, "Public Key": 1, "Certificate": 1}


def apart(action: Callable[[], object], kill_after: float | None = None) -> float:
    """Run in a process of its own, as certagent does (this one never loads a module): how long it ran.

    With `kill_after`, it is killed after so many seconds, unless it is done before.
    """
    begun = time.monotonic()
    child = os.fork()
    if child == 0:
        try:
            action()
        except BaseException:  # noqa: BLE001 -- whatever it is, the child must not go on as a second pytest
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in ((0, -signal.SIGKILL) if kill_after is not None else (0,))
    return time.monotonic() - begun


def expect(site: TokenSite, wish: Wish, *results: Result) -> Callable[[], None]:
    def attempt() -> None:
        outcome = site.run(wish)
        assert outcome.result in results, outcome

    return attempt


def token_files(place: Place) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in place.directory.glob("tokens/*/token.object")}


def restore_token_file(kept: dict[Path, bytes]) -> None:
    """SoftHSM cuts its token's own file to nothing at each login before it writes it anew (docs/tokens.md): whoever is
    killed in between has no token any more, and nothing that could be done about it."""
    for file, content in kept.items():
        if len(file.read_bytes()) < len(content):
            file.write_bytes(content)


def test_a_token_renewal_killed_at_any_instant_goes_on(place: Place, make_site: Sites) -> None:
    seed = int(os.environ.get("CERTAGENT_SEED", random.randrange(1 << 32)))
    print(f"CERTAGENT_SEED={seed}")
    chance = random.Random(seed)
    site = make_site(place)
    site.write("retire_after: 1h")
    apart(expect(site, Wish.NOW, Result.ENROLLED))
    whole = apart(expect(site, Wish.RENEW, Result.RENEWED))
    for number in range(KILLS if "softhsm" in place.module else KILLS // 3):
        before, issued, kept = site.leaf().serial_number, len(site.ca.issued()), token_files(site.place)
        apart(expect(site, Wish.RENEW, Result.RENEWED), kill_after=chance.uniform(0, whole))
        restore_token_file(kept)
        for recovered in site.recover():
            assert recovered.error is None
        assert site.pair_matches(), number
        if site.transaction is not None:
            apart(expect(site, Wish.NOW, Result.RENEWED))
            assert site.leaf().serial_number != before, number
        assert len(site.ca.issued()) <= issued + 1, number
        site.clock.advance(timedelta(hours=2))
        apart(expect(site, Wish.DUE, Result.NOTHING))  # the old key's time of grace begins, at the latest here
        site.clock.advance(timedelta(hours=2))
        apart(expect(site, Wish.DUE, Result.NOTHING))
        assert site.place.objects() == ONE_IDENTITY, site.place.tool("--list-objects")
        assert site.place.ids() == [site.id], number
        assert site.pair_matches(), number
        assert site.leftovers() == [], number
