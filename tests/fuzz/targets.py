"""Every parser of bytes from outside, as something to fuzz: seeds that pass, and a function for any bytes.

A target may raise certagent's own errors, which are refusals, and nothing else. Where a signature or an envelope
would stop every changed byte at the door, what is behind the door is changed and then signed or sealed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography import x509

from certagent import certificate as facts
from certagent.errors import RejectedError
from certagent.lab import checks, issuing
from certagent.scep import (
    Algorithms,
    Capabilities,
    FailInfo,
    MessageType,
    PkiStatus,
    csr_challenge,
    decode_reply,
    decode_request,
    degenerate,
    encode_reply,
    encode_request,
    enveloped_data,
    issuer_and_subject,
    parse_issuer_and_subject,
    read_ca_certificates,
)
from certagent.scep import password as password_lock
from certagent.scep.next_ca import encode_next_ca, read_next_ca
from certagent.scep.server import reply_attributes
from certagent.scep.signed import signed_attributes
from certagent.trust.fitness import accept_certificate
from certagent.trust.rules import Pins, believe
from tests.fuzz.files import (
    appended_journals,
    configuration,
    configurations,
    journal,
    journals,
    pem,
    pkcs12_file,
    pkcs12_files,
    private_key,
    private_keys,
    recover,
    revocation_list,
    revocation_lists,
    revocations,
    state_files,
    states,
)
from tests.fuzz.parties import (
    DAY,
    EVERYTHING,
    NONCE,
    SUBJECT,
    TRANSACTION,
    first_part,
    parties,
    signed_data,
    with_signature,
)
from tests.unit.pki import NOW

STRONG = Algorithms("aes128-cbc", "sha256")


@dataclass(frozen=True)
class Target:
    """`run` takes any bytes; each of `seeds` passes it without an error."""

    name: str
    seeds: Callable[[], list[bytes]]
    run: Callable[[bytes], object]
    der: bool = True


# ── SCEP ──


def reply(data: bytes, password: bytes | None = None, message_type: MessageType = MessageType.PKCS_REQ) -> object:
    return decode_reply(
        data,
        transaction_id=TRANSACTION,
        sender_nonce=NONCE,
        signers=[parties().ca.certificate],
        decrypter=parties().decrypter,
        accept=EVERYTHING,
        message_type=message_type,
        password=password,
    )


def honest_reply(status: PkiStatus = PkiStatus.SUCCESS, algorithms: Algorithms = STRONG, **changes: object) -> bytes:
    return encode_reply(
        status=status,
        transaction_id=TRANSACTION,
        recipient_nonce=NONCE,
        sender_nonce=NONCE[::-1],
        signer=parties().signer,
        recipient=parties().device.certificate,
        certificates=[parties().issued],
        algorithms=algorithms,
        **changes,  # type: ignore[arg-type]  # fail_info, fail_text
    )


def replies() -> list[bytes]:
    return [
        honest_reply(),
        honest_reply(algorithms=Algorithms("des", "sha1")),
        honest_reply(PkiStatus.PENDING),
        honest_reply(PkiStatus.FAILURE, fail_info=FailInfo.BAD_TIME, fail_text="too late"),
    ]


def envelope(inside: bytes, cipher: str = "aes128-cbc") -> bytes:
    return enveloped_data(inside, parties().device.certificate, cipher)


def attributes() -> list[bytes]:
    """The contents of the signed attributes of replies without content."""
    return [
        attributes_of(status, b"", fail_info=FailInfo.BAD_ALG, fail_text="no")
        for status in (PkiStatus.FAILURE, PkiStatus.PENDING)
    ]


def attributes_of(status: PkiStatus, content: bytes, **more: Any) -> bytes:
    words = reply_attributes(
        status=status, transaction_id=TRANSACTION, recipient_nonce=NONCE, sender_nonce=NONCE, **more
    )
    encoded = signed_attributes(content, words, "sha256").dump()
    return bytes(encoded[2 + (encoded[1] & 0x7F if encoded[1] & 0x80 else 0) :])


def sealed_attributes(data: bytes) -> object:
    return reply(signed_data(data, b""))


def in_reply(content: bytes) -> bytes:
    return signed_data(attributes_of(PkiStatus.SUCCESS, content), content)


def sealed_envelope(data: bytes) -> object:
    """A CA in its right to sign sends strange envelopes."""
    return reply(in_reply(data))


def sealed_content(data: bytes) -> object:
    """And strange things inside."""
    found = reply(in_reply(envelope(data)))
    received = getattr(found, "certificates", ())
    return accept_certificate(received, parties().asked, parties().believed, EVERYTHING, NOW)


def locked_envelope(data: bytes) -> object:
    """Envelopes for whoever knows the challenge password."""
    return reply(in_reply(data), password=b"secret")


def locked_envelopes() -> list[bytes]:
    """With one round of key derivation: a changed number of rounds is among what is fuzzed."""
    rounds, password_lock._ITERATIONS = password_lock._ITERATIONS, 1
    try:
        content = degenerate([parties().issued])
        return [enveloped_data(content, None, "aes128-cbc", key_transport="password", password=b"secret")]
    finally:
        password_lock._ITERATIONS = rounds


def sealed_revocations(data: bytes) -> object:
    """The content of a reply to GetCRL."""
    return reply(in_reply(envelope(data)), message_type=MessageType.GET_CRL)


def issued_certificate(data: bytes) -> object:
    """TBSCertificate, signed by the CA: everything that is asked of a certificate."""
    certificate = with_signature(data, parties().ca)
    received = read_ca_certificates(certificate)
    return accept_certificate(received, parties().asked, parties().believed, EVERYTHING, NOW)


def offered_certificates(data: bytes) -> object:
    offered = read_ca_certificates(data)
    pins = Pins((facts.fingerprint(parties().ca.certificate),), ())
    return believe(offered, pins, NOW)


def offered_ra(data: bytes) -> object:
    """TBSCertificate of an RA, signed by the CA."""
    ra = read_ca_certificates(with_signature(data, parties().ca))
    pins = Pins((facts.fingerprint(parties().ca.certificate),), ())
    return believe([*ra, parties().ca.certificate], pins, NOW)


def next_ca(data: bytes) -> object:
    return read_next_ca(data, signers=[parties().ca.certificate], accept=EVERYTHING)


def next_cas() -> list[bytes]:
    certificates = [parties().ra.certificate, parties().ca.certificate]
    return [
        encode_next_ca(certificates, parties().signer),
        encode_next_ca(certificates, parties().signer, nested=False),
        encode_next_ca(certificates, parties().signer, signed_attributes=False),
    ]


def request(data: bytes) -> object:
    return decode_request(data, recipients=[parties().signer])


def requests() -> list[bytes]:
    made = []
    for kind, content in (
        (MessageType.PKCS_REQ, parties().csr()),
        (MessageType.CERT_POLL, issuer_and_subject(SUBJECT, SUBJECT)),
    ):
        made.append(
            encode_request(
                kind,
                content,
                transaction_id=TRANSACTION,
                sender_nonce=NONCE,
                signer=parties().decrypter,
                recipient=parties().ca.certificate,
                algorithms=STRONG,
            )
        )
    return made


def csr(data: bytes) -> object:
    """CertificationRequestInfo, signed by the key in it, as the lab takes and issues it."""
    made = with_signature(data, parties().device)
    csr_challenge(made)
    found = checks.read_csr(made)
    try:
        return issuing.leaf_certificate(found, parties().signer, NOW, 90 * DAY)
    except ValueError:  # what the lab answers with badRequest
        raise RejectedError("the names in the request cannot be certified") from None


def poll(data: bytes) -> object:
    return parse_issuer_and_subject(data)


def capabilities(data: bytes) -> object:
    found = Capabilities.parse(data)
    return found.algorithms(), found.lost(Capabilities(frozenset({"AES"}))), found.post, found.renewal, found.next_ca


def _contents(seeds: Callable[[], list[x509.Certificate]]) -> Callable[[], list[bytes]]:
    return lambda: [first_part(facts.to_der(each)) for each in seeds()]


TARGETS = (
    Target(
        "capabilities", lambda: [b"AES\r\nSHA-256\nPOSTPKIOperation\n", b"\n scepstandard \n"], capabilities, der=False
    ),
    Target(
        "ca-certificates",
        lambda: [
            facts.to_der(parties().ca.certificate),
            degenerate([parties().ra.certificate, parties().ca.certificate]),
            facts.to_pem([parties().ca.certificate]),
        ],
        offered_certificates,
    ),
    Target("ra-certificate", _contents(lambda: [parties().ra.certificate]), offered_ra),
    Target("reply", replies, reply),
    Target("reply-attributes", attributes, sealed_attributes),
    Target(
        "reply-envelope",
        lambda: [envelope(degenerate([parties().issued])), envelope(degenerate([parties().issued]), "des")],
        sealed_envelope,
    ),
    Target(
        "reply-content",
        lambda: [degenerate([parties().issued]), degenerate([parties().ca.certificate, parties().issued])],
        sealed_content,
    ),
    Target("reply-locked", locked_envelopes, locked_envelope),
    Target("reply-crl", lambda: [degenerate([], revocation_list())], sealed_revocations),
    Target("issued-certificate", _contents(lambda: [parties().issued]), issued_certificate),
    Target("next-ca", next_cas, next_ca),
    Target("request", requests, request),
    Target("csr", lambda: [first_part(parties().csr())], csr),
    Target("poll", lambda: [issuer_and_subject(SUBJECT, SUBJECT)], poll),
    Target("crl", revocation_lists, revocations),
    Target("certificate-file", lambda: [facts.to_pem([parties().issued, parties().ca.certificate])], pem, der=False),
    Target("pkcs12-file", pkcs12_files, pkcs12_file),
    Target("key-file", private_keys, private_key, der=False),
    Target("configuration", configurations, configuration, der=False),
    Target("journal", lambda: [*journals(), *appended_journals()], journal, der=False),
    Target("recovery", journals, recover, der=False),
    Target("state", states, state_files, der=False),
)
