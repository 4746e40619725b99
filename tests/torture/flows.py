"""What is tortured: one flow a row. A new flow joins all machines by its row."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

from tests.torture import calls, consumers
from tests.torture.ca import Life
from tests.torture.command import Said
from tests.torture.consumers import Consumer
from tests.torture.device import Device

Prepare = Callable[[Device], None]
_NOBODY = "65534"
_NAMES = "subject: 'CN=web.example.net,O=Example', san: ['dns:web.example.net']"
_FILES = "key_file: {root}/files/web.key, certificate_file: {root}/files/web.pem"
_MORE = "chain_file: {root}/files/chain.pem, ca_file: {root}/files/ca.pem"
_WHOSE = f"owner: '{_NOBODY}', group: '{_NOBODY}', mode: '0640'," if os.geteuid() == 0 else "mode: '0640',"
PEM = f"  web: {{type: pem, {_FILES}, {_MORE}, {_WHOSE} {_NAMES}, hooks: {{hooks}}}}"
LINKS = PEM.replace("type: pem,", "type: pem, swap: symlink,")
CAS = PEM.replace("ca_file: {root}/files/ca.pem", "ca_directory: {root}/files/cas")
IN_PLACE = PEM.replace("type: pem,", "type: pem, swap: in-place,")
ONE_FILE = f"  web: {{type: pem, {_FILES.replace('web.key', 'web.pem')}, {_NAMES}, hooks: {{hooks}}}}"
PKCS12 = (
    "  web: {type: pkcs12, file: {root}/files/web.pem, password: {file: {root}/password}, "
    f"{_NAMES}, hooks: {{hooks}}}}"
)
TOKEN = (
    f"  web: {{type: pkcs11, module: {consumers.MODULE}, token: {consumers.TOKEN}, pin: {{file: {{root}}/pin}}, "
    f"uri_file: {{root}}/files/web.uri, certificate_file: {{root}}/files/web.pem, {_NAMES}, hooks: {{hooks}}}}"
)
_OLD = _FILES.replace("/web.", "/old.")
TWO = f"  old: {{type: pem, {_OLD}, {_NAMES}}}\n  web: {{type: pem, {_FILES}, hooks: {{hooks}}}}"
# Its factory identity is another pair of the same CA's, which therefore has to ask for the same names.
INTRODUCED = f"  web: {{type: pem, {_FILES}, {_NAMES}, introduce_with: {{type: pem, {_OLD}}}, hooks: {{hooks}}}}"
_ONCE = "hooks: {post: [{run: {hook}, once: true}]}"
SHARED = f"  old: {{type: pem, {_OLD}, {_NAMES}, {_ONCE}}}\n  web: {{type: pem, {_FILES}, {_NAMES}, {_ONCE}}}"
# The first of two fails until somebody takes it out.
BESIDE = f"  web: {{type: pem, {_FILES}, {_NAMES}, hooks: {{post: [[/bin/false], {{hook}}]}}}}"
ALONE = BESIDE.replace("[/bin/false], ", "")
# In three days, for a minute.
_THEN = f"{datetime.now().astimezone() + timedelta(days=3):%a} 12:00-12:01"
WAITING = ALONE.replace("hooks:", f"activate_in: ['{_THEN}'], hooks:")
# Nobody listens there.
_PROBE = "probe: {tls: '127.0.0.1:1', timeout: 1s}, hooks:"
ROLLING = Life(age=300, lifetime=365, rollover=70, overlap=30)
SWITCHING = Life(age=340, lifetime=365, rollover=70, overlap=30)


@dataclass(frozen=True)
class Flow:
    """`prepare` makes the device, `command` is what is tortured, `consumer` looks at the pair afterwards.

    `mend`: what a person does between the torture and the next run, which is `again`. `insists`: the command is given
    again if the next run alone does not get as far. `attempts`: how many runs may be needed to get there. `salvage`:
    what has to be done about a foreign program's files after a kill (docs/tokens.md). `enough`: when a command that
    does not end by itself has done its work. `needs`: programs.
    `only_tells`: nothing is issued or put in place. SoftHSM's own files do not survive power cuts.
    """

    name: str
    prepare: Prepare
    command: tuple[str, ...] = ("renew", "web")
    consumer: Consumer = consumers.two_files
    life: Life = field(default_factory=Life)
    mend: Prepare = lambda _device: None
    salvage: Prepare = lambda _device: None
    enough: Callable[[Device], bool] | None = None
    insists: bool = False
    again: tuple[str, ...] = ("renew", "web")
    only_tells: bool = False
    attempts: int = 1
    survives_power_cuts: bool = True
    needs: tuple[str, ...] = ("strace",)

    def enough_of(self, device: Device) -> Callable[[], bool] | None:
        return None if self.enough is None else partial(self.enough, device)

    def run(self, device: Device) -> Said:
        """The command, as far as it goes by itself."""
        command = device.command(*self.command)
        command.release()
        return command.ended(self.enough_of(device))


def new(keystores: str) -> Prepare:
    """Configured, and nothing more."""

    def prepare(device: Device) -> None:
        device.configure(keystores)

    return prepare


def enrolled(keystores: str, *, ago: float = 30, name: str = "web") -> Prepare:
    """With a certificate that was issued so many days ago, or so it says, by a CA that had no successor then."""

    def prepare(device: Device) -> None:
        device.configure(keystores, rollover_at="1d")
        device.ca.tell(ago=ago)
        _done(device, "enroll", name)
        device.ca.tell()
        device.path(f"state/keystores/{name}/state.json").unlink()  # it remembers that it came today

    return prepare


def own(keystores: str) -> Prepare:
    """With a certificate that came today, and a predecessor of the same day."""

    def prepare(device: Device) -> None:
        device.configure(keystores)
        device.ca.tell()
        _done(device, "enroll", "web")
        _done(device, "renew", "--force", "web")
        device.path("world/hooks").unlink()

    return prepare


def due(keystores: str) -> Prepare:
    """Of 90 days, the certificate in place has 60 left: it is due, and a new one will not be."""

    def prepare(device: Device) -> None:
        enrolled(keystores)(device)
        device.configure(keystores, renew_at="75d")

    return prepare


def both_due(keystores: str) -> Prepare:
    """The same of two, `old` and `web`."""

    def prepare(device: Device) -> None:
        device.configure(keystores)
        device.ca.tell(ago=30)
        for name in ("old", "web"):
            _done(device, "enroll", name)
            device.path(f"state/keystores/{name}/state.json").unlink()
        device.ca.tell()
        device.path("world/hooks").unlink()
        device.configure(keystores, renew_at="75d")

    return prepare


def changed(keystores: str) -> Prepare:
    """The definition is another from now on."""

    def prepare(device: Device) -> None:
        device.configure(keystores, renew_at="75d")

    return prepare


def _done(device: Device, *words: str, code: int = 0) -> None:
    said = device.run(*words)
    assert said.code == code, said


def _after(prepare: Prepare, *steps: Prepare) -> Prepare:
    def prepare_all(device: Device) -> None:
        for each in (prepare, *steps):
            each(device)

    return prepare_all


def _with_ca_directory(device: Device) -> None:
    device.path("files/cas").mkdir(parents=True)


def _believing_another(device: Device) -> None:
    """Who is in no line of the CA's is to go from the directory; and there is a file of somebody else's."""
    [own] = device.path("files/cas").iterdir()
    (device.path("files/cas") / "00000000.0").write_bytes(own.read_bytes())
    (device.path("files/cas") / "00000000.1").write_bytes(own.read_bytes().partition(b"\n")[2])


def _with_password(device: Device) -> None:
    _keep(device, "password", "not so secret\n")


def _with_token(device: Device) -> None:
    token, settings = device.path("token"), device.path("softhsm2.conf")
    token.mkdir()
    settings.write_text(f"directories.tokendir = {token}\nobjectstore.backend = file\nlog.level = ERROR\n")
    _keep(device, "pin", f"{consumers.PIN}\n")
    os.environ["SOFTHSM2_CONF"] = str(settings)
    argv = ["softhsm2-util", "--init-token", "--free", "--label", consumers.TOKEN]
    subprocess.run([*argv, "--pin", consumers.PIN, "--so-pin", "567890"], check=True, capture_output=True)
    [own] = token.glob("*/token.object")
    (device.beside / "token.object").write_bytes(own.read_bytes())


def _salvage_token(device: Device) -> None:
    """SoftHSM cuts its token's own file to nothing at each login before it writes it anew."""
    kept = (device.beside / "token.object").read_bytes()
    [own] = device.path("token").glob("*/token.object")
    if len(own.read_bytes()) < len(kept):
        own.write_bytes(kept)


