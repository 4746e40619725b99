"""What the lab CA checks in a request. Each check raises RejectedError with the failInfo that the reply carries."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from certagent import certificate as facts
from certagent import keys
from certagent.errors import RejectedError
from certagent.keys import PublicKey, PurePublicKey
from certagent.lab.store import Record
from certagent.scep import MessageType, Request
from certagent.trust.proof import is_proven


def algorithms(request: Request, accept: Collection[str]) -> None:
    """Refuse weak algorithms that are not accepted, and a signing key that cannot receive the reply."""
    used = {request.algorithms.cipher, request.algorithms.digest}
    refused = sorted(used & {"md5", "sha1", "des", "3des"} - set(accept))
    if refused:
        raise RejectedError(f"requests that use {' and '.join(refused)} are not accepted", fail_info="badAlg")
    if request.key_transport != "password" and not isinstance(request.signer.public_key(), rsa.RSAPublicKey):
        raise RejectedError(
            "replies can only be encrypted to an RSA key: sign with one, or protect envelopes with the challenge",
            fail_info="badAlg",
        )


def same_key(csr: x509.CertificateSigningRequest, known: x509.Certificate | x509.CertificateSigningRequest) -> None:
    if keys.public_bytes(csr.public_key()) != keys.public_bytes(known.public_key()):
        raise RejectedError("the transaction ID belongs to a request for another key", fail_info="badRequest")


def renewal(csr: x509.CertificateSigningRequest, old: x509.Certificate, now: datetime) -> None:
    if now >= old.not_valid_after_utc:
        raise RejectedError("the signing certificate has expired: enroll again", fail_info="badRequest")
    if csr.subject != old.subject:
        raise RejectedError("a renewal must keep the subject of the signing certificate", fail_info="badRequest")
    if not set(alternative_names(csr.extensions)) <= set(alternative_names(old.extensions)):
        raise RejectedError("a renewal must not add names to those of the signing certificate", fail_info="badRequest")


def introduction(
    request: Request,
    csr: x509.CertificateSigningRequest,
    makers: Sequence[x509.Certificate],
    issued: Iterable[Record],
    now: datetime,
) -> None:
    """Check a first request that a factory certificate signs: a valid one of a known maker, as PKCSReq, for names that
    no other device has been introduced with. A device may introduce itself again, as often as it has to.
    """
    if request.message_type != MessageType.PKCS_REQ:
        raise RejectedError("a factory certificate introduces with PKCSReq, and renews nothing", fail_info="badRequest")
    if not is_proven(request.signer, request.beside, makers, now):
        raise RejectedError(
            "the signing certificate is neither this CA's nor a known maker's", fail_info="badMessageCheck"
        )
    device, names = requester(request.signer), {csr.subject, *alternative_names(csr.extensions)}
    for each in issued:
        theirs = {each.certificate.subject, *alternative_names(each.certificate.extensions)}
        if each.kind == "introduction" and each.requester != device and names & theirs:
            raise RejectedError("another device was introduced with this name", fail_info="badRequest")


def requester(signer: x509.Certificate) -> str:
    """What tells one signer from another: hex SHA-256 of its public key."""
    return hashlib.sha256(keys.public_bytes(signer.public_key())).hexdigest()


def is_self_signed(certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(certificate)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def read_csr(content: bytes) -> x509.CertificateSigningRequest:
    """Read a PKCS#10 request (DER) that can be issued: well-formed, signed by its own key, a good key, some name.

    Raises RejectedError.
    """
    try:
        csr = x509.load_der_x509_csr(content)
        named = list(csr.subject) + alternative_names(csr.extensions)
        supported_key(csr)
        proven = csr.is_signature_valid
    except facts.UNREADABLE:
        raise RejectedError("the certificate request cannot be read", fail_info="badRequest") from None
    if not proven:
        raise RejectedError("the certificate request is not signed by its own key", fail_info="badMessageCheck")
    if not named:
        raise RejectedError("the certificate request names nobody", fail_info="badRequest")
    return csr


def supported_key(csr: x509.CertificateSigningRequest) -> PublicKey:
    """The request's public key: RSA of 2048 bits or more, EC of 256 or more, EdDSA or ML-DSA; else RejectedError."""
    key = csr.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= 2048:
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and key.key_size >= 256:
        return key
    if isinstance(key, PurePublicKey):
        return key
    raise RejectedError(
        "the key must be RSA of 2048 bits or more, EC of 256 or more, Ed25519, Ed448 or ML-DSA", fail_info="badAlg"
    )


def alternative_names(extensions: x509.Extensions) -> list[x509.GeneralName]:
    try:
        return list(extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []
