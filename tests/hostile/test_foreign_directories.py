"""Root in somebody else's directory: what its owner may put there, and when.

The device's `files` belong to another user, who may link, rename and remove there as he likes. `treasure` is root's
alone, and so is the directory `kept` that it lies in. Whatever he does, neither changes, nor is he shown what it holds.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from certagent.config.parts import Secret
from certagent.errors import ConfigError, KeystoreError
from certagent.hooks import read_secret
from certagent.lab import Settings
from certagent.status.metrics import write_metrics
from certagent.transaction.journal import Phase
from certagent.transaction.renewal import Wish, advance
from certagent.transaction.report import Outcome, Result
from tests.hostile.conftest import Enrolled
from tests.keystore.faults import watched
from tests.keystore.pki import make_pki
from tests.keystore.site import Site as KeystoreSite
from tests.keystore.site import carry_out
from tests.renewal.site import DAY, Clock, Site, start_lab

pytestmark = pytest.mark.needs("root")

OTHER = 65534  # nobody
REAL_RENAME, REAL_SYMLINK = os.rename, os.symlink  # past the calls that are counted
SECRET = "what root alone may read\n"
FOUR = "chain_file: {}/chain.pem\nca_file: {}/ca.pem\n"
ROLES = {"key": "web.key", "certificate": "web.pem", "chain": "chain.pem", "CA": "ca.pem"}


@dataclass(frozen=True)
class Estate:
    """The device, and what is root's on it."""

    site: Site

    @property
    def files(self) -> Path:
        return self.site.key.parent

    @property
    def kept(self) -> Path:
        return self.site.path("kept")

    @property
    def treasure(self) -> Path:
        return self.kept / "treasure"

    def link(self, path: Path, text: Path | str, owner: int = OTHER) -> None:
        """What the other user puts in a file's place."""
        path.unlink(missing_ok=True)
        path.symlink_to(text)
        os.lchown(path, owner, owner)

    def renew(self) -> Outcome:
        return self.site.run(Wish.RENEW)

    def assert_untouched(self) -> None:
        assert [each.name for each in self.kept.iterdir()] == ["treasure"]
        status = self.treasure.stat()
        assert (self.treasure.read_text(), status.st_uid, status.st_mode & 0o777) == (SECRET, 0, 0o600)
        theirs = [each for each in self.files.rglob("*") if each.is_file() and not each.is_symlink()]
        assert not [each for each in theirs if SECRET in each.read_text() and each.stat().st_uid == OTHER]

    def assert_refused(self, outcome: Outcome, *, said: str) -> None:
        """In one line that says where and why, before anything was asked of the CA."""
        assert outcome.result is Result.FAILED, outcome
        assert said in str(outcome.message)
        assert outcome.hint
        assert self.site.transaction is None or self.site.transaction.phase is Phase.STARTED
        self.assert_untouched()


def make_estate(site: Site, keystore: str = "") -> Estate:
    """`keystore`: further lines of its definition; {} in them is the directory of its files."""
    estate = Estate(site)
    site.write(keystore.replace("{}", str(estate.files)))
    estate.kept.mkdir(mode=0o700)
    estate.treasure.write_text(SECRET)
    estate.treasure.chmod(0o600)
    for each in (estate.files, *estate.files.iterdir()):
        os.chown(each, OTHER, OTHER)
    return estate


MakeEstate = Callable[..., Estate]


@pytest.fixture
def estate(enrolled: Enrolled) -> MakeEstate:
    return lambda keystore=FOUR: make_estate(enrolled(), keystore)


SWAPS = pytest.mark.parametrize("swap", ["rename", "symlink", "in-place"])


@SWAPS
@pytest.mark.parametrize("aim", ["kept/treasure", "kept/made", "/dev/null", "/dev/zero"])
@pytest.mark.parametrize("role", ROLES)
def test_a_link_in_a_files_place_is_not_followed(estate: MakeEstate, role: str, aim: str, swap: str) -> None:
    place = estate(f"{FOUR}swap: {swap}")
    place.link(place.files / ROLES[role], place.site.path(aim) if "kept" in aim else aim)
    place.assert_refused(place.renew(), said=f"files/{ROLES[role]} is a symbolic link owned by user nobody")


