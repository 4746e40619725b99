"""The pictures in README.md (`make pictures`): what `status`, `plan --svg` and the demo show, at a fixed time.

Everything in them comes from the commands' own code; certificates and state are real files.
"""

from __future__ import annotations

import io
import re
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.sax.saxutils import escape

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME

from certagent import keys, policy
from certagent.cli import plan_svg, status
from certagent.config.key_types import KeyType
from certagent.config.load import load_configuration
from certagent.demo import view
from certagent.demo.site import CA_LIFETIME, Site
from certagent.demo.watch import Sighting, TrustedCa, Watch, short
from certagent.policy import Lifetime
from certagent.state import LastError
from certagent.status import forecast
from certagent.status.runner import Runner, Unit
from certagent.status.snapshot import Snapshot, take_snapshots
from tests.cli.place import Place, certify
from tests.cli.rollover import Rollover

PLACE = Path(__file__).parents[2] / "docs" / "pictures"
NOW = datetime(2027, 1, 20, 12, tzinfo=UTC)
DAY, SECOND = timedelta(days=1), timedelta(seconds=1)
LIVES = {"web": (4, 90), "mail": (39, 90), "vpn": (71, 90)}


def device(directory: Path) -> list[Snapshot]:
    """Three keystores, each with a shadow under the next CA; one cannot reach the present one for its renewal."""
    place = Place(directory / "device", keys.generate(KeyType.RSA_2048), names=tuple(LIVES))
    for name, (age, length) in LIVES.items():
        start, subject = NOW - age * DAY, f"CN={name}.example.net"
        place.put(certify(place.key, start=start, lifetime=length * DAY, subject=subject), name=name)
    place.configure()
    rollover = Rollover(place, left=150, start=NOW)
    for name in LIVES:
        rollover.stage(name)
    fault = LastError(
        kind="transient",
        message="192.0.2.9:80 cannot be reached: Connection refused",
        hint="is the CA up, and does the network work?",
        at=NOW - 50 * SECOND,
    )
    age, length = LIVES["vpn"]
    again = policy.backoff("transient", 3, Lifetime(NOW - age * DAY, NOW + (length - age) * DAY), NOW, None)
    place.remember("vpn", failures=3, retry_at=again, last_error=fault)
    return take_snapshots(load_configuration(place.config), now=NOW, host="device")


def terminal(width: int, height: int = 25) -> Console:
    return Console(
        width=width,
        height=height,
        record=True,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
        _environ={},
    )


def picture(console: Console, title: str) -> str:
    """What was printed, as rich draws it; without its web fonts, which a page would have to fetch."""
    drawn = console.export_svg(title=title, theme=SVG_EXPORT_THEME)
    drawn = re.sub(r"\s*@font-face \{.*?\}", "", drawn, flags=re.DOTALL)
    return re.sub(r"(<svg [^>]*)>", rf'\1 role="img">\n    <title>{escape(title)}</title>', drawn, count=1)


def of_status(directory: Path) -> str:
    console = terminal(100)
    running = Runner(pid=812, service=Unit(installed=True, active=True, enabled=True))
    status.show(console, device(directory), [], running, NOW)
    return picture(console, "certagent status")


def of_plan(directory: Path) -> str:
    taken, until = device(directory), NOW + 200 * DAY
    return plan_svg.drawing(taken, forecast.events(taken, until, NOW), NOW, until)


def of_demo(directory: Path) -> str:
    """The live view shortly before the next CA takes over."""
    site, console = Site(Path("/tmp/certagent-demo")), terminal(100, 33)
    console.print(view.frame(_watched(site, directory), site, NOW, 100, 33))
    return picture(console, "certagent demo")


def _watched(site: Site, directory: Path) -> Watch:
    started = NOW - 26 * SECOND
    watch = Watch(site, started)
    for each, left in zip(watch.keystores.values(), (8, 11), strict=True):
        each.condition, each.staged = "staged", "0B0B"
        each.serials = [f"{number}{each.name.encode().hex().upper()}C0FFEE" for number in ("4E9B", "A2D1")]
        each.not_before, each.not_after = NOW - 7 * SECOND, NOW + left * SECOND
        each.next_action, each.next_action_at, each.switch_at = "switch", NOW + 5 * SECOND, NOW + 5 * SECOND
        each.enrolled, each.renewed, each.hooks, each.last_hook = 1, 1, 2, NOW - 7 * SECOND
    watch.handshakes.good, watch.handshakes.address = 214, "127.0.0.1:45671"
    watch.handshakes.served = list(watch.keystores["web"].serials)
    lives = Lifetime(started, started + CA_LIFETIME * SECOND), Lifetime(NOW + 5 * SECOND, NOW + 45 * SECOND)
    watch.cas = [TrustedCa(_authority(name, each)) for name, each in zip(("G1", "G2"), lives, strict=True)]
    watch.trusted = list(watch.cas)
    watch.events = [Sighting(started + at * SECOND, who, text) for at, who, text in _story(watch)]
    return watch


def _authority(name: str, life: Lifetime) -> x509.Certificate:
    """The same each time, to the last bit: the demo shows its fingerprint."""
    key = ed25519.Ed25519PrivateKey.from_private_bytes(name.encode().rjust(32))
    subject = x509.Name.from_rfc4514_string(f"CN=Demo CA {name}")
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 1)
    return builder.not_valid_before(life.not_before).not_valid_after(life.not_after).sign(key, None)


def _story(watch: Watch) -> list[tuple[float, str, str]]:
    (first, second), (old, new) = watch.keystores["web"].serials, (each.name for each in watch.cas)
    return [
        (0.9, "lab", f"a CA of our own at http://127.0.0.1:38211/scep; it lives {CA_LIFETIME} s"),
        (1.3, "agent", "starts, and finds no certificates"),
        (2.4, "web", f"enrolled: {short(first)}"),
        (2.4, "web", f"its clients trust CA {old}"),
        (2.5, "web", "post hook told the TLS service to read its files again"),
        (2.6, "service", f"serves {short(first)}"),
        (14.2, "web", f"renewed: {short(second)}"),
        (14.3, "web", "post hook told the TLS service to read its files again"),
        (14.4, "service", f"now serves {short(second)}"),
        (19.8, "web", f"its clients trust CA {new} too, in advance"),
        (20.1, "web", "staged: C3F07A68 waits under the next CA"),
    ]


PICTURES: dict[str, Callable[[Path], str]] = {"status.svg": of_status, "plan.svg": of_plan, "demo.svg": of_demo}


def main() -> int:
    PLACE.mkdir(exist_ok=True)
    for name, draw in PICTURES.items():
        with tempfile.TemporaryDirectory() as directory:
            (PLACE / name).write_text(draw(Path(directory)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
