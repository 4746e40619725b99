"""What all tests share: which real parts are here, and what to do where one is missing."""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The same examples at every run, on any machine, whatever ran before; `--hypothesis-profile=explore` takes others.
LENIENT = settings(
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture],
)
settings.register_profile("explore", LENIENT, max_examples=1000)
settings.register_profile("same", LENIENT, derandomize=True)
settings.load_profile("same")

# Where Debian keeps libraries for this processor.
LIBRARIES = f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}"
TPM_MODULE = f"{LIBRARIES}/pkcs11/libtpm2_pkcs11.so"

# part → (the programs, or files by their whole path, it needs, whether it needs root, the Debian package)
PARTS: dict[str, tuple[tuple[str, ...], bool, str]] = {
    "openssl": (("openssl",), False, "openssl"),
    "keytool": (("keytool",), False, "default-jre-headless"),
    "java": (("javac",), False, "default-jdk-headless"),
    "scepserver": (("scepserver",), False, "scep"),
    "scepclient": (("scepclient",), False, "scep"),
    "step-ca": (
        ("go", "/usr/share/gocode/src/github.com/smallstep/certificates/go.mod"),
        False,
        "golang-go golang-github-smallstep-certificates-dev",
    ),
    "pki": (("pki",), False, "strongswan-pki libstrongswan-extra-plugins"),
    "certmonger": (("certmonger", "getcert"), True, "certmonger"),
    "dbus": (("dbus-daemon",), False, "dbus"),
    "nginx": (("nginx",), False, "nginx-light"),
    "haproxy": (("haproxy",), False, "haproxy"),
    "apache": (("apache2",), False, "apache2"),
    "stunnel": (("stunnel",), False, "stunnel4"),
    "mosquitto": (("mosquitto",), False, "mosquitto"),
    "postfix": (("postfix",), False, "postfix"),
    "dovecot": (("dovecot",), False, "dovecot-imapd"),
    "postgresql": (("pg_createcluster",), False, "postgresql"),
    "faketime": (("faketime",), False, "faketime"),
    "strace": (("strace",), False, "strace"),
    "tmux": (("tmux",), False, "tmux"),
    "systemd-analyze": (("systemd-analyze",), False, "systemd"),
    "nspawn": (("systemd-nspawn", "mount"), True, "systemd-container"),
    "mount": (("mount", "umount"), True, "mount"),
    "softhsm": (("softhsm2-util",), False, "softhsm2"),
    "tpm": (
        ("swtpm", "tpm2-abrmd", "tpm2_ptool", "tpm2_pcrread", "dbus-daemon", TPM_MODULE),
        False,
        "swtpm tpm2-abrmd tpm2-tools libtpm2-pkcs11-tools dbus libtpm2-pkcs11-1",
    ),
    "opensc": (("pkcs11-tool",), False, "opensc"),
    "engine": ((f"{LIBRARIES}/engines-3/pkcs11.so",), False, "libengine-pkcs11-openssl"),
    "provider": ((f"{LIBRARIES}/ossl-modules/pkcs11.so",), False, "pkcs11-provider"),
    "chattr": (("chattr",), True, "e2fsprogs"),
    "cron": (("cron",), True, "cron"),
    "debhelper": (("dh", "dpkg-buildpackage", "/usr/share/build-essential"), True, "debhelper build-essential"),
    "gcc": (("gcc",), False, "gcc"),
    "openvpn": (("openvpn", "/dev/net/tun"), True, "openvpn"),
    "freeradius": (("freeradius", "eapol_test"), True, "freeradius eapoltest"),
    "swanctl": (("charon-systemd", "swanctl"), True, "charon-systemd strongswan-swanctl"),
    "wpa_supplicant": (("wpa_supplicant", "hostapd", "ip"), True, "wpasupplicant hostapd iproute2"),
    "strongswan-libipsec": (
        ("/usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so", "/dev/net/tun"),
        True,
        "libcharon-extra-plugins",
    ),
    "strongswan-pkcs11": (("/usr/lib/ipsec/plugins/libstrongswan-pkcs11.so",), False, "libstrongswan-extra-plugins"),
    "promtool": (("promtool",), False, "prometheus"),
    "root": ((), True, ""),
    "setpriv": (("setpriv",), True, "util-linux"),
    "git": (("git",), False, "git"),
    "zsh": (("zsh",), False, "zsh"),
    "fish": (("fish",), False, "fish"),
    "mandoc": (("mandoc",), False, "mandoc"),
    "man": (("man",), False, "man-db"),
    "slapd": (("slapd",), False, "slapd"),
}