def _keep(device: Device, name: str, text: str) -> None:
    device.path(name).write_text(text)
    device.path(name).chmod(0o600)


def _owing_hooks(device: Device) -> None:
    device.path("world/hooks-fail").touch()
    _done(device, "renew", "web", code=1)
    device.path("world/hooks-fail").unlink()


def _owing_hooks_of_last_month(device: Device) -> None:
    """What they are owed for is due itself by now."""
    device.ca.tell(ago=30)
    _owing_hooks(device)
    device.ca.tell()
    # It remembers that it came today; one that is told so by a later attempt would be counted from there.
    file = device.path("state/keystores/web/state.json")
    known = json.loads(file.read_bytes())
    known["arrival"]["at"] = f"{datetime.now(UTC) - timedelta(days=30):%Y-%m-%dT%H:%M:%SZ}"
    file.write_text(json.dumps(known))


def _asked_a_person(device: Device) -> None:
    """The successor under the next CA waited for a person, who has approved it meanwhile."""
    device.ca.tell(manual=True)
    said = device.run("renew", "web")
    assert said.code in (0, 3), said
    approve = device.run("lab", "approve", "--all", "--dir", str(device.ca.directory))
    assert "approved" in approve.text, approve
    device.ca.tell()
    time.sleep(1.1)  # it is not asked more than once a second


