"""The first table of docs/troubleshooting.md: each of its messages, provoked, in the words of the page."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from certagent import durable, keys
from certagent.cli.main import main
from certagent.config.key_types import KeyType
from certagent.transaction.journal import Phase

from .place import NOBODY, SUBJECT, Place

PAGE = Path(__file__).parents[2] / "docs" / "troubleshooting.md"
Step = Callable[[Place], object]


def keystore(line: str) -> Step:
    return lambda place: place.keystore.append(line)


def change(**values: str) -> Step:
    def make(place: Place) -> None:
        for name, value in values.items():
            setattr(place, name, value)

    return make


def wrong_challenge(place: Place) -> None:
    (place.root / "challenge").write_text("open barley\n")


def another_key(place: Place) -> None:
    place.put_living()
    place.files()[0].write_bytes(keys.to_pem(keys.generate(KeyType.EC_P256)))


def broken(place: Place) -> None:
    place.config.write_text(place.config.read_text().replace("type: pem", "type pem"))


def spelt(place: Place) -> None:
    place.config.write_text(place.config.read_text().replace("subject:", "subjct:"))


def nothing(_place: Place) -> None:
    pass


# What is wrong, the command, and what follows the configuration.
PROVOKED: dict[str, tuple[Step, tuple[str, ...], Step]] = {
    "... cannot be reached: ...": (change(url="http://127.0.0.1:9/scep"), ("enroll", "web"), nothing),
    "... answered HTTP ...: ...": (lambda p: setattr(p, "url", f"{p.url}/nix"), ("enroll", "web"), nothing),
    "the authority's CA is not the configured one: found ..., wanted ...": (
        change(fingerprint=NOBODY),
        ("enroll", "web"),
        nothing,
    ),
    "the CA refused the request: ...": (wrong_challenge, ("enroll", "web"), nothing),
    "vetoed: ...": (keystore("hooks: {pre: [['/bin/false']]}"), ("enroll", "web"), nothing),
    "... ... did not end within ... s and was killed": (
        keystore("hooks: {post: [{run: [/bin/sleep, '60'], timeout: 1s}]}"),
        ("enroll", "web"),
        nothing,
    ),
    "...; the ... hook failed and will be retried: ...": (
        keystore("hooks: {post: [['/bin/false']]}"),
        ("enroll", "web"),
        nothing,
    ),
    "the key in ... does not match the certificate in ...": (another_key, ("renew", "--force", "web"), nothing),
    "keystore ... has a certificate valid until ...": (lambda p: p.put_living(), ("enroll", "web"), nothing),
    "keystore ... has no subject or san to enroll with": (
        lambda p: p.keystore.clear(),
        ("enroll", "web"),
        nothing,
    ),
    "secret file ...: ...": (lambda p: (p.root / "challenge").unlink(), ("enroll", "web"), nothing),
    "the certificate lacks ..., ...": (keystore("extended_key_usage: [ocsp_signing]"), ("enroll", "web"), nothing),
    "is not valid YAML: ...": (nothing, ("check",), broken),
    "is not a known key": (nothing, ("check",), spelt),
}

# What needs more than a lab CA: another CA, a server, a user, a second process. By the test that provokes it.
ELSEWHERE = {
    "... did not answer within ... seconds": "scep/test_transport.py",
    "the consumer at ... still serves another certificate": "consumers/test_probe.py",
    "the certificate has names that were not requested: ...": "hostile/test_hostile_ca.py",
    "the CA issued ..., but ... was requested": "hostile/test_hostile_ca.py",
    "the CA protects its reply with ..., which is too weak to accept by default": "scep/test_hostile_replies.py",
    "requests cannot be encrypted: neither the CA nor an RA has an RSA key": "scep/test_key_transport.py",
    "... ..., like that of any device of this CA": "unit/test_ra_purposes.py",
    "... is not writable": "cli/test_check.py",
    "... belongs to user ..., and certagent runs as ...": "hostile/test_what_is_believed.py",
    "an agent is already running: ...": "agent/test_agent.py",
}
BUSY = "... is in use by process ..."


@pytest.mark.slow  # five seconds, for words that change rarely
@pytest.mark.parametrize("message", PROVOKED)
def test_it_is_said_in_these_words(connected: Place, capsys: pytest.CaptureFixture[str], message: str) -> None:
    make, argv, spoil = PROVOKED[message]
    connected.keystore.append(f"subject: {SUBJECT}")
    make(connected)
    connected.configure()
    spoil(connected)
    assert main(["-c", str(connected.config), *argv]) != 0
    _expect(message, capsys)


def test_a_second_process_is_told_of_the_first(connected: Place, capsys: pytest.CaptureFixture[str]) -> None:
    connected.configure()
    connected.open_transaction(Phase.STARTED)
    with durable.lock(connected.directory() / "lock", "keystore web"):
        main(["-c", str(connected.config), "cancel", "web", "--yes"])
    _expect(BUSY, capsys)


def _expect(message: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = capsys.readouterr()
    words = re.escape(message).replace(re.escape("..."), ".*")
    assert re.search(words, said.out + said.err), said.out + said.err


def test_every_row_was_provoked(root: Path) -> None:
    table = PAGE.read_text().partition("## What you most probably see\n")[2].partition("\n## ")[0]
    rows = [re.findall(r"`([^`]+)`", row) for row in re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE)]
    assert len(rows) == 25
    provoked = {*PROVOKED, *ELSEWHERE, BUSY}
    assert [row for row in rows if not provoked & set(row)] == []
    for message, file in ELSEWHERE.items():
        text = (root / "tests" / file).read_text()
        parts = [part.strip(" :,") for part in message.split("...")]
        assert any(word in text for part in parts for word in _windows(part)), message


def _windows(text: str) -> list[str]:
    """Each two words that follow each other: tests quote parts of a message."""
    words = text.split()
    return [" ".join(words[at : at + 2]) for at in range(len(words) - 1)]
