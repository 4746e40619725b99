"""A factory identity whose key is in a token: it signs there, and nothing in the token changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import force_setattr

from certagent.certificate import to_pem
from certagent.scep import MessageType
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.introductions.maker import Maker, heard, types, write
from tests.renewal.site import DAY, Site
from tests.tokens.site import Place, forget_modules, make_softhsm
from tests.unit.pki import Party

pytestmark = pytest.mark.needs("softhsm")

ID = "0a1b"


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    place = make_softhsm(tmp_path / "token")
    for word, value in place.environment.items():
        monkeypatch.setenv(word, value)
    forget_modules()
    yield place
    forget_modules()


def burn_in(token: Place, maker: Maker, device: Party, *, certificate: bool = True) -> str:
    """As the factory does: key and certificate go into the token, by another program; returns what to configure."""
    maker.write(device)
    token.tool("--write-object", str(maker.key_file), "--type", "privkey", "--id", ID, "--label", "factory")
    if certificate:
        leaf = maker.directory / "leaf.pem"
        leaf.write_bytes(to_pem([device.certificate]))
        token.tool("--write-object", str(leaf), "--type", "cert", "--id", ID, "--label", "factory")
    maker.key_file.unlink()
    file = "" if certificate else f", certificate_file: {maker.certificate_file}"
    uri = f"pkcs11:token={token.label};id=%0a%1b"
    return f"{{type: pkcs11, module: {token.module}, uri: '{uri}', pin: {{file: {token.pin_file}}}{file}}}"


@pytest.mark.parametrize("object_", [True, False], ids=["certificate object", "certificate file"])
def test_it_introduces(site: Site, maker: Maker, token: Place, *, object_: bool) -> None:
    device = maker.device()
    named = burn_in(token, maker, device, certificate=object_)
    if object_:  # the chain is not in the token
        (maker.directory / "chain.pem").write_bytes(to_pem([maker.issuer.certificate]))
        named = named.replace("}}", f"}}, chain_file: {maker.directory}/chain.pem}}")
    write(site, named)
    before = token.tool("--list-objects")
    assert site.run().result is Result.ENROLLED
    assert site.pair_matches()
    [asked] = heard(site)
    assert (asked.message_type, asked.signer) == (MessageType.PKCS_REQ, device.certificate)
    assert asked.beside == (maker.issuer.certificate,)
    assert token.tool("--list-objects") == before


def test_polled_with_the_key_in_the_token(site: Site, maker: Maker, token: Place) -> None:
    write(site, burn_in(token, maker, maker.device(), certificate=False))
    force_setattr(site.ca.settings, "manual", True)
    assert site.run().result is Result.PENDING
    [waiting] = site.ca.store.all_waiting()
    site.ca.store.decide(waiting, "approved")
    site.clock.advance(DAY)
    forget_modules()  # a worker of its own
    assert site.run().result is Result.ENROLLED
    assert types(site) == [MessageType.PKCS_REQ, MessageType.CERT_POLL]


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        pytest.param(("%0a%1b", "%0a%1c"), "does not hold the factory identity's key 0a1c", id="no such key"),
        pytest.param(("token=vpn", "token=gone"), "there is no token pkcs11:token=gone", id="no such token"),
    ],
)
def test_what_is_missing_is_told_and_waited_for(
    site: Site, maker: Maker, token: Place, wrong: tuple[str, str], word: str
) -> None:
    named = burn_in(token, maker, maker.device(), certificate=False)
    write(site, named.replace(*wrong), challenge=True)
    outcome = site.run()
    assert outcome.result is Result.FAILED  # and the challenge is kept
    assert word in str(outcome.message)
    assert heard(site) == []
    write(site, named, challenge=True)
    assert site.run(Wish.NOW).result is Result.ENROLLED


def test_a_wrong_pin_is_tried_once(site: Site, maker: Maker, token: Place) -> None:
    write(site, burn_in(token, maker, maker.device(), certificate=False))
    token.put_pin("9999")
    for _ in range(3):
        outcome = site.run(Wish.NOW)
        assert outcome.result is Result.FAILED
        assert "PIN" in str(outcome.message)
    token.put_pin(token.pin)
    assert site.run(Wish.NOW).result is Result.ENROLLED
