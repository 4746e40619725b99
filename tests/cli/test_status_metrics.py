"""The metrics file, as Prometheus' textfile collector reads it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from certagent import __version__
from certagent.certificate import serial_hex
from certagent.config.load import load_configuration
from certagent.errors import ConfigError
from certagent.policy import Arrival, Condition
from certagent.status.metrics import prometheus_text, write_metrics
from certagent.status.snapshot import take_snapshots

from .place import Place, certify

NOW = datetime(2030, 6, 1, 12, tzinfo=UTC)

_NAME = "[a-zA-Z_:][a-zA-Z0-9_:]*"
_SAMPLE = re.compile(rf"({_NAME})(?:\{{(.*)\}})? (-?[0-9.]+)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\n"])*)"(?:,|$)')

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parse(text: str) -> Samples:
    """The exposition format 0.0.4, strictly: each family once, HELP and TYPE first, no sample twice."""
    assert text.endswith("\n")
    samples: Samples = {}
    families: list[str] = []
    for line in text.removesuffix("\n").split("\n"):
        if line.startswith("# HELP "):
            families.append(line.split(" ")[2])
            assert families.count(families[-1]) == 1
        elif line.startswith("# "):
            assert line == f"# TYPE {families[-1]} gauge"
        else:
            match = _SAMPLE.fullmatch(line)
            assert match, line
            assert match[1] == families[-1]
            labels = tuple(_LABEL.findall(match[2] or ""))
            assert ",".join(f'{label}="{value}"' for label, value in labels) == (match[2] or "")
            assert (match[1], labels) not in samples
            samples[match[1], labels] = float(match[3])
    return samples


@pytest.fixture
def samples(place: Place) -> Samples:
    place.names = ("web", "empty")
    place.put(certify(place.key, start=NOW - timedelta(days=1), lifetime=timedelta(days=90)))
    place.remember("empty", failures=3)
    place.configure()
    return parse(prometheus_text(take_snapshots(load_configuration(place.config), now=NOW, host="device"), NOW))


def test_validity_of_the_certificate_in_place(samples: Samples) -> None:
    web = (("keystore", "web"),)
    assert samples["certagent_certificate_not_before_seconds", web] == (NOW - timedelta(days=1)).timestamp()
    assert samples["certagent_certificate_not_after_seconds", web] == (NOW + timedelta(days=89)).timestamp()


def test_the_version_that_wrote_it(samples: Samples) -> None:
    assert samples["certagent_build_info", (("version", __version__),)] == 1


def test_without_a_certificate_there_is_no_validity(samples: Samples) -> None:
    assert ("certagent_certificate_not_after_seconds", (("keystore", "empty"),)) not in samples


@pytest.mark.parametrize(("keystore", "state"), [("web", "valid"), ("empty", "failed")])
def test_exactly_one_state_is_1(samples: Samples, keystore: str, state: str) -> None:
    states = {
        labels[1][1]: value
        for (name, labels), value in samples.items()
        if name == "certagent_keystore_state" and labels[0] == ("keystore", keystore)
    }
    assert set(states) == set(Condition)
    assert [word for word, value in states.items() if value] == [state]


def test_failures_and_the_newest_run(samples: Samples) -> None:
    assert samples["certagent_keystore_failures", (("keystore", "empty"),)] == 3
    assert samples["certagent_last_run_seconds", ()] == NOW.timestamp()


def test_no_keystores_at_all_is_still_a_valid_file() -> None:
    build = ("certagent_build_info", (("version", __version__),))
    assert parse(prometheus_text([], NOW)) == {build: 1, ("certagent_last_run_seconds", ()): NOW.timestamp()}


@pytest.mark.parametrize(("by_us", "serial"), [(True, ""), (False, "0")], ids=["certagent's", "somebody else's"])
def test_when_certagent_put_it_in_place(place: Place, *, by_us: bool, serial: str) -> None:
    certificate = certify(place.key, start=NOW - timedelta(days=1), lifetime=timedelta(days=90))
    place.put(certificate)
    at, ends = NOW - timedelta(hours=20), certificate.not_valid_after_utc
    place.remember(arrival=Arrival(serial=serial or serial_hex(certificate), at=at, not_after=ends))
    text = prometheus_text(take_snapshots(load_configuration(place.config), now=NOW, host="device"), NOW)
    told = parse(text).get(("certagent_keystore_last_success_seconds", (("keystore", "web"),)))
    assert told == (at.timestamp() if by_us else None)


def test_label_values_are_escaped(place: Place) -> None:
    place.configure()
    (taken,) = take_snapshots(load_configuration(place.config), now=NOW, host="device")
    strange = prometheus_text([replace(taken, name='a"b\\c\nd')], NOW)
    assert ("certagent_keystore_failures", (("keystore", r"a\"b\\c\nd"),)) in parse(strange)


def test_the_file_is_readable_for_everybody_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "certagent.prom"
    for text in ("old\n", "new\n"):
        write_metrics(target, text)
    assert target.read_text() == "new\n"
    assert target.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [target]


def test_a_directory_that_is_not_there_is_told_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"metrics_file .* cannot be written: No such file") as caught:
        write_metrics(tmp_path / "gone" / "certagent.prom", "")
    assert caught.value.hint


def test_a_worker_writes_it(place: Place) -> None:
    place.put_living()
    place.more.append(f"metrics_file: {place.root}/certagent.prom")
    assert place.run("renew", "--due").returncode == 0
    assert ("certagent_keystore_failures", (("keystore", "web"),)) in parse((place.root / "certagent.prom").read_text())
