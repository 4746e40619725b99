"""How a certificate is requested: which message, signed by whom, with or without the challenge. Pure.

The worker makes the request (`request.make_request`), and `check` describes it.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from certagent.config.authority import Authority
from certagent.config.keystores import KeystoreDefinition
from certagent.config.values import KeyTransport
from certagent.scep import Capabilities, MessageType
from certagent.transaction.ladder import receives


class SignedBy(StrEnum):
    """Who signs a request, and so is the recipient of the reply's envelope (RFC 8894 §3.1)."""

    IDENTITY = "the certificate in place"
    OTHER_KEYSTORE = "the certificate in another keystore"
    INTRODUCTION = "the factory identity"
    NEW_KEY = "a self-signed certificate"
    TRANSPORT_KEY = "an RSA transport key"

    @property
    def authenticates(self) -> bool:
        """Whether the CA knows the signer; otherwise only the challenge, or a person, can tell who asks."""
        return self in (SignedBy.IDENTITY, SignedBy.OTHER_KEYSTORE, SignedBy.INTRODUCTION)


class PlannedRequest(Struct, frozen=True):
    """One request before it is made. `key` is the type of the key to be certified, as `key_type` writes it.

    `message` None: PKCSReq or RenewalReq; the choice depends on the CA's capabilities, which are not known yet.
    """

    message: MessageType | None
    signed_by: SignedBy
    challenge: bool
    keeps_key: bool
    key: str
    transport: KeyTransport


def plan_request(
    definition: KeystoreDefinition,
    authority: Authority,
    capabilities: Capabilities | None,
    identity: str | None,
    *,
    moves: bool = False,
    introduces: bool = False,
    plain: bool = False,
) -> PlannedRequest:
    """`identity`: the type of the key of the identity that gets a successor; None for a first enrollment.

    `moves`: that identity is in another keystore, and stays there. `introduces`: the factory identity signs this first
    enrollment. `plain`: what an identity signs goes as PKCSReq whatever the CA advertises: another CA issued the
    signer's certificate, or this one has refused a RenewalReq.

    An EC, EdDSA or ML-DSA key can sign, but no envelope can be made for it. Unless the password locks the envelopes, an
    RSA transport key signs instead, and the challenge has to authenticate the request.
    """
    keeps_key = identity is not None and not moves and definition.rekey == "never"
    wanted = identity if keeps_key and identity else definition.key_type.value
    if introduces:
        signed_by = SignedBy.INTRODUCTION
    elif identity is not None and receives(identity, authority):
        signed_by = SignedBy.OTHER_KEYSTORE if moves else SignedBy.IDENTITY
    else:
        signed_by = SignedBy.NEW_KEY if receives(wanted, authority) else SignedBy.TRANSPORT_KEY
    return PlannedRequest(
        message=_message(signed_by, capabilities, plain=plain),
        signed_by=signed_by,
        challenge=authority.challenge is not None
        and (not signed_by.authenticates or authority.send_challenge == "always"),
        keeps_key=keeps_key,
        key=wanted,
        transport=authority.key_transport,
    )


def _message(signed_by: SignedBy, capabilities: Capabilities | None, *, plain: bool) -> MessageType | None:
    if plain or not signed_by.authenticates:
        return MessageType.PKCS_REQ
    if capabilities is None:
        return None
    return MessageType.RENEWAL_REQ if capabilities.renewal else MessageType.PKCS_REQ
