"""The plan as a picture: well-formed, in words too, nothing outside of it, no text over another."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from certagent.cli.plan_svg import LETTER, WIDTH, Span, drawing, spans
from certagent.status.forecast import events, horizon
from certagent.status.snapshot import Snapshot
from tests.unit.test_forecast import DAY, NOW, life, snapshot, staged

SVG = "{http://www.w3.org/2000/svg}"
FRESH, EXPIRED, MISSING = snapshot(life(0, 40)), snapshot(life(-50, -10)), snapshot(None)
STAGED = staged(life(95, 135), life(60, 100))


def draw(*taken: Snapshot, days: float | None = None) -> ET.Element:
    until = horizon(taken, NOW) if days is None else NOW + days * DAY
    return ET.fromstring(drawing(taken, events(taken, until, NOW), NOW, until))


def texts(picture: ET.Element) -> list[str]:
    return [each.text or "" for each in picture.iter(f"{SVG}text")]


def test_a_row_has_its_name_its_certificates_and_its_dates() -> None:
    picture = draw(replace(FRESH, name="router"), days=50)
    shown = texts(picture)
    assert {"router", "21 Jan", "10 Feb", "renew"} <= set(shown)
    assert "certagent plan, 2030-01-01 00:00 to 2030-02-20 00:00 UTC" in shown


def test_it_can_be_read_without_eyes() -> None:
    picture = draw(replace(FRESH, name="router"), days=50)
    assert picture.get("role") == "img"
    assert {each.get("id") for each in picture if each.get("id")} == set((picture.get("aria-labelledby") or "").split())
    assert "2030-01-21 00:00 router: renew. a successor, until 2030-03-02" in (picture.findtext(f"{SVG}desc") or "")


def test_a_certificate_is_used_until_its_successor_comes_and_valid_for_longer() -> None:
    until = NOW + 50 * DAY
    first, second, third = (NOW + days * DAY for days in (20, 40, 50))
    found = spans(FRESH, events([FRESH], until, NOW), NOW, until)
    assert found == [
        Span(NOW, first, NOW + 40 * DAY, 0, assumed=False),
        Span(first, second, NOW + 60 * DAY, 0, assumed=True),
        Span(second, third, NOW + 80 * DAY, 0, assumed=True),
    ]


def test_a_switch_changes_the_ca() -> None:
    until = NOW + 120 * DAY
    found = spans(STAGED, events([STAGED], until, NOW), NOW, until)
    assert [(each.ca, each.assumed) for each in found if each.end > NOW + 95 * DAY] == [(1, False), (1, True)]


@pytest.mark.parametrize(
    ("it", "colours"),
    [(FRESH, {"#64748b"}), (EXPIRED, {"#64748b", "#dc2626"}), (MISSING, {"#64748b", "#dc2626"})],
    ids=["valid", "expired", "missing"],
)
def test_where_none_is_valid_it_is_red(it: Snapshot, colours: set[str]) -> None:
    dotted = [each for each in draw(it, days=30).iter(f"{SVG}path") if each.get("stroke-dasharray")]
    assert {each.get("stroke") for each in dotted} == colours


def test_the_same_facts_make_the_same_picture() -> None:
    until = NOW + 100 * DAY
    assert drawing([STAGED], events([STAGED], until, NOW), NOW, until) == drawing(
        [STAGED], events([STAGED], until, NOW), NOW, until
    )


def test_a_name_with_signs_of_xml_stays_text() -> None:
    assert "<&>\"'" in texts(draw(replace(FRESH, name="<&>\"'"), days=30))


def boxes(picture: ET.Element) -> list[tuple[float, float, float, float]]:
    """Left, top, right, bottom of each text, at most."""
    found = []
    for each in picture.iter(f"{SVG}text"):
        size, x, y = (float(each.get(word, "0")) for word in ("font-size", "x", "y"))
        width = len(each.text or "") * LETTER * size / 12
        left = x - width / 2 if each.get("text-anchor") == "middle" else x
        found.append((left, y - size * 0.8, left + width, y + size * 0.2))
    return found


@settings(max_examples=15, deadline=None)
@given(
    many=st.integers(1, 50),
    lives=st.lists(st.tuples(st.floats(-2, 1), st.floats(0.001, 4000)), min_size=1, max_size=8),
    days=st.floats(0.001, 300_000),
    name=st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=60),
)
def test_nothing_is_outside_and_no_text_lies_over_another(
    many: int, lives: list[tuple[float, float]], days: float, name: str
) -> None:
    taken = []
    for number in range(many):
        begin, length = lives[number % len(lives)]
        it = STAGED if number % 7 == 3 else snapshot(life(begin * length, (begin + 1) * length))
        taken.append(replace(it, name=f"{number}{name}"))
    picture = draw(*taken, days=days)
    height = float(picture.get("height", "0"))
    found = sorted(boxes(picture), key=lambda box: (box[1], box[0]))
    for box in found:
        assert 0 <= box[0] <= box[2] <= WIDTH, box
        assert 0 <= box[1] <= box[3] <= height, box
    for one, other in pairwise(found):
        assert other[0] >= one[2] or other[1] >= one[3], (one, other)
    for each in picture.iter(f"{SVG}rect"):
        x, y, width, tall = (float(each.get(word, "0")) for word in ("x", "y", "width", "height"))
        assert x >= 0 <= width
        assert x + width <= WIDTH
        assert y + tall <= height
    for each in picture.iter(f"{SVG}path"):
        for x in re.findall(r"(?:M|H)([\d.]+)", each.get("d", "")):
            assert 0 <= float(x) <= WIDTH


@pytest.mark.parametrize("days", [30 / 86_400, 0.2, 3, 20, 700, 400_000])
def test_any_span_has_a_few_round_ticks(days: float) -> None:
    ticks = [each for each in draw(FRESH, days=days).iter(f"{SVG}path") if each.get("stroke") == "#e2e8f0"]
    assert 2 <= len(ticks) <= 9
