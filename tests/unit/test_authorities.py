"""Authorities against a lab CA: contacted once, believed by the pins, remembered on the disk."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from certagent import certificate as facts
from certagent import keys, state
from certagent.config.authority import Authority
from certagent.config.values import Capability, Fingerprint, Weak
from certagent.errors import CertagentError, ConfigError, StateError, TransientError, TrustError
from certagent.lab import Call, HttpAnswer, LabCA, LabServer, Settings, serve
from certagent.scep import Capabilities
from certagent.trust.authorities import Authorities
from certagent.trust.memory import pins

from .pki import party, rsa_key

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
WRONG = Fingerprint("sha256", b"\0" * 32)


class Lab(LabCA):
    """Counts what it is asked, and can claim less than it can do; or answer GetCACaps with the error `silent`."""

    asked: list[str]
    words: Sequence[str] | None = None
    silent = 0

    def respond_http(self, call: Call) -> HttpAnswer:
        self.asked.append(call.operation)
        if self.silent and call.operation == "GetCACaps":
            return HttpAnswer(self.silent, "text/plain", b"no\n", "silent")
        return super().respond_http(call)

    def capabilities(self) -> Sequence[str]:
        return super().capabilities() if self.words is None else self.words


MakeLab = Callable[..., LabServer]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[MakeLab]:
    with ExitStack() as stack:

        def make(**settings: object) -> LabServer:
            directory = tmp_path / "lab"
            directory.mkdir()
            for role in ("ca", "ra-signing", "ra-encryption") if settings.get("ra") else ("ca",):
                (directory / f"{role}.key").write_bytes(keys.to_pem(rsa_key(role)))
            ca = Lab(directory, lambda: NOW, Settings(challenge="x", **settings))  # type: ignore[arg-type]  # its words
            ca.asked = []
            return stack.enter_context(serve(ca))

        yield make


def fingerprint(server: LabServer) -> Fingerprint:
    return facts.fingerprint(server.ca.generation.issuer.certificate)


def authority(server: LabServer, pinned: Fingerprint | None = None) -> Authority:
    return Authority(url=server.url, fingerprint=pinned or fingerprint(server))


def asked(server: LabServer) -> list[str]:
    assert isinstance(server.ca, Lab)
    return server.ca.asked


def claim(server: LabServer, *words: str) -> None:
    assert isinstance(server.ca, Lab)
    server.ca.words = words


def tree(directory: Path) -> dict[str, int]:
    return {str(path.relative_to(directory)): stat.S_IMODE(path.stat().st_mode) for path in directory.rglob("*")}


def test_an_authority_is_contacted_once_a_run(lab: MakeLab, tmp_path: Path) -> None:
    server = lab()
    known = Authorities({"corp": authority(server)}, tmp_path / "state")
    contact = known.contact("corp", NOW)
    assert contact is known.contact("corp", NOW)
    assert asked(server) == ["GetCACert", "GetCACaps"]
    assert contact.believed.issuer == contact.believed.recipient == server.ca.generation.issuer.certificate
    assert contact.capabilities.post
    assert contact.capabilities.renewal


def test_what_is_remembered_is_private(lab: MakeLab, tmp_path: Path) -> None:
    server = lab(ra=True)
    contact = Authorities({"corp": authority(server)}, tmp_path / "state").contact("corp", NOW)
    assert tree(tmp_path / "state") == {
        "authorities": 0o700,
        "authorities/corp": 0o700,
        "authorities/corp/lock": 0o600,
        "authorities/corp/authority.json": 0o600,
        "authorities/corp/ca.pem": 0o600,
        "authorities/corp/ra.pem": 0o600,
    }
    directory = tmp_path / "state" / "authorities" / "corp"
    assert facts.load_pem((directory / "ca.pem").read_bytes(), "ca.pem") == (contact.believed.issuer,)
    ras = set(facts.load_pem((directory / "ra.pem").read_bytes(), "ra.pem"))
    generation = server.ca.generation
    assert ras == {generation.signer.certificate, generation.recipient.certificate}
    memory = json.loads((directory / "authority.json").read_text())
    assert (memory["version"], memory["url"]) == (1, server.url)
    assert memory["issuer"] == str(fingerprint(server))


def test_what_another_process_writes_after_the_look_was_not_seen(lab: MakeLab, tmp_path: Path) -> None:
    """Two workers at once: the one that looked before the other learnt of a next CA must not claim to know of it."""
    authorities = Authorities({"corp": authority(lab())}, tmp_path / "state")
    directory = tmp_path / "state" / "authorities" / "corp"
    assert authorities.seen("corp") == state.signature_of(directory) == ""
    authorities.contact("corp", NOW)
    authorities.known("corp")
    seen = authorities.seen("corp")
    assert seen == state.signature_of(directory) != ""
    (directory / "next-ca.pem").write_bytes((directory / "ca.pem").read_bytes())
    authorities.known("corp")
    assert authorities.seen("corp") == seen != state.signature_of(directory)


def test_an_ra_that_is_gone_is_forgotten(lab: MakeLab, tmp_path: Path) -> None:
    server = lab()
    directory = tmp_path / "state" / "authorities" / "corp"
    directory.mkdir(parents=True)
    (directory / "ra.pem").write_bytes(b"old")
    Authorities({"corp": authority(server)}, tmp_path / "state").contact("corp", NOW)
    assert not (directory / "ra.pem").exists()


def test_looking_only_leaves_the_disk_as_it_is(lab: MakeLab, tmp_path: Path) -> None:
    Authorities({"corp": authority(lab())}, tmp_path / "state").contact("corp", NOW, remember=False)
    assert not (tmp_path / "state").exists()


def test_a_wrong_fingerprint_is_told_each_time_and_asked_once(lab: MakeLab, tmp_path: Path) -> None:
    server = lab()
    known = Authorities({"corp": authority(server, WRONG)}, tmp_path / "state")
    for _ in range(3):
        with pytest.raises(TrustError, match="not the configured one"):
            known.contact("corp", NOW)
    assert asked(server) == ["GetCACert"]
    assert not (tmp_path / "state").exists()


def test_a_ca_that_is_down_is_waited_for_once_and_no_other_suffers(lab: MakeLab, tmp_path: Path) -> None:
    server = lab()
    down = Authority(url="http://127.0.0.1:9/scep", fingerprint=WRONG)
    known = Authorities({"down": down, "corp": authority(server)}, tmp_path / "state")
    errors: list[CertagentError] = []
    for _ in range(2):
        with pytest.raises(TransientError, match=r"127\.0\.0\.1:9 cannot be reached") as caught:
            known.contact("down", NOW)
        errors.append(caught.value)
    assert errors[0] is errors[1]
    assert known.contact("corp", NOW).believed


@pytest.mark.parametrize(
    ("before", "now", "lost"),
    [
        pytest.param(("AES", "SHA-256"), ("DES3", "SHA-256"), "AES", id="AES"),
        pytest.param(("AES", "SHA-256"), ("AES", "SHA-1"), "SHA-256", id="SHA-256"),
        pytest.param(("SCEPStandard",), (), "AES, SHA-256", id="everything"),
        pytest.param(("AES", "SHA-256", "SHA-512"), ("AES", "SHA-512"), "", id="one good digest is left"),
        pytest.param(("AES", "SHA-256", "Renewal"), ("AES", "SHA-256"), "", id="what weakens nothing"),
        pytest.param((), ("AES",), "", id="more than before"),
    ],
)
def test_a_downgrade_between_runs_is_refused(
    lab: MakeLab, tmp_path: Path, before: tuple[str, ...], now: tuple[str, ...], lost: str
) -> None:
    server = lab()
    corp = {"corp": authority(server)}
    claim(server, *before)
    Authorities(corp, tmp_path / "state").contact("corp", NOW)
    claim(server, *now)
    if not lost:
        Authorities(corp, tmp_path / "state").contact("corp", NOW)
        return
    for _ in range(2):  # what was refused is not remembered
        with pytest.raises(TrustError, match=f"corp no longer offers {lost},") as caught:
            Authorities(corp, tmp_path / "state").contact("corp", NOW)
    memory = tmp_path / "state" / "authorities" / "corp" / "authority.json"
    assert str(memory) in caught.value.hint
    memory.unlink()
    Authorities(corp, tmp_path / "state").contact("corp", NOW)


@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_capabilities_that_alone_are_not_told_are_no_downgrade(lab: MakeLab, tmp_path: Path, status: int) -> None:
    """What it could before counts, and is kept; and a downgrade is one still."""
    server = lab()
    corp, state_dir = {"corp": authority(server)}, tmp_path / "state"
    could = Authorities(corp, state_dir).contact("corp", NOW).capabilities
    assert isinstance(server.ca, Lab)
    server.ca.silent = status
    for _ in range(2):
        contact = Authorities(corp, state_dir).contact("corp", NOW)
        assert contact.capabilities == could
        assert [each.text for each in contact.news] == [
            "corp does not say what it supports (GetCACaps); certagent uses what it supported before"
        ]
    server.ca.silent = 0
    claim(server, "DES3")
    with pytest.raises(TrustError, match="no longer offers"):
        Authorities(corp, state_dir).contact("corp", NOW)


def test_a_ca_that_never_told_its_capabilities_is_not_told_of_each_time(lab: MakeLab, tmp_path: Path) -> None:
    server = lab()
    assert isinstance(server.ca, Lab)
    server.ca.silent = 404
    for _ in range(2):
        news = Authorities({"corp": authority(server)}, tmp_path / "state").contact("corp", NOW).news
        assert not any("GetCACaps" in each.text for each in news)


SAYS: tuple[Capability, ...] = ("aes", "sha256", "post", "renewal")


def test_a_ca_is_not_asked_for_what_a_person_said(lab: MakeLab, tmp_path: Path) -> None:
    """It may answer nothing, or something wrong; and what it never said is not remembered as its word."""
    server = lab()
    claim(server, "DES3", "Renewal")
    corp = authority(server)
    said = {"corp": msgspec.structs.replace(corp, capabilities=SAYS)}
    for _ in range(2):
        contact = Authorities(said, tmp_path / "state").contact("corp", NOW)
        assert contact.capabilities == Capabilities.configured(SAYS)
        assert contact.news == ()
    assert asked(server) == ["GetCACert"] * 2
    unsaid = Authorities({"corp": corp}, tmp_path / "state").contact("corp", NOW)  # no downgrade
    assert unsaid.capabilities == Capabilities(frozenset({"DES3", "Renewal"}))


@pytest.mark.parametrize(
    ("claims", "accept", "told"),
    [
        pytest.param(("AES", "SHA-256"), (), "", id="both"),
        pytest.param(("SCEPStandard",), (), "", id="both in one word"),
        pytest.param((), (), "AES and SHA-256; requests use 3DES and SHA-1", id="neither"),
        pytest.param(("AES", "SHA-1"), (), "SHA-256; requests use SHA-1", id="no SHA-256"),
        pytest.param(("SHA-512",), (), "AES; requests use 3DES", id="no AES"),
        pytest.param((), ("sha1",), "AES; requests use 3DES", id="one of them accepted"),
        pytest.param((), ("sha1", "3des"), "", id="both accepted"),
    ],
)
def test_what_is_weak_for_want_of_a_word_is_told(
    lab: MakeLab, tmp_path: Path, claims: tuple[str, ...], accept: tuple[Weak, ...], told: str
) -> None:
    server = lab()
    claim(server, *claims)
    corp = msgspec.structs.replace(authority(server), accept=accept)
    news = Authorities({"corp": corp}, tmp_path / "state").contact("corp", NOW).news
    assert [each.text for each in news] == ([f"corp does not announce {told}"] if told else [])
    assert all("`capabilities: [aes, sha256, post, renewal]`" in each.hint for each in news)


def test_another_url_has_no_past(lab: MakeLab, tmp_path: Path) -> None:
    server = lab()
    Authorities({"corp": authority(server)}, tmp_path / "state").contact("corp", NOW)
    claim(server, "DES3")
    another = server.url.replace("127.0.0.1", "127.1")  # the same address, and no line of /etc/hosts is needed
    moved = Authority(url=another, fingerprint=fingerprint(server))
    assert not Authorities({"corp": moved}, tmp_path / "state").contact("corp", NOW).capabilities.post


SPOILT = [
    pytest.param("authority.json", b"", id="empty"),
    pytest.param("authority.json", b"\0" * 64, id="zeros"),
    pytest.param("authority.json", b'{"version": 1, "url": 7}', id="of another shape"),
    pytest.param(
        "authority.json",
        b'{"version": 1, "url": "http://x/", "capabilities": [], "issuer": "", "ras": ["sha256:00"]}',
        id="no fingerprint",
    ),
    pytest.param("ca.pem", b"", id="the CA's file empty"),
    pytest.param("ca.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n", id="the CA's file cut"),
    pytest.param("old-ca.pem", b"\0" * 64, id="an earlier CA's file zeros"),
    pytest.param("next-ca.pem", b"", id="the next CA's file empty"),
]


@pytest.mark.parametrize(("file", "content"), SPOILT)
def test_a_damaged_memory_is_set_aside_told_and_made_again(
    lab: MakeLab, tmp_path: Path, file: str, content: bytes
) -> None:
    corp = {"corp": authority(lab())}
    Authorities(corp, tmp_path / "state").contact("corp", NOW)
    memory = tmp_path / "state" / "authorities" / "corp"
    (memory / file).write_bytes(content)
    for remember in (False, True):  # as `check` looks, and a worker
        contact = Authorities(corp, tmp_path / "state").contact("corp", NOW, remember=remember)
        [told] = [each.text for each in contact.news]
        assert told.startswith(str(memory / file))
        assert told.endswith("certagent rebuilds what it knew about corp")
        assert (memory / f"{file}.damaged").exists() is remember
    assert (memory / f"{file}.damaged").read_bytes() == content
    assert Authorities(corp, tmp_path / "state").contact("corp", NOW).news == ()
    assert Authorities(corp, tmp_path / "state").known("corp") is not None


def test_what_the_pins_do_not_prove_is_not_believed_for_a_damaged_memory(lab: MakeLab, tmp_path: Path) -> None:
    server = lab()
    Authorities({"corp": authority(server)}, tmp_path / "state").contact("corp", NOW)
    memory = tmp_path / "state" / "authorities" / "corp" / "authority.json"
    memory.write_bytes(b"")
    with pytest.raises(TrustError) as caught:
        Authorities({"corp": authority(server, WRONG)}, tmp_path / "state").contact("corp", NOW)
    assert f"{memory} is damaged" in caught.value.hint
    assert memory.read_bytes() == b""


def test_a_newer_memory_is_left_alone(lab: MakeLab, tmp_path: Path) -> None:
    corp = {"corp": authority(lab())}
    Authorities(corp, tmp_path / "state").contact("corp", NOW)
    memory = tmp_path / "state" / "authorities" / "corp" / "authority.json"
    newer = b'{"version": 99}'
    memory.write_bytes(newer)
    with pytest.raises(StateError, match="newer certagent"):
        Authorities(corp, tmp_path / "state").contact("corp", NOW)
    assert memory.read_bytes() == newer


def test_a_memory_that_cannot_be_read_is_told_in_its_own_words(lab: MakeLab, tmp_path: Path) -> None:
    corp = {"corp": authority(lab())}
    Authorities(corp, tmp_path / "state").contact("corp", NOW)
    memory = tmp_path / "state" / "authorities" / "corp" / "ca.pem"
    memory.unlink()
    memory.mkdir()
    with pytest.raises(StateError, match=r"ca\.pem cannot be read: Is a directory"):
        Authorities(corp, tmp_path / "state").contact("corp", NOW)


def test_trust_anchors_are_read_from_their_files(tmp_path: Path) -> None:
    one, two, three = (party(name, ca=True).certificate for name in ("one", "two", "three"))
    (tmp_path / "a.pem").write_bytes(facts.to_pem([one, two]))
    (tmp_path / "b.pem").write_bytes(facts.to_pem([three]))
    files = (str(tmp_path / "a.pem"), str(tmp_path / "b.pem"))
    found = pins(Authority(url="http://127.0.0.1/", trust_anchor=files, accept=("sha1",)))
    assert (found.anchors, found.fingerprints, found.accept) == ((one, two, three), (), frozenset({"sha1"}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(None, "No such file", id="missing"),
        pytest.param(b"hello", "holds no certificate", id="no certificate"),
    ],
)
def test_a_trust_anchor_that_is_none(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "root.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        pins(Authority(url="http://127.0.0.1/", trust_anchor=str(file)))
    assert caught.value.hint