@SWAPS
@pytest.mark.parametrize("role", ROLES)
def test_nor_one_of_roots_that_lies_in_his_directory(estate: MakeEstate, role: str, swap: str) -> None:
    """He can rename it, and so choose which."""
    place = estate(f"{FOUR}swap: {swap}")
    place.link(place.files / ROLES[role], place.treasure, owner=0)
    place.assert_refused(
        place.renew(), said=f"files/{ROLES[role]} is a symbolic link, and {place.files} belongs to user nobody"
    )


def above(place: Estate) -> None:
    place.files.rename(place.site.path("elsewhere"))
    place.link(place.files, place.kept)


def below(place: Estate) -> None:
    place.link(place.files / "sub", place.kept)


@pytest.mark.parametrize(("replace", "sub"), [(above, ""), (below, "/sub")], ids=["directory", "directory below"])
def test_nor_one_in_a_directorys_place(estate: MakeEstate, replace: Callable[[Estate], None], sub: str) -> None:
    place = estate(f"chain_file: {{}}{sub}/chain.pem")
    replace(place)
    place.assert_refused(place.renew(), said="is a symbolic link owned by user nobody")


@pytest.mark.parametrize("role", ROLES)
def test_a_hard_link_to_a_file_of_roots_is_not_read(estate: MakeEstate, role: str) -> None:
    """Where the kernel lets him make one (fs.protected_hardlinks=0)."""
    place = estate()
    path = place.files / ROLES[role]
    path.unlink(missing_ok=True)
    os.link(place.treasure, path)
    place.assert_refused(place.renew(), said=f"files/{ROLES[role]} is a hard link to a file of root")


@pytest.mark.parametrize("role", ROLES)
def test_a_pipe_holds_nobody_up(estate: MakeEstate, role: str) -> None:
    place = estate()
    path = place.files / ROLES[role]
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    place.assert_refused(place.renew(), said=f"files/{ROLES[role]} is not a regular file")


def test_a_link_planted_while_the_pre_hook_runs_is_not_followed(estate: MakeEstate) -> None:
    script = "mv $0 $0.gone; ln -s $1 $0; chown -h nobody $0"
    place = estate("hooks: {pre: [[/bin/sh, -c, '" + script + "', {}, " + "{}/../kept" + "]]}")
    outcome = place.renew()
    assert outcome.result is Result.FAILED
    assert "files is a symbolic link owned by user nobody" in str(outcome.message)
    place.assert_untouched()


def test_what_he_cannot_read_is_not_kept_to_be_given_to_him(estate: MakeEstate) -> None:
    """He has moved a pair of root's into place. It does not come back as his when a probe fails."""
    place = estate("owner: nobody")
    os.chown(place.site.key, 0, 0)
    place.site.key.chmod(0o600)
    assert place.renew().result is Result.RENEWED
    assert [each.name for each in place.site.path("state/keystores/web/previous").iterdir()] == ["certificate.pem"]


def test_nor_does_it_become_his_by_what_he_puts_in_place_meanwhile(estate: MakeEstate) -> None:
    """The file in place says whose the one that comes back is, where nobody configures it: it is his own by then."""
    place = estate()
    os.chown(place.site.key, 0, 0)
    place.site.key.chmod(0o600)
    assert place.renew().result is Result.RENEWED
    keystore = place.site.context().configured.keystore
    assert keystore.plan_rollback("back") is not None
    os.chown(place.site.key, OTHER, OTHER)
    assert keystore.plan_rollback("back") is None


def test_a_secret_is_not_read_through_a_link_of_his(estate: MakeEstate) -> None:
    place = estate()
    place.link(place.files / "challenge", place.treasure)
    with pytest.raises(ConfigError, match="challenge is a symbolic link owned by user nobody"):
        read_secret(Secret(file=str(place.files / "challenge")))


def test_a_metrics_file_is_written_to_no_directory_that_a_link_of_his_leads_to(estate: MakeEstate) -> None:
    place = estate()
    above(place)
    with pytest.raises(
        ConfigError, match=r"metrics_file cannot be written: .*files is a symbolic link owned by user nobody"
    ):
        write_metrics(place.files / "certagent.prom", "text")
    place.assert_untouched()


