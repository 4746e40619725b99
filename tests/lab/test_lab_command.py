"""`certagent lab` as a person uses it: served by one process, looked after by others, spoken to by any client."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from certagent.cli import parser
from certagent.cli.main import main
from certagent.config.load import load_configuration
from certagent.config.values import Fingerprint
from certagent.errors import BusyError, CertagentError, ConfigError
from certagent.lab import LabCA, command
from tests.waiting import PATIENCE, free_port, listens

from .device import Clock, Device, Lab, MakeLab, certificate

ROOT = Path(__file__).parents[2]
SERVE = """
import sys
from certagent.cli.main import main
sys.exit(main(["lab", *sys.argv[1:]]))
"""


def run(*argv: str | Path) -> int:
    """The command, in this process; for all but serving."""
    return command.run(parser.read(["lab", *map(str, argv)]))


@dataclass
class Served:
    """A lab in a process of its own. `banner`: what it said before the first request."""

    process: subprocess.Popen[str]
    directory: Path
    banner: str

    @property
    def url(self) -> str:
        return str(re.findall(r"URL +(\S+)", self.banner)[0])

    @property
    def challenge(self) -> str:
        return (self.directory / "challenge").read_text().strip()

    def stop(self) -> str:
        """End it as systemd or a person would; what it logged."""
        self.process.terminate()
        log, _ = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0
        return log


Serve = Callable[..., Served]


@pytest.fixture
def serve_lab(tmp_path: Path) -> Iterator[Serve]:
    """`serve_lab("--ra", …)`: in tmp_path/lab, on a free port."""
    with ExitStack() as stack:

        def start(*options: str) -> Served:
            directory = tmp_path / "lab"
            return stack.enter_context(_serving(directory, options))

        yield start


@contextmanager
def _serving(directory: Path, options: tuple[str, ...]) -> Iterator[Served]:
    argv = [sys.executable, "-c", SERVE, "--dir", str(directory), "--port", "0", *options]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines: list[str] = []
            while not lines or not lines[-1].startswith("Press Ctrl-C"):
                lines.append(process.stdout.readline())
                assert lines[-1], "".join(lines)
            yield Served(process, directory, "".join(lines))
        finally:
            process.kill()


def test_the_banner_is_all_one_needs(serve_lab: Serve) -> None:
    served = serve_lab("--ra", "--lifetime", "30s")
    assert "NOT FOR PRODUCTION" in served.banner
    assert served.url.startswith("http://127.0.0.1:")
    snippet = served.banner[served.banner.index("authorities:") : served.banner.index("Press Ctrl-C")]
    authority = yaml.safe_load(snippet)["authorities"]["corp"]
    assert authority["url"] == served.url
    ca = LabCA(served.directory, Clock()).generation.issuer.certificate
    assert Fingerprint.parse(authority["fingerprint"]).digest == ca.fingerprint(hashes.SHA256())
    assert Path(authority["challenge"]["file"]).read_text().strip() == served.challenge
    assert served.challenge not in served.banner


def block(banner: str) -> str:
    """What it says is for agent.yaml."""
    return banner[banner.index("authorities:\n") :].partition("\n\n")[0]


def test_its_block_pastes_into_the_example(serve_lab: Serve, tmp_path: Path) -> None:
    """In place of what the example has there, and of all that the example has."""
    served = serve_lab()
    example = (ROOT / "agent.yaml.example").read_text()
    begin, end = example.index("authorities:\n"), example.index("\ndefaults:")
    for text in (example[:begin] + block(served.banner) + "\n" + example[end:], block(served.banner) + example[end:]):
        file = tmp_path / "agent.yaml"
        file.write_text(text)
        file.chmod(0o600)
        configuration = load_configuration(file)
        assert configuration.authority_of(configuration.keystores["web"]).urls == (served.url,)


def test_in_the_background(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Started, spoken to by another process, ended; and what keeps it from starting is told."""
    directory, port = tmp_path / "lab", free_port()
    argv = [sys.executable, "-m", "certagent", "lab", "--dir", str(directory), "--port", str(port), "--background"]
    started = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE, check=False)
    try:
        assert started.returncode == 0, started.stderr
        assert f"To end it: certagent lab stop --dir {directory}" in started.stdout
        pid = int(re.findall(r"process (\d+), log", started.stdout)[0])
        assert listens(port)
        again = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert (again.returncode, again.stdout) == (1, "")
        assert f"is in use by process {pid}" in again.stderr
        assert main(["scep", "getcaps", "--url", f"http://127.0.0.1:{port}/scep"]) == 0
        assert "GetCACaps" in (directory / "log").read_text()
        capsys.readouterr()
    finally:
        assert run("stop", "--dir", directory) == 0
    assert capsys.readouterr().out == f"stopped: process {pid}\n"
    assert not listens(port)
    with pytest.raises(ConfigError, match="no lab runs in"):
        run("stop", "--dir", directory)


def test_one_lab_per_directory(serve_lab: Serve) -> None:
    served = serve_lab()
    with pytest.raises(BusyError, match="the lab in"):
        run("--dir", served.directory, "--port", "0")


