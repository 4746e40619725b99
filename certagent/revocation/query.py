"""GetCRL (RFC 8894 §3.3.4): the CRL of the authority's CA over SCEP, requested with a certificate that the CA knows."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from certagent import scep
from certagent.errors import ConfigError, RejectedError, TransientError
from certagent.keystore.base import Identity
from certagent.policy import Lifetime
from certagent.scep import MessageType, Signer
from certagent.trust.authorities import Contact
from certagent.wall_clock import may_say


def get_crls(
    contact: Contact, identities: Iterable[Identity], accept: Collection[str], now: datetime
) -> tuple[x509.CertificateRevocationList, ...]:
    """What the CA answers; nothing is verified yet. The first of `identities` with an RSA key sends the request, since
    the answer is encrypted to it. Raises ConfigError, RejectedError, TransientError, TrustError.
    """
    if contact.believed.recipient is None:
        raise ConfigError("GetCRL needs an RSA key at the CA or its RA", "set `crl_url`, if the CA publishes one")
    by = next((each for each in identities if isinstance(each.key, rsa.RSAPrivateKey)), None)
    if by is None:
        raise ConfigError(
            "GetCRL needs a keystore with an RSA key in a file, and there is none", "set `crl_from: points`"
        )
    signer, nonce, transaction_id = Signer(by.key, by.certificate), scep.new_nonce(), scep.random_transaction_id()
    message = scep.encode_request(
        MessageType.GET_CRL,
        scep.issuer_and_serial(contact.believed.issuer.subject, by.certificate.serial_number),
        transaction_id=transaction_id,
        sender_nonce=nonce,
        signer=signer,
        recipient=contact.believed.recipient,
        algorithms=contact.capabilities.algorithms(),
        signing_time=now if may_say(now, Lifetime.of(by.certificate)) else None,
    )
    reply = scep.decode_reply(
        contact.operate(message),
        transaction_id=transaction_id,
        sender_nonce=nonce,
        signers=contact.believed.signers,
        decrypter=signer,
        accept=accept,
        message_type=MessageType.GET_CRL,
    )
    if isinstance(reply, scep.Rejected):
        word = reply.fail_info.word if reply.fail_info is not None else "no reason given"
        raise RejectedError(
            f"the CA refused GetCRL: {word}{f' ({reply.text})' if reply.text else ''}",
            "set `crl_from: points`, or `crl_url`",
            word,
        )
    if isinstance(reply, scep.Pending):
        raise TransientError(
            "the CA answers GetCRL with PENDING", "only certificate requests can be pending; see the CA's log"
        )
    return reply.revocations