def test_a_metrics_file_takes_the_place_of_a_link_of_his(estate: MakeEstate) -> None:
    place = estate()
    place.link(place.files / "certagent.prom", place.treasure)
    write_metrics(place.files / "certagent.prom", "text")
    assert (place.files / "certagent.prom").read_text() == "text"
    place.assert_untouched()


# What goes on working.


@SWAPS
def test_his_directory_serves_as_any_other(estate: MakeEstate, swap: str) -> None:
    place = estate(f"{FOUR}swap: {swap}\nowner: nobody\nmode: '0640'")
    for _ in range(3):
        assert place.renew().result is Result.RENEWED
    found = {path.name: path.stat() for path in (place.files / name for name in ROLES.values())}
    assert {status.st_uid for status in found.values()} == {OTHER}
    assert found["web.key"].st_mode & 0o777 == 0o640
    assert sorted(each.name for each in place.files.iterdir()) == sorted(ROLES.values())


def test_so_does_one_that_a_link_of_roots_leads_to(estate: MakeEstate) -> None:
    place = estate("certificate_file: {}/../by-link/web.pem")
    place.site.path("by-link").symlink_to("files")
    assert place.renew().result is Result.RENEWED
    place.assert_untouched()


def test_a_second_name_that_he_gave_to_a_file_of_his_own_hinders_nothing(estate: MakeEstate) -> None:
    place = estate()
    os.link(place.site.certificate, place.files / "second.pem")
    assert place.renew().result is Result.RENEWED


def test_who_is_not_root_goes_on_with_what_is_his_own() -> None:
    """Directories of his group's, as with umask 002, and links that he or root made."""
    with tempfile.TemporaryDirectory(prefix="certagent-") as name, ExitStack() as stack:
        directory, clock = Path(name), Clock()
        server = stack.enter_context(start_lab(directory / "lab", clock, Settings(lifetime=90 * DAY)))
        site = Site(directory, clock, server)
        site.write("chain_file: " + str(directory / "by-link/chain.pem"))
        (directory / "by-link").symlink_to("files")
        for each in (directory, *directory.rglob("*")):
            os.lchown(each, OTHER, OTHER)
        site.config.chmod(0o600)
        for each in (directory, site.path("files")):
            each.chmod(0o775)
        os.setegid(OTHER)
        os.seteuid(OTHER)
        try:
            results = [site.run(wish).result for wish in (Wish.ENROLL, Wish.RENEW, Wish.RENEW)]
        finally:
            os.seteuid(0)
            os.setegid(0)
        assert results == [Result.ENROLLED, Result.RENEWED, Result.RENEWED]


# Changed between a look and its use: at each single call of a whole swap.


@dataclass(frozen=True)
class Attack:
    """`plant` is done ahead of one call, over and over: what `takes` names is exchanged for a link to `aim`."""

    takes: str
    aim: str


ATTACKS = [
    pytest.param(Attack("etc", "kept"), id="the directory"),
    pytest.param(Attack("etc/web.key", "kept/treasure"), id="the key"),
    pytest.param(Attack("etc/web.pem", "kept/treasure"), id="the certificate"),
    pytest.param(Attack("etc/.web.key.certagent-two", "kept/treasure"), id="the new key"),
    pytest.param(Attack("etc/.web.pem.certagent-two.old", "kept/treasure"), id="the copy of the old certificate"),
]


@pytest.mark.slow
@SWAPS
@pytest.mark.parametrize("attack", ATTACKS)
def test_exchanged_at_any_call(tmp_path: Path, attack: Attack, swap: str) -> None:
    step, more = 0, True
    while more:
        step += 1
        with tempfile.TemporaryDirectory(dir=tmp_path) as name:
            more = _attacked(Path(name), attack, swap, step)
    assert step > 100


