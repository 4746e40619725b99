"""`certagent demo` as a user runs it: processes of its own, an empty directory, sometimes a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_WHOLE = 300.0  # seconds for a demo of one minute
_STEP = 60.0  # seconds that something which comes soon may take


class Demo:
    """One run of the demo, as a process. `output` is read from its pipe or its terminal."""

    def __init__(self, directory: Path, *, terminal: bool = False) -> None:
        self.directory = directory
        self.started = time.monotonic()
        self.output = ""
        self._reading, writing = pty.openpty() if terminal else os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "certagent", "demo", "--dir", str(directory)],
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=writing,
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"},
            start_new_session=True,
        )
        os.close(writing)
        os.set_blocking(self._reading, False)

    def read(self) -> bool:
        """Take what it has written; False once it has closed its output."""
        try:
            while chunk := os.read(self._reading, 65536):
                self.output += chunk.decode("utf-8", "replace")
            return False
        except BlockingIOError:
            return True
        except OSError:  # the other side of the terminal is gone
            return False

    def wait_for(self, what: Callable[[Demo], object], limit: float = _STEP) -> None:
        deadline = time.monotonic() + limit
        while not what(self):
            assert self.read() or what(self), self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.05)

    def end(self, limit: float = _STEP) -> int:
        """Wait for its end; the exit code."""
        self.wait_for(lambda demo: demo.process.poll() is not None, limit)
        self.read()
        assert self.process.returncode is not None
        return self.process.returncode

    def processes(self) -> dict[int, str]:
        """Every living process that works in the directory: command lines by process ID."""
        found = {}
        for each in Path("/proc").glob("[0-9]*"):
            try:
                line = (each / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:
                continue
            if str(self.directory) in line:
                found[int(each.name)] = line
        return found

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(_STEP)
        os.close(self._reading)


@pytest.fixture(scope="module", autouse=True)
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo from beginning to end. It takes its time, so it starts before the first test and is looked at last."""
    demo = Demo(tmp_path_factory.mktemp("whole") / 'a "strange" {name}, it\'s')
    yield demo
    demo.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    demos: list[Demo] = []

    def start_demo(*, terminal: bool = False) -> Demo:
        demos.append(Demo(tmp_path / "demo", terminal=terminal))
        return demos[-1]

    yield start_demo
    for demo in demos:
        demo.close()


def test_a_directory_in_use_is_left_alone(tmp_path: Path, start: Callable[..., Demo]) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "mine").touch()
    demo = start()
    assert demo.end() == 2
    assert "is not empty\n  name a new directory with --dir" in demo.output
    assert [path.name for path in (tmp_path / "demo").iterdir()] == ["mine"]


def test_a_process_that_dies_ends_the_demo_and_is_named(start: Callable[..., Demo]) -> None:
    demo = start()
    demo.wait_for(lambda demo: "agent   starts" in demo.output)
    (lab,) = (number for number, line in demo.processes().items() if " certagent lab " in line)
    os.kill(lab, signal.SIGKILL)
    assert demo.end() == 1
    assert re.search(rf"certagent: the lab ended with -9: .*\n  see {demo.directory}/logs/lab.log", demo.output)
    assert demo.processes() == {}


@pytest.mark.parametrize(
    ("number", "code"),
    [pytest.param(signal.SIGTERM, 143, id="SIGTERM"), pytest.param(signal.SIGHUP, 129, id="the terminal closed")],
)
def test_a_signal_ends_all_of_it(start: Callable[..., Demo], number: signal.Signals, code: int) -> None:
    demo = start()
    demo.wait_for(lambda demo: "agent   starts" in demo.output)
    assert len(demo.processes()) >= 4  # itself, the lab, the service, the agent
    demo.process.send_signal(number)
    assert demo.end() == code
    assert demo.processes() == {}


@pytest.mark.slow
def test_a_live_view_in_a_terminal_and_control_c(start: Callable[..., Demo]) -> None:
    demo = start(terminal=True)
    demo.wait_for(lambda demo: "now serves" in demo.output)
    for drawn in ("\x1b[?1049h", "━━━━━━", "╭─", "no certificate yet", "post hook ran", "●"):
        assert drawn in demo.output
    demo.process.send_signal(signal.SIGINT)
    assert demo.end() == 130
    assert demo.output.index("\x1b[?1049l") < demo.output.index("ended by SIGINT; its files are in")
    assert "Traceback" not in demo.output
    assert demo.processes() == {}


def test_the_whole_demo(whole: Demo) -> None:
    assert whole.end(_WHOLE) == 0, whole.output
    lines = [line.split(None, 2)[1:] for line in whole.output.splitlines() if re.match(r"\d{4}-\d\d-\d\dT", line)]
    for name in ("web", "vpn"):
        told = [text.split(":")[0] for who, text in lines if who == name and not text.startswith("post hook")]
        told = [word for word in told if not word.startswith("its clients")]
        first, *rest = told
        assert (first, set(rest)) == ("enrolled", {"renewed", "found the next CA", "staged", "rolled over"})
        assert rest.index("found the next CA") < rest.index("staged") < rest.index("rolled over")
        assert told.count("renewed") >= 3
        assert told.count("rolled over") == 1
    assert sum(text.startswith("now serves") for _, text in lines) >= 4
    assert re.search(r"Everything happened, in \d+ s\.", whole.output)
    assert re.search(r"service  \d+ changes seen, \d+ handshakes, 0 failed", whole.output)
    assert "\x1b" not in whole.output
    assert whole.processes() == {}


def test_the_next_ca_is_trusted_before_anything_of_it_is_served_and_the_old_one_goes(whole: Demo) -> None:
    assert whole.end(_WHOLE) == 0, whole.output
    trusted = [
        re.search(pattern, whole.output)
        for pattern in (
            r"trust CA (\w+)\n",
            r"trust CA (\w+) too, in advance",
            r"rolled over:",
            r"no longer trust CA (\w+)",
        )
    ]
    first, following, switch, gone = (found for found in trusted if found)
    assert first.start() < following.start() < switch.start() < gone.start()
    assert first[1] == gone[1] != following[1]
    assert f"CA       {first[1]} → {following[1]}: trusted in advance; the first no longer" in whole.output


def test_what_the_demo_tells_is_so(whole: Demo) -> None:
    assert whole.end(_WHOLE) == 0
    issued = [path.read_text() for path in (whole.directory / "lab" / "issued").iterdir()]
    renewals = re.findall(r"renewed (\d+) times", whole.output)
    assert sum("kind: enrollment" in text for text in issued) == 2
    assert sum("kind: renewal" in text for text in issued) == sum(map(int, renewals))


def test_no_secret_is_told(whole: Demo) -> None:
    assert whole.end(_WHOLE) == 0
    challenge = (whole.directory / "lab" / "challenge").read_text().strip()
    told = [whole.output, *(path.read_text() for path in (whole.directory / "logs").iterdir())]
    assert not [text for text in told if challenge in text or "PRIVATE KEY" in text]


def test_the_commands_it_names_work(whole: Demo) -> None:
    assert whole.end(_WHOLE) == 0
    configuration = whole.directory / "agent.yaml"
    status = subprocess.run(
        [sys.executable, "-m", "certagent", "-c", configuration, "status", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert json.loads(status.stdout)["keystores"].keys() == {"web", "vpn"}
    commands = re.findall(r"^  (\S.* (?:status|history web|lab list .*))$", whole.output, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
        assert (done.returncode in (0, 1), done.stderr) == (True, "")
