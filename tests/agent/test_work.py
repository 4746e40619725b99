"""The work grows with what is to be done, never with what is configured: counted, not timed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certagent import state
from certagent.config.load import load_for_agent
from certagent.config.served import Served
from certagent.policy import Condition
from tests.waiting import PATIENCE

from .conftest import ROOT

FEW, MANY = 6, 60
PAIR = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "90", "-subj", "/CN=any")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    place = tmp_path_factory.mktemp("pair")
    key, certificate = place / "any.key", place / "any.pem"
    subprocess.run([*PAIR, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return key.read_bytes(), certificate.read_bytes()


def installed(directory: Path, number: int, pair: tuple[bytes, bytes]) -> Served:
    """So many keystores that are well."""
    directory.mkdir()
    keystores = {}
    for name in (f"k{each:02}" for each in range(number)):
        key, certificate = directory / f"{name}.key", directory / f"{name}.pem"
        for file, content in zip((key, certificate), pair, strict=True):
            file.write_bytes(content)
        keystores[name] = {
            "type": "pem",
            "authority": "corp",
            "subject": f"CN={name}",
            "key_file": str(key),
            "certificate_file": str(certificate),
        }
    corp = {"url": "http://127.0.0.1:1/scep", "fingerprint": "sha256:" + "00" * 32}
    configuration = {"state_dir": str(directory / "state"), "authorities": {"corp": corp}, "keystores": keystores}
    (directory / "agent.yaml").write_text(json.dumps(configuration))
    (directory / "agent.yaml").chmod(0o600)
    loaded = load_for_agent(directory / "agent.yaml")
    for name in keystores:
        known = state.State(
            condition=Condition.VALID,
            next_action="renew",
            next_action_at=datetime.now(UTC) + timedelta(days=50),
            definition=loaded.keystores[name].digest.hex(),
            watched=state.watch([directory / f"{name}.key", directory / f"{name}.pem"]),
        )
        state.save(directory / "state/keystores" / name, known)
    return loaded


def counted(*words: object, stdin: bytes = b"") -> dict[str, int]:
    argv = [sys.executable, str(ROOT / "tests/agent/counted.py"), *map(str, words)]
    path = Path(str(words[1] if words[0] == "sweep" else words[words.index("-c") + 1])).with_name("stdin")
    path.write_bytes(stdin)
    path.chmod(0o600)
    with path.open("rb") as file:
        done = subprocess.run(
            argv, stdin=file, capture_output=True, timeout=PATIENCE, check=True, env={"PYTHONPATH": str(ROOT)}
        )
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_sweep_with_nothing_due_reads_one_file_of_each_and_starts_nothing(
    tmp_path: Path, pair: tuple[bytes, bytes]
) -> None:
    done = []
    for number in (FEW, MANY):
        place = tmp_path / str(number)
        installed(place, number, pair)
        done.append(counted("sweep", place / "agent.yaml"))
    few, many = done
    assert (few["decoded"], few["started"]) == (many["decoded"], many["started"]) == (0, 0)
    assert many["opened"] - few["opened"] == MANY - FEW
    assert many["listed"] == few["listed"]


WORKER = ("renew", "--due", "--definitions-from-stdin", "--report", "json", "k01")


@pytest.mark.parametrize("words", [WORKER], ids=["as the agent starts it"])
def test_a_worker_for_one_costs_the_same_however_many_there_are(
    words: Sequence[str], tmp_path: Path, pair: tuple[bytes, bytes]
) -> None:
    done = []
    for number in (FEW, MANY):
        place = tmp_path / str(number)
        loaded = installed(place, number, pair)
        handed = loaded.excerpt(["k01"])
        done.append(counted("command", "-c", place / "agent.yaml", *words, stdin=handed))
    assert done[0] == done[1]
    assert done[0]["decoded"] == 1
    assert done[0]["requests"] == 0, "nobody was asked"
