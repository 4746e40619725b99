"""CAs that renew only in the last part of a certificate's life, and first certificates, which are renewed at any time.

DigiCert answers HTTP 400 ("renewal is not permitted until …"), scepserver a signed badRequest.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from certagent import state
from certagent.errors import RejectedError
from certagent.lab import Answer, HttpAnswer
from certagent.policy import Condition
from certagent.scep import Request
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.renewal.line import BadLine
from tests.renewal.site import DAY, Site, Sites, recording_hook


class Late(BadLine):
    """Refuses everything until `not_until`."""

    not_until = datetime.min.replace(tzinfo=UTC)

    def is_early(self) -> bool:
        return self.clock() < self.not_until


class LikeScepserver(Late):
    def decide(self, request: Request) -> Answer:
        if self.is_early():
            raise RejectedError("renewal is not permitted until later", fail_info="badRequest")
        return super().decide(request)


class LikeDigiCert(Late):
    def pki_operation(self, message: bytes) -> HttpAnswer:
        if self.is_early():
            return HttpAnswer(400, "text/plain", b"renewal is not permitted until later\n", "refused")
        return super().pki_operation(message)


@pytest.fixture(params=[LikeScepserver, LikeDigiCert], ids=["badRequest", "HTTP 400"])
def site(make_site: Sites, request: pytest.FixtureRequest) -> Site:
    """Enrolled; its own moment for the first renewal, a host's own, is too early for the CA."""
    site = make_site(ca=request.param)
    site.write("")
    hook = recording_hook(site, "failed")
    text = site.config.read_text().replace("jitter: 0%", "jitter: 5%")
    site.config.write_text(f"{text}    hooks: {{failed: [[{hook}]]}}\n")
    enrolled = site.run()
    assert enrolled.result is Result.ENROLLED
    assert enrolled.next_action_at is not None
    site.clock.now = enrolled.next_action_at + timedelta(seconds=1)
    site.ca.not_until = enrolled.next_action_at + timedelta(minutes=1)  # type: ignore[attr-defined]  # of Late
    return site


def test_a_refusal_of_an_early_renewal_is_no_failure(site: Site) -> None:
    refused = site.run()
    assert (refused.result, refused.state) == (Result.NOTHING, Condition.VALID)
    assert refused.next_action_at is not None
    assert refused.next_action_at > site.clock() + timedelta(minutes=1)
    assert not site.path("failed.ran").exists()
    assert any("perhaps it is too early for this CA" in line for line in site.log)
    memory = state.recall(site.keystore_directory)
    assert (memory.failures, memory.last_error) == (0, None)
    assert site.run().result is Result.NOTHING
    site.clock.now = refused.next_action_at + timedelta(seconds=1)
    assert site.run().result is Result.RENEWED


def test_who_asks_for_it_by_hand_is_told(site: Site) -> None:
    assert site.run(Wish.RENEW).result is Result.FAILED


def test_a_refusal_at_the_threshold_is_a_failure(site: Site) -> None:
    put_off = site.run()
    assert put_off.next_action_at is not None
    site.clock.now = put_off.next_action_at + timedelta(seconds=1)
    site.ca.not_until = site.clock() + DAY  # type: ignore[attr-defined]  # of Late
    assert site.run().result is Result.FAILED
