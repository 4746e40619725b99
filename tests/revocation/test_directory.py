"""`crl_directory`: a file for each list, as OpenSSL looks for them; others' files are left alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from certagent.certificate import to_pem
from certagent.trust import crl
from tests.renewal.site import openssl

from .gateway import HOUR, Gateway


class Shelf:
    """A gateway with a directory."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.directory = gateway.site.path("files/crls")
        self.directory.mkdir()
        gateway.site.write(authority=f"crl_directory: {self.directory}\nhooks: {{crl_changed: [[{gateway.hook()}]]}}")

    @property
    def ca(self) -> Path:
        file = self.gateway.site.path("lab-ca.pem")
        file.write_bytes(to_pem([self.gateway.site.ca.generation.issuer.certificate]))
        return file

    @property
    def hash(self) -> str:
        return openssl("x509", "-noout", "-subject_hash", "-in", str(self.ca)).strip()

    def names(self) -> list[str]:
        return sorted(each.name for each in self.directory.iterdir())

    def numbers(self, name: str) -> list[int | None]:
        return [crl.number(each) for each in crl.read_all((self.directory / name).read_bytes())]


@pytest.fixture
def shelf(gateway: Gateway) -> Shelf:
    return Shelf(gateway)


def test_openssl_finds_the_list_by_its_name_and_refuses_who_is_on_it(shelf: Shelf) -> None:
    shelf.gateway.refresh()
    assert shelf.names() == [f"{shelf.hash}.r0"]
    told = shelf.gateway.site.path("reload.ran").read_text()
    assert f"CERTAGENT_CRL_DIRECTORY={shelf.directory}\nCERTAGENT_CRL_FILE=\n" in told

    def verify() -> str:
        (shelf.directory / f"{shelf.hash}.0").write_bytes(shelf.ca.read_bytes())
        at = str(int(shelf.gateway.clock().timestamp()))
        words = ("verify", "-CApath", shelf.directory, "-crl_check", "-attime", at, shelf.gateway.site.certificate)
        return subprocess.run(["openssl", *words], capture_output=True, text=True, check=False).stderr

    assert verify() == ""
    shelf.gateway.site.ca.store.revoke(shelf.gateway.site.leaf().serial_number, shelf.gateway.clock())
    shelf.gateway.clock.advance(HOUR)
    shelf.gateway.refresh(at_once=True)
    assert "certificate revoked" in verify()


def test_others_files_stay_and_ours_take_the_next_number(shelf: Shelf) -> None:
    theirs = shelf.directory / f"{shelf.hash}.r0"
    theirs.write_text("somebody's")
    (shelf.directory / "README").write_text("x")
    shelf.gateway.refresh()
    assert shelf.names() == ["README", f"{shelf.hash}.r0", f"{shelf.hash}.r1"]
    assert theirs.read_text() == "somebody's"
    first = shelf.numbers(f"{shelf.hash}.r1")
    shelf.gateway.clock.advance(HOUR)
    shelf.gateway.refresh(at_once=True)
    assert shelf.numbers(f"{shelf.hash}.r1") != first
    theirs.unlink()
    shelf.gateway.refresh()
    assert shelf.names() == ["README", f"{shelf.hash}.r0"]  # no number is left out


def test_one_that_was_removed_comes_again_and_one_that_is_wanted_no_more_goes(shelf: Shelf) -> None:
    shelf.gateway.refresh()
    (shelf.directory / f"{shelf.hash}.r0").rename(shelf.directory / "00112233.r0")
    shelf.gateway.refresh()
    assert shelf.names() == [f"{shelf.hash}.r0"]


def test_a_directory_that_is_missing_is_told(shelf: Shelf) -> None:
    shelf.directory.rmdir()
    assert "cannot write to" in shelf.gateway.error(shelf.gateway.refresh())
