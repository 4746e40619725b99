"""Telling never stops doing: whatever becomes of the output, the history or the memory, every keystore is served."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from certagent.lab import Settings
from certagent.transaction.report import Result
from tests.renewal.site import DAY, Site, Sites
from tests.waiting import PATIENCE


@pytest.fixture
def site(make_site: Sites) -> Site:
    """Two keystores, both to be enrolled."""
    site = make_site(Settings(lifetime=90 * DAY), real_time=True)
    site.write()
    text = site.config.read_text()
    keystore = text.partition("keystores:\n")[2]
    second = keystore.replace("web:", "second:").replace("/web.", "/second.").replace("CN=web", "CN=second")
    site.config.write_text(text + second.replace("dns:web", "dns:second"))
    return site


def shell(site: Site, line: str) -> subprocess.CompletedProcess[str]:
    """`$C` is certagent with its configuration."""
    words = {"C": f"{sys.executable} -m certagent -c {site.config}"}
    return subprocess.run(
        ["bash", "-c", line], env={**os.environ, **words}, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


DEAF = [
    pytest.param("$C renew >/dev/full", id="a full disk below stdout"),
    pytest.param("$C renew --report json >/dev/full", id="and its report"),
    pytest.param("$C renew 2>/dev/full", id="a full disk below stderr"),
    pytest.param("$C renew >/dev/full 2>&1", id="below both"),
    pytest.param("$C renew >&-", id="stdout closed"),
    pytest.param("$C renew 2>&-", id="stderr closed"),
    pytest.param("$C renew <&- >&- 2>&-", id="all closed"),
    pytest.param("set -o pipefail; $C renew 2>&1 | true", id="the reader left"),
]


@pytest.mark.slow
@pytest.mark.parametrize("line", DEAF)
def test_a_worker_serves_all_whoever_listens(site: Site, line: str) -> None:
    done = shell(site, line)
    assert done.returncode == 0, done.stderr
    assert site.pair_matches()
    assert site.path("files/second.pem").exists()
    assert b"PRIVATE KEY" in site.key.read_bytes()
    assert b"web: " not in site.key.read_bytes() + site.certificate.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", ["status", "status --json", "history", "plan", "health", "check --offline", "schema"]
)
def test_what_cannot_be_written_is_told_in_one_line(site: Site, command: str) -> None:
    assert site.command("renew").returncode == 0
    full = shell(site, f"$C {command} >/dev/full")
    assert full.returncode == 1
    assert full.stderr == "certagent: the output cannot be written: No space left on device\n  check where it is sent\n"
    assert shell(site, f"$C {command} >&-").returncode == 0


MEMORY = [
    pytest.param(b"", id="empty"),
    pytest.param(b"\0" * 512, id="zeros"),
    pytest.param(b'{"version": 1, "failures": "many"}', id="of another shape"),
    pytest.param(b"\xff\xfe", id="no text"),
]


@pytest.mark.parametrize("content", MEMORY)
def test_a_damaged_memory_is_set_aside_and_made_again(make_site: Sites, content: bytes) -> None:
    site = make_site()
    site.write()
    assert site.run().result is Result.ENROLLED
    (site.keystore_directory / "state.json").write_bytes(content)
    site.clock.advance(89 * DAY)
    assert site.run().result is Result.RENEWED
    [told] = [line for line in site.log if "is damaged" in line]
    assert "kept as state.json.damaged" in told
    assert site.state.failures == 0


@pytest.mark.parametrize("content", MEMORY)
def test_so_is_what_was_remembered_of_an_authority(make_site: Sites, content: bytes) -> None:
    site = make_site()
    site.write()
    assert site.run().result is Result.ENROLLED
    memory = site.path("state/authorities/lab/authority.json")
    memory.write_bytes(content)
    site.clock.advance(89 * DAY)
    assert site.run().result is Result.RENEWED
    [told] = [line for line in site.log if f"{memory} is damaged" in line]
    assert "add its fingerprint" in told
    assert memory.with_name("authority.json.damaged").read_bytes() == content


def test_a_newer_memory_is_left_alone(make_site: Sites) -> None:
    site = make_site()
    site.write()
    assert site.run().result is Result.ENROLLED
    newer = b'{"version": 99}'
    file = site.keystore_directory / "state.json"
    file.write_bytes(newer)
    refused = site.run()
    assert refused.result is Result.FAILED
    assert "newer certagent" in (refused.message or "")
    assert file.read_bytes() == newer


def test_a_history_that_cannot_be_written_stops_nothing(make_site: Sites) -> None:
    site = make_site()
    site.write()
    site.keystore_directory.mkdir(parents=True)
    (site.keystore_directory / "history.jsonl").mkdir()
    assert site.run().result is Result.ENROLLED
    assert any("cannot be added to the history" in line for line in site.log)


METRICS = [
    pytest.param("gone/certagent.prom", "No such file or directory", id="its directory is gone"),
    pytest.param("files", "Is a directory", id="a directory in its place"),
    pytest.param("challenge/certagent.prom", "Not a directory", id="a file in its directory's place"),
]


@pytest.mark.parametrize(("file", "words"), METRICS)
def test_metrics_that_cannot_be_written_stop_nothing(site: Site, file: str, words: str) -> None:
    place = site.path(file)
    site.config.write_text(f"metrics_file: {place}\n{site.config.read_text()}")
    done = site.command("renew", "--due")
    assert done.returncode == 0, done.stderr
    assert (site.certificate.exists(), site.path("files/second.pem").exists()) == (True, True)
    [line] = [line for line in done.stderr.splitlines() if "metrics" in line]
    assert f"metrics_file {place} cannot be written: {words}" in line


@pytest.mark.needs("mount")
def test_nor_does_a_full_disk_below_them(site: Site) -> None:
    site.path("disk").mkdir()
    site.config.write_text(f"metrics_file: {site.path('disk/certagent.prom')}\n{site.config.read_text()}")
    fill = f"mount -t tmpfs -o size=64k tmpfs {site.path('disk')}; cat /dev/zero >{site.path('disk/full')} 2>/dev/null"
    done = shell(site, f"unshare --mount bash -c '{fill}; $C renew --due'")
    assert done.returncode == 0, done.stderr
    assert (site.certificate.exists(), site.path("files/second.pem").exists()) == (True, True)
    [line] = [line for line in done.stderr.splitlines() if "metrics" in line]
    assert "cannot be written: No space left on device; " in line


LOGS_TO_A_FULL_DISK = """
import io, logging, os, sys
from certagent.agent import log
log.configure()
os.dup2(os.open("/dev/full", os.O_WRONLY), 2)
sys.stderr = io.StringIO()
logging.getLogger("certagent").info("web: renewed")
print(repr(sys.stderr.getvalue()))
"""


def test_a_log_on_a_full_disk_is_no_traceback() -> None:
    done = subprocess.run([sys.executable, "-c", LOGS_TO_A_FULL_DISK], stdout=subprocess.PIPE, text=True, check=False)
    assert done.stdout == "''\n"
