"""Ctrl-C ends a command at once, wherever it waits: exit code 130, and a line of what is left and how to go on."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from certagent import interrupt
from certagent.certificate import fingerprint
from certagent.lab import Call, HttpAnswer, LabCA, LabServer, Settings, serve
from tests.waiting import PATIENCE, until

from .place import Place

LONG = "600s"  # more than any test would wait


class Silent(LabCA):
    """A CA that takes its time over one operation: it has heard it, and says nothing for as long as the test lasts."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, lambda: datetime.now(UTC), Settings(manual=True, challenge="open sesame"))
        self.operation = ""
        self.heard, self.over = threading.Event(), threading.Event()

    def respond_http(self, call: Call) -> HttpAnswer:
        if call.operation == self.operation:
            self.heard.set()
            self.over.wait(PATIENCE)
        return super().respond_http(call)


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[LabServer]:
    ca = Silent(tmp_path / "lab")
    with serve(ca) as server:
        yield server
        ca.over.set()


def interrupted(process: subprocess.Popen[str]) -> str:
    """What it says on stderr after SIGINT, which has to end it in the way it ought to."""
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, out + err
    assert "Traceback" not in err
    return err


def begin(*argv: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "certagent", *map(str, argv)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def at(place: Place, server: LabServer, operation: str) -> tuple[Place, Silent]:
    ca = server.ca
    assert isinstance(ca, Silent)
    ca.operation = operation
    place.url, place.fingerprint = server.url, str(fingerprint(ca.generation.issuer.certificate))
    challenge = place.root / "challenge"
    challenge.write_text("open sesame\n")
    challenge.chmod(0o600)
    place.authority += [f"challenge: {{file: {challenge}}}", f"timeout: {LONG}"]
    place.keystore.append("subject: CN=web.example.net")
    place.configure()
    return place, ca


LEFT = [
    pytest.param("check", "GetCACert", "certagent: interrupted; nothing was changed", id="check"),
    pytest.param(
        "enroll", "GetCACert", "web: stopped: interrupted; nothing was sent yet; `certagent renew web`", id="CA"
    ),
    pytest.param(
        "enroll", "PKIOperation", "web: stopped: interrupted; corp may have received the request", id="request"
    ),
]


@pytest.mark.parametrize(("command", "operation", "left"), LEFT)
def test_while_the_ca_is_silent(command: str, operation: str, left: str, place: Place, silent: LabServer) -> None:
    place, ca = at(place, silent, operation)
    process = begin("-c", place.config, command, "web")
    assert ca.heard.wait(PATIENCE)
    assert interrupted(process).splitlines()[-1].startswith(left)


@pytest.mark.slow
def test_a_request_that_was_interrupted_is_gone_on_with(place: Place, silent: LabServer) -> None:
    place, ca = at(place, silent, "PKIOperation")
    process = begin("-c", place.config, "enroll", "web")
    assert ca.heard.wait(PATIENCE)
    interrupted(process)
    ca.over.set()
    until(ca.store.all_waiting)
    assert place.run("renew", "web").returncode == 3
    assert [each.decision for each in ca.store.all_waiting()] == ["waiting"]  # the same request, no second one


def test_while_a_request_by_hand_is_pending(tmp_path: Path, silent: LabServer) -> None:
    pin = str(fingerprint(silent.ca.generation.issuer.certificate))
    files: list[str | Path] = ["--key", tmp_path / "k", "--out", tmp_path / "c", "--subject", "CN=web"]
    (tmp_path / "secret").write_text("open sesame")
    words: list[str | Path] = [
        "--url",
        silent.url,
        "--fingerprint",
        pin,
        "--challenge-file",
        tmp_path / "secret",
        *files,
    ]
    process = begin("scep", "enroll", *words, "--poll-interval", LONG)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("pending: "):
            break
    assert interrupted(process) == (
        "certagent: interrupted; the CA may have the request; run the same command again to go on with it\n"
    )


@pytest.mark.slow
def test_while_a_hook_runs(place: Place, lab: LabServer) -> None:
    place.put_living()
    began = place.root / "began"
    hook = place.root / "hook"
    hook.write_text(f"#!/bin/sh\ntouch {began}\nexec sleep 600\n")
    hook.chmod(0o700)
    place.url, place.fingerprint = lab.url, str(fingerprint(lab.ca.generation.issuer.certificate))
    challenge = place.root / "challenge"
    challenge.write_text("open sesame\n")
    challenge.chmod(0o600)
    place.authority.append(f"challenge: {{file: {challenge}}}")
    place.keystore += ["subject: CN=web.example.net", f"hooks: {{post: [[{hook}]]}}"]
    place.configure()
    process = begin("-c", place.config, "enroll", "--force", "web")
    until(began.exists)
    told = interrupted(process).splitlines()[-1]
    assert told.startswith("web: stopped: interrupted; the new pair is in place, but hooks still have to run")
    hook.write_text("#!/bin/sh\nexit 0\n")
    assert place.run("renew", "web").returncode == 0


def test_what_is_held_is_brought_to_its_end_first() -> None:
    reached = []

    def work() -> None:
        with interrupt.held():
            signal.raise_signal(signal.SIGINT)
            reached.append("the end")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert reached == ["the end"]
    with pytest.raises(KeyboardInterrupt):  # and nothing is held any more
        signal.raise_signal(signal.SIGINT)


def test_nothing_is_held_where_no_signal_comes() -> None:
    done = []

    def work() -> None:
        with interrupt.held():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]
