"""A factory identity's key and certificate objects in a token: looked at, and used to sign; never changed."""

from __future__ import annotations

from collections.abc import Callable

from cryptography import x509
from pkcs11 import Attribute, ObjectClass, Session

from certagent.certificate import load_der
from certagent.config.introduction import TokenIntroduction
from certagent.errors import ConfigError, KeystoreError
from certagent.keys import PrivateKey
from certagent.keystore.token.keys import attribute_of, find, load
from certagent.keystore.token.session import Token
from certagent.keystore.token.uri import TokenUri
from certagent.state_directory import StateDirectory


def read(
    introduction: TokenIntroduction, read_pin: Callable[[], bytes], state: StateDirectory
) -> tuple[PrivateKey, tuple[x509.Certificate, ...]]:
    """The key, and the certificate objects with its ID. Raises KeystoreError, TokenLockedError, ConfigError."""
    try:
        uri = TokenUri.parse(introduction.uri)
    except ValueError as error:
        raise ConfigError(f"the URI of the factory identity: {error}", "write pkcs11:token=…;id=%…") from None
    key_id = uri.id or b""
    token = Token(introduction.module, str(TokenUri(uri.token)), read_pin, state)
    key = load(token, key_id)
    if key is None:
        raise KeystoreError(
            f"{token} does not hold the factory identity's key {key_id.hex()}",
            "`pkcs11-tool --login --list-objects` shows what it holds",
        )
    return key, token.use("read the factory certificate", lambda session: _certificates(session, key_id))


def _certificates(session: Session, key_id: bytes) -> tuple[x509.Certificate, ...]:
    values = [attribute_of(each, Attribute.VALUE) for each in find(session, key_id, ObjectClass.CERTIFICATE)]
    return tuple(load_der(value) for value in values if value)
