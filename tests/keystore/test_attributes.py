"""Access lists and other extended attributes: what a successor has of the file it replaces."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from certagent.durable import ACCESS_LIST
from certagent.keystore import swap
from certagent.keystore.attributes import lost
from certagent.keystore.files import look_at, ownership

from .conftest import MakeSite
from .pki import Pki
from .site import carry_out

NOBODY, DAEMON = 65534, 1
USER, NAMED, GROUP, MASK, OTHERS = 0x01, 0x02, 0x04, 0x10, 0x20
NO_ONE = 0xFFFFFFFF
Rules = dict[tuple[int, int], int]  # tag and number → rights


def packed(rules: Rules) -> bytes:
    entries = (struct.pack("<HHI", tag, rights, number) for (tag, number), rights in rules.items())
    return struct.pack("<I", 2) + b"".join(entries)


def rules_of(path: Path) -> Rules:
    """Of the file itself: what each may do, the mask taken into account."""
    value = os.getxattr(path, ACCESS_LIST)[4:]
    found = {(tag, number): rights for tag, rights, number in struct.iter_unpack("<HHI", value)}
    mask = found[MASK, NO_ONE]
    return {each: rights & mask if each[0] in (NAMED, GROUP) else rights for each, rights in found.items()}


def has_list(path: Path) -> bool:
    return ACCESS_LIST in os.listxattr(path)


def allows_nobody(*, mask: int, named: int = 4, group: int = 0) -> Rules:
    """rw for the owner; `named` for nobody, `group` for the file's group, neither of them beyond the mask."""
    return {
        (USER, NO_ONE): 6,
        (NAMED, NOBODY): named,
        (GROUP, NO_ONE): group,
        (MASK, NO_ONE): mask,
        (OTHERS, NO_ONE): 0,
    }


@pytest.fixture(autouse=True)
def _with_access_lists(tmp_path: Path) -> None:
    try:
        os.setxattr(tmp_path, ACCESS_LIST, packed(allows_nobody(mask=0)))
        os.removexattr(tmp_path, ACCESS_LIST)
        os.setxattr(tmp_path, "user.sample", b"")
    except OSError as error:
        pytest.skip(f"no access lists on the file system of {tmp_path}: {error.strerror}")


WAYS = pytest.mark.parametrize("way", ["rename", "symlink"])


@WAYS
@pytest.mark.parametrize(
    ("there", "mode", "user", "group"),
    [
        pytest.param(allows_nobody(mask=4), None, 4, 0, id="as it is"),
        pytest.param(allows_nobody(mask=0), None, 0, 0, id="the mask goes on to hide what it hid"),
        pytest.param(allows_nobody(mask=4, named=6), "0660", 4, 6, id="a wider mode gives the group alone more"),
        pytest.param(allows_nobody(mask=4), "0600", 0, 0, id="a narrower mode takes from all"),
    ],
)
def test_the_access_list_goes_with_the_successor(
    site: MakeSite, pki: Pki, *, way: str, there: Rules, mode: str | None, user: int, group: int
) -> None:
    place = site(swap=way, **({"mode": int(mode, 8)} if mode else {}))
    place.put(pki.old)
    os.setxattr(place.etc / "web.key", ACCESS_LIST, packed(there))
    place.activate(pki.new, "one")
    found = rules_of(place.etc / "web.key")
    assert (found[NAMED, NOBODY], found[GROUP, NO_ONE], found[OTHERS, NO_ONE]) == (user, group, 0)


@WAYS
def test_what_is_the_users_own_goes_with_it_too(site: MakeSite, pki: Pki, way: str) -> None:
    place = site(swap=way)
    place.put(pki.old)
    os.setxattr(place.etc / "web.pem", "user.managed-by", b"puppet")
    place.activate(pki.new, "one")
    assert os.getxattr(place.etc / "web.pem", "user.managed-by") == b"puppet"


def test_a_directorys_default_list_is_no_wish_for_a_key(site: MakeSite, pki: Pki) -> None:
    place = site()
    place.put(pki.old)
    (place.etc / "web.key").chmod(0o640)
    os.setxattr(place.etc, "system.posix_acl_default", packed(allows_nobody(mask=7, named=7)))
    place.activate(pki.new, "one")
    assert not has_list(place.etc / "web.key")
    assert (place.etc / "web.key").stat().st_mode & 0o777 == 0o640


def test_a_swap_that_is_taken_back_leaves_the_list_as_it_was(
    site: MakeSite, pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = site()
    place.put(pki.old)
    for name in ("web.key", "web.pem"):
        os.setxattr(place.etc / name, ACCESS_LIST, packed(allows_nobody(mask=4)))
    plan, real = place.plan(pki.new, "one"), os.replace

    def refuse_the_last(source: Path | str, target: Path | str, **held: int) -> None:
        if (str(source), str(target)) == (".web.pem.certagent-one", "web.pem"):
            raise PermissionError
        real(source, target, **held)

    monkeypatch.setattr(os, "replace", refuse_the_last)
    with pytest.raises(swap.UndoneError):
        carry_out(plan)
    assert {rules_of(place.etc / name)[NAMED, NOBODY] for name in ("web.key", "web.pem")} == {4}


@pytest.mark.needs("root")
def test_what_will_be_lost_is_known_before(site: MakeSite, pki: Pki) -> None:
    place = site()
    place.put(pki.old)
    os.setxattr(place.etc / "web.key", "trusted.sample", b"x")
    os.setxattr(place.etc / "web.key", "user.sample", b"x")
    found = look_at(place.etc / "web.key")
    assert found
    assert lost(found, ownership(found, owner=None, group=None, mode=None, default=0o600)) == ["trusted.sample"]


@pytest.mark.needs("root")
def test_a_list_that_another_user_made_is_not_for_a_file_that_is_not_his(site: MakeSite, pki: Pki) -> None:
    place = site(owner="root", mode=0o640)
    place.put(pki.old)
    os.setxattr(place.etc / "web.key", ACCESS_LIST, packed(allows_nobody(mask=6, named=6)))
    for each in (place.etc, *place.etc.iterdir()):
        os.chown(each, DAEMON, DAEMON)
    place.activate(pki.new, "one")
    assert not has_list(place.etc / "web.key")
