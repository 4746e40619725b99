"""`swap: in-place`, for readers that hold a file by its inode: what they get, and what half a write leaves."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certagent import keys
from certagent.certificate import to_pem
from certagent.errors import KeystoreError
from certagent.keystore import swap, swap_plan
from certagent.keystore.overwrite import is_mixture

from .faults import watched
from .pki import make_pki
from .site import Site, carry_out

TWO = {"key_file": "web.key", "certificate_file": "web.pem", "swap": "in-place"}
NOBODY = 65534


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path, TWO)
    site.put(make_pki().old)
    return site


def plan(site: Site) -> swap_plan.Plan:
    return site.plan(make_pki().new, "swap")


def committed(site: Site) -> swap_plan.Record:
    """A swap past its commit point, with nothing written yet."""
    planned = plan(site)
    swap.stage(planned)
    return planned.record


def half_written(path: Path, new: bytes, *, length: int) -> None:
    """As a process, or the power, that went while it was written."""
    with path.open("r+b") as file:
        file.write(new[:length])


def test_who_holds_the_files_by_their_inodes_reads_the_new_pair(site: Site) -> None:
    second = site.root / "second.pem"
    os.link(site.etc / "web.pem", second)
    with (site.etc / "web.key").open("rb") as held:
        carry_out(plan(site))
        held.seek(0)
        assert held.read() == keys.to_pem(make_pki().new.key)
    assert second.read_bytes() == (site.etc / "web.pem").read_bytes()
    assert site.strays() == []


def test_owner_and_mode_are_those_configured(site: Site) -> None:
    inode = (site.etc / "web.key").stat().st_ino
    carry_out(Site(site.root, TWO | {"mode": 0o640}).plan(make_pki().new, "swap"))
    status = (site.etc / "web.key").stat()
    assert (status.st_ino, status.st_mode & 0o777) == (inode, 0o640)


@pytest.mark.parametrize("name", ["web.key", "web.pem"])
@pytest.mark.parametrize("length", [1, 100, 500])
def test_half_a_write_is_completed(site: Site, name: str, length: int) -> None:
    record = committed(site)
    new = next(Path(each.staged).read_bytes() for each in record.changes if each.target.endswith(name))
    half_written(site.etc / name, new, length=length)
    swap.finish(record)
    assert site.keystore.read_certificate() == make_pki().new.certificate
    assert site.strays() == []


def test_half_a_write_is_taken_back_where_the_rest_is_refused(site: Site) -> None:
    record, old = committed(site), site.view()

    def full(_number: int, name: str, arguments: tuple[Any, ...]) -> None:
        if name == "pwrite" and b"CERTIFICATE" in arguments[1] and make_pki().new.certificate:
            new = to_pem((make_pki().new.certificate,))
            if bytes(arguments[1]).startswith(new[:200]):
                os.write(os.open(site.etc / "web.pem", os.O_WRONLY), new[:100])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with watched(full), pytest.raises(swap.UndoneError, match=r"web\.pem: No space left on device"):
        swap.finish(record)
    assert site.view() == old
    assert site.strays() == []


@pytest.mark.parametrize("name", ["web.key", "web.pem"])
def test_what_another_program_wrote_meanwhile_is_kept(site: Site, name: str) -> None:
    record, old = committed(site), site.view()
    (site.etc / name).write_bytes(to_pem((make_pki().rsa.certificate,)))
    with pytest.raises(swap.UndoneError, match=rf"{name} was changed by another program"):
        swap.finish(record)
    assert (site.etc / name).read_bytes() == to_pem((make_pki().rsa.certificate,))
    others = {role: content for role, content in site.view().items() if not site.definition.paths[role].match(name)}  # type: ignore[index]
    assert others == {role: old[role] for role in others}


@pytest.mark.parametrize("name", ["web.key", "web.pem"])
def test_what_another_program_wrote_after_the_plan_is_kept(site: Site, name: str) -> None:
    planned, theirs = plan(site), to_pem((make_pki().rsa.certificate,))
    (site.etc / name).write_bytes(theirs)
    with pytest.raises(KeystoreError, match=rf"{name} was changed by another program"):
        carry_out(planned)
    assert (site.etc / name).read_bytes() == theirs
    assert site.strays() == []


def test_of_two_files_the_half_written_one_is_whole_again_though_the_other_is_somebody_elses(site: Site) -> None:
    record, old = committed(site), (site.etc / "web.key").read_bytes()
    half_written(site.etc / "web.key", keys.to_pem(make_pki().new.key), length=150)
    (site.etc / "web.pem").write_bytes(b"mine")
    with pytest.raises(swap.UndoneError):
        swap.finish(record)
    assert (site.etc / "web.key").read_bytes() == old
    assert (site.etc / "web.pem").read_bytes() == b"mine"


def test_a_file_that_is_gone_meanwhile_is_not_made(site: Site) -> None:
    record = committed(site)
    (site.etc / "web.pem").unlink()
    with pytest.raises(swap.UndoneError):
        swap.finish(record)
    assert not (site.etc / "web.pem").exists()


@pytest.mark.needs("root")
def test_that_it_cannot_be_written_into_is_found_out_before_anything_is(site: Site) -> None:
    planned, old = plan(site), site.view()
    for each in (site.root, site.etc, *site.etc.iterdir()):
        os.chown(each, NOBODY, NOBODY)
    (site.etc / "web.pem").chmod(0o444)
    os.seteuid(NOBODY)
    try:
        with pytest.raises(KeystoreError, match=r"Permission denied"):
            swap.stage(planned)
    finally:
        os.seteuid(0)
    assert site.view() == old
    assert site.strays() == []


@pytest.mark.needs("root")
def test_a_key_is_not_written_into_the_file_of_somebody_who_is_not_to_have_it(site: Site) -> None:
    os.chown(site.etc / "web.key", NOBODY, NOBODY)
    theirs = Site(site.root, TWO | {"owner": "1"})
    with pytest.raises(KeystoreError, match=r"web\.key belongs to .*, who may have it open"):
        plan(theirs)


@given(st.binary(max_size=20), st.binary(max_size=20), st.data())
def test_each_beginning_of_a_write_is_a_mixture(old: bytes, new: bytes, data: st.DataObject) -> None:
    length = data.draw(st.integers(0, len(new)))
    assert is_mixture(new[:length] + old[length:], old, new)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(b"new.old", True, id="new, then old"),
        pytest.param(b"old.n\0\0", True, id="room that was made and not filled"),
        pytest.param(b"", True, id="nothing yet"),
        pytest.param(b"their.s", False, id="another's"),
        pytest.param(b"old.oldx", False, id="longer than both"),
    ],
)
def test_what_a_cut_short_write_can_leave(found: bytes, *, expected: bool) -> None:
    assert is_mixture(found, b"old.old", b"new.new") is expected
