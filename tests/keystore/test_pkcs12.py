"""PKCS#12 files as Java and OpenSSL write and read them, and what else they may hold."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import core, pkcs12
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from certagent import keys
from certagent.certificate import to_pem
from certagent.errors import KeystoreError
from certagent.keys import PrivateKey
from certagent.keystore import pkcs12_codec
from certagent.keystore.base import Identity, Shadow
from tests.cost import cost

from .drivers import SECRET, Driver, Host, carry_out
from .pki import make_pki

PASSWORD = SECRET.decode()


def host_of(tmp_path: Path, **layout: Any) -> Host:
    def keys_of(root: Path) -> dict[str, Any]:
        return {"type": "pkcs12", "file": f"{root}/etc/web.p12", "password": {"file": f"{root}/secret"}, **layout}

    return Host(tmp_path / "host", Driver(keys_of, lambda _root: None))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return host_of(tmp_path)


def file_of(host: Host) -> Path:
    return host.etc / "web.p12"


def run(*argv: str | Path) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def keytool(command: str, host: Host, *words: str | Path) -> str:
    return run("keytool", "-J-Duser.language=en", command, "-keystore", file_of(host), "-storepass", PASSWORD, *words)


def entries(host: Host) -> dict[str, str]:
    """Java's aliases and what each stands for."""
    lines = [line.split(", ") for line in keytool("-list", host).splitlines() if "Entry" in line]
    return {words[0]: next(word for word in words if word.endswith("Entry")) for words in lines}


def exported(host: Host, identity: Identity, *options: str) -> None:
    """The identity as openssl writes it."""
    key, chain = host.root / "key.pem", host.root / "chain.pem"
    key.write_bytes(keys.to_pem(identity.key))
    chain.write_bytes(to_pem((identity.certificate, *identity.chain[:1])))
    words = ["-inkey", str(key), "-in", str(chain), "-out", str(file_of(host)), "-passout", f"pass:{PASSWORD}"]
    run("openssl", "pkcs12", "-export", *words, *options)


def renew(host: Host, identity: Identity) -> None:
    shadow = Shadow("new", identity.key, identity.certificate, identity.chain)
    carry_out(host.keystore.plan_activation(shadow, make_pki().trusted))


def certificate_in_place(host: Host) -> x509.Certificate | None:
    return host.keystore.read_certificate()


def anchor(host: Host) -> Path:
    path = host.root / "anchor.pem"
    path.write_bytes(to_pem(make_pki().trusted))
    return path


@pytest.mark.needs("keytool")
class TestJava:
    def test_reads_what_is_written(self, host: Host) -> None:
        host.activate("one")
        assert entries(host) == {"web": "PrivateKeyEntry"}
        shown = keytool("-list", host, "-v")
        assert "Certificate chain length: 2" in shown
        certificate = keytool("-exportcert", host, "-alias", "web", "-rfc")
        found = certificate_in_place(host)
        assert found
        assert x509.load_pem_x509_certificate(certificate.encode()) == found

    @pytest.mark.slow
    def test_finds_everything_else_as_it_was_after_a_renewal(self, tmp_path: Path) -> None:
        host = host_of(tmp_path, friendly_name="App")
        for name, algorithm in (("app", "RSA"), ("other", "EC")):
            keytool("-genkeypair", host, "-alias", name, "-keyalg", algorithm, "-dname", f"CN={name}")
        keytool("-importcert", host, "-noprompt", "-alias", "anchor", "-file", anchor(host))
        keytool("-genseckey", host, "-alias", "secret", "-keyalg", "AES", "-keysize", "128")
        other = keytool("-exportcert", host, "-alias", "other", "-rfc")
        renew(host, make_pki().new)
        renew(host, make_pki().rsa)
        assert entries(host) == {
            "app": "PrivateKeyEntry",
            "other": "PrivateKeyEntry",
            "anchor": "trustedCertEntry",
            "secret": "SecretKeyEntry",
        }
        assert keytool("-exportcert", host, "-alias", "other", "-rfc") == other
        assert certificate_in_place(host) == make_pki().rsa.certificate
        keytool("-certreq", host, "-alias", "other")  # its key opens still

    def test_keeps_its_trust_anchors_at_a_first_enrollment(self, host: Host) -> None:
        keytool("-importcert", host, "-noprompt", "-alias", "anchor", "-file", anchor(host))
        file_of(host).chmod(0o644)
        assert host.keystore.read() is None
        host.activate("one")
        assert entries(host) == {"web": "PrivateKeyEntry", "anchor": "trustedCertEntry"}
        assert file_of(host).stat().st_mode & 0o777 == 0o600  # the mode of a truststore is not handed on to a key

    def test_files_of_old_java_are_read_and_written_back_modern(self, host: Host) -> None:
        keytool("-genkeypair", host, "-J-Dkeystore.pkcs12.legacy", "-alias", "app", "-keyalg", "RSA", "-dname", "CN=a")
        assert certificate_in_place(host)
        renew(host, make_pki().new)
        assert entries(host) == {"app": "PrivateKeyEntry"}
        modern(host)

    def test_a_mark_of_trust_that_cannot_be_read_is_not_lost(self, host: Host) -> None:
        legacy = "-J-Dkeystore.pkcs12.legacy"
        keytool("-genkeypair", host, legacy, "-alias", "app", "-keyalg", "RSA", "-dname", "CN=a")
        keytool("-importcert", host, legacy, "-noprompt", "-alias", "anchor", "-file", anchor(host))
        with pytest.raises(KeystoreError, match="RC2 and holds certificates that are not part") as caught:
            host.keystore.read()
        assert "keytool -importkeystore" in caught.value.hint


