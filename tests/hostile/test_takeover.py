"""Takeovers by the command line: who holds the key of something that the pinned CA certified, and answers in its place.

He answers GetCACert with the CA, with what he holds, with a CA of his own under that, and with an RA of that CA; and
he issues what is asked for.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose

from certagent import certificate as facts
from tests.hostile.case import consumers_files, successors
from tests.hostile.conftest import hostile
from tests.hostile.lab import Hostile
from tests.hostile.takeover import DEVICE, SIGNS, held, real_clock, take_over
from tests.renewal.site import DAY, Site
from tests.unit.pki import TLS, Party, party, rsa_key


def a_device(ca: Hostile) -> list[Party]:
    return [held(ca, usage=DEVICE, purposes=TLS)]


def a_device_without_basic_constraints(ca: Hostile) -> list[Party]:
    return [held(ca, ca=None, purposes=TLS)]


def no_ca_with_signing_usage(ca: Hostile) -> list[Party]:
    return [held(ca, usage=(*SIGNS, *DEVICE), purposes=TLS)]


def sub_ca_of_no_room(ca: Hostile) -> list[Party]:
    return [held(ca, ca=True, usage=SIGNS, path_length=0)]


def sub_ca_without_key_cert_sign(ca: Hostile) -> list[Party]:
    return [held(ca, ca=True, usage=("digital_signature", "crl_sign"))]


def expired_sub_ca(ca: Hostile) -> list[Party]:
    return [held(ca, ca=True, usage=SIGNS, end=real_clock() - DAY)]


def sub_ca_of_tomorrow(ca: Hostile) -> list[Party]:
    return [held(ca, ca=True, usage=SIGNS, start=real_clock() + DAY)]


def device_below_a_sub_ca(ca: Hostile) -> list[Party]:
    now = real_clock()
    sub = party("CN=sub CA", ca.issuer, with_key=rsa_key("sub CA"), ca=True, start=now - DAY, end=now + 99 * DAY)
    leaf = party("CN=device8", sub, with_key=rsa_key("device7"), purposes=TLS, start=now - DAY, end=now + 9 * DAY)
    return [sub, leaf]


SHAPES = [
    a_device,
    a_device_without_basic_constraints,
    no_ca_with_signing_usage,
    sub_ca_of_no_room,
    sub_ca_without_key_cert_sign,
    expired_sub_ca,
    sub_ca_of_tomorrow,
    device_below_a_sub_ca,
]


def assert_nothing_changed(site: Site, before: dict[str, tuple[int, bytes]], memory: bytes) -> None:
    assert consumers_files(site) == before
    assert successors(site) == []
    assert (site.path("state") / "authorities/lab/ca.pem").read_bytes() == memory
    assert not (site.path("state") / "authorities/lab/next-ca.pem").exists()


@pytest.mark.parametrize("pin", ["fingerprint", pytest.param("anchor", marks=pytest.mark.slow)])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__.replace("_", " "))
def test_nobody_takes_over(device: Callable[[str], Site], shape: Callable[[Hostile], list[Party]], pin: str) -> None:
    site = device(pin)
    before, memory = consumers_files(site), (site.path("state") / "authorities/lab/ca.pem").read_bytes()
    way = shape(hostile(site))
    take_over(site, way, way[-1])
    for words in (("renew", "--force", "web"), ("check",)):
        done = site.command(*words)
        assert done.returncode == 1, done.stdout + done.stderr
        assert_nothing_changed(site, before, memory)
    hostile(site).behave()
    assert site.command("renew", "--force", "web").returncode == 0, "the honest CA is believed as before"


# A few of what other certificates than an RA's are for; unit/test_ra_purposes.py has all.
PURPOSES = {
    "server and client": TLS,
    "IKE intermediate (NDES's template for devices)": (x509.ObjectIdentifier("1.3.6.1.5.5.8.2.2"),),
    "any purpose": (Purpose.ANY_EXTENDED_KEY_USAGE,),
    "OCSP": (Purpose.OCSP_SIGNING,),
    "time-stamping": (Purpose.TIME_STAMPING,),
    "smart card": (Purpose.SMARTCARD_LOGON,),
    "smart card and client": (Purpose.SMARTCARD_LOGON, Purpose.CLIENT_AUTH),
    "EAP over LAN": (x509.ObjectIdentifier("1.3.6.1.5.5.7.3.14"),),
    "SSH client": (x509.ObjectIdentifier("1.3.6.1.5.5.7.3.21"),),
    "a CA's (id-kp-cmcCA)": (x509.ObjectIdentifier("1.3.6.1.5.5.7.3.27"),),
    "Kerberos client": (x509.ObjectIdentifier("1.3.6.1.5.2.3.4"),),
    "none at all": (),
    "one of somebody's own": (x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"),),
}


@pytest.mark.parametrize("name", PURPOSES)
def test_no_other_device_poses_as_the_ra(device: Callable[[str], Site], name: str) -> None:
    """Whom it is believed of reads the challenge passwords of the others."""
    site = device("fingerprint")
    ca = hostile(site)
    impostor = held(ca, usage=DEVICE, purposes=PURPOSES[name]).certificate
    ca.offered = [ca.issuer.certificate, impostor]
    heard = list(ca.heard)
    before, memory = consumers_files(site), (site.path("state") / "authorities/lab/ca.pem").read_bytes()
    done = site.command("renew", "--force", "web")
    assert done.returncode == 1
    assert "RA certificate CN=device7" in done.stdout + done.stderr
    assert f"add {facts.fingerprint(impostor)} to the authority's `fingerprint` list" in done.stdout + done.stderr
    assert_nothing_changed(site, before, memory)
    assert ca.heard == heard, "nothing was enveloped to it"


def test_an_ra_is_whom_a_person_named(device: Callable[[str], Site]) -> None:
    site = device("fingerprint")
    ca = hostile(site)
    impostor = held(ca, usage=DEVICE, purposes=TLS).certificate
    ca.offered = [ca.issuer.certificate, impostor]
    assert site.command("check").returncode == 1
    named = ", ".join(str(facts.fingerprint(each)) for each in ca.offered)
    site.write(authority=f"fingerprint: [{named}]")
    done = site.command("check")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("purpose", ["1.3.6.1.5.5.7.3.28", "1.3.6.1.4.1.311.20.2.1"])
def test_an_ra_is_what_is_made_for_it(device: Callable[[str], Site], purpose: str) -> None:
    site = device("fingerprint")
    ca = hostile(site)
    ra = held(ca, usage=DEVICE, purposes=(x509.ObjectIdentifier(purpose),)).certificate
    ca.offered = [ca.issuer.certificate, ra]
    assert site.command("check").returncode == 0


@pytest.mark.parametrize("pin", ["fingerprint", pytest.param("anchor", marks=pytest.mark.slow)])
def test_a_sub_ca_that_may_certify_cas_issues(device: Callable[[str], Site], pin: str) -> None:
    """What the attacks above are changed from: the same course, and nothing wrong with the path."""
    site = device(pin)
    way = [held(hostile(site), ca=True, usage=SIGNS, path_length=1)]
    take_over(site, way, way[-1])
    done = site.command("renew", "--force", "web")
    assert done.returncode == 0, done.stdout + done.stderr
    assert site.leaf().issuer == x509.Name.from_rfc4514_string("CN=false CA")
