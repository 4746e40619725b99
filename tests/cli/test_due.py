"""`renew --due` where nothing is due: it tells the same as a full look, without loading what a full look needs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from certagent.cli import at_rest
from certagent.config.load import load_for_agent
from certagent.transaction.journal import Phase

from .place import Place

COMMAND = """
import sys
from certagent.cli.main import main
code = main(sys.argv[1:])
print("loaded" if "cryptography" in sys.modules else "not loaded", code, file=sys.stderr)
"""


def command(place: Place, *words: str) -> tuple[str, str]:
    """What it printed, and whether it loaded cryptography, with its exit code."""
    argv = [sys.executable, "-c", COMMAND, "-c", str(place.config), "renew", "--due", *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return done.stdout, done.stderr.strip()


@pytest.mark.parametrize("words", [(), ("web",), ("--json",)], ids=["all", "by name", "as JSON"])
def test_it_tells_what_a_full_look_tells(place: Place, words: tuple[str, ...]) -> None:
    place.put_living()
    place.configure()
    full = command(place, *words)
    assert full[1] == "loaded 0"
    assert command(place, *words) == (full[0], "not loaded 0")


def test_the_others_are_looked_at_all_the_same(place: Place) -> None:
    place.names = ("web", "mail")
    for name in place.names:
        place.put_living(name=name)
    place.configure()
    full, _ = command(place)
    os.utime(place.files("mail")[1])
    told, loaded = command(place)
    assert (sorted(told.splitlines()), loaded) == (sorted(full.splitlines()), "loaded 0")


def quiet(place: Place, at: datetime) -> list[str]:
    place.configure()
    return list(at_rest.outcomes(load_for_agent(place.config), list(place.names), at))


def make_world_writable(place: Place) -> None:
    (place.directory() / "state.json").chmod(0o666)


def damage(place: Place) -> None:
    (place.directory() / "state.json").write_bytes(b"{")


LOUD: list[tuple[str, Callable[[Place], object]]] = [
    ("a file was changed", lambda place: os.utime(place.files()[1])),
    ("a file is gone", lambda place: place.files()[0].unlink()),
    ("the definition was changed", lambda place: place.keystore.append("renew_at: 50%")),
    ("a transaction is open", lambda place: place.open_transaction(Phase.STARTED)),
    ("CRLs are kept", lambda place: place.authority.append(f"crl_file: {place.root}/crl.pem")),
    ("there is a metrics file", lambda place: place.more.append(f"metrics_file: {place.root}/metrics.prom")),
    ("others can write its memory", make_world_writable),
    ("its memory is damaged", damage),
]


@pytest.mark.parametrize("change", [pytest.param(change, id=name) for name, change in LOUD])
def test_it_needs_a_full_look_if(place: Place, change: Callable[[Place], object]) -> None:
    place.put_living()
    assert place.run("renew", "--due").returncode == 0
    assert quiet(place, datetime.now(UTC)) == ["web"]
    change(place)
    assert quiet(place, datetime.now(UTC)) == []


def test_it_needs_a_full_look_once_a_day(place: Place) -> None:
    place.put_living()
    assert place.run("renew", "--due").returncode == 0
    now = datetime.now(UTC)
    os.utime(place.directory() / "state.json", times=((now - timedelta(days=2)).timestamp(),) * 2)
    assert quiet(place, now) == []
