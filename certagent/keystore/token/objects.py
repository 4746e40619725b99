"""The objects that make up a key in a token (private key, public key, certificate): make, check and remove them.

Changes only objects under an ID that certagent chose (sixteen random bytes, recorded before the key is made).
"""

from __future__ import annotations

import time
from typing import Any

from asn1crypto import core
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pkcs11 import DEFAULT, Attribute, CertificateType, KeyType, MechanismFlag, Object, ObjectClass, Session
from pkcs11.attributes import ALL_CAPABILITIES
from pkcs11.exceptions import PKCS11Error

from certagent.config import key_types
from certagent.errors import KeystoreError
from certagent.keys import PrivateKey
from certagent.keystore.token.keys import CURVES, attribute_of, find, load
from certagent.keystore.token.session import Token

_CLASSES = (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY, ObjectClass.CERTIFICATE)
# How long an unfinished object is watched before it counts as abandoned; making one takes milliseconds.
_SETTLE = 1.0


def generate(token: Token, key_id: bytes, label: str, key_type: key_types.KeyType) -> PrivateKey:
    """Make a new key pair under this ID, which stays in the token, or nothing at all. Raises KeystoreError.

    Anything already under this ID was left by a killed run that was making the same key, and is removed.
    """
    destroy(token, key_id)
    try:
        try:
            token.attempt(lambda session: _generate(session, key_id, label, key_type, explicit=True), again=False)
        except PKCS11Error:
            # A TPM decides by itself what an EC key is for.
            destroy(token, key_id)
            token.attempt(lambda session: _generate(session, key_id, label, key_type, explicit=False), again=False)
        token.use("read the new key back", lambda session: _check_kept(token, session, key_id))
        key = load(token, key_id)
    except PKCS11Error as error:
        destroy(token, key_id)
        fault = token.fault(f"make a key of type {key_type}", error)
        raise KeystoreError(
            str(fault),
            "does it support that? see `pkcs11-tool -M`; otherwise use another key_type, or free space on the token",
        ) from None
    except KeystoreError:
        destroy(token, key_id)
        raise
    if key is None:
        raise KeystoreError(f"{token} made a key but does not have it", "is its storage full?")
    return key


def _generate(session: Session, key_id: bytes, label: str, key_type: key_types.KeyType, *, explicit: bool) -> None:
    """`explicit`: say what the key is for. Otherwise the token's own defaults apply."""
    family, _, size = key_type.value.partition(":")
    # tpm2-pkcs11 refuses an RSA key with fewer of these.
    uses = MechanismFlag.SIGN | MechanismFlag.VERIFY
    if family == "rsa":
        uses |= MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT
    unsaid = {} if explicit else dict.fromkeys(ALL_CAPABILITIES, DEFAULT)
    private = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, **unsaid}
    common: dict[str, Any] = {"id": key_id, "label": label, "store": True, "capabilities": uses}
    common |= {"public_template": unsaid, "private_template": private}
    if family == "rsa":
        session.generate_keypair(KeyType.RSA, int(size), **common)
    else:
        parameters = session.create_domain_parameters(KeyType.EC, {Attribute.EC_PARAMS: CURVES[size]}, local=True)
        parameters.generate_keypair(**common)


def _check_kept(token: Token, session: Session, key_id: bytes) -> None:
    """Check that the key has the attributes asked for: some tokens accept a template and ignore parts of it."""
    wanted = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.TOKEN: True}
    for key in find(session, key_id, ObjectClass.PRIVATE_KEY):
        for word, value in wanted.items():
            if (said := attribute_of(key, word)) is not value:
                name = word.name.lower()
                raise KeystoreError(
                    f"{token} made a key that can be exported ({name}: {said})", "the key was destroyed again"
                )


def destroy(token: Token, key_id: bytes) -> None:
    """Remove one of our own keys, its public half and its certificate, as far as they exist."""

    def operation(session: Session) -> int:
        objects = [each for kind in _CLASSES for each in find(session, key_id, kind)]
        for each in objects:
            each.destroy()
        return len(objects)

    if token.use(f"destroy key {key_id.hex()}", operation):
        # After destroying an object, tpm2-pkcs11 mixes up objects in the same session.
        token.reset()


def put_certificate(session: Session, key_id: bytes, label: str, certificate: x509.Certificate) -> None:
    """Make sure there is exactly this certificate object under the ID: make it if missing, remove any others."""
    der = certificate.public_bytes(Encoding.DER)
    there = find(session, key_id, ObjectClass.CERTIFICATE)
    right = [each for each in there if attribute_of(each, Attribute.VALUE) == der][:1]
    if not right:
        session.create_object(
            {
                # The ID first and TOKEN last, so that one of them identifies what a kill in between leaves.
                Attribute.ID: key_id,
                Attribute.LABEL: label,
                Attribute.SUBJECT: certificate.subject.public_bytes(),
                Attribute.ISSUER: certificate.issuer.public_bytes(),
                Attribute.SERIAL_NUMBER: core.Integer(certificate.serial_number).dump(),
                Attribute.VALUE: der,
                Attribute.CLASS: ObjectClass.CERTIFICATE,
                Attribute.CERTIFICATE_TYPE: CertificateType.X_509,
                Attribute.PRIVATE: False,
                Attribute.TOKEN: True,
            }
        )
    for each in there:
        if each.handle not in [kept.handle for kept in right]:
            each.destroy()


def sweep_unfinished(token: Token) -> int:
    """Remove objects without any ID, left by a kill in the middle of making them; returns how many.

    Such an object says that it belongs to a session, not to the token, and has no ID, label or key. Session objects
    belong to the process that made them (PKCS#11 §3.2), and we make none. So whoever made this one is dead, or is
    making it right now: an object that stays for a second is removed.
    """
    if not token.use("look for unfinished objects", unfinished):
        return 0
    before = set(
        token.use("look for unfinished objects", lambda session: [each.handle for each in unfinished(session)])
    )
    time.sleep(_SETTLE)

    def sweep(session: Session) -> int:
        left = [each for each in unfinished(session) if each.handle in before]
        for each in left:
            each.destroy()
        return len(left)

    return token.use("sweep unfinished objects", sweep)


def unfinished(session: Session) -> list[Object]:
    # Not by an empty ID: that may not have been set yet either.
    words = (Attribute.ID, Attribute.LABEL, Attribute.MODULUS, Attribute.EC_POINT, Attribute.VALUE)
    found = list(session.get_objects({Attribute.TOKEN: False}))
    return [each for each in found if not any(attribute_of(each, word) for word in words)]


def labelled(session: Session, label: str) -> set[bytes]:
    """The IDs of all objects with this label."""
    return {
        attribute_of(each, Attribute.ID) or b""
        for kind in _CLASSES
        for each in list(session.get_objects({Attribute.CLASS: kind, Attribute.LABEL: label}))
    }


def proof(session: Session, key_id: bytes) -> dict[str, bool | None]:
    """What the token says about the private key: how it was made, whether it can leave. None if it says nothing."""
    words = (Attribute.SENSITIVE, Attribute.EXTRACTABLE, Attribute.ALWAYS_SENSITIVE, Attribute.NEVER_EXTRACTABLE)
    [key] = find(session, key_id, ObjectClass.PRIVATE_KEY)
    return {word.name.lower(): attribute_of(key, word) for word in (*words, Attribute.LOCAL)}
