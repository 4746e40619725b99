"""enroll, renew, recover, schema as a person or a script meets them: exit codes, output, refusals."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from certagent.lab import Call, HttpAnswer, LabCA, Settings
from certagent.transaction.journal import Phase
from tests.interop.commands import certagent, start
from tests.renewal.site import DAY, Site, Sites, ran, recording_hook
from tests.waiting import PATIENCE


@pytest.fixture
def site(make_site: Sites) -> Site:
    made = make_site(Settings(lifetime=90 * DAY), real_time=True)
    made.write(f"hooks: {{post: [[{recording_hook(made, 'post')}]]}}")
    return made


@pytest.fixture
def enrolled(site: Site) -> Site:
    assert certagent(site.config, "enroll", "web").returncode == 0
    return site


def files(site: Site) -> dict[Path, bytes]:
    """Everything the device keeps, but for locks."""
    every = [*site.path("files").rglob("*"), *site.path("state").rglob("*")]
    return {path: path.read_bytes() for path in every if path.is_file() and path.name != "lock"}


# --- enroll -------------------------------------------------------------------------------------------


def test_enroll_says_what_it_did_and_what_comes_next(site: Site) -> None:
    done = certagent(site.config, "enroll", "web")
    assert done.returncode == 0
    assert done.stdout.startswith("web: enrolled, next renew at ")
    assert "web: asking lab for a certificate" in done.stderr
    assert site.pair_matches()


def test_enroll_refuses_a_living_identity_and_names_the_commands(enrolled: Site) -> None:
    before = files(enrolled)
    done = certagent(enrolled.config, "enroll", "web")
    assert done.returncode == 1
    error, hint = done.stderr.splitlines()
    assert error.startswith("certagent: keystore web has a certificate valid until ")
    assert hint == "  `certagent renew --force web` renews it; `certagent enroll --force web` replaces it"
    assert files(enrolled) == before


def test_enroll_force_replaces_a_living_identity(enrolled: Site) -> None:
    old = enrolled.leaf()
    assert certagent(enrolled.config, "enroll", "--force", "web").returncode == 0
    assert enrolled.leaf().public_key() != old.public_key()
    assert [record.kind for record in enrolled.ca.issued()] == ["enrollment", "enrollment"]


# --- renew --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "result"),
    [
        pytest.param([], "nothing", id="not due"),
        pytest.param(["--due"], "nothing", id="not due, as the agent asks"),
        pytest.param(["--force"], "renewed", id="forced"),
    ],
)
def test_the_report_is_a_json_object_a_line(enrolled: Site, words: list[str], result: str) -> None:
    done = certagent(enrolled.config, "renew", *words, "--report", "json")
    assert done.returncode == 0
    (report,) = map(json.loads, done.stdout.splitlines())
    assert (report["keystore"], report["result"], report["state"]) == ("web", result, "valid")
    assert report["next_action"] == "renew"
    assert datetime.fromisoformat(report["next_action_at"]) > datetime.now(UTC)


def test_the_report_of_a_failure_has_message_and_hint(enrolled: Site) -> None:
    enrolled.server.stop()
    done = certagent(enrolled.config, "renew", "--force", "--report", "json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert (report["result"], report["state"]) == ("failed", "failed")
    assert report["message"]
    assert report["hint"]
    assert "Traceback" not in done.stderr


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(enrolled: Site) -> None:
    before, issued = files(enrolled), len(enrolled.ca.issued())
    done = certagent(enrolled.config, "renew", "--force", "--dry-run")
    assert (done.returncode, done.stdout, done.stderr) == (0, "web: would renew now (--force)\n", "")
    assert files(enrolled) == before
    assert len(enrolled.ca.issued()) == issued


def test_a_dry_run_before_the_first_run_makes_no_directory(site: Site) -> None:
    done = certagent(site.config, "renew", "--dry-run")
    assert done.stdout == "web: would enroll now (there is no certificate yet)\n"
    assert not site.path("state").exists()


# --- what is asked for wrongly ------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["renew", "wbe"], ["enroll", "wbe"], ["status", "wbe"]], ids=lambda words: words[0])
def test_an_unknown_keystore_names_the_known_ones(site: Site, words: list[str]) -> None:
    done = certagent(site.config, *words)
    assert done.returncode == 2
    assert done.stderr == "certagent: there is no keystore 'wbe'\n  configured: web\n"


def test_no_configuration_file(tmp_path: Path) -> None:
    done = certagent(tmp_path / "agent.yaml", "renew")
    assert done.returncode == 2
    assert str(tmp_path / "agent.yaml") in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bad_configuration_lists_every_problem_at_once(site: Site) -> None:
    site.write("renw_at: 5d\nkey_type: rsa:512\nhooks: {post: [reload]}", authority="timeout: soon")
    done = certagent(site.config, "renew")
    assert done.returncode == 2
    for word in ("renw_at", "key_type", "hooks.post", "timeout"):
        assert word in done.stderr, word
    lines = [line for line in done.stderr.splitlines() if f"{site.config}:" in line]
    assert len(lines) == 4


@pytest.mark.parametrize(
    "words",
    [["renew", "--due", "--force"], ["renew", "--report", "xml"], ["enroll"], ["renwe"], []],
    ids=lambda words: " ".join(words) or "nothing",
)
def test_a_wrong_command_line(site: Site, words: list[str]) -> None:
    assert certagent(site.config, *words).returncode == 2


# --- recover, schema ----------------------------------------------------------------------------------


def test_recover_with_nothing_to_do_says_nothing(enrolled: Site) -> None:
    before = files(enrolled)
    done = certagent(enrolled.config, "recover")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert files(enrolled) == before


def test_the_schema_is_json_and_needs_no_configuration(tmp_path: Path) -> None:
    done = certagent(tmp_path / "agent.yaml", "schema")
    assert (done.returncode, done.stderr) == (0, "")
    schema: dict[str, Any] = json.loads(done.stdout)
    assert "https://json-schema.org/" in schema["$schema"]
    assert schema["$ref"].removeprefix("#/$defs/") in schema["$defs"]


# --- several at once, and being stopped ---------------------------------------------------------------


class SlowCA(LabCA):
    """Takes a request, and answers it when it is let go on."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.asked = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def respond_http(self, call: Call) -> HttpAnswer:
        if call.operation == "PKIOperation":
            self.asked.set()
            assert self.go_on.wait(PATIENCE)
        return super().respond_http(call)


