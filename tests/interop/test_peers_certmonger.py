"""certmonger (Debian's, 0.79.17) with its helper scep-submit enrolls, renews and rekeys at the lab CA.

What it cannot do, seen here: it renews with PKCSReq signed by the old certificate, never with RenewalReq; it
takes neither PENDING nor FAILURE (`test_pending_is_an_error_to_it`), so it never polls. It has no rollover.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.certmonger import Certmonger, certmonger
from tests.interop.commands import openssl_confirms, openssl_shows
from tests.interop.peers import KINDS, Lab, running
from tests.waiting import until

pytestmark = [pytest.mark.needs("certmonger"), pytest.mark.needs("dbus"), pytest.mark.needs("openssl")]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Certmonger]:
    with certmonger(tmp_path_factory.mktemp("certmonger")) as started:
        yield started


def request(daemon: Certmonger, lab: Lab, name: str, *words: str) -> None:
    """The lab as a CA of certmonger's, and a certificate wanted from it; both are called `name`.

    `-N` has to hold the root too: for a reply signed by an intermediate CA it is not content with that one's.
    """
    daemon.getcert("add-scep-ca", "-c", name, "-u", lab.url, "-N", lab.trusted)
    files = ("-k", daemon.key(name), "-f", daemon.certificate(name))
    subject = ("-N", f"CN={name},O=Example", "-D", f"{name}.example.net")
    daemon.getcert("request", "-c", name, "-I", name, *files, *subject, "-L", lab.challenge, *words)


def gave_up(daemon: Certmonger, name: str) -> bool:
    """Whether it takes the CA for one that cannot be reached: its own word for a state, and stable."""
    return "status: CA_UNREACHABLE\n" in daemon.told(name)


@pytest.mark.parametrize("options", KINDS)
def test_enrolls_renews_and_rekeys(tmp_path: Path, daemon: Certmonger, options: tuple[str, ...]) -> None:
    """With AES and SHA-256, without any weak word."""
    name = "-".join(option.strip("-").replace(":", "") for option in ("at", *options))
    seen, keys = [], []
    with running(tmp_path, *options) as lab:
        request(daemon, lab, name, "-w")
        for words in ((), ("resubmit",), ("rekey",)):
            if words:
                daemon.getcert(*words, "-i", name, "-w")
            assert "status: MONITORING" in daemon.told(name)
            openssl_confirms(daemon.key(name), daemon.certificate(name), lab.trusted)
            shown = openssl_shows(daemon.certificate(name), "-subject", "-nameopt", "RFC2253", "-ext", "subjectAltName")
            assert f"DNS:{name}.example.net" in shown
            seen.append(openssl_shows(daemon.certificate(name), "-serial"))
            keys.append(daemon.key(name).read_bytes())
        assert lab.heard() == [("PKCS_REQ", "SUCCESS")] * 3
        assert lab.kinds() == ["enrollment", "renewal", "renewal"]
    assert len(set(seen)) == 3
    assert keys[0] == keys[1] != keys[2]


def test_a_refusal_is_not_understood(tmp_path: Path, daemon: Certmonger) -> None:
    """As PENDING below: what it reports is OpenSSL's opinion, not the lab's reason."""
    with running(tmp_path) as lab:
        (lab.directory / "challenge").write_text("another\n")  # the lab itself has read the first
        request(daemon, lab, "refused")
        until(lambda: gave_up(daemon, "refused"))  # CA_REJECTED it would say, had it understood
        assert lab.heard()[0] == ("PKCS_REQ", "FAILURE badRequest")
    assert not daemon.certificate("refused").exists()


def test_pending_is_an_error_to_it(tmp_path: Path, daemon: Certmonger) -> None:
    """RFC 8894 §3.2: a reply without data has no content. OpenSSL's PKCS7_verify, which certmonger uses, takes
    that for an error. It asks again as if for the first time, in the same transaction, and so gets its certificate
    once a person approved.
    """
    with running(tmp_path, "--manual") as lab:
        request(daemon, lab, "pending")
        until(lambda: gave_up(daemon, "pending"))
        lab.approve()
        daemon.getcert("resubmit", "-i", "pending", "-w")
        openssl_confirms(daemon.key("pending"), daemon.certificate("pending"), lab.ca)
        # It may have asked by itself in between, so how often is not said.
        assert (lab.heard()[0], lab.heard()[-1]) == (("PKCS_REQ", "PENDING"), ("PKCS_REQ", "SUCCESS"))
        assert lab.kinds()[0] == "enrollment"
