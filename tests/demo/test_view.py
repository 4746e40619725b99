"""The live view fits its terminal, and says what is still missing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from rich.console import Console

from certagent.demo import view
from certagent.demo.site import Site
from certagent.demo.watch import Sighting, TrustedCa, Watch

NOW = datetime(2030, 1, 1, 12, 0, 40, tzinfo=UTC)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def authority(begins: datetime) -> TrustedCa:
    """A CA that lives for 40 seconds."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name.from_rfc4514_string("CN=Demo CA")
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    lifetime = builder.not_valid_before(begins).not_valid_after(begins + timedelta(seconds=40))
    return TrustedCa(lifetime.sign(key, hashes.SHA256()))


@pytest.fixture
def watch(site: Site) -> Watch:
    """Everything happened, just often enough."""
    watch = Watch(site, NOW - timedelta(seconds=40))
    for keystore in watch.keystores.values():
        keystore.condition = "valid"
        keystore.serials = [f"{number}0AF30C0FFEE" for number in range(1, 6)]
        keystore.not_before, keystore.not_after = NOW - timedelta(seconds=3), NOW + timedelta(seconds=15)
        keystore.next_action, keystore.next_action_at = "renew", NOW + timedelta(seconds=6)
        keystore.enrolled, keystore.renewed, keystore.rolled_over = 1, 3, 1
        keystore.hooks, keystore.last_hook = 5, NOW
    watch.handshakes.good = 100
    watch.handshakes.served = list(watch.keystores["web"].serials)
    watch.cas = [authority(NOW - timedelta(seconds=40)), authority(NOW - timedelta(seconds=8))]
    watch.trusted = watch.cas[1:]
    watch.events = [Sighting(NOW, "web", f"event {number}") for number in range(100)]
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
    assert "50AF30C0  valid, renew in 6 s" in lines[6]
    assert "renewed ●●● 3" in lines[6]
    # 18 s are 65 cells: 15 s are left, and 9 s are to be left at the renewal.
    assert lines[7].strip("│ ") == "━" * 32 + "┃" + "━" * 21 + "─" * 11 + "  15 s left"


def test_an_open_transaction_in_the_view(watch: Watch, site: Site) -> None:
    watch.keystores["web"].phase = "requested"
    watch.keystores["web"].kind = "renewal"
    assert "renewal: requested …" in draw(watch, site, 80, 24)[6]


def test_a_change_of_ca_in_the_view(watch: Watch, site: Site) -> None:
    watch.cas = watch.trusted = [authority(NOW - timedelta(seconds=20)), watch.cas[1]]
    for keystore in watch.keystores.values():
        keystore.rolled_over, keystore.staged, keystore.switch_at = 0, "0AF30C0FFEE", NOW + timedelta(seconds=10)
    lines = draw(watch, site, 80, 24)
    assert f"{watch.cas[0].name} + {watch.cas[1].name}   web and vpn staged, switch in 10 s" in lines[2]
    assert "rolled over ○○ 0" in lines[2]
    # 40 s are 65 cells: 20 s are left, and 10 s are to be left at the switch.
    assert lines[3].strip("│ ") == "━" * 16 + "┃" + "━" * 15 + "─" * 33 + "  20 s left"


def test_before_a_ca_is_believed(watch: Watch, site: Site) -> None:
    watch.cas, watch.trusted = [], []
    lines = draw(watch, site, 80, 24)
    assert "none is trusted yet" in lines[2]
    assert len(lines) == 24


@pytest.mark.parametrize(
    ("undo", "missing"),
    [
        pytest.param(lambda watch: None, [], id="nothing"),
        pytest.param(
            lambda watch: setattr(watch.keystores["vpn"], "enrolled", 0), ["vpn was not enrolled"], id="an enrollment"
        ),
        pytest.param(
            lambda watch: setattr(watch.keystores["web"], "renewed", 2),
            ["web was renewed 2 of 3 times"],
            id="a renewal",
        ),
        pytest.param(
            lambda watch: setattr(watch.keystores["vpn"], "rolled_over", 0),
            ["vpn was not rolled over"],
            id="a rollover",
        ),
        pytest.param(
            lambda watch: setattr(watch, "trusted", watch.cas), ["the first CA is still trusted"], id="the end of a CA"
        ),
        pytest.param(
            lambda watch: setattr(watch.keystores["web"], "hooks", 4),
            ["the post hook of web ran 4 of 5 times"],
            id="a hook",
        ),
        pytest.param(
            lambda watch: watch.handshakes.served.pop(),
            ["what the TLS service serves changed 3 of 4 times"],
            id="a change of what is served",
        ),
    ],
)
def test_what_is_missing(watch: Watch, undo: Callable[[Watch], object], missing: list[str]) -> None:
    undo(watch)
    assert watch.missing() == missing
