"""`check` names the readers who would keep the old file: those of hard links, and of single files that are mounted."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from certagent.mounts import Mount, Mounts, mounted_at
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.renewal.site import Site

ROOT = Mount("8:1", "/", "/")
SRV = Mount("8:2", "/", "/srv")
PART = Mount("8:1", "/data/tls", "/etc/tls")
MOUNTED = [
    pytest.param("/etc/web.pem", [ROOT], Mount("8:1", "/etc/web.pem", "/ctr/web.pem"), id="a file of the root"),
    pytest.param("/srv/a/web.pem", [ROOT, SRV], Mount("8:2", "/a/web.pem", "/run/x"), id="of another file system"),
    pytest.param("/etc/a.pem", [ROOT], Mount("8:1", "/etc/a.pem", "/etc/a.pem"), id="under the same path elsewhere"),
    pytest.param("/etc/tls/web.pem", [ROOT, PART], Mount("8:1", "/data/tls/web.pem", "/x"), id="below a bind mount"),
]
ELSEWHERE = [
    pytest.param(Mount("8:1", "/etc", "/ctr"), id="its directory"),
    pytest.param(Mount("8:9", "/etc/web.pem", "/x"), id="the same path of another device"),
]


@pytest.mark.parametrize(("path", "own", "mount"), MOUNTED)
def test_a_mount_of_the_file_alone_is_found(path: str, own: list[Mount], mount: Mount) -> None:
    assert mounted_at(path, own, [*own, mount]) == [mount.point]


@pytest.mark.parametrize("mount", ELSEWHERE)
def test_another_mount_is_not(mount: Mount) -> None:
    assert mounted_at("/etc/web.pem", [ROOT], [ROOT, mount]) == []


def test_a_line_is_read_with_its_escapes() -> None:
    line = r"36 35 98:0 /mnt\0401 /mnt/a\134b rw,noatime master:1 - ext3 /dev/root rw"
    assert Mount.parse(line) == Mount("98:0", "/mnt 1", "/mnt/a\\b")
    assert Mount.parse("36 35") is None


def test_further_names_are_told(site: Site) -> None:
    site.run()
    os.link(site.certificate, site.path("files/second.pem"))
    told = site.command("check", "--offline").stdout
    assert "web.pem has 2 names (hard links)" in told


def test_a_file_that_is_a_mount_point_here_is_told_once() -> None:
    itself = Mount("8:1", "/etc/web.pem", "/etc/web.pem")
    assert mounted_at("/etc/web.pem", [ROOT, itself], [ROOT, itself]) == []
    assert Mounts((ROOT, itself), (ROOT, itself)).of(Path("/etc/web.pem")) == ["/etc/web.pem"]


@contextmanager
def mounted(file: Path, point: Path) -> Iterator[subprocess.Popen[str]]:
    """A process with a mount namespace of its own, where `file` is mounted at `point`. A line lets it print what it
    sees there, and end."""
    script = f"mount --bind {file} {point} && echo mounted && read line && cat {point}"
    with subprocess.Popen(
        ["unshare", "-m", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as container:
        assert container.stdout
        if container.stdout.readline() != "mounted\n":
            pytest.skip("no mounts in here")
        try:
            yield container
        finally:
            container.communicate("\n" if container.returncode is None else None)


@pytest.mark.needs("root", "mount")
def test_a_file_that_is_mounted_into_another_namespace_is_told(site: Site) -> None:
    site.run()
    inside = site.path("inside.pem")
    inside.touch()
    with mounted(site.certificate, inside):
        told = site.command("check", "--offline").stdout
    assert f"web.pem is mounted at {inside} as a single file" in told
    assert "certagent overwrites it in place" in told


def test_nothing_is_told_of_what_nobody_else_reads(site: Site) -> None:
    site.run()
    told = site.command("check", "--offline").stdout
    assert "hard links" not in told
    assert "as a single file" not in told


@pytest.mark.needs("root", "mount")
def test_who_has_the_file_mounted_by_itself_sees_the_new_certificate(site: Site) -> None:
    """Under its own path, as `docker run -v FILE:FILE` and a unit's ReadOnlyPaths= have it."""
    site.run()
    old = site.leaf().serial_number
    with mounted(site.certificate, site.certificate) as container:
        assert site.run(Wish.RENEW).result is Result.RENEWED
        assert site.leaf().serial_number != old
        seen, _ = container.communicate("\n")
    assert seen == site.certificate.read_text()
