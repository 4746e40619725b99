"""A list of five megabytes: what it costs to fetch it, keep it, put it in place and look for our own in it."""

from __future__ import annotations

import resource
import time
from datetime import UTC, datetime

import pytest
from asn1crypto import core
from asn1crypto import crl as asn1
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from certagent.certificate import serial_hex
from certagent.lab import LabServer
from certagent.trust import crl

from .gateway import Gateway, Publish

ENTRIES = 160_000


def tlv(content: bytes, tag: int = 0x30) -> bytes:
    if len(content) < 128:
        return bytes([tag, len(content)]) + content
    size = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + content


def grown(lab: LabServer, first: int) -> x509.CertificateRevocationList:
    """The CA's list with so many entries more, `first` before all others. By hand: no library is made for that."""
    when = core.UTCTime(datetime(2026, 11, 30, tzinfo=UTC)).dump()
    serials = (core.Integer(serial).dump() for serial in (first, *(1 << 100 | number for number in range(ENTRIES))))
    entries = b"".join(tlv(serial + when) for serial in serials)
    small = asn1.CertificateList.load(lab.ca.crl().public_bytes(Encoding.DER))
    parts = small["tbs_cert_list"]
    names = ("version", "signature", "issuer", "this_update", "next_update")
    body = tlv(b"".join(parts[name].dump() for name in names) + tlv(entries) + parts["crl_extensions"].dump())
    key = lab.ca.generation.issuer.key
    assert isinstance(key, rsa.RSAPrivateKey)
    signature = tlv(b"\0" + key.sign(body, padding.PKCS1v15(), hashes.SHA256()), 0x03)
    return x509.load_der_x509_crl(tlv(body + small["signature_algorithm"].dump() + signature))


@pytest.mark.slow
def test_five_megabytes(gateway: Gateway, lab: LabServer, publish: Publish) -> None:
    gateway.site.run()
    mine = gateway.site.leaf()
    large = grown(lab, mine.serial_number)
    assert len(large.public_bytes(Encoding.DER)) > 5_000_000
    publish(large)
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    done = gateway.refresh(at_once=True)
    spent = time.process_time() - begun
    grew = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert gateway.error(done) == ""
    assert [crl.number(each) for each in gateway.lists()] == [crl.number(large)]
    assert [each.serial for each in done.memory.revoked] == [serial_hex(mine)]
    assert spent < 10, f"{spent:.1f} s"  # it takes half a second
    assert grew < 100_000, f"{grew} KiB"
