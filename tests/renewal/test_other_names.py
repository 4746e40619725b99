"""`check` names the readers who would keep the old file: those of hard links, and of single files that are mounted."""

from __future__ import annotations

import os
import subprocess

import pytest

from certagent.mounts import Mount, mounted_at
from tests.renewal.site import Site

ROOT = Mount("8:1", "/", "/")
SRV = Mount("8:2", "/", "/srv")
PART = Mount("8:1", "/data/tls", "/etc/tls")
MOUNTED = [
    pytest.param("/etc/web.pem", [ROOT], Mount("8:1", "/etc/web.pem", "/ctr/web.pem"), id="a file of the root"),
    pytest.param("/srv/a/web.pem", [ROOT, SRV], Mount("8:2", "/a/web.pem", "/run/x"), id="of another file system"),
    pytest.param("/etc/tls/web.pem", [ROOT, PART], Mount("8:1", "/data/tls/web.pem", "/x"), id="below a bind mount"),
]
ELSEWHERE = [
    pytest.param(Mount("8:1", "/etc", "/ctr"), id="its directory"),
    pytest.param(Mount("8:9", "/etc/web.pem", "/x"), id="the same path of another device"),
    pytest.param(Mount("8:1", "/etc/web.pem", "/etc/web.pem"), id="itself"),
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


@pytest.mark.needs("root", "mount")
def test_a_file_that_is_mounted_into_another_namespace_is_told(site: Site) -> None:
    site.run()
    inside = site.path("inside.pem")
    inside.touch()
    script = f"mount --bind {site.certificate} {inside} && echo mounted && read line"
    with subprocess.Popen(
        ["unshare", "-m", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as container:
        assert container.stdin
        assert container.stdout
        if container.stdout.readline() != "mounted\n":
            pytest.skip("no mounts in here")
        told = site.command("check", "--offline").stdout
        container.stdin.write("\n")
    assert f"web.pem is mounted at {inside} as a single file" in told
    assert "the new content is written into it" in told


def test_nothing_is_told_of_what_nobody_else_reads(site: Site) -> None:
    site.run()
    told = site.command("check", "--offline").stdout
    assert "hard links" not in told
    assert "as a single file" not in told
