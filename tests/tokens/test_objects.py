"""What lies in a token: ours is known by its ID and swept, what others keep there is never touched."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from certagent.config.key_types import KeyType
from certagent.errors import ConfigError, KeystoreError
from certagent.keystore.base import Identity
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.renewal.site import recording_hook
from tests.tokens.conftest import Sites
from tests.tokens.site import Place, TokenSite, forget_modules, run

pytestmark = pytest.mark.needs("softhsm", "opensc")

ONE_IDENTITY = {"Private Key": 1, "Public Key": 1, "Certificate": 1}


@pytest.fixture
def site(softhsm: Place, make_site: Sites) -> TokenSite:
    made = make_site(softhsm)
    made.write()
    return made


def remarks(site: TokenSite) -> list[str]:
    return [remark.message for remark in site.context().configured.keystore.remarks()]


def identity(site: TokenSite) -> Identity:
    found = site.context().configured.keystore.read()
    assert found is not None
    return found


def test_objects_of_others_stay_even_under_our_label_or_without_any(site: TokenSite) -> None:
    for words in (("--label", "certagent web", "--id", "01"), ("--label", "other", "--id", "02"), ()):
        site.place.tool("--keypairgen", "--key-type", "EC:prime256v1", *words)
    site.run()
    for _ in range(2):
        site.run(Wish.RENEW)
        site.clock.advance(timedelta(hours=2))
    site.run()
    assert site.place.objects() == {"Private Key": 4, "Public Key": 4, "Certificate": 1}


def test_check_tells_of_objects_under_our_label_that_this_host_does_not_know(site: TokenSite) -> None:
    site.run()
    site.place.tool("--keypairgen", "--key-type", "EC:prime256v1", "--label", "certagent web", "--id", "0bad")
    forget_modules()
    proven, stranger = remarks(site)
    assert "cannot leave it: sensitive, always-sensitive, never-extractable, local" in proven
    assert "'certagent web' with the ID 0bad, which this host does not know" in stranger


def test_check_says_so_on_the_command_line(softhsm: Place, make_site: Sites) -> None:
    site = make_site(softhsm, real_time=True)
    site.write()
    assert site.command("renew").returncode == 0
    before = softhsm.objects()
    checked = site.command("check")
    assert checked.returncode == 0, checked.stdout
    assert "the key was made in token vpn and cannot leave it" in checked.stdout
    assert softhsm.objects() == before


def test_an_abandoned_shadow_is_swept_with_all_that_belongs_to_it(site: TokenSite) -> None:
    site.run()
    keystore = site.context().configured.keystore
    keystore.create_shadow("ab" * 16, KeyType.EC_P256)
    assert site.place.objects()["Private Key"] == 2
    site.run()
    assert site.place.objects() == ONE_IDENTITY


def test_a_public_half_left_alone_is_swept(site: TokenSite) -> None:
    site.run()
    keystore = site.context().configured.keystore
    before = site.place.ids()
    keystore.create_shadow("ab" * 16, KeyType.EC_P256)
    [orphan] = set(site.place.ids()) - set(before)
    site.place.tool("--delete-object", "--type", "privkey", "--id", orphan)
    forget_modules()
    site.run()
    assert site.place.objects() == ONE_IDENTITY


def test_an_identity_somebody_else_put_there_is_renewed_and_its_key_left_alone(site: TokenSite) -> None:
    site.place.tool("--keypairgen", "--key-type", "rsa:2048", "--label", "mine", "--id", "0123")
    site.run()
    first = site.id
    site.uri.write_text("pkcs11:token=vpn;object=mine;id=%01%23\n")
    site.run(Wish.ENROLL)  # what is in place does not match
    site.clock.advance(timedelta(hours=3))
    for _ in range(2):
        site.run()
        site.clock.advance(timedelta(hours=3))
    assert "0123" in site.place.ids()
    assert first not in site.place.ids()


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        pytest.param("pkcs11:token=vpn;object=web", "does not name a key by its ID", id="label alone"),
        pytest.param("pkcs11:token=other;id=%01", "does not hold the key", id="another token"),
        pytest.param("pkcs11:token=vpn;id=%01", "does not hold the key", id="another key"),
        pytest.param("pkcs11:token=vpn;id=%01?pin-value=1234", "it holds a PIN", id="with a PIN"),
        pytest.param("file:web.key", "it is not a pkcs11: URI", id="no PKCS#11 URI"),
    ],
)
def test_a_pointer_that_leads_nowhere_is_said(site: TokenSite, uri: str, told: str) -> None:
    site.run()
    site.uri.write_text(uri)
    with pytest.raises(KeystoreError, match=told) as caught:
        site.context().configured.keystore.read()
    assert "1234" not in str(caught.value) + caught.value.hint
    assert caught.value.hint


def test_a_token_that_was_moved_away_is_not_an_empty_one(site: TokenSite) -> None:
    site.run()
    site.place.directory.joinpath("tokens").rename(site.place.directory / "elsewhere")
    (site.place.directory / "tokens").mkdir()
    forget_modules()
    outcome = site.run(Wish.NOW)
    assert outcome.result is Result.FAILED
    assert "there is no token vpn" in str(outcome.message)


def test_two_keys_under_one_id_are_said_not_guessed(site: TokenSite) -> None:
    site.run()
    site.place.tool("--keypairgen", "--key-type", "rsa:2048", "--label", "twin", "--id", site.id)
    forget_modules()
    with pytest.raises(KeystoreError, match="2 private keys with the ID"):
        site.context().configured.keystore.read()


def test_a_failed_probe_brings_the_old_uri_back_and_both_keys_live(site: TokenSite) -> None:
    hook = recording_hook(site, "post")
    site.run()
    old = site.id
    site.write(f"hooks: {{post: [[{hook}]]}}\nprobe: {{tls: '127.0.0.1:1', timeout: 1s}}")
    assert site.run(Wish.RENEW).result is Result.FAILED
    assert site.id == old
    identity(site).key.sign(b"x", padding.PKCS1v15(), hashes.SHA256())  # type: ignore[call-arg, arg-type]  # RSA, by default
    site.clock.advance(timedelta(hours=3))
    site.write()
    for _ in range(2):
        site.run()
        site.clock.advance(timedelta(hours=3))
    assert site.place.objects() == ONE_IDENTITY


def test_a_snippet_is_filled_in_with_each_key(site: TokenSite) -> None:
    template = site.path("template")
    template.write_text("$$ $id $label $module $certificate_file $uri\n")
    site.write(f"snippet: {{template: {template}, file: {site.path('files/snippet')}}}")
    site.run()
    for _ in range(2):
        wanted = f"$ {site.id} certagent web {site.place.module} {site.certificate} {site.uri.read_text()}"
        assert site.path("files/snippet").read_text() == wanted
        site.run(Wish.RENEW)


def test_a_template_that_asks_for_more_than_there_is_stops_the_swap(site: TokenSite) -> None:
    template = site.path("template")
    template.write_text("$password")
    site.write(f"snippet: {{template: {template}, file: {site.path('files/snippet')}}}")
    outcome = site.run()
    assert outcome.result is Result.FAILED
    assert "cannot be filled in" in str(outcome.message)
    assert not site.certificate.exists()


def test_without_a_certificate_file_it_is_in_the_token_and_known_without_a_pin(site: TokenSite) -> None:
    text = site.config.read_text()
    site.config.write_text(text.replace(f"    certificate_file: {site.certificate}\n", ""))
    assert site.run().result is Result.ENROLLED
    assert site.place.objects() == ONE_IDENTITY
    forget_modules()
    site.place.put_pin("9999")
    assert site.context().configured.keystore.read_certificate() is not None
    assert not list(site.path("state/tokens").rglob("pin.json"))


def test_the_record_of_own_keys_is_never_begun_afresh(site: TokenSite) -> None:
    site.run()
    ledger = site.path("state/keystores/web/keys.json")
    assert set(json.loads(ledger.read_text())["keys"]) == {site.id}
    ledger.write_text("{")
    outcome = site.run(Wish.RENEW)
    assert outcome.result is Result.FAILED
    assert "keys.json is damaged" in str(outcome.message)


@pytest.mark.needs("engine", "openssl")
def test_openssl_uses_the_key_the_uri_file_names(site: TokenSite) -> None:
    site.run()
    for _ in range(2):
        site.run(Wish.RENEW)
        assert openssl_verifies(site)


def openssl_verifies(site: TokenSite) -> bool:
    """Sign with the key that the URI file names, and verify with the certificate file."""
    text, signature, public = (site.path(name) for name in ("text", "signature", "public"))
    text.write_text("is this a pair?")
    key = f"{site.uri.read_text().strip()}?pin-value={site.place.pin}"
    argv = ["openssl", "dgst", "-sha256", "-engine", "pkcs11", "-keyform", "engine", "-sign", key]
    run([*argv, "-out", str(signature), str(text)], {"PKCS11_MODULE_PATH": site.place.module})
    public.write_text(run(["openssl", "x509", "-in", str(site.certificate), "-noout", "-pubkey"], {}))
    argv = ["openssl", "dgst", "-sha256", "-verify", str(public), "-signature", str(signature), str(text)]
    return "Verified OK" in subprocess.run(argv, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize(
    ("token", "told"),
    [("pkcs11:manufacturer=Nobody", "there is no token"), ("pkcs11:token", "malformed")],
    ids=["of nobody", "no URI"],
)
def test_a_token_can_be_told_by_a_uri(site: TokenSite, token: str, told: str) -> None:
    serial = site.place.told("serial num")
    site.write(f"token: 'pkcs11:serial={serial}'")
    assert site.run().result is Result.ENROLLED
    site.write(f"token: '{token}'")
    with pytest.raises((KeystoreError, ConfigError), match=told):
        site.context().configured.keystore.read()


def test_a_module_that_is_none_is_said(site: TokenSite, tmp_path: Path) -> None:
    module = tmp_path / "module.so"
    module.write_bytes(b"\x7fELF" + os.urandom(64))
    site.write(f"module: {module}")
    outcome = site.run()
    assert outcome.result is Result.FAILED
    assert "module.so does not load" in str(outcome.message)


def test_a_pointer_that_was_lost_is_written_again(site: TokenSite) -> None:
    site.run(Wish.NOW)
    pointer, before = site.uri.read_text(), site.place.objects()
    site.uri.unlink()
    assert site.run(Wish.NOW).result is Result.ADJUSTED
    assert site.uri.read_text() == pointer
    assert site.place.objects() == before
    assert len(site.ca.issued()) == 1
