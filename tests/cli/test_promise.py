"""What `check` calls fine does not fail at `enroll` or `renew` for a reason that could be known: every such reason, and
that `check` reports it as a fault. docs/commands.md lists them."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certagent import keys
from certagent.config.key_types import KeyType

from .place import SUBJECT, Check, Place, certify

Step = Callable[[Place], object]
DOCUMENT = Path(__file__).parents[2] / "docs" / "commands.md"


def challenge(place: Place, content: str = "open sesame\n", mode: int = 0o600) -> None:
    file = place.root / "challenge"
    file.write_text(content)
    file.chmod(mode)
    place.authority.append(f"challenge: {{file: {file}}}")


def authority(line: str) -> Step:
    return lambda place: place.authority.append(line)


def keystore(line: str) -> Step:
    return lambda place: place.keystore.append(line)


def hook(*argv: str) -> Step:
    return keystore(f"hooks: {{post: [[{', '.join(argv)}]]}}")


def script(content: str) -> Step:
    def make(place: Place) -> None:
        file = place.root / "hook"
        file.write_text(content)
        file.chmod(0o755)
        place.keystore.append(f"hooks: {{post: [[{file}]]}}")

    return make


def passphrase(content: str, *, encrypts: str = "") -> Step:
    def make(place: Place) -> None:
        file = place.root / "passphrase"
        file.write_text(content)
        file.chmod(0o600)
        place.keystore.append(f"key_passphrase: {{file: {file}}}")
        if encrypts:
            encrypted_key(place, encrypts)

    return make


def encrypted_key(place: Place, password: str = "one") -> None:
    place.put_living()
    place.files()[0].write_bytes(keys.to_pem(place.key, password.encode()))


def another_key(place: Place) -> None:
    key = keys.generate(KeyType.EC_P256)
    place.put(certify(key, start=datetime.now(UTC) - timedelta(days=1), lifetime=timedelta(days=90)))


def living(spoil: Step) -> Step:
    def make(place: Place) -> None:
        place.put_living()
        spoil(place)

    return make


def file(name: str, content: str, line: str, where: str = "keystore") -> Step:
    def make(place: Place) -> None:
        path = place.root / "ssl" / name
        path.write_text(content)
        getattr(place, where).append(f"{line}: {path}")

    return make


def interpreted_by_a_script(place: Place) -> None:
    between = place.root / "between"
    between.write_text("#!/no/such\n")
    between.chmod(0o755)
    script(f"#!{between}\n")(place)


def foreign(place: Place) -> None:
    script("")(place)
    (place.root / "hook").write_bytes(Path(sys.executable).read_bytes().replace(b"/ld", b"/xx", 1))


def misplaced(place: Place) -> None:
    (place.directory() / "lock").mkdir(parents=True)
    for each in (place.directory(), *place.directory().parents[:2]):
        each.chmod(0o700)


def state_is_a_file(place: Place) -> None:
    (place.root / "state").write_text("")


def no_directory(place: Place) -> None:
    (place.root / "ssl").rmdir()


def circle(place: Place) -> None:
    place.files()[1].symlink_to(place.files()[1].name)


def example(place: Place) -> None:
    place.fingerprint = "sha256:" + "00" * 32


KEY = "-----BEGIN PRIVATE KEY-----\n"
CAUSES: dict[str, tuple[Step, str]] = {
    "a secret's file is missing": (authority("challenge: {file: /no/such}"), "/no/such cannot be read"),
    "everybody can read a secret": (lambda p: challenge(p, mode=0o644), "can be read by everybody on the host"),
    "a secret is empty": (lambda p: challenge(p, ""), "is empty"),
    "a secret has several lines": (lambda p: challenge(p, "a\nb\n"), "has more than one line"),
    "a secret has zero bytes": (
        lambda p: challenge(p, "s3cret\0\0\n"),
        "has zero bytes: it is UTF-16 text, or damaged",
    ),
    "an environment variable is not set": (authority("challenge: {env: NO_SUCH}"), "NO_SUCH is not set"),
    "a systemd credential is missing": (
        authority("challenge: {credential: no-such}"),
        "there is no credential no-such",
    ),
    "a secret's command is missing": (authority("challenge: {command: [/no/such]}"), "/no/such, which does not exist"),
    "a trust anchor is missing": (authority("trust_anchor: /no/such"), "/no/such cannot be read"),
    "a trust anchor is not a certificate": (file("a.pem", KEY, "trust_anchor", "authority"), "holds no certificate"),
    "the fingerprint is still the example's": (example, "is still the example's zeros"),
    "a hook's program is missing": (hook("/no/such"), "/no/such, which does not exist"),
    "a hook's program is not on PATH": (hook("no-such-program"), "no-such-program, which is not on PATH"),
    "a hook needs a shell": (hook("/bin/true", '"&&"', "/bin/true"), "because no shell runs"),
    "a hook's script names no interpreter": (script("echo\n"), "does not name an interpreter"),
    "a hook's script has Windows line endings": (script("#!/bin/sh\r\n"), "has Windows line endings"),
    "a hook's script has an interpreter that cannot start": (
        interpreted_by_a_script,
        "which cannot start: it names an interpreter in its first line that does not exist: /no/such",
    ),
    "a hook's program is for another processor or C library": (foreign, "begins with a program that needs "),
    "a hook's program is a directory": (hook("/usr"), "/usr, which is a directory"),
    "a probe's program is missing": (keystore("probe: {run: [/no/such]}"), "/no/such, which does not exist"),
    "something else lies in the place of a file or directory of certagent's own": (
        misplaced,
        "lock is not a regular file",
    ),
    "state_dir is not a directory": (state_is_a_file, "state is not a directory"),
    "the directory of metrics_file is missing": (lambda p: p.more.append("metrics_file: /no/such/c.prom"), "/no/such"),
    "the directory of crl_file is missing": (
        authority("crl_file: /no/such/crl.pem"),
        "cannot write to /no/such/crl.pem",
    ),
    "crl_file holds something else": (file("c.pem", KEY, "crl_file", "authority"), "something other than CRLs"),
    "the directory of a file is missing": (no_directory, "ssl does not exist"),
    "a directory is in a file's place": (lambda p: p.files()[1].mkdir(), "is a directory"),
    "links lead in a circle": (circle, "leads back to itself"),
    "ca_file holds a private key": (file("ca.pem", KEY, "ca_file"), "holds a private key, which would be overwritten"),
    "a user does not exist": (keystore("owner: no-such-user"), "there is no user 'no-such-user'"),
    "a group does not exist": (keystore("group: no-such-group"), "there is no group 'no-such-group'"),
    "the certificate in place cannot be read": (living(lambda p: p.files()[1].write_text("x")), "holds no certificate"),
    "the key in place cannot be read": (living(lambda p: p.files()[0].write_text("x")), "holds no private key"),
    "the key in place is missing": (living(lambda p: p.files()[0].unlink()), "has no private key"),
    "key and certificate do not match": (another_key, "does not match"),
    "the key in place is encrypted": (encrypted_key, "is encrypted"),
    "the passphrase is wrong": (passphrase("two\n", encrypts="one"), "is key_passphrase the right one?"),
    "the passphrase is too long": (passphrase("x" * 2000), "is empty or too long"),
    "there is neither subject nor san": (lambda p: p.keystore.clear(), "no subject or san"),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_a_cause_that_can_be_known_is_a_fault(place: Place, check: Check, cause: str) -> None:
    make, says = CAUSES[cause]
    place.keystore.append(f"subject: {SUBJECT}")
    make(place)
    seen = check(place, *(() if "trust anchor" in cause or "fingerprint" in cause else ("--offline",)))
    assert seen.code == 1
    assert says in "\n".join(seen.lines), seen.lines


def test_without_a_cause_there_is_no_fault(place: Place, check: Check) -> None:
    challenge(place)
    place.keystore.append(f"subject: {SUBJECT}")
    assert check(place, "--offline").faults == []


def test_the_document_lists_every_cause() -> None:
    section = DOCUMENT.read_text().partition("### What check finds\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"^- (.+?)[;.]$", section, re.MULTILINE)) >= CAUSES.keys()