def modern(host: Host) -> None:
    words = ["-in", str(file_of(host)), "-passin", f"pass:{PASSWORD}", "-noout", "-info"]
    done = subprocess.run(["openssl", "pkcs12", *words], capture_output=True, text=True, check=True)
    assert done.stderr.count("PBES2, PBKDF2, AES-256-CBC, Iteration 20000, PRF hmacWithSHA256") == 2
    assert "MAC: sha256, Iteration 20000" in done.stderr
    assert "SHA1" not in done.stderr


@pytest.mark.needs("openssl")
class TestOpenssl:
    def test_reads_what_is_written(self, host: Host) -> None:
        shadow = host.activate("one")
        modern(host)
        words = ["pkcs12", "-in", str(file_of(host)), "-passin", f"pass:{PASSWORD}", "-nodes"]
        text = run("openssl", *words)
        assert keys.match(keys.load_private(text.encode(), None, "openssl"), shadow.key.public_key())
        assert x509.load_pem_x509_certificates(text.encode()) == [
            shadow.certificate,
            make_pki().intermediate.certificate,
        ]
        assert "friendlyName: web" in text

    @pytest.mark.parametrize(
        "options",
        [
            pytest.param([], id="AES-256"),
            pytest.param(["-keypbe", "AES-128-CBC", "-certpbe", "AES-192-CBC", "-macalg", "sha512"], id="AES-128"),
            pytest.param(["-legacy"], id="RC2 and 3DES"),
            pytest.param(["-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES", "-macalg", "sha1"], id="3DES"),
            pytest.param(["-keypbe", "NONE", "-certpbe", "NONE"], id="not encrypted"),
            pytest.param(["-nomac"], id="no MAC"),
        ],
    )
    def test_files_of_every_age_are_read_and_written_back_modern(self, host: Host, options: Sequence[str]) -> None:
        exported(host, make_pki().old, "-name", "Old Name", *options)
        found = host.keystore.read()
        assert found
        assert found.certificate == make_pki().old.certificate
        assert found.chain == (make_pki().intermediate.certificate,)
        assert keys.match(found.key, make_pki().old.key.public_key())
        renew(host, make_pki().new)
        modern(host)
        assert pkcs12_codec.load(file_of(host).read_bytes(), SECRET, "")[-1].name == "Old Name"

    def test_a_form_that_is_unknown_is_said_so(self, host: Host) -> None:
        exported(host, make_pki().old, "-certpbe", "camellia-256-cbc")
        with pytest.raises(KeystoreError, match="encrypted with Camellia-256, which certagent does not know") as caught:
            host.keystore.read()
        assert "AES" in caught.value.hint

    def test_further_certificates_stay(self, host: Host) -> None:
        more = host.root / "more.pem"
        more.write_bytes(to_pem([make_pki().rsa.certificate]))
        exported(host, make_pki().old, "-certfile", str(more), "-caname", "kept")
        renew(host, make_pki().new)
        kept = [bag.certificate for bag in pkcs12_codec.load(file_of(host).read_bytes(), SECRET, "") if bag.certificate]
        assert make_pki().rsa.certificate in kept
        assert make_pki().old.certificate not in kept
        assert kept.count(make_pki().intermediate.certificate) == 1


def two(first: Identity, second: Identity) -> bytes:
    entries = [
        pkcs12_codec.entry(each.key, (each.certificate,), name, SECRET) for each, name in ((first, "a"), (second, "B"))
    ]
    return pkcs12_codec.dump([bag for bags in entries for bag in bags], SECRET)