def _staged(device: Device) -> None:
    """The successor under the next CA was fetched ten days ago; meanwhile that CA has taken over."""
    device.ca.tell(ago=40)
    _done(device, "renew", "web")
    device.ca.tell()


def _with_metrics(device: Device) -> None:
    device.configure(PEM, top="metrics_file: {root}/files/certagent.prom")


def _agent_is_done(device: Device) -> bool:
    """The worker has run its hooks and closed the transaction."""
    return bool(device.hooks()) and not device.path("state/keystores/web/transaction").exists()


_RENAMES = ("rename", "renameat", "renameat2")


def _without_live_dir(device: Device) -> None:
    shutil.rmtree(device.path("live"))


def _killed_at(names: Sequence[str], path: str) -> Prepare:
    """Renewing, and killed ahead of the first call of these names about a path with that end."""

    def prepare(device: Device) -> None:
        before = device.read()
        traced = calls.record(device, ("renew", "web"), names)
        mine = [call for call in traced.calls if call.pid == traced.pid]
        about = [call for call in mine if any(each.endswith(path) for each in call.paths)]
        assert about, f"no {names} of {path}"
        device.become(before)
        said, hit = calls.injected(device, ("renew", "web"), calls.Point(about[0].name, about[0].nth), "signal=KILL")
        assert hit, said

    return prepare


FLOWS = (
    Flow("enrollment", new(PEM), ("enroll", "web")),
    Flow("introduced", _after(enrolled(TWO, name="old"), new(INTRODUCED)), ("enroll", "web")),
    Flow("two-files", due(PEM)),
    Flow("one-file", due(ONE_FILE), consumer=consumers.one_file),
    Flow("symlink", due(LINKS)),
    Flow("first-links", _after(due(PEM), changed(LINKS))),
    Flow("links-no-more", _after(due(LINKS), changed(PEM))),
    Flow("in-place", due(IN_PLACE)),
    Flow(
        "ca-directory",
        _after(_with_ca_directory, due(CAS), _believing_another),
        consumer=consumers.with_directory,
        needs=("strace", "openssl"),
    ),
    Flow("pkcs12", _after(_with_password, due(PKCS12)), consumer=consumers.pkcs12),
    Flow(
        "softhsm",
        _after(_with_token, due(TOKEN)),
        consumer=consumers.token,
        salvage=_salvage_token,
        survives_power_cuts=False,
        needs=("strace", "softhsm2-util", "pkcs11-tool"),
    ),
    Flow("rollover-shadow", _after(enrolled(PEM), new(PEM)), life=ROLLING),
    Flow("rollover-approved", _after(enrolled(PEM), new(PEM), _asked_a_person), life=ROLLING),
    Flow("rollover-switch", _after(enrolled(PEM, ago=50), new(PEM), _staged), life=SWITCHING),
    Flow("hooks-owed", _after(due(PEM), _owing_hooks)),
    Flow("hook-beside", _after(due(ALONE), changed(BESIDE)), mend=changed(ALONE)),
    Flow("hook-shared", both_due(SHARED), ("renew",), again=("renew",)),
    Flow("window", _after(due(ALONE), changed(WAITING)), mend=changed(ALONE)),
    Flow("due-over-hooks", _after(enrolled(PEM, ago=40), changed(PEM), _owing_hooks_of_last_month)),
    Flow("adjusted", _after(own(PEM), new(PEM.replace("0640", "0600")))),
    Flow("live-dir-lost", _after(own(LINKS), _without_live_dir)),
    Flow("into", enrolled(TWO, name="old"), ("enroll", "old", "--into", "web"), consumers.moved, insists=True),
    Flow("way-back", _after(due(PEM), changed(PEM.replace("hooks:", _PROBE))), mend=changed(PEM), attempts=2),
    Flow("metrics", _after(enrolled(PEM), _with_metrics), only_tells=True),
    Flow("agent", due(PEM), ("run",), enough=_agent_is_done),
    Flow("recover-renames", _after(due(PEM), _killed_at(_RENAMES, "/web.pem")), ("recover",)),
    Flow("recover-staging", _after(due(PEM), _killed_at(["fsync"], "/files")), ("recover",)),
    Flow("recover-in-place", _after(due(IN_PLACE), _killed_at(["ftruncate"], "/web.pem")), ("recover",)),
    Flow("recover-links", _after(due(PEM), changed(LINKS), _killed_at(_RENAMES, "/web.pem")), ("recover",)),
)
