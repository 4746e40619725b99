"""How `status` says what renews certificates by itself here. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from certagent.cli.terminal import Finding, Mark
from certagent.status.runner import SERVICE, TIMER, Runner, Unit
from certagent.text import ahead, iso, span


def as_json(found: Runner) -> dict[str, Any]:
    """Null: cannot be seen here, or does not exist."""
    return {
        "agent": found.pid is not None if found.seen else None,
        "pid": found.pid or None,
        "timer": found.timer.active if found.timer else None,
        "timer_next_at": iso(found.timer.next_at) if found.timer and found.timer.next_at else None,
        "cron": [str(each) for each in found.cron],
        "recorded_at": iso(found.recorded_at) if found.recorded_at else None,
    }


def findings(found: Runner, now: datetime) -> Iterator[Finding]:
    """What runs; if nothing does that can be seen, a warning."""
    running = found.pid is not None
    timer = found.timer is not None and found.timer.active
    if running:
        process = f" (process {found.pid})" if found.pid else ""
        yield Finding(Mark.FINE, f"an agent is running here{process}")
    elif timer and found.timer:
        at = f": next run {ahead(found.timer.next_at, now)}" if found.timer.next_at else ""
        yield Finding(Mark.FINE, f"{TIMER} is active{at}")
    for each in () if running or timer else found.cron:
        yield Finding(Mark.FINE, f"{each} has cron start `certagent renew`{_recorded(found, now)}")
    if running or timer:
        yield from _at_boot(found)
    elif not found.cron:
        yield _nothing(found, now)


def _at_boot(found: Runner) -> Iterator[Finding]:
    """A warning if systemd started what runs now, and would not after a reboot."""
    units = {name: unit for name, unit in ((SERVICE, found.service), (TIMER, found.timer)) if unit is not None}
    active = [name for name, unit in units.items() if unit.active]
    if active and not any(unit.enabled for unit in units.values()):
        hint = f"run `systemctl enable {active[0]}`"
        yield Finding(Mark.WARNING, f"{active[0]} is not enabled: after a reboot nothing renews by itself", hint)


def _nothing(found: Runner, now: datetime) -> Finding:
    agent = "no agent is running here" if found.seen else "whether an agent is running here cannot be seen by this user"
    if found.service is None or found.timer is None:
        hint = "start one (docs/running.md), or have cron start `certagent renew --due`"
        what = f"{agent}, and no file of cron's starts `certagent renew`"
        return Finding(Mark.WARNING, f"{what}{_recorded(found, now)}", hint)
    return Finding(
        Mark.WARNING, f"{agent}, and {TIMER} is not active{_recorded(found, now)}", _remedy(found.service, found.timer)
    )


def _remedy(service: Unit, timer: Unit) -> str:
    for name, unit in ((SERVICE, service), (TIMER, timer)):
        if unit.enabled:
            return f"{name} is enabled, but not running: run `systemctl status {name}`"
    if not service.installed:
        return "run `certagent units --install`, then `systemctl enable --now certagent.service`"
    return f"run `systemctl enable --now {SERVICE}`, or the same for {TIMER}"


def _recorded(found: Runner, now: datetime) -> str:
    """Evidence of something that cannot be seen: cron elsewhere, a person."""
    if found.recorded_at is None or found.recorded_at > now:
        return "; no run was recorded yet" if found.recorded_at is None else ""
    return f"; the last run was recorded {span(now - found.recorded_at)} ago"
