"""The lab CA's own side of a rollover: when the next CA is there, how it is announced, what a restart keeps."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from certagent.lab import Call, LabCA, Settings
from certagent.scep import read_next_ca
from tests.renewal.site import DAY, Clock

YEARLY = Settings(ca_lifetime=365 * DAY, rollover=60 * DAY)
SECOND = timedelta(seconds=1)

Make = Callable[..., LabCA]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make_lab(tmp_path: Path, clock: Clock) -> Make:
    """The lab in its directory; made again, it is the lab after a restart."""
    return lambda settings=YEARLY: LabCA(tmp_path / "lab", clock, settings)


def next_ca(lab: LabCA) -> int:
    return lab.respond_http(Call("GetNextCACert", "")).status


def test_a_lab_without_a_schedule_knows_no_next_ca(make_lab: Make) -> None:
    lab = make_lab(replace(YEARLY, rollover=None))
    assert "GetNextCACert" not in lab.capabilities()
    assert next_ca(lab) == 400


def test_the_schedule(make_lab: Make, clock: Clock) -> None:
    lab = make_lab(replace(YEARLY, overlap=5 * DAY))
    first, end = lab.generation, lab.generation.ends
    assert "GetNextCACert" in lab.capabilities()
    seen = []
    for moment in (end - 60 * DAY - SECOND, end - 60 * DAY, end - 5 * DAY - SECOND, end - 5 * DAY):
        clock.now = moment
        seen.append((next_ca(lab), lab.generation == first))
    assert seen == [(404, True), (200, True), (200, True), (404, False)]
    assert (lab.generation.begins, lab.generation.ends) == (end - 5 * DAY, end + 360 * DAY)


@pytest.mark.parametrize("nested", [True, False])
def test_it_is_announced_in_either_form(make_lab: Make, clock: Clock, nested: bool) -> None:
    lab = make_lab(replace(YEARLY, flat_next_ca=not nested, ra=True))
    clock.now = lab.generation.ends - DAY
    answer = lab.respond_http(Call("GetNextCACert", ""))
    assert answer.content_type == "application/x-x509-next-ca-cert"
    found = read_next_ca(answer.body, signers=[lab.generation.issuer.certificate], accept=())
    assert found.nested == nested
    assert lab.following is not None
    assert set(found.certificates) == set(lab.following.certificates)


def test_a_restart_keeps_the_generations(make_lab: Make, clock: Clock) -> None:
    lab = make_lab()
    clock.now = lab.generation.ends - DAY
    next_ca(lab)
    assert lab.following is not None
    announced = lab.following.issuer.certificate
    again = make_lab()
    assert again.following is not None
    assert again.following.issuer.certificate == announced
    clock.advance(DAY)
    assert make_lab().generation.issuer.certificate == announced


def test_a_lab_that_was_off_beyond_its_end_goes_on_with_a_new_ca(make_lab: Make, clock: Clock) -> None:
    first = make_lab().generation
    clock.now = first.ends + 1000 * DAY
    lab = make_lab()
    assert lab.generation.begins == clock.now
