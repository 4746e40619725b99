"""The table of file roles: what a swap does with each, and that nothing is done with a role that is not in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import msgspec
import pytest

from certagent.config.file_roles import FileRole
from certagent.keystore import swap_plan
from certagent.keystore.pem import PemFiles

from .pki import make_pki
from .site import Site

TWO = {"key_file": "web.key", "certificate_file": "web.pem"}


def test_files_are_replaced_in_the_order_of_the_table() -> None:
    """What a reader needs to believe a pair comes first, then the pair, and what leads to it comes last."""
    order = list(FileRole)
    assert order[:3] == [FileRole.CA, FileRole.TRUSTED, FileRole.CHAIN]
    assert order.index(FileRole.CERTIFICATE) == order.index(FileRole.KEY) + 1, "nothing between the two"
    assert order[-1] is FileRole.URI


def test_these_roles_alone_hold_no_private_key() -> None:
    """A role that says nothing of it is private. To join the others, it has to be written down here too."""
    assert {role for role in FileRole if not role.private} == {
        "ca",
        "trusted",
        "chain",
        "certificate",
        "snippet",
        "uri",
    }


@pytest.mark.parametrize(
    ("role", "name"),
    [
        (FileRole.KEY, "key.pem"),
        (FileRole.CERTIFICATE, "certificate.pem"),
        (FileRole.PKCS12, "pkcs12.p12"),
        (FileRole.URI, "uri.uri"),
        (FileRole.SNIPPET, "snippet.conf"),
    ],
)
def test_an_old_file_is_kept_under_the_name_of_its_role(role: FileRole, name: str) -> None:
    assert role.kept_name == name


class Forgetful(PemFiles):
    """A driver with a file whose role nobody entered into the table."""

    def plan(self, contents: Mapping[str, bytes]) -> swap_plan.Plan:
        return self._plan("swap", cast("Mapping[FileRole, bytes]", contents), self._look())


def test_a_driver_that_writes_a_file_of_an_unknown_role_is_told_so(tmp_path: Path) -> None:
    site = Site(tmp_path, TWO)
    site.put(make_pki().old)
    driver = Forgetful(
        "web", site.definition, directory=site.state, live=site.live, read_secret=lambda _: pytest.fail("no secret")
    )
    with pytest.raises(ValueError, match="'unheard-of' is not a valid FileRole"):
        driver.plan({"key": b"", "unheard-of": b""})


def test_a_kept_swap_with_an_unknown_role_is_not_carried_on(tmp_path: Path) -> None:
    site = Site(tmp_path, TWO)
    kept = msgspec.json.encode(site.plan(make_pki().new, "swap").record)
    with pytest.raises(msgspec.ValidationError, match="unheard-of"):
        msgspec.json.decode(kept.replace(b'"key"', b'"unheard-of"'), type=swap_plan.Record)
