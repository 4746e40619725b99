"""`certagent units`: what the confined units are given, by what is configured."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from certagent.cli.main import main
from certagent.cli.unit_needs import Host, drop_in
from certagent.config.load import load_configuration

from .place import Place

ROOT = Path(__file__).parents[2]
HOOKS = ["/mnt", "/opt", "/run", "/srv", "/var"]
HEAD = (
    f'authorities: {{corp: {{url: "http://scep.example.net/scep", fingerprint: "sha256:{"ab" * 32}"}}}}\nkeystores:\n'
)
PEM = "  web: {type: pem, authority: corp, subject: CN=web, key_file: KEY, certificate_file: CERTIFICATE}\n"
PIN = "pin: {file: /etc/certagent/pin}"
FILES = "uri_file: /etc/vpn/vpn.uri, certificate_file: /etc/vpn/vpn.pem"
TOKEN = f"  vpn: {{type: pkcs11, authority: corp, module: MODULE, token: vpn, {PIN}, {FILES}}}\n"


def lines(tmp_path: Path, text: str, host: Host | None = None, user: str = "") -> list[str]:
    (tmp_path / "agent.yaml").write_text(HEAD + text)
    return drop_in(load_configuration(tmp_path / "agent.yaml"), host or Host(), user).splitlines()


def writable(found: list[str]) -> list[str]:
    assert found[:2] == ["[Service]", "ReadWritePaths="]  # what is shipped is taken back first
    return [line.removeprefix('ReadWritePaths="-').removesuffix('"') for line in found[2:] if "ReadWritePaths" in line]


@pytest.mark.parametrize(
    ("key", "certificate", "links", "needed"),
    [
        pytest.param("/etc/ssl/private/w.key", "/etc/ssl/w.pem", {}, ["/etc/ssl"], id="one in the other"),
        pytest.param("/etc/nginx/w.key", "/data/tls/w.pem", {}, ["/data/tls", "/etc/nginx"], id="two, anywhere"),
        pytest.param("/var/lib/x/w.key", "/srv/w.pem", {}, [], id="where hooks write anyway"),
        pytest.param(
            "/etc/a/w.key",
            "/etc/a/w.pem",
            {"/etc/a/w.pem": "/flash/w.pem"},
            ["/etc/a", "/flash"],
            id="where links lead",
        ),
        pytest.param(
            '/data/50% "x"/w.key', "/etc/w.pem", {}, ['/data/50%% \\"x\\"', "/etc"], id="words that systemd quotes"
        ),
    ],
)
def test_it_may_write_where_keystores_are(
    key: str, certificate: str, links: dict[str, str], needed: list[str], tmp_path: Path
) -> None:
    text = PEM.replace("KEY", f"'{key}'").replace("CERTIFICATE", f"'{certificate}'")
    assert writable(lines(tmp_path, text, Host(links))) == sorted([*needed, *HOOKS])


def test_files_in_tmp_are_those_of_the_host(tmp_path: Path) -> None:
    inside, outside = (
        PEM.replace("KEY", f"/{at}/w.key").replace("CERTIFICATE", f"/{at}/w.pem") for at in ("tmp", "etc")
    )
    assert "PrivateTmp=no" in lines(tmp_path, inside)
    assert "PrivateTmp=no" not in lines(tmp_path, outside)


@pytest.mark.parametrize(
    ("module", "links", "opens"),
    [
        pytest.param("/usr/lib/libtpm2_pkcs11.so.1", {}, True, id="a TPM"),
        pytest.param(
            "/etc/certagent/module.so", {"/etc/certagent/module.so": "/usr/lib/libtpm2_pkcs11.so"}, True, id="by a link"
        ),
        pytest.param("/usr/lib/softhsm/libsofthsm2.so", {}, False, id="software"),
    ],
)
def test_devices_are_opened_for_those_who_need_them(
    module: str, links: dict[str, str], opens: bool, tmp_path: Path
) -> None:
    found = lines(tmp_path, TOKEN.replace("MODULE", module), Host(links))
    assert ("DeviceAllow=/dev/tpmrm0 rw" in found, "DevicePolicy=closed" in found) == (opens, opens)


def test_another_user_has_no_capabilities_and_is_in_the_groups_of_his_files_and_devices(tmp_path: Path) -> None:
    text = PEM.replace("KEY", "/etc/w.key").replace("CERTIFICATE", "/etc/w.pem, group: ssl-cert")
    text += TOKEN.replace("MODULE", "/usr/lib/libtpm2_pkcs11.so").replace("vpn.pem", "vpn.pem, group: gone")
    host = Host({}, device_groups=("tss",), groups=frozenset({"ssl-cert", "tss", "root"}))
    found = lines(tmp_path, text, host, "certagent")
    assert found[-3:] == ["User=certagent", "CapabilityBoundingSet=", "SupplementaryGroups=ssl-cert tss"]


@pytest.mark.needs("systemd-analyze")
@pytest.mark.parametrize(("user", "threshold"), [("", "25"), ("nobody", "20")])
def test_what_is_written_is_as_confined_as_what_is_shipped(tmp_path: Path, user: str, threshold: str) -> None:
    (tmp_path / "agent.yaml").write_text(HEAD + PEM.replace("KEY", "/etc/w.key").replace("CERTIFICATE", "/etc/w.pem"))
    words = [
        "-c",
        str(tmp_path / "agent.yaml"),
        "units",
        "--install",
        "--root",
        str(tmp_path / "image"),
        "--user",
        user,
    ]
    assert main(words) == 0
    at = tmp_path / "image/etc/systemd/system"
    assert {each.name for each in at.iterdir() if each.is_file()} == {
        each.name for each in (ROOT / "systemd").iterdir()
    }
    for unit in at.glob("*.service"):
        whole = unit.read_text() + (at / f"{unit.name}.d/10-configuration.conf").read_text()
        (tmp_path / unit.name).write_text(whole)
        command = ["systemd-analyze", "security", "--offline=true", f"--threshold={threshold}", "--no-pager"]
        rated = subprocess.run([*command, str(tmp_path / unit.name)], capture_output=True, text=True, check=False)
        assert rated.returncode == 0, rated.stdout.splitlines()[-1:] + rated.stderr.splitlines()


def test_it_is_written_anew_but_never_over_somebody_else_s(place: Place, tmp_path: Path) -> None:
    install = ("units", "--install", "--root", str(tmp_path / "image"))
    assert place.run(*install).returncode == 0
    assert place.run(*install).returncode == 0
    unit = tmp_path / "image/etc/systemd/system/certagent.service"
    unit.write_text("[Service]\nExecStart=/opt/mine\n")
    done = place.run(*install)
    assert (done.returncode, done.stderr) == (
        2,
        f"certagent: {unit} was not written by certagent, and is left as it is\n  move it away, then try again\n",
    )
    assert unit.read_text() == "[Service]\nExecStart=/opt/mine\n"


def test_where_a_package_brought_the_units_only_drop_ins_are_written(place: Place, tmp_path: Path) -> None:
    packaged = tmp_path / "image/usr/lib/systemd/system"
    packaged.mkdir(parents=True)
    for unit in (ROOT / "systemd").iterdir():
        (packaged / unit.name).write_text(unit.read_text())
    assert place.run("units", "--install", "--root", str(tmp_path / "image")).returncode == 0
    at = tmp_path / "image/etc/systemd/system"
    assert sorted(each.name for each in at.iterdir()) == sorted(f"{each.name}.d" for each in packaged.glob("*.service"))


def test_what_it_wrote_makes_way_for_a_package_s_and_nothing_else_does(place: Place, tmp_path: Path) -> None:
    install = ("units", "--install", "--root", str(tmp_path / "image"))
    assert place.run(*install).returncode == 0
    at, packaged = tmp_path / "image/etc/systemd/system", tmp_path / "image/usr/lib/systemd/system"
    (at / "certagent.service").write_text("[Service]\nExecStart=/opt/mine\n")
    shutil.copytree(ROOT / "systemd", packaged)
    done = place.run(*install)
    assert done.returncode == 0
    assert f"removed: {at / 'certagent-renew.timer'}, which came before the package's" in done.stdout
    assert [each.name for each in at.iterdir() if each.is_file()] == ["certagent.service"]


def test_a_user_that_is_not_there(place: Place) -> None:
    done = place.run("units", "--user", "nosuchuser")
    assert (done.returncode, done.stderr) == (
        2,
        "certagent: there is no user 'nosuchuser' on this host\n  run useradd --system nosuchuser\n",
    )
