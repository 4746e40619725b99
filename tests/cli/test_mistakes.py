"""What a hurried engineer gets wrong on a host, and what `check` says: once, where it is, and what to do."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from .place import SUBJECT, Check, Place

Step = Callable[[Place], object]


def challenge(place: Place, content: str = "open sesame\n", mode: int = 0o600) -> None:
    file = place.root / "challenge"
    file.write_text(content)
    file.chmod(mode)
    place.authority.append(f"challenge: {{file: {file}}}")


def challenge_of_another_group(place: Place) -> None:
    challenge(place, mode=0o640)
    os.chown(place.root / "challenge", -1, 54321)


def as_in_the_example(place: Place) -> None:
    place.fingerprint, place.url = "sha256:" + "00" * 32, "http://scep.example.net/scep"


def state_is_a_file(place: Place) -> None:
    (place.root / "state").write_text("")


def links_in_a_circle(place: Place) -> None:
    for file in place.files():
        file.symlink_to(file.name)


def key_alone(place: Place) -> None:
    place.put_living()
    place.files()[1].unlink()


def put_a_program_on_the_path(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    program = place.root / "own-program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


MISTAKES: list[tuple[str, Step, list[str]]] = [
    (
        "the example's fingerprint and address",
        as_in_the_example,
        ["`fingerprint` is still the example's zeros", "http://scep.example.net/scep is still the example's address"],
    ),
    (
        "a challenge that is missing",
        lambda p: p.authority.append("challenge: {file: /no/such}"),
        ["/no/such cannot be"],
    ),
    ("a challenge of two lines", lambda p: challenge(p, "one\ntwo\n"), ["has more than one line"]),
    ("a challenge that is empty", lambda p: challenge(p, ""), ["challenge is empty"]),
    ("a state directory that is a file", state_is_a_file, ["state is not a directory"]),
    ("an anchor that is missing", lambda p: p.authority.append("trust_anchor: /no/such"), ["/no/such cannot be read"]),
]


@pytest.mark.parametrize(("make", "says"), [pytest.param(do, says, id=name) for name, do, says in MISTAKES])
def test_a_mistake_is_told_once(place: Place, check: Check, make: Step, says: list[str]) -> None:
    place.keystore.append(f"subject: {SUBJECT}")
    place.url = "http://127.0.0.1:9/scep"
    make(place)
    faults = [each for each in check(place).faults if "127.0.0.1:9" not in each]
    assert len(faults) == len(says), faults
    assert all(text in fault for fault, text in zip(faults, says, strict=True))


def test_links_that_lead_in_a_circle_are_told_once_each(place: Place, check: Check) -> None:
    links_in_a_circle(place)
    faults = check(place, "--offline").faults
    assert len(faults) == 2
    assert all("is a symbolic link that leads back to itself" in each for each in faults)


WARNINGS: list[tuple[str, Step, str]] = [
    ("a challenge with a space at its end", lambda p: challenge(p, "open sesame \n"), "begins or ends with a space"),
    ("a secret that another group can read", challenge_of_another_group, "group 54321 can read the secret in"),
    (
        "a name twice",
        lambda p: p.keystore.append("san: [dns:a.example, dns:a.example]"),
        "san has dns:a.example 2 times",
    ),
    (
        "a hook that a service would not find",
        lambda p: p.keystore.append("hooks: {post: [[own-program]]}"),
        "own-program is found only on the PATH of this shell",
    ),
    (
        "a secret's command that a service would not find",
        lambda p: p.authority.append("challenge: {command: [own-program]}"),
        "own-program is found only on the PATH of this shell",
    ),
    ("a key without a certificate", key_alone, "exists without a certificate: enrolling replaces the key"),
]


@pytest.mark.parametrize(("make", "says"), [pytest.param(do, says, id=name) for name, do, says in WARNINGS])
def test_what_may_be_a_mistake_is_a_warning(
    place: Place, check: Check, make: Step, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() and make is challenge_of_another_group:
        pytest.skip("only root can give a file to another group")
    put_a_program_on_the_path(place, monkeypatch)
    place.keystore.append(f"subject: {SUBJECT}")
    make(place)
    seen = check(place, "--offline")
    assert (seen.code, seen.faults) == (0, [])
    assert [each for each in seen.warnings if says in each], seen.text


def test_a_secret_that_the_keystores_own_group_can_read_is_none(place: Place, check: Check) -> None:
    challenge(place, mode=0o640)  # of root's group, or of our own
    place.keystore.append(f"subject: {SUBJECT}")
    assert not [each for each in check(place, "--offline").warnings if "can read the secret" in each]


UNREADABLE: list[tuple[str, Step]] = [
    ("an empty certificate", lambda p: p.files()[1].write_bytes(b"")),
    ("an empty key", lambda p: p.files()[0].write_bytes(b"")),
    ("no key", lambda p: p.files()[0].unlink()),
]


@pytest.mark.parametrize("spoil", [pytest.param(do, id=name) for name, do in UNREADABLE])
def test_check_and_enroll_say_the_same_about_what_is_in_place(place: Place, check: Check, spoil: Step) -> None:
    place.put_living()
    spoil(place)
    place.keystore.append(f"subject: {SUBJECT}")
    (fault,) = check(place, "--offline").faults
    done = place.run("enroll", "web")
    assert done.returncode == 1
    assert fault.strip(" ✗") in done.stderr
    assert "`certagent enroll --force web`" in done.stderr
