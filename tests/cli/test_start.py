"""What a command loads, which is most of what it costs; and what an installation on a device can leave out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import certagent
from certagent.cli.commands import COMMANDS
from tests.waiting import PATIENCE

from .place import Place

LOADED = "import sys; from certagent.cli import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
TRIALS = ("certagent.lab", "certagent.demo")
AGENT = ("apscheduler", "asyncio")
NETWORK = ("requests", "urllib3", "ssl", "http", "email", "socket")
CRYPTOGRAPHY = ("cryptography", "asn1crypto", "OpenSSL", "certagent.trust", "certagent.scep")
DEAR = (*TRIALS, *AGENT, *NETWORK, *CRYPTOGRAPHY, "pkcs11", "rich", "ldap3", "dataclasses", "ctypes", "json")
"""What no command loads that only looks."""
OTHERS = ("certagent.agent", "certagent.status", "certagent.keystore.pkcs12", "certagent.keystore.token.driver")
UNASKED = (*OTHERS, "pkcs11", "rich", "ldap3", "asn1crypto.csr", "asn1crypto.pkcs12", "html", "difflib")
"""What no renewal of PEM files loads that goes well."""

NEVER = {
    ("status",): DEAR,
    ("status", "--json"): DEAR,
    ("health",): DEAR,
    ("plan",): DEAR,
    ("history",): (*DEAR, "subprocess", "logging", "traceback"),
    ("renew", "--due"): (*DEAR, "subprocess", "logging", "traceback"),
    ("recover",): (*TRIALS, *AGENT, *NETWORK, *CRYPTOGRAPHY, "rich", "dataclasses"),
    ("check", "--offline"): (*TRIALS, *AGENT, "requests", "urllib3", "pkcs11", "rich", "ldap3"),
    ("renew", "--dry-run"): (*TRIALS, *AGENT, "requests", "urllib3", "pkcs11", "rich", "ldap3"),
    ("renew", "--force", "web"): (*TRIALS, *AGENT, *UNASKED),
    ("enroll", "--force", "web"): (*TRIALS, *AGENT, "pkcs11", "rich", "ldap3"),
    ("scep", "getcaps", "--url", "URL"): (*TRIALS, *AGENT, "pkcs11", "rich", "ldap3"),
    ("schema",): (*TRIALS, *AGENT, *NETWORK, *CRYPTOGRAPHY, "pkcs11", "rich", "ldap3"),
}


@pytest.mark.parametrize(("words", "never"), [pytest.param(*each, id=" ".join(each[0])) for each in NEVER.items()])
def test_a_command_does_not_load(words: tuple[str, ...], never: tuple[str, ...], connected: Place) -> None:
    connected.put_living()
    connected.run("renew", "--due")  # a worker has seen it
    given = [connected.url if word == "URL" else word for word in words]
    before = [] if words[0] in ("scep", "schema") else ["-c", str(connected.config)]
    argv = [sys.executable, "-c", LOADED, *before, *given]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=PATIENCE)
    loaded = done.stderr.splitlines()[-1].split()
    assert "certagent.cli.main" in loaded
    assert not {each for each in never if each in loaded}


def test_what_is_loaded_is_never_searched_for_garbage() -> None:
    argv = [sys.executable, "-c", "import gc, certagent.cli; print(gc.get_freeze_count() > 1000)"]
    assert subprocess.run(argv, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout == "True\n"


LEFT = "import atexit, gc; atexit.register(lambda: print(len(gc.get_objects()) < 20, file=sys.stderr))"


def test_the_end_of_a_command_searches_nothing_for_garbage(connected: Place) -> None:
    argv = [sys.executable, "-c", f"import sys; {LEFT}; {LOADED}", "-c", str(connected.config), "status"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.stderr.splitlines()[-1] == "True"


@pytest.fixture(scope="module")
def on_a_device(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where certagent is, without its lab and its demo."""
    whole, place = Path(certagent.__file__).parent, tmp_path_factory.mktemp("device")
    (place / "certagent").mkdir()
    for each in whole.iterdir():
        if f"certagent.{each.name}" not in TRIALS:
            (place / "certagent" / each.name).symlink_to(each)
    return place


def run(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    # -S: where certagent is installed for development, its own finder would bring in what is missing here.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(place), *sys.path))}
    argv = [sys.executable, "-S", "-m", "certagent", *words]
    return subprocess.run(
        argv, capture_output=True, text=True, check=False, cwd=place, env=environment, timeout=PATIENCE
    )


@pytest.mark.parametrize("word", ["lab", "demo"])
def test_a_command_that_was_left_out_says_so(word: str, on_a_device: Path) -> None:
    done = run(on_a_device, word)
    hint = "run it on another host, or install certagent again"
    told = f"certagent: `certagent {word}` was left out of this installation\n  {hint}\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", told)


WITHOUT = [
    pytest.param(("--help",), id="help"),
    pytest.param(("man",), id="the manual"),
    pytest.param(("completion", "--line", "certagent "), id="completion"),
    pytest.param(("completion", "--line", "certagent lab --"), id="completion of what is not there"),
    pytest.param(("schema",), id="the schema"),
]


@pytest.mark.parametrize("words", WITHOUT)
def test_every_other_command_works_without(words: tuple[str, ...], on_a_device: Path) -> None:
    done = run(on_a_device, *words)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_other_command_is_made_of_them() -> None:
    assert {name for name, command in COMMANDS.items() if f"certagent.{command.module}".startswith(TRIALS)} == {
        "lab",
        "demo",
    }
