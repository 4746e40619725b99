"""Renewals in a token, killed at random instants: one usable identity afterwards, and nothing left behind.

CERTAGENT_TOKEN_KILLS says how often; CERTAGENT_SEED repeats what a failure printed.
"""

from __future__ import annotations

import os
import random
from datetime import timedelta
from pathlib import Path

import pytest

from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.tokens.apart import apart, attempt
from tests.tokens.conftest import Sites
from tests.tokens.site import Place, TokenSite

pytestmark = pytest.mark.needs("opensc")

KILLS = int(os.environ.get("CERTAGENT_TOKEN_KILLS", "9"))
ONE_IDENTITY = {"Private Key": 1, "Public Key": 1, "Certificate": 1}


def run_apart(site: TokenSite, wish: Wish, *results: Result, kill_after: float | None = None) -> float:
    return apart(attempt, site.config, site.clock.now, wish, *results, kill_after=kill_after)


def token_files(place: Place) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in place.directory.glob("tokens/*/token.object")}


def restore_token_file(kept: dict[Path, bytes]) -> None:
    """SoftHSM cuts its token's own file to nothing at each login before it writes it anew (docs/tokens.md): whoever is
    killed in between has no token any more, and nothing that could be done about it."""
    for file, content in kept.items():
        if len(file.read_bytes()) < len(content):
            file.write_bytes(content)


@pytest.mark.slow
def test_a_token_renewal_killed_at_any_instant_goes_on(place: Place, make_site: Sites) -> None:
    seed = int(os.environ.get("CERTAGENT_SEED", random.randrange(1 << 32)))
    print(f"CERTAGENT_SEED={seed}")
    chance = random.Random(seed)
    site = make_site(place)
    site.write("retire_after: 1h")
    run_apart(site, Wish.NOW, Result.ENROLLED)
    whole = run_apart(site, Wish.RENEW, Result.RENEWED)
    for number in range(KILLS if "softhsm" in place.module else KILLS // 3):
        before, issued, kept = site.leaf().serial_number, len(site.ca.issued()), token_files(site.place)
        run_apart(site, Wish.RENEW, Result.RENEWED, kill_after=chance.uniform(0, whole))
        restore_token_file(kept)
        for recovered in site.recover():
            assert recovered.error is None
        assert site.pair_matches(), number
        if site.transaction is not None:
            run_apart(site, Wish.NOW, Result.RENEWED)
            assert site.leaf().serial_number != before, number
        assert len(site.ca.issued()) <= issued + 1, number
        site.clock.advance(timedelta(hours=2))
        run_apart(site, Wish.DUE, Result.NOTHING)  # the old key's time of grace begins, at the latest here
        site.clock.advance(timedelta(hours=2))
        run_apart(site, Wish.DUE, Result.NOTHING)
        assert site.place.objects() == ONE_IDENTITY, site.place.tool("--list-objects")
        assert site.place.ids() == [site.id], number
        assert site.pair_matches(), number
        assert site.leftovers() == [], number
