"""A factory identity, as it is read. Nothing here writes: neither a file nor an object in a token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography import x509

from certagent import keys
from certagent.certificate import in_order, is_self_signed, load_pem
from certagent.config.introduction import Introduction, PemIntroduction, Pkcs12Introduction, TokenIntroduction
from certagent.config.parts import Secret
from certagent.errors import KeystoreError
from certagent.keys import PrivateKey
from certagent.keystore.base import Identity, fits
from certagent.keystore.files import read_file
from certagent.state_directory import StateDirectory

ReadSecret = Callable[[Secret], bytes]
Certificates = tuple[x509.Certificate, ...]

_CORRECT = "correct `introduce_with`, or put the factory identity back where it says"


def read_introduction(introduction: Introduction, state: StateDirectory, read_secret: ReadSecret) -> Identity:
    """The factory identity: key, certificate, and the chain above it without a root.

    `state` is the state directory, which remembers the logins to tokens. Raises KeystoreError, TokenLockedError, and
    what `read_secret` raises.
    """
    match introduction:
        case PemIntroduction():
            found = _in_pem(introduction, read_secret)
        case Pkcs12Introduction():
            found = _in_pkcs12(introduction, read_secret)
        case TokenIntroduction():
            found = _in_token(introduction, state, read_secret)
    return Identity(found.key, found.certificate, tuple(each for each in found.chain if not is_self_signed(each)))


def shown_certificate(introduction: Introduction) -> x509.Certificate | None:
    """Its certificate, as far as that can be read without a secret or a token; None otherwise. Raises KeystoreError."""
    match introduction:
        case PemIntroduction(certificate_file=str(file)) | TokenIntroduction(certificate_file=str(file)):
            return _certificates(file)[0]
        case _:
            return None


def _in_pem(introduction: PemIntroduction, read_secret: ReadSecret) -> Identity:
    certificates = _certificates(introduction.certificate_file)
    content = read_file(Path(introduction.key_file))
    if content is None:
        raise _missing(introduction.key_file)
    secret = introduction.key_passphrase
    key = keys.load_private(content, read_secret(secret) if secret else None, introduction.key_file)
    return _identity(key, certificates, introduction.chain_file, introduction.place)


def _in_pkcs12(introduction: Pkcs12Introduction, read_secret: ReadSecret) -> Identity:
    from certagent.keystore import pkcs12_codec  # noqa: PLC0415 -- only who has such a file loads its library

    place, content = introduction.file, read_file(Path(introduction.file))
    if content is None:
        raise _missing(place)
    password = read_secret(introduction.password)
    bags = pkcs12_codec.load(content, password, place)
    found = [bag for bag in bags if bag.kind is pkcs12_codec.Kind.KEY]
    if introduction.friendly_name is not None:
        found = [bag for bag in found if bag.name.casefold() == introduction.friendly_name.casefold()]
    if len(found) != 1:
        names = ", ".join(sorted(bag.name for bag in bags if bag.kind is pkcs12_codec.Kind.KEY)) or "none"
        raise KeystoreError(f"{place} holds {len(found) or 'no'} such private keys", f"its keys: {names}; {_CORRECT}")
    key = pkcs12_codec.private_key(found[0], password, place)
    return _identity(key, [bag.certificate for bag in bags if bag.certificate], None, place)


def _in_token(introduction: TokenIntroduction, state: StateDirectory, read_secret: ReadSecret) -> Identity:
    from certagent.keystore.token import factory  # noqa: PLC0415 -- only who has a token loads its library

    key, there = factory.read(introduction, lambda: read_secret(introduction.pin), state)
    file = introduction.certificate_file
    certificates = _certificates(file) if file is not None else there
    return _identity(key, certificates, introduction.chain_file, introduction.place)


def _identity(
    key: PrivateKey, certificates: Sequence[x509.Certificate], chain_file: str | None, place: str
) -> Identity:
    leaf = next((each for each in certificates if fits(key, each)), None)
    if leaf is None:
        raise KeystoreError(f"no certificate of the factory identity in {place} matches its key", _CORRECT)
    others = [each for each in certificates if each != leaf]
    if chain_file is not None:
        others += _certificates(chain_file)
    return Identity(key, leaf, in_order(leaf, others))


def _certificates(file: str) -> Certificates:
    content = read_file(Path(file))
    if content is None:
        raise _missing(file)
    found = load_pem(content, file)
    if not found:
        raise KeystoreError(f"{file} holds no certificate in PEM form", _CORRECT)
    return found


def _missing(file: str) -> KeystoreError:
    return KeystoreError(f"the factory identity's {file} does not exist", _CORRECT)
