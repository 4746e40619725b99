"""Every parser of bytes from outside, as something to fuzz: seeds that pass, and a function for any bytes.

A target may raise certagent's own errors, which are refusals, and nothing else. Where a signature or an envelope
would stop every changed byte at the door, what is behind the door is changed and then signed or sealed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from certagent import certificate as facts
from certagent import config, crl, keys, recovery, state, trust
from certagent.authorities import VERSION as AUTHORITY_VERSION
from certagent.authorities import Memory
from certagent.definitions import KeyType
from certagent.errors import RejectedError
from certagent.journal import VERSION, Journal, Phase, Transaction
from certagent.keystore import swap
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
from tests.fuzz.parties import (
    DAY,
    NONCE,
    SUBJECT,
    TRANSACTION,
    first_part,
    parties,
    signed_data,
    with_signature,
)
from tests.unit.pki import NOW, key

STRONG = Algorithms("aes128-cbc", "sha256")
EVERYTHING = ("sha1", "md5", "3des", "des")


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
    """The contents of the signed attributes of three replies whose content is empty or an empty SEQUENCE."""
    made = []
    for status in (PkiStatus.FAILURE, PkiStatus.PENDING):
        words = reply_attributes(
            status=status,
            transaction_id=TRANSACTION,
            recipient_nonce=NONCE,
            sender_nonce=NONCE,
            fail_info=FailInfo.BAD_ALG,
            fail_text="no",
        )
        made.append(bytes(signed_attributes(b"", words, "sha256").contents or b""))
        made[-1] = made[-1] or signed_attributes(b"", words, "sha256").dump()[3:]
    return made


def sealed_attributes(data: bytes) -> object:
    return reply(signed_data(data, b""))


def in_reply(content: bytes) -> bytes:
    words = reply_attributes(
        status=PkiStatus.SUCCESS, transaction_id=TRANSACTION, recipient_nonce=NONCE, sender_nonce=NONCE
    )
    dumped = signed_attributes(content, words, "sha256").dump()
    return signed_data(dumped[2 + (dumped[1] & 0x7F if dumped[1] & 0x80 else 0) :], content)


def sealed_envelope(data: bytes) -> object:
    """A CA in its right to sign sends strange envelopes."""
    return reply(in_reply(data))


def sealed_content(data: bytes) -> object:
    """And strange things inside."""
    found = reply(in_reply(envelope(data)))
    received = getattr(found, "certificates", ())
    return trust.accept_certificate(received, parties().asked, parties().believed, EVERYTHING, NOW)


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
    return trust.accept_certificate(received, parties().asked, parties().believed, EVERYTHING, NOW)


def offered_certificates(data: bytes) -> object:
    offered = read_ca_certificates(data)
    pins = trust.Pins((facts.fingerprint(parties().ca.certificate),), ())
    return trust.believe(offered, pins, NOW)


def offered_ra(data: bytes) -> object:
    """TBSCertificate of an RA, signed by the CA."""
    ra = read_ca_certificates(with_signature(data, parties().ca))
    pins = trust.Pins((facts.fingerprint(parties().ca.certificate),), ())
    return trust.believe([*ra, parties().ca.certificate], pins, NOW)


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


# ── files ──


def pem(data: bytes) -> object:
    found = facts.load_pem(data, "file")
    for each in found:
        if facts.is_readable(each):
            _ = (facts.subject_text(each), facts.serial_hex(each), facts.is_ca(each), facts.key_usage(each))
            facts.path_up(each, found)
    return found


def private_key(data: bytes) -> object:
    return keys.load_private(data, b"secret", "file")


def private_keys() -> list[bytes]:
    ec, rsa = key("fuzz", KeyType.EC_P256), parties().device.key
    forms = serialization.PrivateFormat
    plain = serialization.NoEncryption()
    encoding = serialization.Encoding.PEM
    return [
        keys.to_pem(ec),
        keys.to_pem(rsa),
        ec.private_bytes(encoding, forms.TraditionalOpenSSL, plain),
        facts.to_pem([parties().issued]) + rsa.private_bytes(encoding, forms.TraditionalOpenSSL, plain),
    ]


def revocations(data: bytes) -> object:
    """TBSCertList, signed by the CA."""
    found = crl.read(with_signature(data, parties().ca), "http://crl.example.net/")
    crl.check(found, [parties().ca.certificate], EVERYTHING, NOW)
    return crl.verdict(found, 1), crl.verdict(found, 99), crl.is_stale(found, NOW)


def revocation_lists() -> list[bytes]:
    return [first_part(revocation_list())]


def revocation_list() -> bytes:
    when = NOW - DAY
    entry = (
        x509.RevokedCertificateBuilder()
        .serial_number(1)
        .revocation_date(when)
        .add_extension(x509.CRLReason(x509.ReasonFlags.key_compromise), critical=False)
        .build()
    )
    made = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(parties().ca.certificate.subject)
        .last_update(when)
        .next_update(NOW + DAY)
        .add_revoked_certificate(entry)
        .add_extension(x509.CRLNumber(7), critical=False)
        .sign(parties().ca.key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.DER)


@cache
def scratch() -> Path:
    """A directory of this process; its files are written over for each input."""
    made = Path(tempfile.mkdtemp(prefix="certagent-fuzz-"))
    for name in ("keystore/transaction", "files/of/a/consumer", "state"):
        (made / name).mkdir(parents=True)
    (made / "challenge").write_text("secret\n")
    (made / "challenge").chmod(0o600)
    return made


def written(name: str, data: bytes) -> Path:
    path = scratch() / name
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def configuration(data: bytes) -> object:
    return config.load(written("agent.yaml", data))


def configurations() -> list[bytes]:
    here = scratch()
    text = f"""\
