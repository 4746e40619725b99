"""`certagent init`: a first configuration by options, and by asking at a terminal; nothing is believed on first use."""

from __future__ import annotations

import os
import pty
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from certagent import shipped
from certagent.certificate import fingerprint
from certagent.cli.init import ca, texts
from certagent.cli.init.answers import Answers
from certagent.cli.main import main
from certagent.config.load import load_configuration
from certagent.config.values import Fingerprint
from certagent.lab import LabServer
from tests.waiting import free_port, until

DEFINITIONS = {each.stem: each.read_text() for each in shipped.directory("keystores").glob("*.yaml")}
EXAMPLE = shipped.example().read_text()
PIN = "sha256:" + "8d" * 32


# ── what is written ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("consumer", [texts.PLAIN, *sorted(DEFINITIONS)])
def test_every_shipped_definition_becomes_a_configuration(consumer: str, tmp_path: Path) -> None:
    answers = Answers(
        url="http://ca.corp.example/scep",
        fingerprint=Fingerprint.parse(PIN),
        consumer=consumer,
        names=("dns:a.corp.example", "ip:192.0.2.7"),
        authority="other",
        challenge='{file: "/run/secret"}',
        subject="CN=a, O=Corp Ltd",
    )
    definition = DEFINITIONS.get(consumer, EXAMPLE)
    name = texts.name_of(definition)
    (tmp_path / "keystores").mkdir()
    written = {
        "agent.yaml": texts.agent_yaml(EXAMPLE, answers),
        "keystores/it.yaml": texts.keystore(definition, answers, name),
    }
    for file, text in written.items():
        (tmp_path / file).write_text(text)
        (tmp_path / file).chmod(0o640)
    configuration = load_configuration(tmp_path / "agent.yaml")
    [(found, keystore)] = configuration.keystores.items()
    authority = configuration.authorities["other"]
    assert (found, keystore.authority) == (name, "other")
    assert keystore.subject == "CN=a,O=Corp Ltd"
    assert list(map(str, keystore.san)) == list(answers.names)
    assert (authority.urls, authority.fingerprints) == ((answers.url,), (answers.fingerprint,))
    assert authority.challenge is not None
    assert authority.challenge.file == "/run/secret"
    for text in written.values():
        assert "Copy" not in text
        assert "example.net" not in text.replace("proxy.example.net", "")


def test_no_challenge_is_none() -> None:
    answers = Answers(url="http://ca/", fingerprint=Fingerprint.parse(PIN), consumer="pem", names=("dns:a",))
    assert "    # challenge:" in texts.agent_yaml(EXAMPLE, answers)


# ── by options ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def options(lab: LabServer, tmp_path: Path) -> dict[str, str]:
    """All that it takes, for a keystore of two files below `tmp_path`."""
    (tmp_path / "ssl").mkdir()
    challenge = tmp_path / "secret"
    challenge.write_text("open sesame\n")
    challenge.chmod(0o600)
    return {
        "--url": lab.url,
        "--fingerprint": str(fingerprint(lab.ca.generation.issuer.certificate)),
        "--for": "pem",
        "--name": "web.corp.example",
        "--challenge-file": str(challenge),
        "--key-file": f"{tmp_path}/ssl/web.key",
        "--certificate-file": f"{tmp_path}/ssl/web.pem",
        "--state-dir": f"{tmp_path}/state",
    }


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "etc/agent.yaml"


def words(options: dict[str, str]) -> list[str]:
    return [word for pair in options.items() for word in pair]


