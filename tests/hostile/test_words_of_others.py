"""What a CA writes into names and refusals, before everybody who shows it: one printable line, of bounded length."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asn1crypto import core
from asn1crypto import x509 as asn1_x509
from cryptography import x509

from certagent import certificate as facts
from certagent.keys import to_pem
from certagent.lab import HttpAnswer
from certagent.scep import FailInfo, PkiStatus
from certagent.scep.asn1 import tlv
from tests.hostile.conftest import hostile
from tests.hostile.lab import REPLY
from tests.hostile.takeover import DEVICE, SIGNS, at_work, real_clock
from tests.hostile.test_names import common_name, spelled
from tests.renewal.site import DAY, Site
from tests.unit.pki import Party, party, rsa_key

# Each starts some commands; what they show is held by quicker tests of the rules, too.
pytestmark = pytest.mark.slow

# A line of a log that nobody wrote, a terminal's order, the writing turned round, an end of text; and no end.
FORGED = "web: renewed, valid until 2099-01-01"
WORDS = f"a\n{FORGED}\r\x1b[2J\x1b]0;owned\x07\u202e\u2066\x00\x85\u2028\x9b31m"
EVIL = WORDS + "x" * 10_000
LONGEST = 2600  # characters of a line: 2000 of a message, its hint, and the keys of a report around them
UTF8, IA5 = 0x0C, 0x16


def evil_name(length: int = 5000) -> asn1_x509.Name:
    """A longer one is no name to us, of a CA or of what it issues; one that lies in a file is shown all the same."""
    return common_name(UTF8, (WORDS + "x" * length).encode())


def evil_extension() -> x509.UnrecognizedExtension:
    """A subject alternative name of three kinds, in the bytes that no library would write."""
    text = "".join(char for char in EVIL if ord(char) < 0x80).encode()
    names = b"".join(tlv(text, tag) for tag in (0x82, 0x81, 0x86))  # dNSName, rfc822Name, URI
    return x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, tlv(names, 0x30))


def put(site: Site, *, subject: bool, names: bool) -> None:
    """A pair that another tool put in place, issued by the CA under such names."""
    ca, own, now = hostile(site), rsa_key("adopted"), real_clock()
    made = party("CN=web", ca.issuer, with_key=own, usage=DEVICE, key_id=True, start=now - DAY, end=now + 80 * DAY)
    if names:
        made = with_extension(made, ca.issuer, evil_extension())
    if subject:
        made = spelled(made, ca.issuer, subject=evil_name(10_000))
    site.key.write_bytes(to_pem(own))
    site.certificate.write_bytes(facts.to_pem([made.certificate]))


def with_extension(made: Party, issuer: Party, extension: x509.UnrecognizedExtension) -> Party:
    whole = asn1_x509.Certificate.load(facts.to_der(made.certificate))
    value = core.ParsableOctetString(extension.value)
    extensions = whole["tbs_certificate"]["extensions"]
    extensions.append({"extn_id": extension.oid.dotted_string, "critical": False, "extn_value": value})
    der = b"".join(whole[part].dump() for part in ("tbs_certificate", "signature_algorithm", "signature_value"))
    return spelled(Party(x509.load_der_x509_certificate(tlv(der, 0x30)), made.key), issuer)


def subject_in_place(site: Site) -> None:
    put(site, subject=True, names=False)


def names_in_place(site: Site) -> None:
    put(site, subject=False, names=True)


def name_of_the_ca(site: Site) -> None:
    ca = hostile(site)
    now, usage = real_clock(), (*SIGNS, *DEVICE)
    root = party(
        "CN=x", ca=True, usage=usage, key_id=True, with_key=ca.issuer.key, start=now - DAY, end=now + 999 * DAY
    )
    root = spelled(root, root, subject=evil_name(), issuer_name=evil_name())
    at_work(ca, root, [root.certificate])
    site.config.write_text(
        site.config.read_text().replace(
            str(facts.fingerprint(party_of(site))), str(facts.fingerprint(root.certificate))
        )
    )


def party_of(site: Site) -> x509.Certificate:
    return facts.load_pem((site.path("lab") / "ca.pem").read_bytes(), "ca.pem")[0]


def subject_of_what_is_issued(site: Site) -> None:
    ca = hostile(site)
    ca.spelling = lambda made: spelled(made, ca.issuer, subject=evil_name())


def names_of_what_is_issued(site: Site) -> None:
    ca = hostile(site)

    def spelling(made: Party) -> Party:
        own, start, end = _Public(made.certificate), real_clock() - DAY, real_clock() + 80 * DAY
        bare = party("CN=web.example.net,O=Example", ca.issuer, with_key=own, start=start, end=end)  # type: ignore[arg-type]
        return with_extension(bare, ca.issuer, evil_extension())

    ca.spelling = spelling


class _Public:
    def __init__(self, certificate: x509.Certificate) -> None:
        self._key = certificate.public_key()

    def public_key(self) -> Any:
        return self._key


def words_of_a_refusal(site: Site) -> None:
    hostile(site).forge = lambda forger: forger.reply(
        PkiStatus.FAILURE, certificates=(), fail_info=FailInfo.BAD_REQUEST, fail_text=EVIL
    )


def body_of_an_http_error(site: Site) -> None:
    hostile(site).serving[REPLY] = lambda _: HttpAnswer(500, "text/plain", EVIL.encode(), "500")


PLACES = [
    subject_in_place,
    names_in_place,
    name_of_the_ca,
    subject_of_what_is_issued,
    names_of_what_is_issued,
    words_of_a_refusal,
    body_of_an_http_error,
]
COMMANDS = [
    ("check",),
    ("renew", "--dry-run", "web"),
    ("renew", "--force", "web"),
    ("renew", "--force", "--report", "json", "web"),
    ("status",),
    ("status", "web"),
    ("status", "--json"),
    ("plan",),
    ("plan", "--json"),
    ("history",),
    ("history", "--json"),
    ("health",),
    ("check",),
]


def strings(value: object) -> Iterator[str]:
    """Every text in what JSON held."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from (key, *strings(inner))
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)