state_dir: {here}/state
live_dir: {here}/live
authorities:
  corp:
    url: http://127.0.0.1:1/scep
    fingerprint: sha256:{"00" * 32}
    challenge: {{file: {here}/challenge}}
    accept: [sha1, 3des]
    timeout: 30s
    rollover_at: 80%
defaults:
  authority: corp
  renew_at: 66%
  key_type: ec:p256
keystores:
  web:
    type: pem
    subject: CN=web.example.net,O=Example
    san: [dns:web.example.net, ip:192.0.2.7]
    key_file: {here}/files/web.key
    certificate_file: {here}/files/web.pem
    mode: "0640"
    hooks: {{post: [[/bin/true, x]], pre: [{{run: [/bin/true], timeout: 60s}}]}}
    probe: {{tls: "127.0.0.1:443", server_name: web.example.net}}
"""
    return [text.encode()]


def sample_transaction() -> Transaction:
    here = str(consumer())
    new = hashlib.sha256(b"new").hexdigest()
    change = swap.Change("key", f"{here}/web.key", f"{here}/.new", new, f"{here}/.old")
    return Transaction(
        id="0123456789abcdef",
        kind="renewal",  # type: ignore[arg-type]  # as it is read
        phase=Phase.STAGING,
        started_at=NOW,
        authority="corp",
        endpoint="http://127.0.0.1:1/scep",
        transaction_id=TRANSACTION,
        message_type=17,
        sender_nonce=NONCE,
        request=b"request",
        names=("dns:web.example.net",),
        poll_at=NOW + DAY,
        swap=swap.Record("0123456789abcdef", "rename", (change,), f"{here}/previous", sweep=(f"{here}/sweep",)),
    )


def journal(data: bytes) -> object:
    written("keystore/transaction/transaction.json", data)
    return Journal(scratch() / "keystore").open()


def journals() -> list[bytes]:
    staging = sample_transaction()
    phases = (Phase.STAGING, Phase.PENDING, Phase.ACTIVATING, Phase.REVERTING)
    return [msgspec.json.encode(staging.at(phase)) for phase in phases]


def recover(data: bytes) -> object:
    """The journal, and what follows from it; inputs that lead out of the scratch directory are passed over."""
    transaction = journal(data)
    if isinstance(transaction, Transaction) and not _stays_inside(transaction):
        return None
    shutil.rmtree(consumer())
    consumer().mkdir(parents=True)
    for name, content in (("web.key", b"old"), (".old", b"old"), (".new", b"new")):
        (consumer() / name).write_bytes(content)
    return recovery.recover_keystore(Journal(scratch() / "keystore"))


def consumer() -> Path:
    """Deep enough that what a swap writes beside a path stays in the scratch directory."""
    return scratch() / "files/of/a/consumer"


def _stays_inside(transaction: Transaction) -> bool:
    record = transaction.swap
    if record is None:
        return True
    if not record.id.isalnum() or not all(change.role.isalnum() for change in record.changes):
        return False
    paths = [record.previous, record.generation, record.pointer, record.base, *record.sweep]
    paths += [path for change in record.changes for path in (change.target, change.staged, change.old)]
    inside = f"{consumer()}/"
    return all(not path or (path.startswith(inside) and ".." not in path) for path in paths)


def state_files(data: bytes) -> object:
    written("keystore/state.json", data)
    written("keystore/history.jsonl", data)
    directory = scratch() / "keystore"
    return (
        state.load(directory),
        state.read_history(directory),
        state.decode_file(written("authority.json", data), Memory, AUTHORITY_VERSION),
    )


def states() -> list[bytes]:
    error = {"kind": "trust", "message": "x", "hint": "y", "at": state.iso(NOW)}
    whole = {"version": VERSION, "url": "http://x", "capabilities": ["AES"], "issuer": "sha256:00"}
    times = {"seen_at": state.iso(NOW), "next_action_at": state.iso(NOW)}
    return [json.dumps({**whole, **times, "failures": 2, "last_error": error, "condition": "failed"}).encode()]


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
    Target("key-file", private_keys, private_key, der=False),
    Target("configuration", configurations, configuration, der=False),
    Target("journal", journals, journal, der=False),
    Target("recovery", journals, recover, der=False),
    Target("state", states, state_files, der=False),
)
