"""What would keep a successor from its place: `check` sees it, and no certificate is asked for until it is gone."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest

from certagent.keystore.obstacles import own_groups
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.renewal.site import Site

pytestmark = pytest.mark.needs("root")


def _run(*argv: str | Path) -> None:
    done = subprocess.run([str(each) for each in argv], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{argv[0]} is not possible in here: {done.stderr.strip()}")


@contextmanager
def immutable(site: Site) -> Iterator[str]:
    _run("chattr", "+i", site.certificate)
    try:
        yield "web.pem is immutable (lsattr)"
    finally:
        _run("chattr", "-i", site.certificate)


@contextmanager
def directory_append_only(site: Site) -> Iterator[str]:
    _run("chattr", "+a", site.key.parent)
    try:
        yield "files is append-only (lsattr)"
    finally:
        _run("chattr", "-a", site.key.parent)


@contextmanager
def mount_point(site: Site) -> Iterator[str]:
    site.write("swap: rename")
    _run("mount", "--bind", site.certificate, site.certificate)
    try:
        yield "web.pem is a mount point"
    finally:
        _run("umount", site.certificate)


@contextmanager
def full_disk(site: Site) -> Iterator[str]:
    with mounted(site, "size=300k"):
        filler = site.key.parent / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        yield "is full"
        filler.unlink()


@contextmanager
def read_only(site: Site) -> Iterator[str]:
    with mounted(site, "size=1m"):
        _run("mount", "-o", "remount,ro", site.key.parent)
        yield "is on a read-only file system"
        _run("mount", "-o", "remount,rw", site.key.parent)


@contextmanager
def few_inodes(site: Site) -> Iterator[str]:
    with mounted(site, "nr_inodes=12"):
        yield "has too few inodes: only "


@contextmanager
def copied_without_links(site: Site) -> Iterator[str]:
    """As a backup that follows links restores it."""
    site.write("swap: symlink")
    assert site.run(Wish.RENEW).result is Result.RENEWED
    pointer = site.path("live/web/current")
    there = pointer.resolve()
    pointer.unlink()
    shutil.copytree(there, pointer)
    yield "current is not a link"
    shutil.rmtree(pointer)
    pointer.symlink_to(there.name)


@contextmanager
def mounted(site: Site, options: str) -> Iterator[None]:
    """The files on a file system of their own, and back at the end."""
    files = site.key.parent
    kept = {path.name: path.read_bytes() for path in files.iterdir()}
    _run("mount", "-t", "tmpfs", "-o", options, "tmpfs", files)
    try:
        _put(files, kept)
        yield
        kept = {path.name: path.read_bytes() for path in files.iterdir()}
    finally:
        _run("umount", files)
        _put(files, kept)


def _put(files: Path, contents: dict[str, bytes]) -> None:
    for name, content in contents.items():
        (files / name).write_bytes(content)
        (files / name).chmod(0o600)


@contextmanager
def long_name(site: Site) -> Iterator[str]:
    name, plain = "n" * 215, site.certificate
    plain.rename(plain.with_name(f"{name}.pem"))
    site.write(f"certificate_file: {plain.with_name(f'{name}.pem')}")
    yield "is too long: certagent makes temporary files with longer names beside it"
    plain.with_name(f"{name}.pem").rename(plain)
    site.write()


@contextmanager
def small_files(site: Site) -> Iterator[str]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (32 * 1024, before[1]))
    try:
        yield "no file can become larger than 32768 bytes here"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


OBSTACLES = [
    small_files,
    pytest.param(immutable, marks=pytest.mark.needs("chattr")),
    pytest.param(directory_append_only, marks=pytest.mark.needs("chattr")),
    mount_point,
    full_disk,
    read_only,
    few_inodes,
    copied_without_links,
    long_name,
]


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_it_is_seen_before_the_ca_is_asked(site: Site, obstacle: Callable[[Site], AbstractContextManager[str]]) -> None:
    assert site.run().result is Result.ENROLLED
    with obstacle(site) as words:
        checked = site.command("check", "--offline", "web")
        assert checked.returncode == 1, checked.stdout
        assert words in " ".join(checked.stdout.split()), checked.stdout
        issued = len(site.ca.issued())
        outcome = site.run(Wish.RENEW)
        assert outcome.result is Result.FAILED
        assert words in str(outcome.message)
        assert len(site.ca.issued()) == issued
    site.write()
    assert site.run(Wish.RENEW).result is Result.RENEWED
    assert site.leftovers() == []


def immutable_memory(site: Site) -> Path:
    return site.keystore_directory / "state.json"


def immutable_lock(site: Site) -> Path:
    return site.keystore_directory / "lock"


@pytest.mark.needs("chattr")
@pytest.mark.parametrize("path_of", [immutable_memory, immutable_lock])
def test_what_certagent_cannot_change_in_its_own_directory_is_seen(site: Site, path_of: Callable[[Site], Path]) -> None:
    assert site.run().result is Result.ENROLLED
    path = path_of(site)
    _run("chattr", "+i", path)
    try:
        checked = site.command("check", "--offline", "web")
    finally:
        _run("chattr", "-i", path)
    assert checked.returncode == 1, checked.stdout
    assert f"{path.name} is immutable (lsattr)" in " ".join(checked.stdout.split())


def test_a_metrics_directory_that_is_missing_is_seen(site: Site) -> None:
    site.run()
    site.write(top=f"metrics_file: {site.path('nowhere/certagent.prom')}")
    checked = site.command("check", "--offline")
    assert checked.returncode == 1
    assert "nowhere does not exist" in " ".join(checked.stdout.split())


def test_one_keystore_is_checked_with_its_authority(site: Site) -> None:
    site.run()
    checked = site.command("check", "--offline", "web")
    assert "keystore web" in checked.stdout
    assert "can write" in checked.stdout
    unknown = site.command("check", "--offline", "wbe")
    assert unknown.returncode == 2
    assert "there is no keystore 'wbe'" in unknown.stderr


@pytest.mark.needs("setpriv")
@pytest.mark.parametrize(("without", "owner"), [("chown", "65534:65534"), ("fowner", "65534:0")])
def test_a_root_that_cannot_give_files_away_is_seen(site: Site, without: str, owner: str) -> None:
    assert site.run().result is Result.ENROLLED
    _run("chown", owner, site.key)
    bounded = ("setpriv", f"--bounding-set=-{without}", f"--inh-caps=-{without}")
    command = (*bounded, sys.executable, "-m", "certagent", "-c", str(site.config))
    for words in (("check", "--offline"), ("renew", "--force", "web")):
        done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 1, done.stdout
        told = " ".join(done.stdout.split() + done.stderr.split())
        assert f"root without CAP_{without.upper()} cannot give {site.key} its owner and group" in told
    assert len(site.ca.issued()) == 1
    _run("chown", "0:0", site.key)


def test_a_setgid_directory_gives_its_own_group(tmp_path: Path) -> None:
    """Who is not root may leave a file there with the directory's group, and `check` says nothing against it."""
    os.chown(tmp_path, 0, 12)
    assert 12 not in own_groups(tmp_path)
    tmp_path.chmod(0o2775)
    assert 12 in own_groups(tmp_path)