class TestSelection:
    def test_of_several_keys_one_must_be_named(self, host: Host) -> None:
        file_of(host).write_bytes(two(make_pki().old, make_pki().rsa))
        with pytest.raises(KeystoreError, match="holds 2 private keys") as caught:
            host.keystore.read()
        assert caught.value.hint == "set friendly_name to one of: B, a"

    @pytest.mark.parametrize(("name", "index"), [("a", 0), ("b", 1)], ids=["as written", "in Java's small letters"])
    def test_the_name_selects_and_the_other_stays(self, tmp_path: Path, name: str, index: int) -> None:
        host = host_of(tmp_path, friendly_name=name)
        both = (make_pki().old, make_pki().rsa)
        file_of(host).write_bytes(two(*both))
        assert certificate_in_place(host) == both[index].certificate
        before = pkcs12_codec.load(file_of(host).read_bytes(), SECRET, "")
        renew(host, make_pki().new)
        after = pkcs12_codec.load(file_of(host).read_bytes(), SECRET, "")
        assert {bag for bag in before if bag.name.casefold() != name} <= set(after)
        assert certificate_in_place(host) == make_pki().new.certificate

    def test_a_name_that_is_not_there_is_enrolled_beside_the_others(self, tmp_path: Path) -> None:
        host = host_of(tmp_path, friendly_name="c")
        file_of(host).write_bytes(two(make_pki().old, make_pki().rsa))
        assert host.keystore.read() is None
        host.activate("one")
        assert sorted(
            bag.name for bag in pkcs12_codec.load(file_of(host).read_bytes(), SECRET, "") if bag.kind == "key"
        ) == [
            "B",
            "a",
            "c",
        ]

    def test_a_key_without_any_certificate_is_no_identity_and_gives_way(self, host: Host) -> None:
        file_of(host).write_bytes(pkcs12_codec.dump(pkcs12_codec.entry(make_pki().old.key, (), "app", SECRET), SECRET))
        assert host.keystore.read() is None
        host.activate("one")
        [key] = (bag for bag in pkcs12_codec.load(file_of(host).read_bytes(), SECRET, "") if bag.kind == "key")
        assert key.name == "app"


def test_the_password_is_fetched_once(host: Host) -> None:
    calls = host.root / "calls"
    script = host.root / "ask"
    script.write_text(f"#!/bin/sh\necho asked >> {calls}\ncat {host.secret}\n")
    script.chmod(0o700)
    host.activate("one")
    asking = host_of(host.root / "second", password={"command": [str(script)]})
    file_of(asking).write_bytes(file_of(host).read_bytes())
    keystore = asking.keystore
    keystore.read()
    keystore.create_shadow("two", None)
    assert calls.read_text() == "asked\n"


def test_a_link_stays_and_the_file_behind_it_is_replaced(host: Host) -> None:
    host.activate("one")
    file_of(host).rename(host.etc / "real.p12")
    file_of(host).symlink_to("real.p12")
    shadow = host.activate("two")
    assert file_of(host).is_symlink()
    assert certificate_in_place(host) == shadow.certificate


# The format


def small() -> tuple[PrivateKey, x509.Certificate]:
    return make_pki().old.key, make_pki().old.certificate


@pytest.mark.parametrize("password", ["x", "pass wörd", "密碼", "a" * 300], ids=["short", "umlaut", "Chinese", "long"])
@pytest.mark.parametrize("name", ["web", "Größe 密", "🔑"])
def test_passwords_and_names_come_back(password: str, name: str) -> None:
    key, certificate = small()
    made = pkcs12_codec.dump(pkcs12_codec.entry(key, (certificate,), name, password.encode()), password.encode())
    bags = pkcs12_codec.load(made, password.encode(), "it")
    assert {bag.name for bag in bags} == {name}
    assert len({bag.local_id for bag in bags}) == 1
    [key_bag] = (bag for bag in bags if bag.kind == "key")
    assert keys.match(pkcs12_codec.private_key(key_bag, password.encode(), "it"), certificate.public_key())


@pytest.fixture(scope="module")
def sample() -> bytes:
    key, certificate = small()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pkcs12_codec, "ROUNDS", 2)
        return pkcs12_codec.dump(pkcs12_codec.entry(key, (certificate,), "web", SECRET), SECRET)


def _mac_rounds(file: Any) -> None:
    file["mac_data"]["iterations"] = 1 << 40


def _encryption_rounds(file: Any) -> None:
    del file["mac_data"]
    parts = file.authenticated_safe
    algorithm = parts[0]["content"]["encrypted_content_info"]["content_encryption_algorithm"]
    algorithm["parameters"]["key_derivation_func"]["parameters"]["iteration_count"] = 1 << 30
    file["auth_safe"]["content"] = core.OctetString(parts.dump(force=True))


@pytest.mark.parametrize("change", [_mac_rounds, _encryption_rounds])
def test_more_rounds_than_anybody_needs_are_refused_at_once(sample: bytes, change: Callable[[Any], None]) -> None:
    file = pkcs12.Pfx.load(sample)
    change(file)
    hostile = file.dump(force=True)

    def load() -> None:
        with pytest.raises(KeystoreError, match=r"damaged|cannot be decrypted"):
            pkcs12_codec.load(hostile, SECRET, "it")

    assert cost(load) < 100


@given(data=st.data())
def test_a_changed_byte_is_noticed_or_of_no_importance(sample: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(sample) - 1))
    value = data.draw(st.integers(0, 255))
    changed = sample[:at] + bytes([value]) + sample[at + 1 :]
    try:
        bags = pkcs12_codec.load(changed, SECRET, "it")
    except KeystoreError:
        return
    assert bags == pkcs12_codec.load(sample, SECRET, "it")


@given(content=st.binary(max_size=200))
def test_rubbish_is_a_keystore_error(content: bytes) -> None:
    with pytest.raises(KeystoreError):
        pkcs12_codec.load(content, SECRET, "it")
