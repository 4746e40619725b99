"""PKCS#11 URIs (RFC 7512): what is read, what is written, what is refused."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certagent.keystore.token.uri import TokenUri, token_of

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=32)


@given(label=TEXT, serial=TEXT, key_id=st.binary(min_size=1, max_size=32))
def test_what_is_written_is_read_again(label: str, serial: str, key_id: bytes) -> None:
    uri = TokenUri((("token", label), ("serial", serial)), key_id)
    assert TokenUri.parse(str(uri)) == uri
    assert str(uri).isascii()
    assert not set(str(uri)) & set(" \t\n\"'$?&#")


@given(st.text())
def test_no_text_is_answered_with_anything_but_a_value_error(text: str) -> None:
    with suppress(ValueError):
        TokenUri.parse(text)


@pytest.mark.parametrize(
    ("text", "token", "key_id"),
    [
        pytest.param("pkcs11:token=My%20token;id=%01%ff", (("token", "My token"),), b"\x01\xff", id="both"),
        pytest.param("PKCS11:id=ab", (), b"ab", id="bytes in plain"),
        pytest.param(
            "pkcs11:model=a;serial=b;token=c", (("token", "c"), ("serial", "b"), ("model", "a")), None, id="no key"
        ),
        pytest.param(
            "pkcs11:object=web;type=private;slot-id=3;id=%00?module-name=x", (), b"\x00", id="more than we use"
        ),
        pytest.param("pkcs11:", (), None, id="nothing at all"),
    ],
)
def test_what_it_says(text: str, token: tuple[tuple[str, str], ...], key_id: bytes | None) -> None:
    assert TokenUri.parse(text) == TokenUri(token, key_id)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("file:/etc/web.key", id="another scheme"),
        pytest.param("pkcs11:token", id="no value"),
        pytest.param("pkcs11:token=a;token=b", id="twice"),
        pytest.param("pkcs11:token=a b", id="a space"),
        pytest.param("pkcs11:token=%ff", id="a label that is no text"),
        pytest.param("pkcs11:id=%01?pin-value=1234", id="a PIN"),
        pytest.param("pkcs11:id=%01?pin-source=file:/pin", id="where the PIN is"),
    ],
)
def test_what_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        TokenUri.parse(text)


@pytest.mark.parametrize(
    ("selector", "token"),
    [
        pytest.param("vpn", (("token", "vpn"),), id="label"),
        pytest.param("serial:0a1b", (("serial", "0a1b"),), id="serial number"),
        pytest.param("a: b", (("token", "a: b"),), id="label with a colon"),
        pytest.param("pkcs11:manufacturer=IBM", (("manufacturer", "IBM"),), id="URI"),
    ],
)
def test_what_a_keystore_says_of_its_token(selector: str, token: tuple[tuple[str, str], ...]) -> None:
    assert token_of(selector).token == token