NEW_MOUNT_NAMESPACE = 0x00020000  # CLONE_NEWNS of sched.h; Python 3.12 has os.unshare

# Debian puts servers where a user's PATH does not look.
os.environ["PATH"] += ":/usr/sbin:/sbin"
# A shell starts what runs in its background deaf to Ctrl-C, and that is inherited.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Commands are run as people's are: with what they print in a buffer.
os.environ.pop("PYTHONUNBUFFERED", None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--shuffle", type=int, metavar="SEED", help="in an order of chance: the files, and what is in each"
    )


def pytest_configure() -> None:
    """A run that is killed leaves no mounts on this host. Those that are left of others are out of our way, and go with
    the directories they are in."""
    if os.geteuid() != 0 or ctypes.CDLL(None).unshare(NEW_MOUNT_NAMESPACE) != 0:
        return
    _run("mount", "--make-rprivate", "/")
    for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
        point = line.split()[1]
        if point.startswith(f"{tempfile.gettempdir()}/pytest-of-"):
            _run("umount", "--lazy", point)


def _run(*command: str) -> None:
    if shutil.which(command[0]):
        subprocess.run(command, check=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    seed = config.getoption("--shuffle")
    if seed is None:
        return
    chance, files = random.Random(seed), defaultdict[Path, list[pytest.Item]](list)
    for item in items:
        files[item.path].append(item)
    order = [chance.sample(inside, len(inside)) for inside in files.values()]
    chance.shuffle(order)
    items[:] = [item for inside in order for item in inside]


def missing(part: str) -> str | None:
    """Why this part cannot be used here; None if it can."""
    programs, as_root, package = PARTS[part]
    for program in programs:
        if not (Path(program).exists() if program.startswith("/") else shutil.which(program)):
            return f"{part}: {program} is not installed (Debian package {package})"
    if as_root and os.geteuid() != 0:
        return f"{part}: needs root"
    return None


@cache
def on_this_debian(packages: str) -> bool:
    """Whether all of these can be installed here, as far as apt knows. A Debian may drop one from its next release."""
    if not packages or not list(Path("/var/lib/apt/lists").glob("*_Packages*")):
        return True  # nothing to install; or apt knows of nothing at all
    shown = (
        subprocess.run(["apt-cache", "show", "--quiet=2", package], capture_output=True, check=False)
        for package in packages.split()
    )
    return all(done.returncode == 0 for done in shown)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        for part in mark.args:
            reason = missing(part)
            if reason is None:
                continue
            if not on_this_debian(PARTS[part][2]):
                pytest.skip(f"not on this Debian: {reason}")
            if os.environ.get("CERTAGENT_REQUIRE_ALL") == "1":
                pytest.fail(f"CERTAGENT_REQUIRE_ALL=1, but {reason}", pytrace=False)
            pytest.skip(reason)


@pytest.fixture(autouse=True)
def _no_waiting_for_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process. What a power cut takes is for tests that count the calls: keystore/test_swap_faults.py."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return Path(__file__).parent.parent


@pytest.fixture(scope="session")
def certagent() -> tuple[str, ...]:
    """The argv that starts certagent, as the agent itself starts its workers."""
    return (sys.executable, "-m", "certagent")