def assert_harmless(what: str, text: str) -> None:
    for line in text.split("\n"):
        assert line.isprintable(), (what, line[:300])
        assert len(line) <= LONGEST, (what, len(line))
        assert not line.startswith(FORGED), (what, line)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__.replace("_", " "))
def test_nothing_of_it_is_obeyed(device: Callable[[str], Site], place: Callable[[Site], None]) -> None:
    site = device("fingerprint")
    told, metrics, hook = site.path("told"), site.path("certagent.prom"), site.path("hook.sh")
    hook.write_text(f"#!/bin/sh\nenv -0 >> {told}\n")
    hook.chmod(0o755)
    hooks = ", ".join(f"{event}: [[{hook}]]" for event in ("pre", "post", "failed", "ca_changed"))
    site.write(f"hooks: {{{hooks}}}\nca_file: {site.path('ca.pem')}", top=f"metrics_file: {metrics}")
    place(site)
    for words in COMMANDS:
        done = site.command(*words)
        assert "Traceback" not in done.stderr, done.stderr
        assert_harmless(f"{words} stdout", done.stdout)
        assert_harmless(f"{words} stderr", done.stderr)
        if "json" in words[-2:] + words[-1:] or "--json" in words:
            texts = [done.stdout] if words[0] in ("status", "plan") else done.stdout.splitlines()
            for text in strings([json.loads(each) for each in texts]):
                assert_harmless(f"{words} in JSON", text)
    assert_harmless("metrics", metrics.read_text())
    variables = told.read_text().split("\0")
    assert any(each.startswith("CERTAGENT_SUBJECT=") for each in variables)
    for each in variables:
        assert_harmless("hook", each)
