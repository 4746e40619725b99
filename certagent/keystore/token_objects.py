"""What a key consists of in a token: private key, public key and certificate object; made, proven, swept.

Everything under an ID that certagent drew (sixteen random bytes, written down before the key is made) is its own;
nothing else is ever changed.
"""

from __future__ import annotations

import time
from typing import Any

from asn1crypto import core
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pkcs11 import Attribute, CertificateType, KeyType, MechanismFlag, Object, ObjectClass, Session
from pkcs11.exceptions import PKCS11Error

from certagent import definitions
from certagent.errors import KeystoreError
from certagent.keys import PrivateKey
from certagent.keystore.session import Token
from certagent.keystore.token_keys import CURVES, attribute_of, find, load

_CLASSES = (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY, ObjectClass.CERTIFICATE)
# How long an unfinished object is watched before it counts as abandoned; making one takes milliseconds.
_SETTLE = 1.0


def generate(token: Token, key_id: bytes, label: str, key_type: definitions.KeyType) -> PrivateKey:
    """A new key pair under this ID, which stays in the token, or nothing at all. Raises KeystoreError.

    Whatever bears the ID already is what a killed run left of the same, and makes way.
    """

    def anew(session: Session) -> None:
        destroy(session, key_id)
        try:
            _generate(session, key_id, label, key_type)
            _check_kept(token, find(session, key_id, ObjectClass.PRIVATE_KEY))
        except (PKCS11Error, KeystoreError):
            destroy(session, key_id)
            raise

    token.use(f"make a key of type {key_type}", anew)
    key = load(token, key_id)
    if key is None:
        raise KeystoreError(f"{token} made a key, and does not have it", "is its storage full?")
    return key


def _generate(session: Session, key_id: bytes, label: str, key_type: definitions.KeyType) -> None:
    family, _, size = key_type.value.partition(":")
    kept = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
    common: dict[str, Any] = {"id": key_id, "label": label, "store": True, "private_template": kept}
    if family == "rsa":
        # All four: with fewer, tpm2-pkcs11 refuses.
        flags = MechanismFlag.SIGN | MechanismFlag.VERIFY | MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT
        session.generate_keypair(KeyType.RSA, int(size), capabilities=flags, **common)
    else:
        parameters = session.create_domain_parameters(KeyType.EC, {Attribute.EC_PARAMS: CURVES[size]}, local=True)
        parameters.generate_keypair(capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY, **common)


def _check_kept(token: Token, private: list[Object]) -> None:
    """Read back what was asked for: some tokens take a template and do otherwise."""
    wrong = [
        f"{attribute.name.lower().replace('_', '-')} {attribute_of(key, attribute)}"
        for key in private
        for attribute, wanted in ((Attribute.SENSITIVE, True), (Attribute.EXTRACTABLE, False), (Attribute.TOKEN, True))
        if attribute_of(key, attribute) is not wanted
    ]
    if wrong:
        raise KeystoreError(f"{token} made a key that could leave it ({', '.join(wrong)})", "it was destroyed again")


def destroy(session: Session, key_id: bytes) -> None:
    """Remove every object under this ID."""
    for kind in _CLASSES:
        for each in find(session, key_id, kind):
            each.destroy()


def destroy_key(token: Token, key_id: bytes) -> None:
    """Remove a key of our own and its certificate, or what there is of them."""
    token.use(f"destroy key {key_id.hex()}", lambda session: destroy(session, key_id))


def put_certificate(session: Session, key_id: bytes, label: str, certificate: x509.Certificate) -> None:
    """The one certificate object under this ID: made if it is not there, and others under the ID go."""
    der = certificate.public_bytes(Encoding.DER)
    there = find(session, key_id, ObjectClass.CERTIFICATE)
    right = [each for each in there if attribute_of(each, Attribute.VALUE) == der][:1]
    if not right:
        session.create_object(
            {
                Attribute.CLASS: ObjectClass.CERTIFICATE,
                Attribute.CERTIFICATE_TYPE: CertificateType.X_509,
                Attribute.TOKEN: True,
                Attribute.PRIVATE: False,
                Attribute.ID: key_id,
                Attribute.LABEL: label,
                Attribute.SUBJECT: certificate.subject.public_bytes(),
                Attribute.ISSUER: certificate.issuer.public_bytes(),
                Attribute.SERIAL_NUMBER: core.Integer(certificate.serial_number).dump(),
                Attribute.VALUE: der,
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
    return [
        each
        for each in session.get_objects({Attribute.TOKEN: False, Attribute.ID: b""})
        if not any(attribute_of(each, word) for word in (Attribute.MODULUS, Attribute.EC_POINT, Attribute.VALUE))
    ]


def labelled(session: Session, label: str) -> set[bytes]:
    """The IDs under which something bears this label."""
    return {
        attribute_of(each, Attribute.ID) or b""
        for kind in _CLASSES
        for each in list(session.get_objects({Attribute.CLASS: kind, Attribute.LABEL: label}))
    }


def proof(session: Session, key_id: bytes) -> dict[str, bool | None]:
    """What the token says about the private key's past and future; None where it does not say."""
    words = (Attribute.SENSITIVE, Attribute.EXTRACTABLE, Attribute.ALWAYS_SENSITIVE, Attribute.NEVER_EXTRACTABLE)
    [key] = find(session, key_id, ObjectClass.PRIVATE_KEY)
    return {word.name.lower(): attribute_of(key, word) for word in (*words, Attribute.LOCAL)}
