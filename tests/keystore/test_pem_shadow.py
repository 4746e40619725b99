"""The shadow: a successor in the making, found again by its id, invisible to consumers."""

from __future__ import annotations

import pytest

from certagent import keys
from certagent.config.key_types import KeyType
from certagent.config.parts import Secret
from certagent.errors import KeystoreError

from .conftest import MakeSite
from .faults import killed
from .pki import Pki, certify


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
    assert [each.name for each in (place.state / "shadow").iterdir()] == ["two"]


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
    key = place.state / "shadow" / "one" / "key.pem"
    assert key.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.parent.stat().st_mode & 0o777 == 0o700


def test_the_certificate_is_kept_with_its_key(site: MakeSite, pki: Pki) -> None:
    keystore = site().keystore
    shadow = keystore.create_shadow("one", KeyType.EC_P256)
    certificate = certify("web", shadow.key, pki.intermediate)
    chain = (pki.intermediate.certificate,)
    for _ in range(2):
        done = keystore.complete_shadow("one", certificate, chain)
        assert (done.certificate, done.chain) == (certificate, chain)
    assert keystore.create_shadow("one", KeyType.EC_P256).certificate == certificate


def test_a_certificate_for_another_key_is_refused(site: MakeSite, pki: Pki) -> None:
    keystore = site().keystore
    keystore.create_shadow("one", KeyType.EC_P256)
    with pytest.raises(KeystoreError, match="does not fit"):
        keystore.complete_shadow("one", pki.new.certificate, ())


def test_a_discarded_shadow_is_gone(site: MakeSite) -> None:
    place = site()
    place.keystore.create_shadow("one", KeyType.EC_P256)
    place.keystore.sweep_shadows(())
    place.keystore.sweep_shadows(())
    assert list((place.state / "shadow").iterdir()) == []


def test_killed_at_any_call_a_shadow_is_whole_or_not_there(site: MakeSite, pki: Pki) -> None:
    place = site()
    place.put(pki.old)

    def make() -> None:
        shadow = place.keystore.create_shadow("one", None)
        place.keystore.complete_shadow("one", pki.old.certificate, pki.old.chain)
        assert shadow.certificate is None

    step, alive = 0, True
    while alive:
        step += 1
        alive = killed(step, make)
        shadow = place.keystore.create_shadow("one", None)
        assert shadow.certificate in (None, pki.old.certificate)
        assert shadow.certificate is None or shadow.chain == pki.old.chain
        place.keystore.sweep_shadows(())
    assert step > 10
