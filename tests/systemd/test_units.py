"""The shipped units: as systemd's own checker sees them, and on a machine that boots with them."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest

from certagent.config.file_roles import FileRole
from certagent.keystore.swap_plan import Change, Record
from certagent.transaction.journal import Journal, Kind, Phase, Transaction

from .conftest import ROOT, Machine

UNITS = sorted((ROOT / "systemd").iterdir())
GRACE = 75  # of the agent's workers (planning.Pace)


def faults(directory: Path, further: str = "") -> list[str]:
    """What systemd says about our units, each with `further` lines; it looks at the host's own as well."""
    for unit in UNITS:
        (directory / unit.name).write_text(unit.read_text().replace("/usr/bin/certagent", "/bin/true") + further)
    command = ["systemd-analyze", "verify", "--man=no", *(str(directory / unit.name) for unit in UNITS)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return [line for line in found.stderr.splitlines() if any(unit.name in line for unit in UNITS)]


@pytest.mark.needs("systemd-analyze")
def test_systemd_finds_no_fault(tmp_path: Path) -> None:
    assert faults(tmp_path) == []
    assert len(faults(tmp_path, "[Unit]\nMisspelt=yes\n")) == len(UNITS)


EXPOSURE = 25  # tenths


@pytest.mark.needs("systemd-analyze")
@pytest.mark.parametrize("unit", [unit.name for unit in UNITS if unit.suffix == ".service"])
def test_what_systemd_says_of_its_exposure(unit: str, tmp_path: Path) -> None:
    """A later systemd may weigh it in another way, so this is for the one of the oldest Debian that is served."""
    (tmp_path / unit).write_text((ROOT / "systemd" / unit).read_text().replace("/usr/bin/certagent", "/bin/true"))
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager"]
    done = subprocess.run([*command, str(tmp_path / unit)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout.splitlines()[-1]


def test_each_unit_has_the_same_sandbox() -> None:
    sandboxes = []
    for unit in UNITS:
        if unit.suffix == ".service":
            _, _, sandbox = unit.read_text().partition("NoNewPrivileges=yes\n")
            sandboxes.append(sandbox.partition("\n[Install]")[0].strip().replace("PrivateTmp=yes\n", ""))
    assert len(sandboxes) == 3
    assert set(sandboxes) == {sandboxes[0]}


def test_systemd_waits_longer_than_the_agent_does() -> None:
    for name in ("certagent.service", "certagent-renew.service"):
        limit = re.search(r"^TimeoutStopSec=(\d+)$", (ROOT / "systemd" / name).read_text(), re.MULTILINE)
        assert limit is not None
        assert int(limit[1]) > GRACE


CONFIGURATION = """\
authorities:
  lab: {url: "http://127.0.0.1:8080/scep", fingerprint: "FINGERPRINT", challenge: {file: /root/challenge}}
keystores:
  web:
    type: pem
    authority: lab
    subject: CN=web.example.net
    key_file: /etc/ssl/web.key
    certificate_file: /etc/ssl/web.pem
    hooks: {post: [[/bin/sh, -c, "echo the new one is served"]]}
"""

# `lab` waits until the CA answers; `await` waits for a line of `systemctl show`.
LIBRARY = """\
show() { systemctl show "$@" | sed "s/^/$1: /"; }
await() { for try in $(seq 100); do systemctl show $1 | grep -q "$2" && return; sleep 0.1; done; echo "never: $*"; }
lab() {
    certagent lab --dir /root/lab --port 8080 "$@" >/root/lab.log 2>&1 &
    for try in $(seq 100); do (echo >/dev/tcp/127.0.0.1/8080) 2>/dev/null && break; sleep 0.1; done
    cp /root/lab/challenge /root/challenge
    print=$(openssl x509 -in /root/lab/ca.pem -noout -fingerprint -sha256 | cut -d= -f2 | tr -d :)
    sed -i "s/FINGERPRINT/sha256:$print/" /etc/certagent/agent.yaml
}
"""


def test_hosts_with_a_timer_do_not_all_begin_at_the_full_hour() -> None:
    timer = (ROOT / "systemd/certagent-renew.timer").read_text()
    assert {"RandomizedDelaySec=30min", "FixedRandomDelay=true"} <= set(timer.splitlines())


def test_hosts_with_cron_do_not_all_begin_at_its_minute(tmp_path: Path) -> None:
    """The pause in the line of docs/running.md, as a shell reads it: each host's own."""
    [pause] = re.findall(r"root +sleep (.*?); .*renew --due", (ROOT / "docs/running.md").read_text())
    pauses = set()
    for host in range(20):
        (tmp_path / "name").write_text(f"device-{host}\n")
        words = pause.replace("\\%", "%").replace("/etc/machine-id /etc/hostname", str(tmp_path / "name"))
        done = subprocess.run(["sh", "-c", f"echo {words}"], capture_output=True, text=True, check=True)
        pauses.add(int(done.stdout))
    assert len(pauses) > 15
    assert 0 <= min(pauses) < max(pauses) < 25 * 60


@pytest.mark.needs("nspawn", "openssl")
def test_the_agent_as_a_service(machine: Machine) -> None:
    machine.install("certagent-recover.service")
    machine.write("/etc/certagent/agent.yaml", CONFIGURATION)
    printed = machine.boot(f"""{LIBRARY}
lab
systemctl start certagent || journalctl -u certagent
show certagent -p ActiveState -p Type -p WatchdogUSec
await certagent 'StatusText=1 keystore, 0 due, 0 workers, next web in'
openssl verify -CAfile /root/lab/ca.pem /etc/ssl/web.pem
stat -c '%a %U %n' /var/lib/certagent /var/lib/certagent/agent.lock
echo 'keystores: [' >>/etc/certagent/agent.yaml
systemctl reload certagent && echo reloaded a broken one
systemctl kill --kill-whom=main --signal=HUP certagent
await certagent 'StatusText=the new configuration is broken; the old one stays in use; 1 keystore'
sed -i '$d' /etc/certagent/agent.yaml
systemctl reload certagent
await certagent 'StatusText=1 keystore'
await certagent 'ActiveState=active'
certagent status | sed 's/^/status: /'
systemctl stop certagent
show certagent -p ActiveState -p Result -p ExecMainStatus
journalctl -u certagent -o cat
journalctl -u certagent -p err -o cat | sed 's/^/err: /'
journalctl -u certagent CERTAGENT_KEYSTORE=web -o cat | sed 's/^/field: /'
""")
    assert "\nstatus: ✓ an agent is running here (process " in printed, printed
    for line in (
        "certagent: ActiveState=active",
        "certagent: Type=notify",
        "certagent: WatchdogUSec=3min",
        "/etc/ssl/web.pem: OK",
        "700 root /var/lib/certagent",
        "600 root /var/lib/certagent/agent.lock",
        "certagent: ActiveState=inactive",
        "certagent: Result=success",
        "certagent: ExecMainStatus=0",
    ):
        assert line in printed.splitlines(), printed
    assert re.search(r"^web: .*the new one is served$", printed, re.MULTILINE), printed
    assert re.search(r"^web: enrolled, next renew in \d+ d$", printed, re.MULTILINE), printed
    assert re.search(r"^field: web: enrolled, next renew in \d+ d$", printed, re.MULTILINE), printed
    assert re.search(r"^field: web: .*the new one is served$", printed, re.MULTILINE), printed
    assert not re.search(r"^field: (?!web: )", printed, re.MULTILINE), printed
    assert re.search(r"^err: the old configuration stays in use: /etc/", printed, re.MULTILINE), printed
    assert "reloaded a broken one" not in printed
    assert re.search(r"^certagent: /etc/certagent/agent.yaml:\d+: ", printed, re.MULTILINE), (
        printed
    )  # by the reload itself
    assert "never: " not in printed
    assert "Traceback" not in printed


@pytest.mark.needs("nspawn", "openssl")
def test_the_timer_instead_of_the_agent(machine: Machine) -> None:
    machine.install("certagent-recover.service", "certagent-renew.timer")
    machine.write("/etc/certagent/agent.yaml", CONFIGURATION)
    printed = machine.boot(f"""{LIBRARY}
lab --manual
systemctl list-timers --no-legend certagent-renew.timer
systemctl start certagent-renew
show certagent-renew -p Result -p ExecMainStatus
certagent lab --dir /root/lab list
systemctl is-failed certagent-renew
journalctl -u certagent-renew -o cat | sed 's/^/line: /'
journalctl -u certagent-renew CERTAGENT_KEYSTORE=web -o cat | sed 's/^/field: /'
certagent status | sed 's/^/status: /'
systemctl disable -q certagent-renew.timer
certagent status | sed 's/^/disabled: /'
systemctl stop certagent-renew.timer
certagent status | sed 's/^/stopped: /'
""")
    for line in (
        "status: ✓ certagent-renew.timer is active: next run in ",
        "disabled: ! certagent-renew.timer is not enabled: after a reboot",
        "stopped: ! no agent is running here, and certagent-renew.timer is not active",
    ):
        assert f"\n{line}" in printed, printed
    # The last line of a process that ends at once, with its field and only once.
    assert re.search(r"^field: web: pending", printed, re.MULTILINE), printed
    assert len(re.findall(r"^line: web: pending", printed, re.MULTILINE)) == 1, printed
    assert re.search(r"certagent-renew.timer +certagent-renew.service$", printed, re.MULTILINE), printed
    assert "certagent-renew: Result=success" in printed, printed  # although it exits 3: a request waits
    assert "certagent-renew: ExecMainStatus=3" in printed, printed
    assert "Traceback" not in printed


SERVED = """\
authorities:
  lab: {url: "http://127.0.0.1:8080/scep", fingerprint: "FINGERPRINT", challenge: {credential: challenge}}
keystores:
  web:
    type: pem
    authority: lab
    subject: CN=web.example.net
    key_file: /etc/ssl/web.key
    certificate_file: /etc/ssl/web.pem
    hooks: {post: [{run: [systemctl, try-reload-or-restart, nginx], only_if: [nginx, -t]}]}
    probe: {tls: "127.0.0.1:443"}
"""
NGINX = """\
user www-data;
pid /run/nginx.pid;
events { }
http { server { listen 443 ssl; ssl_certificate /etc/ssl/web.pem; ssl_certificate_key /etc/ssl/web.key; } }
"""


@pytest.mark.slow
@pytest.mark.needs("nspawn", "openssl", "nginx")
def test_the_sandbox_leaves_credentials_hooks_and_the_clock_s_keeper_alone(machine: Machine) -> None:
    """`nginx -t` writes to /var/log and /run, and binds its ports."""
    machine.install("certagent-recover.service")
    machine.write("/etc/certagent/agent.yaml", SERVED)
    machine.write("/etc/nginx/nginx.conf", NGINX, 0o644)
    credential = "[Service]\nLoadCredential=challenge:/root/challenge\n"
    machine.write("/etc/systemd/system/certagent.service.d/credential.conf", credential)
    again = f"{credential}ExecStart=\nExecStart=/usr/bin/certagent -c /etc/certagent/agent.yaml renew --force web\n"
    machine.write("/etc/systemd/system/certagent-renew.service.d/again.conf", again)
    printed = machine.boot(f"""{LIBRARY}
serial() {{ openssl x509 -noout -serial; }}
served() {{ openssl s_client -connect 127.0.0.1:443 </dev/null 2>/dev/null | serial; }}
lab
rm -f /etc/systemd/system/nginx.service
systemctl daemon-reload
systemctl start certagent
for try in $(seq 100); do test -e /etc/ssl/web.pem && break; sleep 0.1; done
systemctl start nginx
echo first $(served)
certagent check --offline web
systemctl start certagent-renew
show certagent-renew -p Result
echo second $(served)
echo in place $(serial </etc/ssl/web.pem)
systemctl stop certagent
certagent check --offline web | grep credential
journalctl -u certagent -u certagent-renew -o cat
clock() {{ echo "import datetime as d, certagent.wall_clock as w; print(w.is_synchronised(d.datetime.now(d.UTC)))"; }}
look="env PYTHONPATH={ROOT} {sys.executable} -c"
echo clock by the kernel: $($look "$(clock)")
echo clock by timedated: $(systemd-run --quiet --pipe --wait -p ProtectClock=yes $look "$(clock)")
echo timedated itself: $(timedatectl show --property=NTPSynchronized --value)
""")
    [first] = re.findall(r"^first (serial=\w+)$", printed, re.MULTILINE)
    [second] = re.findall(r"^second (serial=\w+)$", printed, re.MULTILINE)
    assert first != second, printed
    assert f"in place {second}" in printed, printed
    assert "certagent-renew: Result=success" in printed, printed
    assert "there is no credential challenge" in printed, printed  # once the agent is stopped
    [kernel] = re.findall(r"^clock by the kernel: (\w+)$", printed, re.MULTILINE)
    assert f"clock by timedated: {kernel}" in printed, printed
    assert f"timedated itself: {'yes' if kernel == 'True' else 'no'}" in printed, printed
    assert "Traceback" not in printed


@pytest.mark.slow
@pytest.mark.needs("nspawn", "openssl", "cron")
def test_cron_instead_of_both(machine: Machine) -> None:
    """The line of docs/running.md, every minute, and without the pause that is each host's own."""
    [line] = re.findall(r"^\S+ \* .*renew --due", (ROOT / "docs/running.md").read_text(), re.MULTILINE)
    machine.install("certagent-recover.service")
    machine.write("/etc/certagent/agent.yaml", CONFIGURATION)
    machine.write("/etc/cron.d/certagent", f"{line.replace('*/30', '*').replace('1500', '1')}\n", 0o644)
    printed = machine.boot(f"""{LIBRARY}
lab
cron
for try in $(seq 900); do test -e /etc/ssl/web.pem && break; sleep 0.1; done
openssl verify -CAfile /root/lab/ca.pem /etc/ssl/web.pem
certagent status
""")
    assert "/etc/ssl/web.pem: OK" in printed, printed
    assert "/etc/cron.d/certagent has cron start `certagent renew`" in printed, printed


AS_USER = """\
authorities:
  lab: {url: "http://127.0.0.1:8080/scep", fingerprint: "FINGERPRINT", challenge: {credential: challenge}}
keystores:
  web:
    type: pem
    authority: lab
    subject: CN=web.example.net
    key_file: /data/tls/web.key
    certificate_file: /data/tls/web.pem
    hooks: {post: [[/bin/sh, -c, "echo run by $(id -un)"]]}
"""


@pytest.mark.slow
@pytest.mark.needs("nspawn", "openssl")
def test_units_made_for_another_user_and_another_directory(machine: Machine) -> None:
    machine.install("certagent-recover.service")
    machine.write("/etc/certagent/agent.yaml", AS_USER, 0o644)
    credential = "[Service]\nLoadCredential=challenge:/root/challenge\n"
    machine.write("/etc/systemd/system/certagent.service.d/credential.conf", credential)
    printed = machine.boot(f"""{LIBRARY}
lab
chmod 755 /etc/certagent
useradd --system --home-dir /nonexistent certagent
at=$(readlink -f {sys.executable}); while test $at != /; do at=$(dirname $at); chmod a+x $at; done
install -d -o certagent /data/tls
certagent units --install --user certagent
systemctl daemon-reload
systemctl start certagent
await certagent 'StatusText=1 keystore, 0 due, 0 workers, next web in'
openssl verify -CAfile /root/lab/ca.pem /data/tls/web.pem
stat -c '%a %U %n' /data/tls/web.key /var/lib/certagent
su -s /bin/sh certagent -c 'certagent status web' | grep valid
systemctl restart certagent-recover
show certagent-recover -p Result
journalctl -u certagent -u certagent-recover -o cat
""")
    for line in (
        "/data/tls/web.pem: OK",
        "600 certagent /data/tls/web.key",
        "700 certagent /var/lib/certagent",
        "certagent-recover: Result=success",
    ):
        assert line in printed.splitlines(), printed
    assert re.search(r"^web: .*run by certagent$", printed, re.MULTILINE), printed
    assert re.search(r"^.*\bvalid\b", printed, re.MULTILINE), printed
    assert "never: " not in printed, printed
    assert "Traceback" not in printed


def interrupt_swap(machine: Machine) -> None:
    """The state a power cut leaves between the two renames: the new key in place, its certificate not yet."""
    key, new = b"the new key", b"the new certificate"
    machine.write("/etc/ssl/web.key", key)
    machine.write("/etc/ssl/web.pem", b"the old certificate")
    machine.write("/etc/ssl/.web.pem.certagent-1", new)
    changes = (
        Change(FileRole.KEY, "/etc/ssl/web.key", "/etc/ssl/.web.key.certagent-1", sha256(key).hexdigest()),
        Change(FileRole.CERTIFICATE, "/etc/ssl/web.pem", "/etc/ssl/.web.pem.certagent-1", sha256(new).hexdigest()),
    )
    keystore = Path("var/lib/certagent/keystores/web")
    Journal(machine.root / keystore).write(
        Transaction(
            id="1",
            kind=Kind.RENEWAL,
            phase=Phase.ACTIVATING,
            started_at=datetime.now(UTC),
            authority="lab",
            endpoint="",
            swap=Record("1", "rename", changes, f"/{keystore}/previous"),
        )
    )


CONSUMER = """\
[Unit]
Description=Reads its certificate as early as an ordinary service may
Before=network-pre.target
Wants=network-pre.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/cp /etc/ssl/web.pem /root/served
[Install]
WantedBy=basic.target multi-user.target
"""


@pytest.mark.needs("nspawn")
def test_a_swap_cut_short_is_finished_before_any_consumer_starts(machine: Machine) -> None:
    machine.write("/etc/systemd/system/consumer.service", CONSUMER, 0o644)
    machine.install("certagent-recover.service", "consumer.service")
    machine.write("/etc/certagent/agent.yaml", "a configuration that is broken: [")
    interrupt_swap(machine)
    printed = machine.boot("""
cat /root/served; echo
systemctl show certagent-recover -p ActiveState
journalctl -u certagent-recover -o cat
systemctl is-system-running
journalctl -b -o cat | grep -i 'ordering cycle'
""")
    lines = printed.splitlines()
    assert lines[0] == "the new certificate", printed
    assert "ActiveState=active" in lines, printed
    assert "web: an interrupted swap was finished: the new files are in place" in lines, printed
    assert "cycle" not in printed
