"""What fuzzing found, each as it was seen, so that it is found at once if it comes back."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from asn1crypto import algos, cms, pkcs12
from asn1crypto import crl as asn1_crl

from certagent import certificate as facts
from certagent.certificate import to_der
from certagent.config.file_roles import FileRole
from certagent.errors import KeystoreError, StateError, TrustError
from certagent.keystore import pkcs12_codec, swap_plan
from certagent.scep.asn1 import tlv
from certagent.transaction import recovery
from certagent.transaction.journal import Journal, Phase
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from certagent.trust import crl
from tests.cost import cost
from tests.fuzz.der import parse
from tests.fuzz.files import pkcs12_files, revocation_lists, sample_transaction
from tests.fuzz.parties import first_part, parties, with_signature
from tests.fuzz.targets import locked_envelope, locked_envelopes
from tests.journals import of_release_0_2
from tests.renewal.conftest import make_site, site
from tests.renewal.site import Site

__all__ = ["make_site", "site"]


def unreadable() -> bytes:
    """A certificate (PEM) that loads, and whose subject turns out to be none when somebody looks."""
    der = to_der(parties().issued)
    subject = parties().issued.subject.public_bytes()
    broken = der.replace(subject, bytes((0x4C,)) + subject[1:])
    text = base64.encodebytes(broken).decode()
    return f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----\n".encode()


def test_a_certificate_that_breaks_when_looked_at_is_none() -> None:
    with pytest.raises(KeystoreError, match="cannot be read"):
        facts.load_pem(unreadable(), "web.pem")


def test_such_a_certificate_in_place_is_one_keystores_failure(site: Site) -> None:
    """It was a ValueError, and the end of the whole worker."""
    site.run()
    site.certificate.write_bytes(unreadable())
    outcome = site.run(Wish.RENEW)
    assert outcome.result is Result.FAILED
    assert "web.pem cannot be read" in str(outcome.message)


def test_a_root_of_serial_number_zero_is_read_in_silence() -> None:
    der = to_der(parties().issued)
    elements = parse(der)
    assert elements
    assert elements[0].parts
    assert elements[0].parts[0].parts
    elements[0].parts[0].parts[1] = replace(elements[0].parts[0].parts[1], contents=b"\0")
    text = base64.encodebytes(elements[0].dump()).decode()
    found = facts.load_pem(f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----\n".encode(), "root.pem")
    assert len(found) == 1


def test_a_password_salted_from_another_source_is_malformed() -> None:
    """It was a TypeError, and the end of the whole worker."""
    algorithm = bytes.fromhex("300d06096086480165030402010500")
    info = cms.ContentInfo.load(locked_envelopes()[0])
    derivation = info["content"]["recipient_infos"][0].chosen["key_derivation_algorithm"]
    salt = derivation["parameters"]["salt"].dump()
    changed = parse(derivation["parameters"].dump().replace(salt, algorithm, 1)[2:])
    assert changed
    derivation["parameters"] = algos.Pbkdf2Params.load(tlv(b"".join(each.dump() for each in changed), 0x30))
    with pytest.raises(TrustError, match="envelope is malformed"):
        locked_envelope(info.dump(force=True))


def pkcs12_with(change: Callable[[cms.ContentInfo], None]) -> bytes:
    """A PKCS#12 file whose first part, which holds the certificates encrypted, was changed."""
    whole = pkcs12.Pfx.load(pkcs12_files()[0])
    parts = pkcs12.AuthenticatedSafe.load(whole["auth_safe"]["content"].native)
    change(parts[0])
    whole["auth_safe"] = {"content_type": "data", "content": parts.dump(force=True)}
    return bytes(whole.dump(force=True))


def key_of_a_gigabyte(part: cms.ContentInfo) -> None:
    algorithm = part["content"]["encrypted_content_info"]["content_encryption_algorithm"]
    algorithm["parameters"]["key_derivation_func"]["parameters"]["key_length"] = 1 << 30


def test_a_pkcs12_file_that_wants_a_key_of_a_gigabyte_gets_none() -> None:
    """It was a MemoryError."""

    def load() -> None:
        with pytest.raises(KeystoreError, match="cannot be decrypted"):
            pkcs12_codec.load(pkcs12_with(key_of_a_gigabyte), b"secret", "app.p12")

    assert cost(load) < 100


def test_a_pkcs12_file_whose_parts_are_none_is_damaged() -> None:
    """It was a ValueError, and the end of the whole worker."""
    whole = pkcs12.Pfx.load(pkcs12_files()[0])
    whole["auth_safe"] = {"content_type": "data", "content": bytes.fromhex("30020400")}
    with pytest.raises(KeystoreError, match="is damaged, or not a PKCS#12 file"):
        pkcs12_codec.load(whole.dump(force=True), b"secret", "app.p12")


@pytest.mark.parametrize("path", ["/tmp/\0", "/tmp/\ud800"], ids=["NUL", "a half character"])
def test_a_journal_of_impossible_paths_stops_no_other_keystore(tmp_path: Path, path: str) -> None:
    """It was a ValueError, and at boot no keystore was recovered."""
    record = sample_transaction().swap
    assert record is not None
    change = swap_plan.Change(FileRole.KEY, path, path, "0" * 64)
    damaged = msgspec.structs.replace(record, changes=(change,))
    for name in ("one", "two"):
        journal = Journal(tmp_path / "keystores" / name)
        journal.write(sample_transaction().at(Phase.ACTIVATING))
        written = of_release_0_2(sample_transaction().at(Phase.ACTIVATING), swap=msgspec.to_builtins(damaged))
        (journal.directory / "transaction.json").write_bytes(written)
    found = recovery.recover_all(tmp_path)
    assert [each.keystore for each in found] == ["one", "two"]
    assert all(isinstance(each.error, StateError) for each in found)


def test_a_crl_of_an_unknown_version_is_none() -> None:
    lists = asn1_crl.TbsCertList.load(revocation_lists()[0])
    lists["version"] = 0
    with pytest.raises(TrustError, match="is not a CRL"):
        crl.read(with_signature(lists.dump(force=True), parties().ca), "http://crl.example.net/")


def test_a_revocation_of_two_reasons_is_one_all_the_same() -> None:
    lists = asn1_crl.TbsCertList.load(revocation_lists()[0])
    extensions = lists["revoked_certificates"][0]["crl_entry_extensions"]
    extensions.append(extensions[0].copy())
    found = crl.read(with_signature(lists.dump(force=True), parties().ca), "http://crl.example.net/")
    assert crl.verdict(found, 1).startswith("revoked on 2027-05-31")


def test_the_harness_takes_a_certificate_apart_as_it_was() -> None:
    der = to_der(parties().issued)
    assert with_signature(first_part(der), parties().ca) == der
