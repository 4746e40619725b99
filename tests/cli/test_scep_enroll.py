"""`certagent scep enroll`: first certificates and successors, pending ones, keys and files, in a script's way."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certagent import certificate as facts
from certagent import keys
from certagent.config.key_types import KeyType
from certagent.errors import RejectedError
from certagent.lab import Answer, LabCA, Settings, serve
from certagent.scep import MessageType, Request, build_csr
from tests.renewal.site import openssl
from tests.waiting import until

from .hand import Hand, Words


@pytest.fixture
def key() -> keys.PrivateKey:
    """A key of its own for each test: it names the transaction."""
    return keys.generate(KeyType.RSA_2048)


@pytest.fixture
def manual(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> Iterator[Hand]:
    """Before a CA where a person approves."""
    settings = Settings(challenge="open sesame", manual=True)
    with serve(LabCA(tmp_path_factory.mktemp("manual"), lambda: datetime.now(UTC), settings)) as server:
        yield Hand(tmp_path, server, capsys)


def approve(hand: Hand) -> None:
    for waiting in hand.server.ca.store.all_waiting():
        hand.server.ca.store.decide(waiting, "approved")


# ── what comes out ────────────────────────────────────────────────────────────────────────────────


def test_a_first_certificate_with_a_new_key(hand: Hand) -> None:
    said = hand.enroll()
    assert hand.path("web.key").stat().st_mode & 0o777 == 0o600
    assert hand.path("web.pem").stat().st_mode & 0o777 == 0o644
    assert keys.match(hand.key(), hand.certificate().public_key())
    assert hand.certificate().subject.rfc4514_string() == "CN=web.example.net,O=Example"
    assert facts.alternative_names(hand.certificate()) == {"dns:web.example.net"}
    assert said.out.startswith("issued:\nCN=web.example.net,O=Example, serial ")


def test_an_existing_key_is_used_and_left_as_it_is(hand: Hand, key: keys.PrivateKey) -> None:
    hand.path("web.key").write_bytes(keys.to_pem(key))
    hand.enroll()
    assert hand.path("web.key").read_bytes() == keys.to_pem(key)
    assert keys.match(key, hand.certificate().public_key())


def test_a_key_in_der_will_do(hand: Hand, key: keys.PrivateKey) -> None:
    hand.path("web.key").write_bytes(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
    hand.enroll()
    assert keys.match(key, hand.certificate().public_key())


def test_an_elliptic_key(hand: Hand) -> None:
    hand.enroll("--key-type", "ec:p256")
    assert isinstance(hand.key(), ec.EllipticCurvePrivateKey)
    assert keys.match(hand.key(), hand.certificate().public_key())


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_a_request_made_elsewhere(hand: Hand, key: keys.PrivateKey, encoding: Encoding) -> None:
    hand.path("web.key").write_bytes(keys.to_pem(key))
    name = x509.Name.from_rfc4514_string("CN=made elsewhere")
    csr = x509.load_der_x509_csr(build_csr(key, name, san=None, challenge="open sesame"))
    hand.path("web.csr").write_bytes(csr.public_bytes(encoding))
    words: Words = ["--key", hand.path("web.key"), "--request", hand.path("web.csr"), "--out", hand.path("web.pem")]
    hand.trusted("enroll", *words)
    assert hand.certificate().subject == name


def test_a_pipeline_from_stdin_to_stdout(hand: Hand, key: keys.PrivateKey, root: Path) -> None:
    """openssl req | certagent scep enroll | openssl x509."""
    hand.path("web.key").write_bytes(keys.to_pem(key))
    name = x509.Name.from_rfc4514_string("CN=piped")
    csr = x509.load_der_x509_csr(build_csr(key, name, san=None, challenge="open sesame"))
    words = ["--key", str(hand.path("web.key")), "--request", "-", "--der", "--fingerprint", hand.fingerprint]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "certagent", "scep", "enroll", "--url", hand.server.url, *words],
        input=csr.public_bytes(Encoding.PEM),
        capture_output=True,
        check=True,
        cwd=root,
    )
    shown = openssl("x509", "-inform", "DER", "-noout", "-subject", "-nameopt", "RFC2253", stdin=done.stdout)
    assert shown.strip() == "subject=CN=piped"


def test_a_renewal_takes_subject_and_names_from_the_certificate_in_place(hand: Hand) -> None:
    hand.enroll()
    hand.trusted("enroll", *hand.pair, "--key", hand.path("new.key"), "--out", hand.path("new.pem"))
    before, after = hand.certificate(), hand.certificate("new.pem")
    assert after.subject == before.subject
    assert facts.alternative_names(after) == facts.alternative_names(before)
    assert after.serial_number != before.serial_number
    assert keys.match(hand.key("new.key"), after.public_key())
    assert hand.server.ca.issued()[-1].kind == "renewal"


def test_a_renewal_may_keep_its_key(hand: Hand) -> None:
    hand.enroll()
    hand.trusted("enroll", *hand.pair, "--key", hand.path("web.key"), "--out", hand.path("new.pem"))
    assert keys.match(hand.key(), hand.certificate("new.pem").public_key())


class OnlyPkcsReq(LabCA):
    """As EJBCA and OpenXPKI: Renewal is advertised, and refused."""

    def decide(self, request: Request) -> Answer:
        if request.message_type == MessageType.RENEWAL_REQ:
            raise RejectedError("no such message type", fail_info="badRequest")
        return super().decide(request)


def test_a_refused_renewalreq_is_asked_for_again_as_pkcsreq(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(challenge="open sesame")
    with serve(OnlyPkcsReq(tmp_path / "ca", lambda: datetime.now(UTC), settings)) as server:
        hand = Hand(tmp_path, server, capsys)
        hand.enroll()
        said = hand.trusted("enroll", *hand.pair, "--key", hand.path("new.key"), "--out", hand.path("new.pem"))
        assert "trying once more with PKCSReq" in said.err


# ── pending ───────────────────────────────────────────────────────────────────────────────────────


def test_pending_is_exit_code_3_and_the_same_command_goes_on(manual: Hand) -> None:
    assert "still pending" in manual.enroll("--poll-count", "0", code=3).err
    assert not manual.path("web.pem").exists()
    approve(manual)
    manual.enroll("--poll-count", "0")
    assert len(manual.server.ca.issued()) == 1


def test_it_polls_until_the_ca_has_decided(manual: Hand) -> None:
    def approve_once_it_waits() -> None:
        until(manual.server.ca.store.all_waiting)
        approve(manual)

    person = threading.Thread(target=approve_once_it_waits)
    person.start()
    said = manual.enroll("--poll-interval", "0.3")
    person.join()
    assert "asking again in 0.3 s" in said.err
    assert len(manual.server.ca.issued()) == 1


def test_it_gives_up_after_so_many_polls(manual: Hand) -> None:
    said = manual.enroll("--poll-interval", "0.05", "--poll-count", "2", code=3)
    assert said.err.count("asking again") == 2


def test_resume_polls_with_the_self_signed_certificate_of_before(manual: Hand) -> None:
    kept = manual.path("self.pem")
    manual.enroll("--poll-count", "0", "--self-signed", kept, code=3)
    before = kept.read_bytes()
    approve(manual)
    manual.enroll("--self-signed", kept, "--resume")
    assert kept.read_bytes() == before
    assert manual.server.ca.issued()[0].certificate == manual.certificate()


def test_a_pending_renewal_is_resumed(manual: Hand) -> None:
    manual.enroll("--poll-count", "0", code=3)
    approve(manual)
    manual.enroll()
    words = [*manual.pair, "--key", manual.path("new.key"), "--out", manual.path("new.pem")]
    manual.trusted("enroll", *words, "--poll-count", "0", code=3)
    approve(manual)
    manual.trusted("enroll", *words, "--resume")
    assert keys.match(manual.key("new.key"), manual.certificate("new.pem").public_key())


def test_a_rejection_is_told_in_words(manual: Hand) -> None:
    manual.enroll("--poll-count", "0", code=3)
    for waiting in manual.server.ca.store.all_waiting():
        manual.server.ca.store.decide(waiting, "rejected")
    assert "the CA refused: badRequest (the request was rejected by hand)" in manual.enroll(code=1).err


# ── trust, and files ──────────────────────────────────────────────────────────────────────────────


def test_without_trust_no_key_is_made_and_no_challenge_read(hand: Hand) -> None:
    words: Words = ["--key", hand.path("web.key"), "--subject", "CN=x", "--challenge-file", hand.path("not there")]
    assert "no trusted CA is given" in hand.scep("enroll", *words, code=2).err
    stranger = ["--fingerprint", "sha256:" + "00" * 32]
    assert "is not the configured one" in hand.scep("enroll", *words, *stranger, code=1).err
    assert not hand.path("web.key").exists()


def test_a_wrong_challenge_is_refused_and_not_repeated(hand: Hand) -> None:
    wrong = hand.path("wrong")
    wrong.write_text("tell nobody\n")
    said = hand.enroll("--challenge-file", wrong, code=1)
    assert "the challenge password is missing or wrong" in said.err
    assert "tell nobody" not in said.err
    assert not hand.path("web.pem").exists()


class OtherNames(LabCA):
    def issue(self, csr: x509.CertificateSigningRequest) -> x509.Certificate:
        name = x509.Name.from_rfc4514_string("CN=somebody else")
        other = build_csr(keys.generate(KeyType.RSA_2048), name, san=None, challenge=None)
        return super().issue(x509.load_der_x509_csr(other))


def test_a_certificate_that_was_not_asked_for_is_not_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(challenge="open sesame")
    with serve(OtherNames(tmp_path / "ca", lambda: datetime.now(UTC), settings)) as server:
        hand = Hand(tmp_path, server, capsys)
        assert "no certificate for our key" in hand.enroll(code=1).err
        assert not hand.path("web.pem").exists()


def test_an_encryption_certificate_of_ones_own_is_encrypted_to(hand: Hand) -> None:
    hand.enroll()
    said = hand.enroll("--encryption-certificate", hand.path("web.pem"), name="other", code=1)
    assert "HTTP 400" in said.err  # the lab cannot open it


@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param(["--key", "{}/k"], "there is nothing to request", id="nothing asked for"),
        pytest.param(["--key", "{}/k", "--subject", "web"], "is not an RFC 4514 name", id="subject"),
        pytest.param(["--key", "{}/k", "--san", "web"], "is not a name", id="san"),
        pytest.param(["--key", "{}/k", "--request", "{}/none"], "none: No such file", id="no request"),
        pytest.param(["--key", "{}/k", "--request", "/dev/null"], "no certificate request", id="empty request"),
        pytest.param(["--key", "{}/k", "--request", "x", "--subject", "CN=x"], "--request already contains", id="both"),
        pytest.param(
            ["--key", "{}/k", "--subject", "CN=x", "--out", "{}/k"], "would overwrite the key", id="out is key"
        ),
        pytest.param(["--key", "{}/k", "--subject", "CN=x", "--resume"], "--resume needs", id="resume what"),
        pytest.param(["--key", "{}/k", "--sign-key", "x"], "belong together", id="half a pair"),
    ],
)
def test_usage_errors(hand: Hand, words: list[str], told: str) -> None:
    said = hand.trusted("enroll", *(word.format(hand.root) for word in words), code=2)
    assert told in said.err
    assert not hand.path("k").exists()


def test_an_encrypted_key_is_not_asked_about(hand: Hand, key: keys.PrivateKey) -> None:
    hand.path("web.key").write_bytes(keys.to_pem(key, b"passphrase"))
    said = hand.enroll(code=1)
    assert "is encrypted" in said.err
    assert "without a passphrase" in said.err


# ── capture ───────────────────────────────────────────────────────────────────────────────────────


def test_a_capture_holds_the_messages_and_no_secret(hand: Hand) -> None:
    hand.enroll("--capture", hand.path("capture"))
    files = {each.name: each.read_bytes() for each in hand.path("capture").iterdir()}
    assert sorted(files) == [
        "01-GetCACert.reply.der",
        "02-GetCACaps.reply.txt",
        "03-PKIOperation.reply.der",
        "03-PKIOperation.request.der",
        "README",
    ]
    assert hand.path("capture").stat().st_mode & 0o777 == 0o700
    assert {each.stat().st_mode & 0o777 for each in hand.path("capture").iterdir()} == {0o600}
    key = hand.key()
    assert isinstance(key, rsa.RSAPrivateKey)
    prime = key.private_numbers().p.to_bytes(128, "big")
    for content in files.values():
        assert b"open sesame" not in content
        assert b"PRIVATE KEY" not in content
        assert prime not in content
        assert hand.certificate().public_bytes(Encoding.DER) not in content


@pytest.mark.needs("openssl")
def test_a_capture_can_be_looked_at_as_its_readme_says(hand: Hand) -> None:
    hand.enroll("--capture", hand.path("capture"))
    lines = hand.path("capture/README").read_text().splitlines()
    commands = [line.partition("  (")[0].split() for line in lines if line.startswith("    openssl")]
    del commands[2]  # for a bundle, and this CA sends one certificate
    numbers = {"PKIOperation": "03", "GetCACert": "01"}
    for _, *words, name in commands:
        operation = name.split("-")[1].split(".")[0]
        assert openssl(*words, str(hand.path("capture") / name.replace("NN", numbers[operation])))


def test_a_capture_keeps_http_errors_too(hand: Hand) -> None:
    hand.trusted("getnextca", "--capture", hand.path("capture"), code=1)
    assert hand.path("capture/03-GetNextCACert.reply-HTTP400.txt").read_text() == "unknown operation\n"


def test_a_capture_wants_a_directory_of_its_own(hand: Hand) -> None:
    hand.path("capture").mkdir()
    hand.path("capture/mine").touch()
    assert "is not empty" in hand.scep("getcaps", "--capture", hand.path("capture"), code=2).err
