"""CRLs in a directory: LDAP URIs against Debian's slapd."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from certagent.errors import ConfigError, TransientError
from certagent.keys import PrivateKey
from certagent.trust import crl
from tests.waiting import PATIENCE

from .directory import directory
from .test_crl import revocations

SOON = timedelta(seconds=PATIENCE)


@pytest.fixture(scope="module")
def ldap(tmp_path_factory: pytest.TempPathFactory, rsa_keys: list[PrivateKey]) -> Iterator[str]:
    published = revocations(rsa_keys[0]).public_bytes(Encoding.DER)
    with directory(tmp_path_factory.mktemp("slapd"), published) as host:
        yield f"ldap://{host}"


@pytest.mark.needs("slapd")
@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/cn=CA%201,o=Example?certificateRevocationList;binary", id="attribute"),
        pytest.param("/cn=CA%201,o=Example", id="no attribute named"),
        pytest.param(
            "/CN=CA%201,O=Example?certificateRevocationList?base?objectClass=cRLDistributionPoint",
            id="as Microsoft's CAs write it",
        ),
        pytest.param("/o=Example?certificateRevocationList;binary?sub?(cn=CA%201)", id="search below"),
        pytest.param("/o=Example?certificateRevocationList;binary?one?(cn=CA 1)", id="one level"),
    ],
)
def test_it_comes_out_of_a_directory(ldap: str, rsa_keys: list[PrivateKey], path: str) -> None:
    assert crl.fetch(ldap + path, timeout=SOON) == revocations(rsa_keys[0])


@pytest.mark.needs("slapd")
@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/cn=none,o=Example", id="no such entry"),
        pytest.param("/cn=empty,o=Example", id="no list in it"),
        pytest.param("/cn=CA%201,o=Example?certificateRevocationList;binary?base?(cn=other)", id="filtered away"),
        pytest.param("/cn=CA%201,o=Example?certificateRevocationList;binary?base?(cn=", id="broken filter"),
        pytest.param("/not a name", id="broken name"),
    ],
)
def test_what_is_not_there_is_a_failure_to_try_again(ldap: str, path: str) -> None:
    with pytest.raises(TransientError, match=r"ldap://127\.0\.0\.1"):
        crl.fetch(ldap + path, timeout=SOON)


def test_a_directory_that_is_down_is_a_failure_to_try_again() -> None:
    with pytest.raises(TransientError, match="cannot be asked"):
        crl.fetch("ldap://127.0.0.1:1/o=Example", timeout=SOON)


def test_an_address_without_a_server_is_explained() -> None:
    with pytest.raises(ConfigError, match="does not name a server"):
        crl.fetch("ldap:///CN=CA,DC=example?certificateRevocationList", timeout=SOON)


def test_without_the_extra_its_name_is_told(root: Path) -> None:
    """In a process of its own, where ldap3 cannot be imported."""
    program = (
        "import sys; sys.modules['ldap3'] = None\n"
        "from datetime import timedelta\n"
        "from certagent.trust import crl\n"
        "try: crl.fetch('ldap://127.0.0.1:1/o=x', timeout=timedelta(seconds=1))\n"
        "except Exception as error: print(type(error).__name__, error.hint)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout == "ConfigError pip install 'certagent[ldap]'\n"
