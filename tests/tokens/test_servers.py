"""Keys in tokens before other CAs: one that rolls over, and one none of us wrote."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from certagent import certificate as facts
from certagent.lab import Settings
from certagent.transaction.report import Result
from certagent.trust.proof import comes_from
from tests.interop.scepserver import CHALLENGE, ScepServer, scepserver
from tests.renewal.site import DAY
from tests.rollover.device import RollingCA
from tests.tokens.conftest import Sites
from tests.tokens.site import Place, TokenSite, forget_modules

pytestmark = pytest.mark.needs("opensc")

ONE_IDENTITY = {"Private Key": 1, "Public Key": 1, "Certificate": 1}


def test_a_rollover_is_prepared_in_the_token_beside_renewals_and_switched_to(place: Place, make_site: Sites) -> None:
    site = make_site(place, Settings(lifetime=90 * DAY, ca_lifetime=365 * DAY, rollover=70 * DAY), ca=RollingCA)
    site.write()
    results = []
    begun = site.clock.now
    first = site.ca.generation.issuer.certificate
    while site.clock.now < begun + 372 * DAY:
        results.append(site.run().result)
        site.clock.advance(5 * DAY if results[-1] is Result.NOTHING else DAY / 12)
    assert Result.FAILED not in results
    assert Result.ROLLED_OVER in results
    assert not comes_from(site.leaf(), first)
    assert site.pair_matches()
    assert site.place.ids() == [site.id]
    assert site.place.objects() == ONE_IDENTITY


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScepServer]:
    with scepserver(tmp_path_factory.mktemp("scepserver")) as running:
        yield running


@pytest.mark.needs("scepserver")
def test_enrolled_and_renewed_by_debians_scepserver(
    place: Place, make_site: Sites, server: ScepServer, tmp_path: Path
) -> None:
    site: TokenSite = make_site(place, real_time=True)
    secret = tmp_path / "micromdm"
    secret.write_text(CHALLENGE)
    secret.chmod(0o600)
    (ca,) = facts.load_pem(server.ca.read_bytes(), "ca.pem")
    site.write(
        authority=f"fingerprint: {facts.fingerprint(ca)}\nchallenge: {{file: {secret}}}\n"
        "accept: [sha1, des]\nsend_challenge: always"
    )
    site.config.write_text(re.sub(r"url: \S+", f"url: {server.url}", site.config.read_text()))
    seen = set()
    for words in (("enroll", "web"), ("renew", "--force", "web"), ("renew", "--force", "web")):
        forget_modules()
        done = site.command(*words)
        assert done.returncode == 0, done.stderr
        assert comes_from(site.leaf(), ca)
        assert site.pair_matches()
        seen.add(site.id)
    assert len(seen) == 3