@pytest.fixture
def slow(make_site: Sites) -> Site:
    site = make_site(Settings(lifetime=90 * DAY), ca=SlowCA, real_time=True)
    site.write(f"hooks: {{post: [[{recording_hook(site, 'post')}]]}}")
    assert certagent(site.config, "enroll", "web").returncode == 0
    return site


@contextmanager
def a_worker_waiting_for_the_ca(site: Site) -> Iterator[subprocess.Popen[str]]:
    ca = site.ca
    assert isinstance(ca, SlowCA)
    ca.asked.clear()
    ca.go_on.clear()
    with start(site.config, "renew", "--force", "--report", "json", "web") as worker:
        try:
            assert ca.asked.wait(PATIENCE)
            yield worker
        finally:
            ca.go_on.set()


@pytest.mark.parametrize(
    ("words", "code"),
    [pytest.param(["--force"], 1, id="by hand"), pytest.param(["--due"], 0, id="as the agent asks")],
)
def test_a_second_worker_on_the_same_keystore_is_told_that_it_is_busy(slow: Site, words: list[str], code: int) -> None:
    with a_worker_waiting_for_the_ca(slow) as first:
        second = certagent(slow.config, "renew", *words, "--report", "json", "web")
        assert second.returncode == code
        assert json.loads(second.stdout)["result"] == "busy"
    assert first.returncode == 0
    assert len(slow.ca.issued()) == 2


def test_status_does_not_wait_for_a_worker(slow: Site) -> None:
    with a_worker_waiting_for_the_ca(slow):
        done = certagent(slow.config, "status", "--json")
        assert json.loads(done.stdout)["keystores"]["web"]["transaction"] == {"kind": "renewal", "phase": "requested"}


def test_sigterm_in_an_exchange_ends_the_worker_at_its_next_durable_point(slow: Site) -> None:
    before, hooks = slow.leaf(), len(ran(slow, "post"))
    with a_worker_waiting_for_the_ca(slow) as worker:
        worker.terminate()
    assert worker.returncode == 0
    assert worker.stdout is not None
    transaction = slow.transaction
    assert transaction is not None
    assert transaction.phase is Phase.ISSUED
    assert slow.leaf() == before  # nothing is activated any more

    done = certagent(slow.config, "renew", "--due", "web")
    assert done.returncode == 0, done.stderr
    assert slow.leaf().serial_number == slow.ca.issued()[-1].serial
    assert len(slow.ca.issued()) == 2
    assert len(ran(slow, "post")) == hooks + 1
    assert slow.pair_matches()


def test_sigkill_in_an_exchange_asks_for_no_second_certificate(slow: Site) -> None:
    with a_worker_waiting_for_the_ca(slow) as worker:
        worker.kill()
    done = certagent(slow.config, "renew", "--due", "web")
    assert done.returncode == 0, done.stderr
    assert len(slow.ca.issued()) == 2
    assert slow.pair_matches()
