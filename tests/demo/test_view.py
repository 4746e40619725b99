"""The live view fits its terminal, and says what is still missing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from certagent.demo import view
from certagent.demo.site import Site
from certagent.demo.watch import Event, Watch

NOW = datetime(2030, 1, 1, 12, 0, 40, tzinfo=UTC)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def watch(site: Site) -> Watch:
    """Everything happened, just often enough."""
    watch = Watch(site, NOW - timedelta(seconds=40))
    for keystore in watch.keystores.values():
        keystore.condition = "valid"
        keystore.serials = [f"{number}0AF30C0FFEE" for number in range(1, 5)]
        keystore.not_before, keystore.not_after = NOW - timedelta(seconds=3), NOW + timedelta(seconds=15)
        keystore.next_action, keystore.next_action_at = "renew", NOW + timedelta(seconds=6)
        keystore.enrolled, keystore.renewed, keystore.hooks, keystore.last_hook = 1, 3, 4, NOW
    watch.handshakes.good = 100
    watch.handshakes.served = list(watch.keystores["web"].serials)
    watch.events = [Event(NOW, "web", f"event {number}") for number in range(100)]
    return watch


def draw(watch: Watch, site: Site, width: int, height: int) -> list[str]:
    console = Console(width=width, height=height, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(view.frame(watch, site, NOW, width, height))
    return captured.get().splitlines()


@pytest.mark.parametrize(
    ("width", "height"),
    [
        pytest.param(80, 24, id="the smallest usual"),
        pytest.param(120, 40, id="larger"),
        pytest.param(250, 80, id="huge"),
    ],
)
def test_the_view_fills_the_terminal_and_no_more(watch: Watch, site: Site, width: int, height: int) -> None:
    lines = draw(watch, site, width, height)
    assert len(lines) == height
    assert max(map(len, lines)) == width
    assert any("event 99" in line for line in lines)


def test_a_keystore_in_the_view(watch: Watch, site: Site) -> None:
    lines = draw(watch, site, 80, 24)
    assert "40AF30C0  valid, renew in 6 s" in lines[2]
    assert "renewed ●●● 3" in lines[2]
    # 18 s are 65 cells: 15 s are left, and 9 s are to be left at the renewal.
    assert lines[3].strip("│ ") == "━" * 32 + "┃" + "━" * 21 + "─" * 11 + "  15 s left"


def test_an_open_transaction_in_the_view(watch: Watch, site: Site) -> None:
    watch.keystores["web"].phase = "requested"
    assert "renewal: requested …" in draw(watch, site, 80, 24)[2]


@pytest.mark.parametrize(
    ("undo", "missing"),
    [
        pytest.param(lambda watch: None, [], id="nothing"),
        pytest.param(
            lambda watch: vars(watch.keystores["vpn"]).update(enrolled=0), ["vpn was not enrolled"], id="an enrollment"
        ),
        pytest.param(
            lambda watch: vars(watch.keystores["web"]).update(renewed=2),
            ["web was renewed 2 of 3 times"],
            id="a renewal",
        ),
        pytest.param(
            lambda watch: vars(watch.keystores["web"]).update(hooks=3),
            ["the post hook of web ran 3 of 4 times"],
            id="a hook",
        ),
        pytest.param(
            lambda watch: watch.handshakes.served.pop(),
            ["what the TLS service serves changed 2 of 3 times"],
            id="a change of what is served",
        ),
    ],
)
def test_what_is_missing(watch: Watch, undo: Callable[[Watch], object], missing: list[str]) -> None:
    undo(watch)
    assert watch.missing() == missing
