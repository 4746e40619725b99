"""A fleet at one CA, simulated from certagent's own rules: how many ask when, and how long a storm lasts.

    python -m bench.fleet                     the figures of docs/fleet.md: 100,000 devices, 20,000 in storms
    python -m bench.fleet --devices 5000      smaller, with more noise
    python -m bench.fleet --svg docs          also draws docs/fleet-*.svg

The decisions are those of the product: `policy.renew_at`, `arrival`, `backoff`, `rollover_begins`, and
`schedule.start_spread`. Only the CA is a model: it serves so many requests a second, the others time out after 30 s.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from msgspec import structs

from bench.rows import Row
from certagent import policy
from certagent.agent import schedule
from certagent.config.values import Fraction, Threshold
from certagent.policy import Lifetime, Rules

START = datetime(2027, 1, 1, tzinfo=UTC)
SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
LIFE = 90 * DAY
TIMEOUT = 30.0  # seconds until a request that the CA cannot serve has failed
NEVER = 14 * 86400.0  # a storm that lasts longer


@dataclass(frozen=True)
class Outage:
    """The CA cannot be reached."""

    begins: datetime
    length: timedelta

    @property
    def ends(self) -> datetime:
        return self.begins + self.length


def rules_of(device: int) -> Rules:
    """The rules of a device with the default configuration."""
    share = policy.jitter_share("web", f"device-{device}")
    return Rules(Threshold(passed=Fraction(0.66)), Fraction(0.05), share, can_enroll=True)


def renewals(
    device: int, until: timedelta, *, spread: bool = True, outage: Outage | None = None, switch: datetime | None = None
) -> Iterator[datetime]:
    """When a device renews that was enrolled in the first hour. `switch`: when its CA's successor takes over.

    `spread` False: first certificates are renewed like all others, pauses are all of the same length, and an agent
    that starts looks at everything at once.
    """
    rules = rules_of(device)
    now = START + HOUR * policy.another_share(rules.share, "enrolled")
    lifetime = Lifetime(now, now + LIFE)
    arrival = policy.arrival("1", lifetime, None, now, first=spread)
    while True:
        renews = policy.renew_at(lifetime, structs.replace(rules, arrival=arrival))
        if switch is not None and now < switch <= renews:
            # The shadow was issued before, and becomes valid with the next CA.
            now, lifetime, switch = switch, Lifetime(switch, switch + LIFE), None
            arrival = policy.arrival("1", lifetime, None, now, first=spread)
            continue
        if outage is not None and outage.begins <= renews < outage.ends:
            renews = _after(outage, renews, lifetime, rules, spread=spread)
        if renews - START >= until:
            return
        yield renews
        now, lifetime = renews, Lifetime(renews, renews + LIFE)
        arrival = policy.arrival("1", lifetime, arrival, now)


def _after(outage: Outage, due: datetime, lifetime: Lifetime, rules: Rules, *, spread: bool) -> datetime:
    """When a renewal succeeds that came due in an outage, if the CA serves everybody afterwards."""
    failures = 0
    while due < outage.ends:
        failures += 1
        share = rules.pause_share(failures) if spread else None
        due = policy.backoff("transient", failures, lifetime, due, share=share)
    return due


def per(unit: timedelta, moments: Iterator[datetime]) -> Counter[int]:
    return Counter((each - START) // unit for each in moments)


def peak_to_mean(counts: Counter[int], first: int, last: int) -> float:
    """Between these days, the last one excluded."""
    window = [counts[number] for number in range(first, last)]
    return max(window) / (sum(window) / len(window))


def steady(devices: int, years: int, *, spread: bool) -> tuple[dict[str, float], list[int]]:
    """All enrolled within an hour: the busiest day against the average one, and the renewals of each day."""
    days, cycle = 365 * years, int(0.66 * LIFE / DAY)
    counts: Counter[int] = Counter()
    for device in range(devices):
        counts.update(per(DAY, renewals(device, days * DAY, spread=spread)))
    found = {"first cycle": peak_to_mean(counts, 0, cycle), "after it": peak_to_mean(counts, cycle, days)}
    found["renewals a device and year"] = sum(counts.values()) / devices / years
    return {word: round(value, 2) for word, value in found.items()}, [counts[day] for day in range(days)]


def storm(devices: int, boots_in: float, capacity: int, *, left: timedelta | None, spread: bool) -> dict[str, float]:
    """All devices start within so many seconds and need the CA. `left`: of their certificates; None: they have none.

    Returns after how many seconds the last one was served, the requests, and the busiest second's.
    """
    generator, events = random.Random(1), list[tuple[float, int, int]]()
    pause = schedule.start_spread(left).total_seconds() if left is not None and spread else 0.0
    every = [rules_of(device) for device in range(devices)]
    for device, rules in enumerate(every):
        begins = generator.random() * boots_in + pause * policy.another_share(rules.share, "start")
        events.append((begins, device, 0))
    heapq.heapify(events)
    requests, last, busiest, second, come = 0, 0.0, 0, -1, 0
    while events and last < NEVER:
        at, device, failures = heapq.heappop(events)
        requests += 1
        second, come = (second, come + 1) if int(at) == second else (int(at), 1)
        busiest, last = max(busiest, come), at
        if come > capacity:
            now = START + at * SECOND + TIMEOUT * SECOND
            lifetime = Lifetime(now - LIFE, START + left) if left is not None else None
            share = every[device].pause_share(failures + 1) if spread else None
            again = policy.backoff("transient", failures + 1, lifetime, now, share=share)
            heapq.heappush(events, ((again - START).total_seconds(), device, failures + 1))
    return {"served after": round(last), "requests": requests, "busiest second": busiest, "unserved": len(events)}


def polls(devices: int, within: float, interval: timedelta, *, spread: bool) -> float:
    """Devices that were enrolled within so many seconds wait for a person: the busiest second of six hours of polls
    against the average one.
    """
    generator, seconds, length = random.Random(1), Counter[int](), 6 * 3600.0
    for device in range(devices):
        rules, at, count = rules_of(device), generator.random() * within, 0
        while at < length:
            count += 1
            share = rules.poll_share(count) if spread else None
            at += policy.poll_pause(interval, None, None, START, share=share).total_seconds()
            seconds[int(at)] += 1
    return round(max(seconds.values()) * length / seconds.total(), 1)


def rollover(devices: int, *, spread: bool) -> list[int]:
    """How many ask on each day for the next CA of a CA of one year, from the day when its window opens."""
    ca = Lifetime(START, START + 365 * DAY)
    lifetime = Lifetime(START + 250 * DAY, START + 340 * DAY)
    opens = policy.window_begins(ca, Threshold(passed=Fraction(0.8)))
    moments = Counter[int]()
    for device in range(devices):
        rules = rules_of(device) if spread else structs.replace(rules_of(device), jitter=Fraction(0))
        moments[(policy.rollover_begins(lifetime, ca, rules) - opens) // DAY] += 1
    return [moments[day] for day in range(max(moments) + 1)]


def with_event(
    devices: int, *, outage: Outage | None = None, switch: datetime | None = None, spread: bool = True
) -> list[int]:
    """The renewals of each day of a year with an outage or a rollover in it."""
    counts: Counter[int] = Counter()
    for device in range(devices):
        counts.update(per(DAY, renewals(device, 365 * DAY, spread=spread, outage=outage, switch=switch)))
    return [counts[day] for day in range(365)]


def measured(devices: int, years: int) -> dict[str, object]:
    """Everything that the page shows, as figures and as curves."""
    few, modes = min(devices, 20_000), (("in lockstep", False), ("now", True))
    before, curve_before = steady(devices, years, spread=False)
    after, curve_after = steady(devices, years, spread=True)
    storms = {
        f"{number} within {boots:g} s, {capacity}/s, {word}": {
            name: storm(number, boots, capacity, left=left, spread=spread) for name, spread in modes
        }
        for number, boots, capacity in ((few, 60.0, few // 400), (few // 2, 1.0, few // 200))
        for word, left in (("not urgent", 30 * DAY), ("no certificate", None))
    }
    polled = {name: polls(few, 60.0, 300 * SECOND, spread=spread) for name, spread in modes}
    outage = Outage(START + 150 * DAY, 7 * DAY)
    return {
        "devices": devices,
        "years": years,
        "jitter alone": before,
        "now": after,
        "storms": storms,
        "polls, busiest second ÷ average": polled,
        "curves": {
            "steady": {"jitter alone": curve_before[:365], "now": curve_after[:365]},
            "outage": {"now": with_event(few, outage=outage)},
            "rollover": {"in lockstep": rollover(few, spread=False), "now": rollover(few, spread=True)},
            "switch": {
                "jitter alone": with_event(few, switch=START + 200 * DAY, spread=False),
                "now": with_event(few, switch=START + 200 * DAY),
            },
        },
    }


def rows(devices: int, years: int, storms: tuple[tuple[int, float, int, float], ...]) -> Iterator[Row]:
    """The figures of docs/performance.md. `storms`: devices, the seconds in which they start, what the CA serves a
    second, and the goal in seconds; the worse of two figures counts, that with a certificate and that without one.
    """
    found, _ = steady(devices, years, spread=True)
    for word in ("first cycle", "after it"):
        yield Row(f"fleet of {devices:,}, {word}: peak ÷ mean per day", found[word], "×", 1.15)
    for number, boots, capacity, goal in storms:
        lefts = {"a renewal is due": 30 * DAY, "no certificate": None}
        last = {
            word: storm(number, boots, capacity, left=left, spread=True)["served after"] for word, left in lefts.items()
        }
        beside = {f"{word}, s": value for word, value in last.items()} | {"one by one, s": number / capacity}
        name = f"{number:,} start within {boots:g} s, CA serves {capacity}/s: all served after"
        yield Row(name, max(last.values()), "s", goal, beside=beside)


TITLES = {
    "steady": "renewals a day, all enrolled within an hour",
    "outage": "renewals a day, the CA away for days 150 to 157",
    "rollover": "first questions for the next CA a day, from the day when the window opens",
    "switch": "renewals a day, the next CA takes over on day 200",
}


WIDTH, HEIGHT, MARGIN = 720, 240, 48
COLOURS = {"now": "#0072b2", "jitter alone": "#999999", "in lockstep": "#999999"}


def picture(title: str, lines: Mapping[str, Sequence[int]]) -> str:
    """An SVG of these curves, one value a day, over a common scale."""
    top, days = max(max(values) for values in lines.values()), max(len(values) for values in lines.values())

    def x(day: float) -> float:
        return round(MARGIN + day * (WIDTH - 2 * MARGIN) / max(days, 1), 1)

    def y(value: float) -> float:
        return round(HEIGHT - MARGIN - value * (HEIGHT - 2 * MARGIN) / top, 1)

    parts = [f'<text x="{MARGIN}" y="20" font-size="14">{title}</text>']
    for place, (word, given) in enumerate(lines.items()):
        values = [*given, *[0] * (days - len(given))]
        # A day is a step, drawn to its end.
        steps = " ".join(f"{x(day)},{y(value)} {x(day + 1)},{y(value)}" for day, value in enumerate(values))
        parts.append(f'<polyline fill="none" stroke="{COLOURS[word]}" stroke-width="1.5" points="{steps}"/>')
        parts.append(f'<text x="{WIDTH - 160}" y="{40 + 16 * place}" fill="{COLOURS[word]}">{word}</text>')
    parts += [f'<text x="{MARGIN - 6}" y="{y(each) + 4}" text-anchor="end">{each}</text>' for each in (0, top)]
    under = HEIGHT - MARGIN + 18
    marks = (0, days // 2, days)
    parts += [f'<text x="{x(each)}" y="{under}" text-anchor="middle">day {each}</text>' for each in marks]
    frame = f"M{MARGIN},{MARGIN} V{HEIGHT - MARGIN} H{WIDTH - MARGIN}"
    parts.append(f'<path d="{frame}" fill="none" stroke="#555555"/>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
    body = "\n  ".join(['<rect width="100%" height="100%" fill="#ffffff"/>', *parts])
    return f'{head} font-size="11">\n  {body}\n</svg>\n'


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=100_000)
    parser.add_argument("--years", type=int, default=3)
    parser.add_argument("--svg", type=Path, metavar="DIR", help="draw fleet-NAME.svg there")
    chosen = parser.parse_args(arguments)
    found = measured(chosen.devices, chosen.years)
    curves = found.pop("curves")
    assert isinstance(curves, dict)
    print(json.dumps(found, indent=2))
    for name, lines in curves.items() if chosen.svg else ():
        (chosen.svg / f"fleet-{name}.svg").write_text(picture(TITLES[name], lines))


if __name__ == "__main__":
    main()