def test_from_nothing_to_the_first_certificate(
    options: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "etc/certagent/agent.yaml"
    assert main(["init", "-c", str(file), *words(options)]) == 0
    said = capsys.readouterr().out
    assert f"    {options['--fingerprint']}\n" in said
    assert said.endswith(f"no faults, no warnings\n\nnext: certagent -c {file} enroll web\n")
    assert [each.stat().st_mode & 0o777 for each in (file, file.parent / "keystores/web.yaml")] == [0o640, 0o640]
    assert main(["-c", str(file), "enroll", "web"]) == 0
    assert (tmp_path / "ssl/web.pem").exists()


def test_what_is_there_is_overwritten_by_word_alone(
    options: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text("# mine\n")
    assert main(["init", "-c", str(file), *words(options)]) == 2
    assert capsys.readouterr().err.startswith(f"certagent: {file} is there already, and was left as it is\n")
    assert file.read_text() == "# mine\n"
    assert main(["init", "-c", str(file), "--force", *words(options)]) == 0
    assert file.read_text().startswith("# Written by `certagent init`")


REFUSED = [
    pytest.param({"--fingerprint": PIN}, [f"found {{}}, wanted {PIN}"], id="another CA"),
    pytest.param({"--url": "scep.example.net"}, ["--url scep.example.net: does not begin with http"], id="no URL"),
    pytest.param(
        {"--fingerprint": "8d", "--name": "a b", "--subject": "web"},
        ["--fingerprint 8d: ", "--name dns:a b: ", "--subject web: "],
        id="several at once",
    ),
    pytest.param({"--for": "nginx"}, ["--key-file and --certificate-file are for --for pem"], id="not these files"),
]


@pytest.mark.parametrize(("other", "told"), REFUSED)
def test_what_is_refused_writes_nothing(
    other: dict[str, str], told: list[str], options: dict[str, str], file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "-c", str(file), *words({**options, **other})]) == (1 if told[0].startswith("found") else 2)
    error = capsys.readouterr().err
    assert all(each.format(options["--fingerprint"]) in error for each in told), error
    assert not file.parent.exists()


@pytest.mark.parametrize(
    ("command", "told"),
    [("echo 'x", "has a quote that is not closed"), (" ", "names no program")],
    ids=["quote", "empty"],
)
def test_a_command_that_cannot_be_one(
    command: str, told: str, options: dict[str, str], file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del options["--challenge-file"]
    assert main(["init", "-c", str(file), *words({**options, "--challenge-command": command})]) == 2
    assert f"--challenge-command {command}: {told}" in capsys.readouterr().err
    assert not file.parent.exists()


def test_without_a_terminal_all_that_is_missing_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "-c", str(tmp_path / "agent.yaml"), "--name", "a.example"]) == 2
    missing = "--url, --fingerprint, --for, one of --challenge-file, --challenge-command and --no-challenge"
    assert f"these options are missing: {missing}\n" in capsys.readouterr().err


def test_what_cannot_be_written_leaves_nothing(
    options: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "agent.yaml").mkdir()  # the last of the files cannot take its place
    assert main(["init", "--force", "-c", str(tmp_path / "agent.yaml"), *words(options)]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert list((tmp_path / "keystores").iterdir()) == []


# ── a fingerprint, as a person compares it ────────────────────────────────────────────────────────


def test_what_is_typed_for_a_fingerprint(lab: LabServer) -> None:
    authority = lab.ca.generation.issuer.certificate
    digits = fingerprint(authority).digest.hex()
    pairs = ":".join(digits[at : at + 2] for at in range(0, 64, 2)).upper()
    for typed in (digits, digits[:8], pairs, pairs[:11], f"sha256 Fingerprint={pairs}", f"sha256:{digits}", "yes"):
        assert ca.matching([authority], typed) == (authority, ""), typed
    for typed in ("", digits[:7], "no idea", "y"):
        found, why = ca.matching([authority], typed)
        assert found is None
        assert "are not 8 hexadecimal digits" in why
    other = f"{int(digits[:8], 16) ^ 1:08x}"
    assert ca.matching([authority], other)[1].startswith(f"refused: the CA has sha256:{digits}, not {other}; ")
    assert ca.matching([authority, authority], "yes")[0] is None


# ── at a terminal ─────────────────────────────────────────────────────────────────────────────────


class Terminal:
    """A person before the command: reads what is shown, and types."""

    def __init__(self, *argv: str) -> None:
        self.shown = ""
        self._pid, self._ours = pty.fork()
        if self._pid == 0:
            os.execv(sys.executable, [sys.executable, "-m", "certagent", *argv])

    def expect(self, text: str) -> None:
        """Wait until it is shown, behind what was waited for before."""
        seen = len(self.shown)

        def shown() -> bool:
            self._read()
            return text in self.shown[seen:]

        until(shown, told=lambda: self.shown)

    def _read(self) -> bool:
        os.set_blocking(self._ours, False)
        try:
            part = os.read(self._ours, 65536)
        except BlockingIOError:
            return True
        except OSError:  # Linux' way to say that the other end is closed
            return False
        self.shown += part.decode().replace("\r\n", "\n")
        return bool(part)

    def type(self, *answers: tuple[str, str]) -> None:
        for question, answer in answers:
            self.expect(question)
            os.write(self._ours, f"{answer}\n".encode())

    def end(self) -> int:
        until(lambda: not self._read(), told=lambda: self.shown)
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])

    def close(self) -> None:
        os.close(self._ours)


