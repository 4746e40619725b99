"""Which TLS servers are believed: the same ones whatever Python, OpenSSL and urllib3 think by themselves."""

from __future__ import annotations

import select
import ssl
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from certagent import keys
from certagent.certificate import to_pem
from certagent.errors import TransientError
from certagent.scep import tls

from .https import TIDY, Files, Handler, Holder, Server, Shape, certify, running, tls_server, transport


@dataclass(frozen=True)
class Site:
    """What a server sends, its own certificate first, and what https_ca_file holds."""

    sent: tuple[Holder, ...]
    ca_file: Holder


def one_step(root: Shape = TIDY, leaf: Shape = TIDY, *, ca: bool = True) -> Site:
    above = certify("CN=root", ca=ca, shape=root)
    return Site((certify("CN=server", above, ca=False, shape=leaf),), above)


def two_steps(root: Shape = TIDY, *, believed: str = "root", sends_intermediate: bool = True) -> Site:
    top = certify("CN=root", ca=True, shape=root)
    middle = certify("CN=intermediate", top, ca=True)
    leaf = certify("CN=server", middle, ca=False)
    sent = (leaf, middle) if sends_intermediate else (leaf,)
    return Site(sent, {"root": top, "intermediate": middle, "server": leaf}[believed])


def self_signed() -> Site:
    only = certify("CN=server", ca=False)
    return Site((only,), only)


def namesake() -> Site:
    served = certify("CN=server", ca=False)
    return Site((served,), certify("CN=server", ca=False, key=served.key))


BELIEVED = [
    pytest.param(one_step(), id="tidy root and server"),
    pytest.param(one_step(leaf=Shape(key_identifiers=False)), id="server without authorityKeyIdentifier"),
    pytest.param(one_step(Shape(usage=False)), id="root without keyUsage"),
    pytest.param(one_step(Shape(critical=False)), id="root with basicConstraints that are not critical"),
    pytest.param(one_step(Shape(key_identifiers=False)), id="root without subjectKeyIdentifier"),
    pytest.param(two_steps(), id="with an intermediate CA"),
    pytest.param(two_steps(believed="intermediate"), id="only the intermediate CA named"),
    pytest.param(two_steps(believed="server", sends_intermediate=False), id="only the server's own named"),
    pytest.param(self_signed(), id="self-signed"),
]

TRUST, CLOCK, URL, OPERATOR = "https_ca_file", "is the clock right", "the authority's url", "the CA's operator"
REFUSED = [
    pytest.param(namesake(), TRUST, id="another self-signed one of the same key and name"),
    pytest.param(two_steps(sends_intermediate=False), TRUST, id="intermediate CA not sent"),
    pytest.param(one_step(Shape(ended=True)), CLOCK, id="root that has ended"),
    pytest.param(one_step(leaf=Shape(ended=True)), CLOCK, id="server that has ended"),
    pytest.param(one_step(leaf=Shape(addresses=("::1",))), URL, id="of another address"),
    pytest.param(one_step(ca=False), OPERATOR, id="issuer that is no CA"),
    pytest.param(two_steps(Shape(path_length=0)), OPERATOR, id="an intermediate CA more than the root allows"),
]


def ask(site: Site, directory: Path) -> bytes:
    """One exchange with a server of that kind."""
    chain, key, ca_file = (directory / name for name in ("chain.pem", "key.pem", "ca.pem"))
    chain.write_bytes(to_pem([holder.certificate for holder in site.sent]))
    key.write_bytes(keys.to_pem(site.sent[0].key))
    ca_file.write_bytes(to_pem([site.ca_file.certificate]))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    with running(server := Server(tls=context)):
        return transport(server.url, ca_file).get("GetCACaps")


@pytest.mark.parametrize("site", BELIEVED)
def test_believed(site: Site, tmp_path: Path) -> None:
    assert ask(site, tmp_path) == b"yes"


@pytest.mark.parametrize(("site", "hint"), REFUSED)
def test_refused(site: Site, hint: str, tmp_path: Path) -> None:
    with pytest.raises(TransientError, match="has a TLS certificate that is not trusted") as caught:
        ask(site, tmp_path)
    assert hint in caught.value.hint


def test_nothing_is_left_to_a_default() -> None:
    """What differs between Pythons, and what an OpenSSL of less security would let through."""
    context = tls.context_for(None)
    assert context.verify_flags == ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert not context.hostname_checks_common_name


# ── the environment ──


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("tls"))


def test_the_hosts_trust_store_is_openssls(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(files["root.pem"]))
    with running(server := tls_server(files)):
        assert transport(server.url).get("GetCACaps") == b"yes"


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_variables_of_other_programs_add_no_trust(files: Files, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, str(files["root.pem"]))
    with running(server := tls_server(files)), pytest.raises(TransientError, match="not trusted"):
        transport(server.url).get("GetCACaps")


def test_the_keys_of_a_connection_are_written_nowhere(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    log = files["keys.log"]
    monkeypatch.setenv("SSLKEYLOGFILE", str(log))
    with running(server := tls_server(files)):
        transport(server.url, files["root.pem"]).get("GetCACaps")
    assert not log.exists()


# ── who asks for our certificate late ──


class Late(Handler):
    """Asks for a certificate between the request and the answer, as IIS does for a path that wants one."""

    def do_GET(self) -> None:  # noqa: N802 -- as the base has it
        connection, server = self.connection, self.server
        assert isinstance(connection, ssl.SSLSocket)
        assert isinstance(server, Server)
        connection.verify_client_post_handshake()
        self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")  # the question travels with it
        connection.setblocking(False)
        while not connection.getpeercert():
            assert select.select([connection], [], [], 5)[0]
            with suppress(ssl.SSLWantReadError):
                connection.recv(1)
        connection.setblocking(True)
        server.body = str(connection.getpeercert()).encode()
        super().do_GET()


def test_a_client_certificate_is_shown_after_the_handshake(files: Files) -> None:
    with running(server := tls_server(files, later=True)):
        server.RequestHandlerClass = Late
        assert b"client" in transport(server.url, files["root.pem"], files.client).get("GetCACaps")
