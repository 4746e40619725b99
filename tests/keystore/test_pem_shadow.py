"""The shadow: a successor in the making, found again by its id, invisible to consumers."""

from __future__ import annotations

import pytest

from certagent import keys
from certagent.certificate import to_pem
from certagent.config.key_types import KeyType
from certagent.config.parts import Secret
from certagent.errors import KeystoreError

from .conftest import MakeSite
from .pki import Pki


@pytest.mark.parametrize("key_type", [KeyType.RSA_2048, KeyType.EC_P256, KeyType.ED25519, KeyType.ML_DSA_65])
def test_a_new_key_of_the_type_asked_for(site: MakeSite, key_type: KeyType) -> None:
    shadow = site().keystore.create_shadow("one", key_type)
    assert keys.type_of(shadow.key.public_key()) == key_type
    assert shadow.certificate is None


def test_the_same_id_finds_the_same_key(site: MakeSite) -> None:
    keystore = site().keystore
    first, second = (keystore.create_shadow("one", KeyType.EC_P256) for _ in range(2))
    assert keys.match(first.key, second.key.public_key())


def test_sweeping_keeps_what_it_is_told_to_keep(site: MakeSite) -> None:
    place = site()
    for name in ("one", "two", "three"):
        place.keystore.create_shadow(name, KeyType.EC_P256)
    place.keystore.sweep_shadows(("two",))
    assert [each.name for each in (place.state / "shadow").iterdir()] == ["two.pem"]


def test_without_a_key_type_the_key_in_place_is_kept(site: MakeSite, pki: Pki) -> None:
    place = site()
    place.put(pki.old)
    assert keys.match(place.keystore.create_shadow("one", None).key, pki.old.certificate.public_key())


def test_without_a_key_in_place_none_can_be_kept(site: MakeSite) -> None:
    with pytest.raises(KeystoreError, match="no key to keep") as caught:
        site().keystore.create_shadow("one", None)
    assert "rekey: always" in caught.value.hint


def test_the_key_lies_where_nobody_else_reads_and_encrypted_if_so_configured(site: MakeSite) -> None:
    place = site(key_passphrase=Secret(file="unused"))
    place.keystore.create_shadow("one", KeyType.EC_P256)
    key = place.state / "shadow" / "one.pem"
    assert key.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.parent.stat().st_mode & 0o777 == 0o700


def test_a_shadow_of_release_0_2_is_found_with_its_certificate(site: MakeSite, pki: Pki) -> None:
    place = site()
    directory = place.state / "shadow" / "one"
    directory.mkdir(parents=True)
    (directory / "key.pem").write_bytes(keys.to_pem(pki.new.key))
    (directory / "chain.pem").write_bytes(to_pem(pki.new.chain))
    (directory / "certificate.pem").write_bytes(to_pem([pki.new.certificate]))
    found = place.keystore.create_shadow("one", KeyType.EC_P256)
    assert (found.certificate, found.chain) == (pki.new.certificate, pki.new.chain)
    place.keystore.sweep_shadows(())
    assert list((place.state / "shadow").iterdir()) == []


def test_a_certificate_for_another_key_is_refused(site: MakeSite, pki: Pki) -> None:
    keystore = site().keystore
    shadow = keystore.create_shadow("one", KeyType.EC_P256)
    with pytest.raises(KeystoreError, match="does not fit"):
        keystore.complete_shadow(shadow, pki.new.certificate, ())


def test_a_discarded_shadow_is_gone(site: MakeSite) -> None:
    place = site()
    place.keystore.create_shadow("one", KeyType.EC_P256)
    place.keystore.sweep_shadows(())
    place.keystore.sweep_shadows(())
    assert list((place.state / "shadow").iterdir()) == []
