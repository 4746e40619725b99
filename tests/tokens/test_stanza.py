"""`key_file`: the PEM block by which OpenSSL's pkcs11-provider finds a key, for consumers that know nothing but PEM."""

from __future__ import annotations

import base64
import re
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from asn1crypto import core

from certagent import certificate as facts
from certagent.keystore.token.stanza import stanza
from certagent.keystore.token.uri import TokenUri
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.tokens.conftest import Sites
from tests.tokens.site import Place, TokenSite

# What pkcs11-provider 1.0 took for this key, and used in a TLS handshake.
SEEN = """\
-----BEGIN PKCS#11 PROVIDER URI-----
MEQaGVBLQ1MjMTEgUHJvdmlkZXIgVVJJIHYxLjAMJ3BrY3MxMTp0b2tlbj13ZWI7
aWQ9JTAxJTAyO3R5cGU9cHJpdmF0ZQ==
-----END PKCS#11 PROVIDER URI-----
"""


def test_as_the_provider_reads_it() -> None:
    assert stanza(TokenUri((("token", "web"),), b"\x01\x02")).decode() == SEEN


@pytest.mark.parametrize("length", [1, 32, 500])
def test_a_uri_of_any_length(length: int) -> None:
    uri = TokenUri((("token", "web"), ("serial", "0a1b2c")), bytes(length))
    assert said(stanza(uri)) == str(uri)


def said(content: bytes) -> str:
    """The URI in the one block of its kind."""
    [body] = re.findall(rb"-----BEGIN PKCS#11 PROVIDER URI-----\n(.*)-----END PKCS#11", content, re.DOTALL)
    block = core.Sequence.load(base64.b64decode(body))
    assert block[0].native == "PKCS#11 Provider URI v1.0"
    return str(block[1].native)


@pytest.fixture
def site(softhsm: Place, make_site: Sites) -> TokenSite:
    return make_site(softhsm)


def apart(site: TokenSite) -> Path:
    return site.path("files/token-key.pem")


def combined(site: TokenSite) -> Path:
    return site.certificate


FILES = pytest.mark.parametrize("key_file", [apart, combined])
pytestmark = pytest.mark.needs("softhsm")


def fits(site: TokenSite, file: Path) -> bool:
    """Whether the stanza in it names the key that uri_file names, beside a whole certificate if that is there too."""
    text = file.read_bytes()
    holds = file != site.certificate or facts.load_pem(text, "")[0] == site.leaf()
    return holds and f"{said(text)}\n" == site.uri.read_text()


@FILES
@pytest.mark.parametrize("swap", ["rename", "symlink"])
def test_it_names_the_key_in_use(site: TokenSite, key_file: Callable[[TokenSite], Path], swap: str) -> None:
    file = key_file(site)
    site.write(f"key_file: {file}\nswap: {swap}")
    seen = set()
    for wish in (Wish.DUE, Wish.RENEW):
        assert site.run(wish).result in (Result.ENROLLED, Result.RENEWED)
        assert fits(site, file)
        seen.add(said(file.read_bytes()))
    assert len(seen) == 2


@FILES
def test_the_old_one_comes_back_when_the_probe_fails(site: TokenSite, key_file: Callable[[TokenSite], Path]) -> None:
    file = key_file(site)
    site.write(f"key_file: {file}")
    site.run()
    old = file.read_bytes()
    site.write(f"key_file: {file}\nprobe: {{run: [/bin/false], timeout: 0.1s}}")
    assert site.run(Wish.RENEW).result is Result.FAILED
    assert file.read_bytes() == old
    assert fits(site, file)


@FILES
def test_one_that_is_configured_later_is_written(site: TokenSite, key_file: Callable[[TokenSite], Path]) -> None:
    site.write()
    site.run()
    before = site.leaf()
    site.write(f"key_file: {key_file(site)}")
    site.run(Wish.NOW)
    assert site.leaf() == before
    assert fits(site, key_file(site))


def test_one_that_was_lost_is_written_again(site: TokenSite) -> None:
    site.write(f"key_file: {apart(site)}")
    site.run()
    apart(site).unlink()
    site.run(Wish.NOW)
    assert fits(site, apart(site))


def test_no_pem_reader_takes_it_for_a_key_without_the_provider(site: TokenSite) -> None:
    site.write(f"key_file: {combined(site)}")
    site.run()
    with pytest.raises(ssl.SSLError):
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(combined(site))
