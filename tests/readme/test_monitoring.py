"""docs/monitoring.md and what lies beside it, held against the metrics that are written."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from certagent.status import metrics

DOCS = Path(__file__).parents[2] / "docs"
PAGE, BESIDE = DOCS / "monitoring.md", DOCS / "monitoring"
RULES, DASHBOARD = BESIDE / "certagent.rules.yml", BESIDE / "certagent.dashboard.json"
NAME = re.compile(r"\bcertagent_[a-z_]+")
WRITTEN = set(NAME.findall(inspect.getsource(metrics)))


def test_the_page_has_every_metric_and_no_other() -> None:
    assert set(NAME.findall(PAGE.read_text())) == WRITTEN


@pytest.mark.parametrize("file", [RULES, DASHBOARD], ids=["rules", "dashboard"])
def test_what_is_asked_for_is_written(file: Path) -> None:
    assert set(NAME.findall(file.read_text())) <= WRITTEN


def test_the_page_has_every_alert_and_its_severity() -> None:
    [group] = yaml.safe_load(RULES.read_text())["groups"]
    alerts = {rule["alert"]: rule["labels"]["severity"] for rule in group["rules"]}
    assert dict(re.findall(r"^\| `(Certagent\w+)` \| (\w+) \|", PAGE.read_text(), re.MULTILINE)) == alerts


def test_each_panel_of_the_dashboard_asks_the_chosen_source() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"]), panel["title"]


@pytest.mark.slow  # four seconds, and a package of 100 MB
@pytest.mark.needs("promtool")
@pytest.mark.parametrize("words", [("check", RULES.name), ("test", "certagent.rules.test.yml")], ids=["check", "test"])
def test_promtool_finds_no_fault(words: tuple[str, str]) -> None:
    verb, file = words
    done = subprocess.run(["promtool", verb, "rules", file], cwd=BESIDE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.needs("promtool")
def test_prometheus_itself_reads_the_expressions_of_the_dashboard(tmp_path: Path) -> None:
    expressions = [
        target["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"] for target in panel["targets"]
    ]
    rules = [{"record": f"panel:{number}", "expr": each} for number, each in enumerate(expressions)]
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    argv = ["promtool", "check", "rules", str(tmp_path / "panels.yml")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
