"""docs/operating.md: its tables against the code, and its commands on a machine that boots."""

from __future__ import annotations

import inspect
import re
import shlex
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certagent import policy, state_directory
from certagent.config.values import Duration
from certagent.trust import memory
from tests.readme.test_readme import ANSWERS, INIT, LAB, OPTIONS, on_the_machine
from tests.systemd.conftest import Machine

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/operating.md").read_text()
NOW = datetime(2027, 1, 1, tzinfo=UTC)


def chapter(title: str) -> str:
    found = re.search(rf"^##+ {re.escape(title)}\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def block(title: str, number: int = 0) -> str:
    """The commands of a chapter."""
    found: list[str] = re.findall(r"```sh\n(.*?)```", chapter(title), re.DOTALL)
    return found[number]


def listed() -> set[str]:
    """The paths of the table, as `keystores/NAME/lock`."""
    rows = re.findall(
        r"^\| (`(?:agent|clock|keystores/|authorities/|tokens/).*?) \|", chapter("What lies where"), re.MULTILINE
    )
    paths = set()
    for row in rows:
        first, *others = re.findall(r"`([^`]+)`", row)
        paths |= {first, *(f"{first.rpartition('/')[0]}/{each}" for each in others)}
    return paths


def in_the_code() -> set[str]:
    root = state_directory.StateDirectory(Path("/"))
    places = [root, root.keystore("NAME"), state_directory.AuthorityDirectory(root.authority("NAME"))]
    places.append(root.token("DIGEST"))
    named = [
        getattr(place, name)
        for place in places
        for name, made in inspect.getmembers(type(place))
        if isinstance(made, property) and name not in ("keystores", "authorities", "state_directory")
    ]
    journals = re.findall(r"^ +transaction/ rollover/ (\w+)/", inspect.getdoc(state_directory) or "", re.MULTILINE)
    files = re.findall(r'self\.directory / "([^"]+)"', inspect.getsource(memory))
    assert journals
    assert "ca.pem" in files
    return {
        *(str(each.relative_to("/")) for each in named),
        *(f"keystores/NAME/{each}" for each in journals),
        *(f"authorities/NAME/{each}" for each in files),
    }


def test_the_table_of_the_state_directory_is_complete() -> None:
    assert listed() == in_the_code()


def rhythm() -> list[tuple[str, list[str]]]:
    """Each kind of error, with the cells of its row."""
    rows = [
        line.strip("|").split(" | ") for line in chapter("How often certagent tries").splitlines() if " times |" in line
    ]
    return [(kind, cells[1:]) for cells in rows for kind in re.findall(r"`(\w+)`", cells[0])]


@pytest.mark.parametrize(("kind", "cells"), rhythm(), ids=[kind for kind, _ in rhythm()])
def test_the_rhythm_is_what_certagent_keeps(kind: str, cells: list[str]) -> None:
    first, longest = (Duration.parse(cell.strip().replace(" ", "").replace("min", "m")) for cell in cells[:2])
    times = int(cells[2].split()[0])
    for_ever = policy.Lifetime(NOW, NOW + timedelta(days=3650))
    assert policy.backoff(kind, 1, for_ever, NOW) - NOW == first
    assert policy.backoff(kind, 2, for_ever, NOW) - NOW == 2 * first
    assert policy.backoff(kind, 50, for_ever, NOW) - NOW == longest
    short = policy.Lifetime(NOW, NOW + times * longest / 10)
    assert policy.backoff(kind, 50, short, NOW) - NOW == longest / 10


@pytest.mark.slow  # it boots, and installs twice
@pytest.mark.needs("nspawn")
def test_the_commands_on_a_machine(machine: Machine) -> None:
    """Backup, loss, restore, upgrade, a new name, an image, and the end, each as the page has it."""
    lines = on_the_machine()
    install = [line for line in lines if "/opt/certagent" in line]
    upgrade = block("Upgrading").strip()  # the packages come over the network, which the booted machine has none of
    _in(machine, f'sudo() {{ "$@"; }}\ncd {shlex.quote(str(ROOT))}\n' + "\n".join([*install, upgrade]))
    told = ["set -x -e", 'sudo() { "$@"; }', f"{LAB} >/root/lab.log", ANSWERS.strip(), f"{INIT} {OPTIONS}"]
    told += ["certagent enroll web", "certagent units --install", "systemctl daemon-reload"]
    told += ["systemctl enable --now certagent.service"]
    told += [
        block("Backup and restore", 0),
        "certagent renew --force web",
        "rm -rf /var/lib/certagent /etc/ssl/private/web.*",
    ]
    told += [block("Backup and restore", 1), "certagent renew --force web"]
    told += [block("Upgrading", 1), "systemctl is-active certagent.service"]
    told += [
        block("Renaming a keystore"),
        "certagent history www",
        "certagent renew --force www",
        "systemctl stop certagent",
    ]
    told += [block("Images, clones, restored backups"), "certagent enroll www"]
    told += [
        block("Removing certagent"),
        "ls /etc/ssl/certs/web.pem",
        "! ls -d /etc/systemd/system/certagent*",
        "echo all is done",
    ]
    printed = machine.boot("\n".join(told))
    assert printed.endswith("all is done\n"), printed


def _in(machine: Machine, script: str) -> None:
    done = subprocess.run(
        ["chroot", machine.root, "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "bash", "-c", f"set -e\n{script}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