def _attacked(root: Path, attack: Attack, way: str, at: int) -> bool:
    """Whether the swap came as far as call number `at`, ahead of which the attack happened."""
    (root / "kept").mkdir(mode=0o700)
    treasure = root / "kept/treasure"
    treasure.touch(0o600)
    treasure.write_text(SECRET)
    site = KeystoreSite(root, {"key_file": "web.key", "certificate_file": "web.pem", "swap": way, "owner": "nobody"})
    site.put(make_pki().old)
    for each in (site.etc, *site.etc.iterdir()):
        os.chown(each, OTHER, OTHER)
    came = False

    def exchange(number: int, _name: str, _arguments: object) -> None:
        nonlocal came
        if number == at:
            came = True
            taken = root / attack.takes
            with suppress(FileNotFoundError):
                REAL_RENAME(taken, root / "taken")
            with suppress(FileNotFoundError):  # the directory is gone
                REAL_SYMLINK(root / attack.aim, taken)
                os.lchown(taken, OTHER, OTHER)

    with watched(exchange, passing=True), suppress(KeystoreError):
        carry_out(site.plan(make_pki().new, "two"))
    assert [each.name for each in (root / "kept").iterdir()] == ["treasure"]
    assert (treasure.read_text(), treasure.stat().st_uid) == (SECRET, 0)
    theirs = [each for each in root.rglob("*") if each.is_file() and each.stat().st_uid == OTHER]
    assert not [each for each in theirs if SECRET.encode() in each.read_bytes()]
    return came


# And for real.

RACER = """
import os, random, sys, time
yard, = sys.argv[1:]
files, away, kept = f"{yard}/files", f"{yard}/away", f"{yard}/../kept"
names = ["web.key", "web.pem", "chain.pem", "ca.pem"]

def quietly(call, *arguments):
    try:
        return call(*arguments)
    except OSError:
        return None

def look():
    for name in quietly(os.listdir, files) or ():
        try:
            with open(f"{files}/{name}") as file:
                if "root alone" in file.read():
                    print(name)
        except (OSError, UnicodeDecodeError):
            pass

def exchange(path, aside, aim):
    quietly(os.rename, path, aside)
    quietly(os.symlink, aim, path)
    time.sleep(random.random() / 500)
    look()
    if quietly(os.readlink, path) == aim:  # not certagent's, without which there is no key
        quietly(os.unlink, path)
        quietly(os.rename, aside, path)

while not os.path.exists(f"{yard}/../stop"):
    exchange(files, away, kept)
    time.sleep(random.random() / 50)
    name = random.choice(names)
    exchange(f"{files}/{name}", f"{files}/aside", f"{kept}/treasure")
    look()
    time.sleep(random.random() / 50)
"""


class Yard(Site):
    """A device whose files lie in a directory of a directory that is the other user's."""

    @property
    def key(self) -> Path:
        return self.path("yard/files/web.key")

    @property
    def certificate(self) -> Path:
        return self.path("yard/files/web.pem")


@contextmanager
def racing(yard: Path) -> Iterator[list[str]]:
    """The other user at work; what he could read is there in the end."""
    found: list[str] = []
    argv = ["setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups", "/usr/bin/python3", "-c", RACER]
    with subprocess.Popen([*argv, str(yard)], stdout=subprocess.PIPE, text=True) as racer:
        try:
            yield found
        finally:
            (yard.parent / "stop").touch()
            found += racer.communicate()[0].splitlines()


@pytest.mark.slow
@pytest.mark.needs("setpriv")
@SWAPS
def test_a_race_is_not_won(swap: str) -> None:
    """He exchanges files and directory as fast as he can, through tens of renewals."""
    with tempfile.TemporaryDirectory(prefix="certagent-race-") as name, ExitStack() as stack:
        directory = Path(name)
        directory.chmod(0o755)
        (directory / "yard/files").mkdir(parents=True)
        os.chown(directory / "yard", OTHER, OTHER)
        clock = Clock()
        server = stack.enter_context(start_lab(directory / "lab", clock, Settings(lifetime=90 * DAY)))
        place = make_estate(Yard(directory, clock, server), f"{FOUR}swap: {swap}\nowner: nobody")
        with racing(directory / "yard") as read:
            for _ in range(40):
                advance(place.site.context(), Wish.RENEW, lambda: False)
        assert read == []
        place.assert_untouched()
        assert place.renew().result is Result.RENEWED
