"""The Debian package, as a stranger meets it, on a machine that boots: installed, upgraded, rebooted, removed, purged.

docs/packages.md shows its transcript.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

import certagent
from tests.state.device import RELEASES, Device
from tests.waiting import PATIENCE

from .conftest import ROOT, Machine

OLD = "0.0.9"
APT = "apt-get -qq -o Dpkg::Use-Pty=0 -y"
UNITS = "certagent.service certagent-recover.service certagent-renew.timer"
PRINT = "$(openssl x509 -in /root/lab/ca.pem -noout -fingerprint -sha256 | cut -d= -f2)"
LISTENS = "until (echo >/dev/tcp/127.0.0.1/8080) 2>/dev/null; do sleep 0.2; done"
DOCUMENTED = ROOT / "docs/packages.md"


@dataclass(frozen=True)
class Step:
    """A line that is typed; its exit code; patterns that what it prints must match; words that it must not print."""

    line: str
    prints: str = ""
    code: int | None = 0
    never: str = "Traceback"


def waits(command: str, word: str) -> str:
    """Look again until it prints the word."""
    return f"for try in $(seq 300); do {command} | grep -q '{word}' && break; sleep 0.5; done; {command}"


BEFORE_THE_REBOOT = (
    Step(f"{APT} install ./older.deb", "Next: certagent init"),
    Step("certagent --version", f"^certagent {OLD}"),
    Step(f"systemctl preset {UNITS}"),  # as the first boot of an image does
    Step(f"systemctl is-enabled {UNITS}", "^disabled\ndisabled\ndisabled\n", code=1),
    Step(f"systemctl is-active {UNITS}", "^inactive\ninactive\ninactive\n", code=None),
    Step(
        "man -w certagent agent.yaml", r"^/usr/share/man/man1/certagent\.1\.gz\n/usr/share/man/man5/agent\.yaml\.5\.gz$"
    ),
    Step(
        "for each in $(systemctl show --property=Documentation --value certagent); do "
        "case $each in file:*) ls ${each#file:};; *) echo $each;; esac; done",
        r"man:certagent\(1\).*\n/usr/share/doc/certagent/running.md$",
    ),
    Step("certagent lab --dir /root/lab --port 8080 --background"),
    Step(
        f"certagent init --url http://127.0.0.1:8080/scep --fingerprint {PRINT} "
        "--for pem --name web.example.net --challenge-file /root/lab/challenge",
        "no faults",
    ),
    Step("certagent enroll web", "^web: enrolled"),
    Step(
        "certagent units --install",
        r"^written: /etc/systemd/system/certagent\.service\.d/10-configuration\.conf$",
        never=r"written: /etc/systemd/system/[a-z-]*\.(service|timer)$",  # those are the package's
    ),
    Step("sed -i 's/# poll_interval: 5m/poll_interval: 5s/' /etc/certagent/agent.yaml && certagent check --syntax"),
    Step("systemctl enable certagent-recover.service && systemctl enable --now certagent.service"),
    Step("systemctl reload certagent"),
    Step("echo 'keystores: [' >>/etc/certagent/agent.yaml; systemctl reload certagent", code=1),
    Step("journalctl --unit=certagent --output=cat --lines=20", r"^certagent: /etc/certagent/agent\.yaml:\d+: "),
    Step("sed -i '$d' /etc/certagent/agent.yaml && systemctl reload certagent"),
    Step("certagent lab stop --dir /root/lab && systemctl enable --now lab.service"),
    Step(LISTENS),
    Step("certagent renew --force web", "^web: .*(waiting|pending)", code=3),
    Step("systemctl show --property=MainPID certagent >/root/before"),
    Step(f"time {APT} install ./certagent.deb", r"^real\b", never="did not start"),
    Step("certagent --version", f"^certagent {re.escape(certagent.__version__)}"),
    Step("systemctl is-active certagent.service", "^active$"),
    Step("systemctl show --property=MainPID certagent | diff - /root/before", "^< MainPID=[1-9]", code=1),
    Step("certagent status web", r"^web +pending"),
)

# State directories that release 0.1.0 left, and certagent of today, by the clock of that day.
LEFT_BEHIND = (
    Step("cp -a /root/left/killed-in-the-swap/. /media && certagent -c /media/agent.yaml recover", "swap was finished"),
    Step(
        "rm -rf /media/* && cp -a /root/left/renewal-pending/. /media && certagent -c /media/agent.yaml status", "^web "
    ),
    Step(
        "export TZ=UTC DONT_FAKE_MONOTONIC=1; export FAKETIME=$(date -u -d \"$(cat /media/now) + 2 hours\" '+@%F %T'); "
        "fake=LD_PRELOAD=$(faketime -f '@2026-01-01 00:00:00' printenv LD_PRELOAD)"
    ),
    Step("env $fake certagent lab --dir /media/lab --port 80 --manual --background"),
    Step("env $fake certagent lab --dir /media/lab approve --all"),
    Step("env $fake certagent -c /media/agent.yaml renew --due", "^web: renewed"),
)

AFTER_THE_REBOOT = (
    Step(waits("systemctl is-active certagent.service", "^active"), "^active$"),
    Step("certagent lab --dir /root/lab approve --all"),
    Step(waits("certagent status web", "^web *valid"), "^web +valid"),
    Step("certagent history web", "renewed"),
    Step(
        "openssl verify -CAfile /root/lab/ca.pem /etc/ssl/certs/web.pem && "
        "openssl pkey -in /etc/ssl/private/web.key -pubout | diff - "
        "<(openssl x509 -in /etc/ssl/certs/web.pem -noout -pubkey)",
        "OK$",
    ),
    Step("sha256sum /etc/ssl/private/web.key /etc/ssl/certs/web.pem >/root/sums"),
    Step(f"{APT} remove certagent"),
    Step("systemctl is-active certagent.service", "^inactive$", code=None),
    Step("ls /var/lib/certagent/keystores /etc/certagent", "^web$"),
    Step(f"{APT} install ./certagent.deb", never="Next: certagent init"),
    Step("systemctl is-active certagent.service", "^active$"),
    Step("certagent status web", "^web +valid"),
    Step("systemctl restart lab.service || journalctl --unit=lab --output=cat --lines=20"),
    Step(LISTENS),
    Step("certagent renew --force web", "^web: ", code=3),
    Step(f"{APT} purge certagent", "purging an open transaction of web: its key"),
    Step("ls -d /var/lib/certagent /etc/certagent /usr/lib/certagent /usr/bin/certagent", code=2),
    Step("find /etc/systemd /run/systemd -name '*certagent*'", never="certagent"),
    Step("sha256sum --check /root/sums", r"^/etc/ssl/private/web\.key: OK\n/etc/ssl/certs/web\.pem: OK$"),
)

LAB = """\
[Service]
ExecStart=/usr/bin/certagent lab --dir /root/lab --port 8080 --manual
[Unit]
Before=certagent.service
[Install]
WantedBy=multi-user.target
"""


def scenario(steps: tuple[Step, ...]) -> str:
    lines = ["cd /root"]
    for number, step in enumerate(steps):
        lines += [f"cat <<'END'\n=== {number}\n$ {step.line}\nEND", f"{step.line}", 'echo "[$?]"']
    return "\n".join(["exec 2>&1", *lines, ""])


def check(steps: tuple[Step, ...], printed: str) -> None:
    parts = dict(re.findall(r"^=== (\d+)\n(.*?)(?=^=== |\Z)", printed, re.MULTILINE | re.DOTALL))
    for number, step in enumerate(steps):
        part = parts.get(str(number), "")
        told = part.partition("\n")[2]
        assert step.code is None or told.rstrip().endswith(f"[{step.code}]"), printed
        assert re.search(step.prints, told, re.MULTILINE), f"{step}\n{printed}"
        assert not re.search(step.never, told, re.MULTILINE), f"{step}\n{printed}"


def build(place: Path) -> Path:
    made = subprocess.run(
        ["make", "deb", f"DIST={place}", f"DIST_BUILD={place}/build"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    [package] = place.glob("*.deb")
    return package


def as_older(package: Path, place: Path) -> Path:
    """The same package with a lower version, as the one before."""
    tree, older = place / "tree", place / "older.deb"
    subprocess.run(["dpkg-deb", "--raw-extract", package, tree], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(re.sub(r"(?m)^Version: .*", f"Version: {OLD}-1", control.read_text()))
    [source] = tree.glob("usr/lib/certagent/lib/python3.*/site-packages/certagent/__init__.py")
    source.write_text(source.read_text().replace(certagent.__version__, OLD))
    for compiled in source.parent.glob("__pycache__/__init__.*"):
        compiled.unlink()
    subprocess.run(
        ["dpkg-deb", "-Znone", "--build", "--root-owner-group", tree, older], check=True, capture_output=True
    )
    return older


def check_files(package: Path, build_directory: Path) -> None:
    """Nothing in it names the directory it was built in, and each library has its licence named."""
    tree = build_directory / "extracted"
    subprocess.run(["dpkg-deb", "--extract", package, tree], check=True)
    named = [path for path in tree.rglob("*") if path.is_file() and str(build_directory).encode() in path.read_bytes()]
    assert named == []
    licences = (tree / "usr/share/doc/certagent/copyright").read_text()
    libraries = {each.name.partition("-")[0].lower() for each in tree.rglob("*.dist-info")} - {"certagent"}
    named_there = {word.lower().replace("-", "_") for word in re.findall(r"(?m)^Comment: ([\w-]+)", licences)}
    assert libraries - named_there == set()
    assert list(tree.rglob("site-packages/certagent/py.typed"))
    for shell in ("bash-completion/completions/certagent", "zsh/vendor-completions/_certagent"):
        assert (tree / "usr/share" / shell).is_file()
    assert (tree / "usr/share/fish/vendor_completions.d/certagent.fish").is_file()


@pytest.mark.slow
@pytest.mark.needs("debhelper", "nspawn", "openssl", "faketime", "git", "man")
def test_installed_upgraded_rebooted_removed_purged(machine: Machine, tmp_path: Path) -> None:
    package = build(tmp_path / "dist")
    check_files(package, tmp_path / "dist")
    shutil.copy(package, machine.root / "root/certagent.deb")
    shutil.copy(as_older(package, tmp_path), machine.root / "root/older.deb")
    for left in ("killed-in-the-swap", "renewal-pending"):
        Device.from_release(RELEASES / "0.1.0" / left, machine.root / "root/left" / left)
    (machine.root / "usr/sbin/policy-rc.d").unlink(missing_ok=True)  # of a host that is itself a container
    machine.write("/etc/hosts", "127.0.0.1 localhost ca.test\n", 0o644)
    machine.write("/etc/systemd/system/lab.service", LAB, 0o644)
    told = []
    for steps in ((*BEFORE_THE_REBOOT, *LEFT_BEHIND), AFTER_THE_REBOOT):
        printed = machine.boot(scenario(steps), 15 * PATIENCE)
        told.append(printed)
        (tmp_path / "transcript").write_text("\n".join(told))
        check(steps, printed)


def test_the_package_is_of_this_version() -> None:
    newest = re.match(r"certagent \((.*)-\d+\) ", (ROOT / "debian/changelog").read_text())
    assert newest is not None
    assert newest[1] == certagent.__version__


def test_the_page_shows_what_is_done_here() -> None:
    done = {step.line.replace(APT, "apt-get") for step in (*BEFORE_THE_REBOOT, *AFTER_THE_REBOOT)}
    shown = re.findall(r"^\$ (.*)", DOCUMENTED.read_text(), re.MULTILINE)
    assert len(shown) > 10
    assert [line for line in shown if line not in done] == []