def test_by_asking(lab: LabServer, options: dict[str, str], file: Path, tmp_path: Path) -> None:
    """Every question is answered wrongly once."""
    digits = fingerprint(lab.ca.generation.issuer.certificate).digest.hex()
    given = {word: options[word] for word in ("--key-file", "--certificate-file", "--state-dir")}
    terminal = Terminal("-c", str(file), "init", *words(given))
    terminal.type(
        ("URL of the CA's SCEP service: ", "scep.example.net"),
        ("does not begin with http", f"http://127.0.0.1:{free_port()}/scep"),
        ("cannot be reached", lab.url),
        (f"sha256:{digits}", "0123456789"),
        (f"refused: the CA has sha256:{digits}, not 0123456789", digits[:12]),
        ("which [pem]: ", "ngnix"),
        ("did you mean nginx?", ""),
        ("Name that clients use", "a b"),
        ("contains a space", "web.corp.example"),
        ("which [type]: ", ""),
        ("the challenge password (not shown): ", "open sesame"),
    )
    assert terminal.end() == 0, terminal.shown
    terminal.close()
    assert "open sesame" not in terminal.shown
    assert terminal.shown.endswith(f"next: certagent -c {file} enroll web\n")
    challenge = file.parent / "corp.challenge"
    assert (challenge.read_text(), challenge.stat().st_mode & 0o777) == ("open sesame\n", 0o600)
    assert main(["-c", str(file), "enroll", "web"]) == 0
    assert (tmp_path / "ssl/web.pem").exists()


@pytest.fixture
def asked(lab: LabServer, options: dict[str, str], file: Path) -> Iterator[Terminal]:
    """Before the question for the fingerprint."""
    given = {word: value for word, value in options.items() if word != "--fingerprint"}
    terminal = Terminal("-c", str(file), "init", *words(given))
    terminal.expect("or `no`: ")
    yield terminal
    terminal.close()


@pytest.mark.parametrize(
    ("answer", "code", "told"),
    [
        pytest.param("no\n", 2, "the CA was not confirmed", id="no", marks=pytest.mark.slow),
        pytest.param("\x04", 2, "not all questions were answered", id="Ctrl-D", marks=pytest.mark.slow),
        pytest.param("\x03", 130, "certagent: interrupted; nothing was written", id="Ctrl-C"),
    ],
)
def test_what_ends_it_leaves_nothing(answer: str, code: int, told: str, asked: Terminal, file: Path) -> None:
    os.write(asked._ours, answer.encode())
    assert asked.end() == code, asked.shown
    assert told in asked.shown
    assert "Traceback" not in asked.shown
    assert not file.parent.exists()
