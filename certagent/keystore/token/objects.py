"""The objects that make up a key in a token (private key, public key, certificate): making, checking, removing them.

Only objects under an ID that certagent chose (sixteen random bytes, recorded before the key is made) are changed.
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

from certagent.config import values
from certagent.errors import KeystoreError
from certagent.keys import PrivateKey
from certagent.keystore.token.keys import CURVES, attribute_of, find, load
from certagent.keystore.token.session import Token

_CLASSES = (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY, ObjectClass.CERTIFICATE)
# How long an unfinished object is watched before it counts as abandoned; making one takes milliseconds.
_SETTLE = 1.0


def generate(token: Token, key_id: bytes, label: str, key_type: values.KeyType) -> PrivateKey:
    """A new key pair under this ID, which stays in the token, or nothing at all. Raises KeystoreError.

    Whatever bears the ID already is what a killed run left of the same, and makes way.
    """
    destroy(token, key_id)
    try:
        try:
            token.attempt(lambda session: _generate(session, key_id, label, key_type, explicit=True), again=False)
        except PKCS11Error:
            # A TPM wants to say itself what an EC key is for.
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


def _generate(session: Session, key_id: bytes, label: str, key_type: values.KeyType, *, explicit: bool) -> None:
    """`explicit`: say what the key is for. Else the token's own defaults hold."""
    family, _, size = key_type.value.partition(":")
    # With fewer of these for an RSA key, tpm2-pkcs11 refuses.
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
    """Read back what was asked for: some tokens take a template and do otherwise."""
    wanted = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.TOKEN: True}
    for key in find(session, key_id, ObjectClass.PRIVATE_KEY):
        for word, value in wanted.items():
            if (said := attribute_of(key, word)) is not value:
                name = word.name.lower()
                raise KeystoreError(
                    f"{token} made a key that can be exported ({name}: {said})", "the key was destroyed again"
                )


def destroy(token: Token, key_id: bytes) -> None:
    """Remove a key of our own, its public half and its certificate, or what there is of them."""

    def operation(session: Session) -> int:
        objects = [each for kind in _CLASSES for each in find(session, key_id, kind)]
        for each in objects:
            each.destroy()
        return len(objects)

    if token.use(f"destroy key {key_id.hex()}", operation):
        # tpm2-pkcs11 mistakes objects for one another in the session where one was destroyed.
        token.reset()


def put_certificate(session: Session, key_id: bytes, label: str, certificate: x509.Certificate) -> None:
    """The one certificate object under this ID: made if it is not there, and others under the ID go."""
    der = certificate.public_bytes(Encoding.DER)
    there = find(session, key_id, ObjectClass.CERTIFICATE)
    right = [each for each in there if attribute_of(each, Attribute.VALUE) == der][:1]
    if not right:
        session.create_object(
            {
                # The ID first and TOKEN last: what a kill leaves in between is told by one or the other.
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
    """Remove what a kill in the middle of making an object leaves under no ID at all; how many.

    Such an object says that it belongs to a session, not to the token, and holds neither ID nor label nor key. Objects
    of a session are its process's own affair (PKCS#11 §3.2), we make none, so whoever made this one is dead, or
    is making it just now: one that stays for a second is swept.
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
    """The IDs under which something bears this label."""
    return {
        attribute_of(each, Attribute.ID) or b""
        for kind in _CLASSES
        for each in list(session.get_objects({Attribute.CLASS: kind, Attribute.LABEL: label}))
    }


def proof(session: Session, key_id: bytes) -> dict[str, bool | None]:
    """What the token says about the private key: how it was made, whether it can leave. None where it says nothing."""
    words = (Attribute.SENSITIVE, Attribute.EXTRACTABLE, Attribute.ALWAYS_SENSITIVE, Attribute.NEVER_EXTRACTABLE)
    [key] = find(session, key_id, ObjectClass.PRIVATE_KEY)
    return {word.name.lower(): attribute_of(key, word) for word in (*words, Attribute.LOCAL)}
