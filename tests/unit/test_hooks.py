"""Running commands: real ones, since what matters is what the kernel does with them."""

from __future__ import annotations

import os
import resource
import sys
import threading
import tracemalloc
from datetime import timedelta
from pathlib import Path

import pytest

from certagent.config.parts import HookCommand, Secret
from certagent.config.values import Duration
from certagent.errors import CertagentError, ConfigError, HookError
from certagent.hooks import read_secret, run_hook
from tests.waiting import PATIENCE, until

ENOUGH_TO_START = 1.0  # seconds; for a shell, on a busy machine


def shell(script: str, seconds: float = PATIENCE) -> HookCommand:
    return HookCommand(run=("/bin/sh", "-c", script), timeout=Duration(seconds=seconds))


def output(script: str, environment: dict[str, str] | None = None) -> list[str]:
    lines: list[str] = []
    run_hook(shell(script), environment or {}, lines.append)
    return lines


def gone(pid: int) -> bool:
    """Whether the process ended (as a zombie nobody reaps has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize(
    ("script", "lines"),
    [
        pytest.param("echo one; echo two", ["sh: one", "sh: two"], id="line by line"),
        pytest.param("echo fault >&2", ["sh: fault"], id="standard error too"),
        pytest.param("printf cut", ["sh: cut"], id="without a newline at the end"),
        pytest.param("true", [], id="nothing"),
        pytest.param(r"printf 'a\033[2Jb\007\n'", ["sh: a·[2Jb·"], id="control characters"),
        pytest.param(r"printf 'a\377b\n'", ["sh: a\ufffdb"], id="no UTF-8"),
        pytest.param(r"printf 'a\rb\n'", ["sh: a", "sh: b"], id="a carriage return"),
        pytest.param("echo ä€", ["sh: ä€"], id="beyond ASCII"),
        pytest.param("cat", [], id="standard input is empty"),
        pytest.param("pwd", ["sh: /"], id="works in /"),
        pytest.param("ls /proc/$$/fd", ["sh: 0", "sh: 1", "sh: 2"], id="no files are inherited"),
    ],
)
def test_output_goes_to_the_log(script: str, lines: list[str]) -> None:
    assert output(script) == lines


def test_a_long_line_is_cut() -> None:
    assert output("head -c 5000 /dev/zero | tr '\\0' x") == ["sh: " + "x" * 499 + "…"]


def test_the_environment_is_what_was_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        monkeypatch.delenv(name)
    for name in ("CORP_CHALLENGE", "LD_PRELOAD", "PYTHONPATH", "NOTIFY_SOCKET", "CERTAGENT_OLD"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("TZ", "UTC")
    found: list[str] = []
    run_hook(HookCommand(run=("env",)), {"CERTAGENT_EVENT": "post"}, found.append)
    standard = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert sorted(found) == ["env: CERTAGENT_EVENT=post", f"env: PATH={standard}", "env: TZ=UTC"]


def test_arguments_are_no_shell_s_business() -> None:
    found: list[str] = []
    run_hook(HookCommand(run=("echo", "$HOME", "a b", ";", "`id`")), {}, found.append)
    assert found == ["echo: $HOME a b ; `id`"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        pytest.param(shell("echo no way; exit 3"), "hook /bin/sh exited with 3: no way", id="exit code"),
        pytest.param(shell("exit 1"), "hook /bin/sh exited with 1", id="exit code without a word"),
        pytest.param(shell("kill -9 $$"), "hook /bin/sh was killed by signal 9", id="signal"),
        pytest.param(HookCommand(run=("/no/such",)), "/no/such cannot be started: No such file", id="missing"),
        pytest.param(HookCommand(run=("no-such-program",)), "no-such-program cannot be started", id="not in PATH"),
        pytest.param(
            HookCommand(run=("/etc/passwd",)), "/etc/passwd cannot be started: Permission", id="not executable"
        ),
        pytest.param(HookCommand(run=("/tmp",)), "/tmp cannot be started: Permission", id="a directory"),
        pytest.param(HookCommand(run=("echo", "a\0b")), "echo cannot be started: embedded null byte", id="a NUL"),
        pytest.param(shell("sleep 60", 0.2), "did not end within 0.2 s and was killed", id="hangs"),
    ],
)
def test_failure(command: HookCommand, message: str) -> None:
    with pytest.raises(HookError) as caught:
        run_hook(command, {}, lambda _line: None)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_no_descriptor_to_be_had() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = os.dup(0)  # the lowest that is free: with no higher one allowed, it was the last
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 1, hard))
        with pytest.raises(HookError, match="/bin/sh cannot be started: Too many open files") as caught:
            run_hook(shell("true"), {}, print)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(taken)
    assert "open files" in caught.value.hint


def test_no_thread_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the host's or the unit's number of tasks is used up (TasksMax=)."""

    def refused(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    before = len([*Path("/proc/self/fd").iterdir()])
    monkeypatch.setattr(threading.Thread, "start", refused)
    with pytest.raises(HookError, match="/bin/sh cannot be started: can't start new thread"):
        run_hook(shell("true"), {}, print)
    assert len([*Path("/proc/self/fd").iterdir()]) == before


def test_a_script_for_a_missing_interpreter(tmp_path: Path) -> None:
    script = tmp_path / "hook"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    with pytest.raises(HookError, match="cannot be started"):
        run_hook(HookCommand(run=(str(script),)), {}, lambda _line: None)


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("sleep 60 & echo $!; wait", id="a child"),
        pytest.param("(sleep 60 & echo $!; wait) & wait", id="a grandchild"),
        pytest.param("(trap '' TERM; sleep 60 & echo $!; while :; do sleep 60; done) & wait", id="deaf to SIGTERM"),
        pytest.param(
            "sh -c 'trap \"\" TERM; echo $$; exec sleep 60 >/dev/null 2>&1' & wait", id="deaf, and says nothing more"
        ),
    ],
)
def test_the_time_limit_ends_the_whole_group(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("certagent.hooks._GRACE", 0.5)
    lines: list[str] = []
    with pytest.raises(HookError, match="was killed"):
        run_hook(shell(script, ENOUGH_TO_START), {}, lines.append)
    until(lambda: gone(int(lines[0].removeprefix("sh: "))))


def test_a_hook_may_tidy_up_when_its_time_is_over(tmp_path: Path) -> None:
    script = f"trap 'echo tidy >{tmp_path}/done; exit' TERM; sleep 60 & wait"
    with pytest.raises(HookError, match="was killed"):
        run_hook(shell(script, ENOUGH_TO_START), {}, lambda _line: None)
    assert (tmp_path / "done").read_text() == "tidy\n"


def test_a_service_that_a_hook_starts_lives_on_and_holds_nothing_up() -> None:
    """It may well keep the standard output it was given."""
    lines = output("sleep 1000 & echo $!")
    os.kill(int(lines[0].removeprefix("sh: ")), 9)  # it was there, so nobody waited for it


def test_a_flood_is_bounded() -> None:
    lines: list[str] = []
    tracemalloc.start()
    try:
        with pytest.raises(HookError, match="exited with 4: the reason"):
            run_hook(shell("head -c 60000000 /dev/zero | tr '\\0' y; echo; echo the reason; exit 4"), {}, lines.append)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
    assert lines[-1] == "sh: the reason"
    assert any("more bytes" in line for line in lines)
    assert sum(map(len, lines)) < 10_000


# Secrets


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "secret"


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        pytest.param(b"s3cret", b"s3cret", id="plain"),
        pytest.param(b"s3cret\n", b"s3cret", id="one newline is cut"),
        pytest.param(b"s3cret\r\n", b"s3cret", id="and a carriage return"),
        pytest.param(b" s3 cret ", b" s3 cret ", id="spaces are kept"),
        pytest.param(b"\xef\xbb\xbfs3cret\r\n", b"s3cret", id="as a Windows editor writes it"),
        pytest.param("pä\u00dfwort\n".encode(), "pä\u00dfwort".encode(), id="beyond ASCII"),
    ],
)
def test_secret(content: bytes, secret: bytes, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.touch(0o600)
    kept.write_bytes(content)
    monkeypatch.setitem(os.environb, b"CORP_CHALLENGE", content)
    monkeypatch.setitem(os.environ, "CREDENTIALS_DIRECTORY", str(kept.parent))
    assert read_secret(Secret(credential=kept.name)) == secret
    assert read_secret(Secret(file=str(kept))) == secret
    assert read_secret(Secret(env="CORP_CHALLENGE")) == secret
    assert read_secret(Secret(command=("cat", str(kept)))) == secret


@pytest.mark.parametrize(
    ("secret", "kind", "message"),
    [
        pytest.param(Secret(file="/no/such"), ConfigError, "/no/such: No such file", id="no file"),
        pytest.param(Secret(file="/tmp"), ConfigError, "/tmp is a directory", id="a directory"),
        pytest.param(Secret(file="/dev/null"), ConfigError, "/dev/null is not a regular file", id="nothing"),
        pytest.param(Secret(file="/dev/zero"), ConfigError, "/dev/zero is not a regular file", id="without end"),
        pytest.param(Secret(credential="no-such-name"), ConfigError, "no credential no-such-name", id="no credential"),
        pytest.param(Secret(env="NO_SUCH_NAME"), ConfigError, "NO_SUCH_NAME is not set", id="no variable"),
        pytest.param(Secret(command=("true",)), ConfigError, "from true is empty", id="silent command"),
        pytest.param(Secret(command=("echo",)), ConfigError, "from echo is empty", id="only a newline"),
        pytest.param(Secret(command=("printf", "a\\nb\\n")), ConfigError, "has more than one line", id="two lines"),
        pytest.param(Secret(command=("printf", "s3\\0")), ConfigError, "from printf has zero bytes", id="zero bytes"),
        pytest.param(Secret(command=("no-such-program",)), HookError, "cannot be started", id="no command"),
        pytest.param(
            Secret(command=("head", "-c", "70000", "/dev/zero")), ConfigError, "longer than", id="long-winded command"
        ),
        pytest.param(
            Secret(command=("sh", "-c", "echo s3cret; echo s3cret >&2; exit 5")),
            HookError,
            "secret command sh exited with 5",
            id="failing command",
        ),
    ],
)
def test_no_secret(secret: Secret, kind: type[CertagentError], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(kind) as caught:
        read_secret(secret)
    assert message in str(caught.value)
    assert "s3cret" not in f"{caught.value}{caught.value.hint}{capfd.readouterr()}"


def test_a_secret_command_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("certagent.hooks._SECRET_TIME", timedelta(seconds=0.2))
    with pytest.raises(HookError, match="did not end"):
        read_secret(Secret(command=(sys.executable, "-c", "import time; print('s3cret', flush=True); time.sleep(60)")))
