"""Which CA is recognised, by marks that no other has; the page that `check` points to has a heading for each."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from certagent.cli.known_cas import _PATHS, _PATHS_OF_IOS, _PATHS_OF_MICROMDM_WORDS, known_ca
from certagent.scep import Capabilities, Client
from tests.waiting import PATIENCE

from .place import Check, Place

PAGE = (Path(__file__).parents[2] / "docs/cas.md").read_text()
MICROMDM = Capabilities.parse(b"Renewal\nSHA-1\nSHA-256\nAES\nDES3\nSCEPStandard\nPOSTPKIOperation")
MORE = Capabilities.parse(b"Renewal\nSHA-1\nSHA-256\nSHA-512\nAES\nDES3\nSCEPStandard\nPOSTPKIOperation")


@pytest.mark.parametrize(
    ("url", "capabilities", "expected"),
    [
        ("http://ndes.example.net/certsrv/mscep/mscep.dll", None, "NDES"),
        ("http://ndes.example.net/CertSrv/mscep/mscep.dll/pkiclient.exe", MORE, "NDES"),
        ("http://ndes.example.net/certsrv/mscep_admin/", None, ""),
        ("http://ca.example.net:8080/ejbca/publicweb/apply/scep/pkiclient.exe", None, "EJBCA"),
        ("http://ca.example.net:8080/ejbca/publicweb/apply/scep/devices/pkiclient.exe", MORE, "EJBCA"),
        ("http://ca.example.net:8080/gw/scep/devices/pkiclient.exe", None, "XiPKI"),
        ("http://ca.example.net:8080/scep/devices/pkiclient.exe", MORE, ""),
        ("http://ca.example.net:8080/ca/cgi-bin/pkiclient.exe", None, "Dogtag"),
        ("http://ca.example.net/cgi-bin/pkiclient.exe", MORE, ""),
        ("https://vault.example.net:8200/v1/pki/scep", None, "Vault"),
        ("https://vault.example.net:8200/v1/team/pki/roles/device/scep/", None, "Vault"),
        ("http://scep.example.net:8080/scep", MICROMDM, "micromdm"),
        ("http://scep.example.net:8080/scep", MORE, ""),
        ("http://scep.example.net:8080/scep", None, ""),
        ("http://ca.example.net/scep/devices", MICROMDM, "step-ca"),
        ("http://ca.example.net/scep/generic", MORE, ""),
        ("http://ca.example.net/scep/generic", None, ""),
    ],
)
def test_recognised(url: str, capabilities: Capabilities | None, expected: str) -> None:
    assert known_ca(url, capabilities) == expected


@pytest.mark.parametrize(
    ("url", "server", "expected"),
    [
        ("http://192.0.2.1/cgi-bin/pkiclient.exe", "cisco-IOS", "Cisco IOS"),
        ("http://192.0.2.1/cgi-bin/pkiclient.exe", "nginx", ""),
        ("http://192.0.2.1/scep", "cisco-IOS", ""),
    ],
)
def test_recognised_by_what_the_server_says_it_is(url: str, server: str, expected: str) -> None:
    assert known_ca(url, MORE, server) == expected


def test_what_a_server_says_it_is(connected: Place) -> None:
    client = Client(connected.url, timeout=timedelta(seconds=PATIENCE))
    client.get_ca_certificates()
    assert client.addresses.server == "certagent-lab"


@pytest.mark.parametrize(
    "name", sorted({*_PATHS.values(), *_PATHS_OF_IOS.values(), *_PATHS_OF_MICROMDM_WORDS.values()})
)
def test_the_page_has_a_heading_for_it(name: str) -> None:
    assert re.search(rf"^## {re.escape(name)}$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("options", [pytest.param((), id="nobody answers"), pytest.param(("--offline",), id="offline")])
def test_check_points_there(place: Place, check: Check, options: tuple[str, ...]) -> None:
    place.url = "http://127.0.0.1:9/certsrv/mscep/mscep.dll"
    assert "docs/cas.md#ndes" in check(place, *options).text


def test_check_does_not_guess(connected: Place, check: Check) -> None:
    assert "docs/cas.md" not in check(connected).text