def test_it_says_when_others_can_reach_it(serve_lab: Serve) -> None:
    assert "Others can reach it" in serve_lab("--listen", "0.0.0.0").banner


def test_a_challenge_of_ones_own(tmp_path: Path, serve_lab: Serve) -> None:
    own = tmp_path / "own"
    own.write_text("open sesame\n")
    served = serve_lab("--challenge-file", str(own))
    assert f'challenge: {{file: "{own}"}}' in served.banner
    assert not (served.directory / "challenge").exists()
    assert "open sesame" not in served.banner


# --- what waits -----------------------------------------------------------------------------------


def waiting_lab(lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey]) -> Lab:
    """Two requests wait: T1 of CN=one, T2 of CN=two."""
    running = lab(manual=True)
    Device(running, rsa_keys[3], "CN=one").enroll("T1")
    Device(running, rsa_keys[3], "CN=two").enroll("T2")
    return running


def test_approve_reject_and_list(
    lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey], capsys: pytest.CaptureFixture[str]
) -> None:
    running = waiting_lab(lab, rsa_keys)
    assert run("approve", "T1", "--dir", running.directory) == 0
    assert run("--dir", running.directory, "reject", "T2") == 0
    issued = certificate(Device(running, rsa_keys[3], "CN=one").poll("T1"))
    assert run("list", "--dir", running.directory) == 0
    assert capsys.readouterr().out.splitlines() == [
        "approved: T1  enrollment  CN=one",
        "rejected: T2  enrollment  CN=two",
        "rejected  T2  enrollment  CN=two",
        f"issued    T1  enrollment  CN=one  serial {issued.serial_number:x}  until 2030-04-01T12:00:00Z",
    ]


def test_approve_all_leaves_the_rejected_alone(
    lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey], capsys: pytest.CaptureFixture[str]
) -> None:
    running = waiting_lab(lab, rsa_keys)
    run("reject", "T2", "--dir", running.directory)
    run("approve", "--all", "--dir", running.directory)
    assert [each.decision for each in running.ca.store.all_waiting()] == ["approved", "rejected"]
    capsys.readouterr()
    run("approve", "--all", "--dir", running.directory)
    assert capsys.readouterr().out == "nothing waits\n"


def test_revoke_and_list(lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey], capsys: pytest.CaptureFixture[str]) -> None:
    """A serial number as `list` prints it, or as openssl does."""
    running = lab()
    first, second, third = (
        certificate(Device(running, rsa_keys[3], f"CN={name}").enroll(name)).serial_number for name in ("a", "b", "c")
    )
    pairs = f"{second:040X}"
    assert run("revoke", f"{first:x}", "--dir", running.directory) == 0
    assert run("--dir", running.directory, "revoke", ":".join(re.findall("..", pairs))) == 0
    assert capsys.readouterr().out.splitlines() == [f"revoked: {first:x}  CN=a", f"revoked: {second:x}  CN=b"]
    assert {entry.serial_number for entry in running.ca.crl()} == {first, second}
    run("list", "--dir", running.directory)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["revoked", "revoked", "issued"]
    assert third not in running.ca.store.revoked()


def test_the_options_make_the_ca(serve_lab: Serve) -> None:
    served = serve_lab("--ca-key", "ec:p256", "--intermediate")
    assert "behind an RA" in served.banner
    ca = LabCA(served.directory, lambda: datetime.now(UTC))
    assert isinstance(ca.generation.issuer.key, ec.EllipticCurvePrivateKey)
    assert len(ca.generation.above) == 1


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        pytest.param(("revoke", "ABC"), "no certificate with serial abc was issued here", id="unknown serial"),
        pytest.param(("approve", "T9"), "no waiting request starts with T9", id="unknown"),
        pytest.param(("reject", "T"), "several waiting requests start with T", id="ambiguous"),
        pytest.param(("list", "--dir", "/nonexistent"), "there is no lab in /nonexistent", id="no lab"),
        pytest.param(("--challenge-file", "/nonexistent"), "/nonexistent cannot be read", id="no challenge file"),
        pytest.param(("--dir", "/proc/lab"), "cannot be kept in /proc/lab", id="no directory"),
    ],
)
def test_bad_input(lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey], argv: tuple[str, ...], message: str) -> None:
    running = waiting_lab(lab, rsa_keys)
    with pytest.raises(ConfigError, match=message) as caught:
        run("--dir", running.directory, *argv)
    assert isinstance(caught.value, CertagentError)
    assert caught.value.hint


@pytest.mark.parametrize(
    "argv",
    [
        ("--lifetime", "soon"),
        ("--lifetime", "0s"),
        ("--ca-lifetime", "99999d"),
        ("--port", "99999"),
        ("--accept", "md5"),
        ("approve",),
        ("revoke", "CN=device"),
        ("--ca-key", "rsa:1024"),
    ],
    ids=" ".join,
)
def test_bad_usage(argv: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*argv)
    assert caught.value.code == 2
