"""What renews the certificates of this host by itself: an agent, systemd's timer, cron. Only what can be seen here."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from certagent import durable, wall_clock
from certagent.state_directory import StateDirectory

SERVICE, TIMER = "certagent.service", "certagent-renew.timer"
_BOOTED = Path("/run/systemd/system")  # sd_booted(3)
_PATIENCE = 5  # s; a manager that does not answer must not hold up `status`
_CRON = (
    "etc/crontab",
    "etc/cron.d/*",
    "etc/cron.hourly/*",
    "etc/cron.daily/*",
    "etc/periodic/*/*",
    "etc/crontabs/*",
    "var/spool/cron/crontabs/*",
)
_LONGEST = 1 << 16  # bytes of such a file


class Unit(Struct, frozen=True):
    """A unit as systemd has it. `enabled`: it starts at boot. `next_at`: when a timer elapses next, if known."""

    installed: bool
    active: bool
    enabled: bool
    next_at: datetime | None = None


class Runner(Struct, frozen=True):
    """`pid` is the agent's, None if none is running; `seen` is False if this user may not look at its lock.

    `service` and `timer` are None if systemd does not run here, or does not answer. `cron` are the files of cron's that
    start `certagent renew`. `recorded_at`: when a run was recorded last, by whatever started it, to the hour.
    """

    pid: int | None = None
    seen: bool = True
    service: Unit | None = None
    timer: Unit | None = None
    cron: tuple[Path, ...] = ()
    recorded_at: datetime | None = None


def look(state_dir: Path, root: Path = Path("/")) -> Runner:
    """Takes no lock and changes nothing."""
    try:
        pid, seen = durable.holder(StateDirectory(state_dir).agent_lock), True
    except OSError:
        pid, seen = None, False
    units = _units() if _BOOTED.is_dir() else {}
    return Runner(pid, seen, units.get(SERVICE), units.get(TIMER), tuple(_cron(root)), wall_clock.looked_at(state_dir))


def _units() -> dict[str, Unit]:
    names = ("Id", "LoadState", "ActiveState", "UnitFileState", "NextElapseUSecRealtime")
    argv = ("systemctl", "show", f"--property={','.join(names)}", SERVICE, TIMER)
    utc = {"PATH": os.environ.get("PATH", os.defpath), "TZ": "UTC"}
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE, check=False, env=utc
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    return read_units(done.stdout.decode("utf-8", "replace")) if done.returncode == 0 else {}


def read_units(printed: str) -> dict[str, Unit]:
    """What `systemctl show` printed: a block per unit, by name."""
    found = {}
    for block in printed.split("\n\n"):
        facts = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        found[facts.get("Id", "")] = Unit(
            installed=facts.get("LoadState") == "loaded",
            active=facts.get("ActiveState") in ("active", "activating", "reloading"),
            enabled=facts.get("UnitFileState") in ("enabled", "enabled-runtime", "static", "generated"),
            next_at=_moment(facts.get("NextElapseUSecRealtime", "")),
        )
    return found


def _moment(text: str) -> datetime | None:
    """`Thu 2026-11-26 14:24:21 UTC`; None for anything else."""
    try:
        return datetime.strptime(text[4:], "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)
    except ValueError:
        return None


def _cron(root: Path) -> Iterable[Path]:
    """Files of cron's with a line that runs `certagent renew`; those that this user may not read are left out."""
    for pattern in _CRON:
        try:
            yield from sorted(each for each in root.glob(pattern) if _renews(each))
        except OSError:
            continue


def _renews(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            lines = file.read(_LONGEST).decode("utf-8", "replace").splitlines()
    except OSError:
        return False
    return any("certagent" in line and " renew" in line and not line.lstrip().startswith("#") for line in lines)
