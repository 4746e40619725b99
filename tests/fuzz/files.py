"""Targets that are files: what certagent wrote, what a person wrote, what another program put there."""

from __future__ import annotations

import atexit
import hashlib
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path

import msgspec
from asn1crypto import cms, core, pkcs12
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from certagent import certificate as facts
from certagent import durable, keys, state
from certagent.config.file_roles import FileRole
from certagent.config.key_types import KeyType
from certagent.config.load import load_configuration
from certagent.keystore import pkcs12_codec, swap_plan
from certagent.text import iso
from certagent.transaction import records, recovery
from certagent.transaction.journal import Journal, Phase, Transaction
from certagent.trust import crl
from certagent.trust.memory import VERSION as AUTHORITY_VERSION
from certagent.trust.memory import Memory
from tests.fuzz.parties import (
    DAY,
    EVERYTHING,
    NONCE,
    TRANSACTION,
    first_part,
    parties,
    with_signature,
)
from tests.journals import of_release_0_2
from tests.unit.pki import NOW, key


def pem(data: bytes) -> object:
    found = facts.load_pem(data, "file")
    for each in found:
        if facts.is_readable(each):
            _ = (facts.subject_text(each), facts.serial_hex(each), facts.is_ca(each), facts.key_usage(each))
            facts.in_order(each, found)
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


def pkcs12_file(data: bytes) -> object:
    """A file without a MAC, so that what is changed in it is looked at."""
    found = pkcs12_codec.load(data, b"secret", "file")
    return [pkcs12_codec.private_key(each, b"secret", "file") for each in found if each.kind is pkcs12_codec.Kind.KEY]


def pkcs12_files() -> list[bytes]:
    """With one round of key derivation: a changed number of rounds is among what is fuzzed."""
    rounds, pkcs12_codec.ROUNDS = pkcs12_codec.ROUNDS, 1
    try:
        chain = [parties().issued, parties().ca.certificate]
        whole = pkcs12.Pfx.load(
            pkcs12_codec.dump(pkcs12_codec.entry(parties().device.key, chain, "web", b"secret"), b"secret")
        )
    finally:
        pkcs12_codec.ROUNDS = rounds
    del whole["mac_data"]
    key = parties().device.key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    bags = [_bag("key_bag", pkcs12.PrivateKeyInfo.load(key)), *map(_certificate_bag, chain)]
    contents = [{"content_type": "data", "content": pkcs12.SafeContents(bags).dump()}]
    safe = pkcs12.AuthenticatedSafe([cms.ContentInfo(each) for each in contents]).dump()
    plain = pkcs12.Pfx({"version": "v3", "auth_safe": {"content_type": "data", "content": safe}})
    return [whole.dump(force=True), plain.dump()]


def _bag(kind: str, value: object) -> pkcs12.SafeBag:
    return pkcs12.SafeBag({"bag_id": kind, "bag_value": value})


def _certificate_bag(certificate: x509.Certificate) -> pkcs12.SafeBag:
    der = core.ParsableOctetString(facts.to_der(certificate))
    return _bag("cert_bag", pkcs12.CertBag({"cert_id": "x509", "cert_value": der}))


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
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    for name in ("keystore/transaction", "files/of/a/consumer", "state"):
        (made / name).mkdir(parents=True)
    (made / "challenge").write_text("secret\n")
    (made / "challenge").chmod(0o600)
    return made


def written(name: str, data: bytes) -> Path:
    path = scratch() / name
    path.parent.mkdir(exist_ok=True)  # recovery removes the directory of a journal that records nothing
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def configuration(data: bytes) -> object:
    return load_configuration(written("agent.yaml", data))


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
    change = swap_plan.Change(FileRole.KEY, f"{here}/web.key", f"{here}/.new", new, f"{here}/.old")
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
        swap=swap_plan.Record("0123456789abcdef", "rename", (change,), f"{here}/previous", sweep=(f"{here}/sweep",)),
    )


def journal(data: bytes) -> object:
    written("keystore/transaction/transaction.json", data)
    return Journal(scratch() / "keystore").open()


def journals() -> list[bytes]:
    staging = sample_transaction()
    phases = (Phase.STAGING, Phase.PENDING, Phase.ACTIVATING, Phase.REVERTING)
    return [of_release_0_2(staging.at(phase)) for phase in phases]


def appended_journals() -> list[bytes]:
    staging, last = (msgspec.json.encode(sample_transaction().at(each)) for each in (Phase.STAGING, Phase.ACTIVATING))
    begun = records.begun(staging)
    place, added = records.appended(begun, last)
    return [begun, begun[:place] + added, begun[:place] + added[:40]]


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
    if not record.id.isalnum():
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
        durable.read_versioned(written("authority.json", data), Memory, AUTHORITY_VERSION),
    )


def states() -> list[bytes]:
    error = {"kind": "trust", "message": "x", "hint": "y", "at": iso(NOW)}
    whole = {"version": AUTHORITY_VERSION, "url": "http://x", "capabilities": ["AES"], "issuer": "sha256:00"}
    times = {"seen_at": iso(NOW), "next_action_at": iso(NOW)}
    return [json.dumps({**whole, **times, "failures": 2, "last_error": error, "condition": "failed"}).encode()]
