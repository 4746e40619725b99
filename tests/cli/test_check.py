"""`certagent check`: is all in order, and what would happen at the next renewal?"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certagent import keys
from certagent.certificate import fingerprint
from certagent.config.key_types import KeyType
from certagent.keystore.swap_plan import Record
from certagent.lab import Call, HttpAnswer, LabCA, LabServer, Settings, serve
from certagent.state import LastError, State, save
from certagent.transaction.journal import Phase

from .place import SUBJECT, Check, Place, certify
from .rollover import Rollover

DAY = timedelta(days=1)
Step = Callable[[Place], object]


# What a device may look like.


def challenge(place: Place) -> None:
    file = place.root / "challenge"
    file.write_text("open sesame\n")
    file.chmod(0o600)
    place.authority.append(f"challenge: {{file: {file}}}")


def put(place: Place, age: float, lifetime: float = 90) -> None:
    place.put(certify(place.key, start=datetime.now(UTC) - age * DAY, lifetime=lifetime * DAY))


def put_ec(place: Place) -> None:
    key = keys.generate(KeyType.EC_P256)
    place.put(certify(key, start=datetime.now(UTC) - DAY, lifetime=90 * DAY), key=key)


def fail(place: Place) -> None:
    fault = LastError(kind="transient", message="corp was down", hint="look", at=datetime.now(UTC))
    place.remember(failures=1, last_error=fault)


def mismatch(place: Place) -> None:
    key = keys.generate(KeyType.EC_P256)
    place.put(certify(key, start=datetime.now(UTC) - DAY, lifetime=90 * DAY))


def damage_state(place: Place) -> None:
    place.put_living()
    place.remember()
    (place.directory() / "state.json").write_text('{"version": 99}')


def empty_challenge(place: Place) -> None:
    place.put_living()
    challenge(place)
    (place.root / "challenge").write_text("\n")


# The command as a person types it.


def test_an_enrolled_keystore_of_a_living_authority(connected: Place) -> None:
    connected.keystore += [f"subject: {SUBJECT}", "hooks: {post: [[/bin/true, nginx]]}"]
    assert connected.run("enroll", "web").returncode == 0
    done = connected.run("check")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"  ✓ {SUBJECT}: rsa:2048, key and certificate match, valid until 20" in done.stdout
    assert (
        "new rsa:2048 key, RenewalReq signed with the certificate in place, to corp (AES, SHA-256, POST), "
        "swap by rename, then /bin/true nginx\n"
    ) in done.stdout
    assert done.stdout.endswith("\nno faults, no warnings\n")
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize("columns", [60, 120])
def test_a_terminal_shows_the_same_wrapped_and_coloured(connected: Place, columns: int) -> None:
    connected.keystore.append(f"subject: {SUBJECT}")
    shown = connected.run_in_terminal("check", columns=columns)
    assert "\x1b[32m✓\x1b[0m" in shown
    assert max(map(len, re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines())) <= columns
    assert "no faults, no warnings" in shown


def test_a_broken_configuration_is_2_and_every_fault_a_line(place: Place) -> None:
    place.keystore += ["colour: blue", "rekey: sometimes"]
    done = place.run("check")
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"certagent: {place.config}:") for line in lines)


# It looks, and touches nothing.


def tree(root: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Every name below `root`, with all that a change would show in."""
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (status.st_mode, status.st_mtime_ns, status.st_ino, content)
    return found


class Recording(LabCA):
    """Remembers what it was asked for."""

    asked: list[str]

    def respond_http(self, call: Call) -> HttpAnswer:
        self.asked.append(call.operation)
        return super().respond_http(call)


def test_the_text_alone_as_a_reload_looks_at_it(place: Place) -> None:
    """What the host lacks is no reason to go on with the old configuration."""
    place.more.append("metrics_file: /nowhere/certagent.prom")
    done = place.run("check", "--syntax")
    assert (done.returncode, done.stdout) == (0, f"{place.config} can be read, with 1 keystore\n")
    assert place.run("check", "--syntax", "--quiet").stdout == ""
    place.more.append("keystores: [")
    done = place.run("check", "--syntax", "--quiet")
    assert done.returncode == 2
    assert f"{place.config}:" in done.stderr


def test_nothing_changes_on_the_disk_and_no_request_is_made(connected: Place, tmp_path: Path) -> None:
    ca = Recording(tmp_path / "lab", lambda: datetime.now(UTC), Settings(challenge="open sesame"))
    ca.asked = []
    connected.fingerprint = str(fingerprint(ca.generation.issuer.certificate))
    connected.names = ("web", "cut-short", "new")
    connected.keystore.append(f"subject: {SUBJECT}")
    connected.more.append(f"metrics_file: {connected.root}/certagent.prom")
    connected.put_living()
    connected.open_transaction(Phase.STAGING, "cut-short", swap=Record("t1", "rename", (), str(connected.root / "p")))
    connected.open_transaction(Phase.ISSUED, "gone")
    with serve(ca) as server:
        connected.url = server.url
        connected.configure()
        before = tree(connected.root)
        done = connected.run("check")
    assert done.returncode == 0, done.stdout
    assert tree(connected.root) == before
    assert sorted(ca.asked) == ["GetCACaps", "GetCACert"]  # once, for three keystores


def test_a_command_that_prints_the_challenge_is_not_run(place: Place, check: Check) -> None:
    witness = place.root / "witness"
    place.authority.append(f"challenge: {{command: [/usr/bin/touch, {witness}]}}")
    place.keystore.append(f"subject: {SUBJECT}")
    assert check(place, "--offline").code == 0
    assert not witness.exists()


# Authorities.

UNBELIEVED: list[tuple[str, Step, str]] = [
    ("closed port", lambda p: setattr(p, "url", "http://127.0.0.1:9/scep"), "cannot be reached"),
    ("another CA", lambda p: setattr(p, "fingerprint", "sha256:" + "ab" * 32), "is not the configured one"),
    ("another path", lambda p: setattr(p, "url", p.url + "x"), "404"),
]


@pytest.mark.parametrize(("spoil", "says"), [pytest.param(do, says, id=name) for name, do, says in UNBELIEVED])
def test_an_authority_that_does_not_answer_or_is_not_believed(
    connected: Place, check: Check, spoil: Step, says: str
) -> None:
    connected.keystore.append(f"subject: {SUBJECT}")
    spoil(connected)
    seen = check(connected)
    assert seen.code == 1
    (fault,) = seen.faults
    assert says in fault
    assert "enrolls now: new rsa:2048 key" in seen.text  # what is known without the CA is still said


def test_offline_contacts_nobody(place: Place, check: Check) -> None:
    place.put_living()
    seen = check(place, "--offline")
    assert (seen.code, seen.faults) == (0, [])
    assert "  ✓ http://127.0.0.1:9/scep was not contacted" in seen.lines


def test_a_certificate_of_another_ca_may_not_be_renewed(connected: Place, check: Check) -> None:
    connected.put_living()
    (warning,) = check(connected).warnings
    assert "was not issued by the CA of corp" in warning


@pytest.mark.parametrize(
    ("age", "says"),
    [
        pytest.param(0, "  ✓ will be asked for its next CA from 20", id="far away"),
        pytest.param(3285, "  ! its CA expires in 364 d, and no next one is known yet", id="near, and none is known"),
    ],
)
def test_the_next_ca_of_an_authority(connected: Place, check: Check, tmp_path: Path, age: float, says: str) -> None:
    made = datetime.now(UTC) - age * DAY
    ca = LabCA(tmp_path / "lab", lambda: made, Settings(challenge="open sesame"))
    connected.fingerprint = str(fingerprint(ca.generation.issuer.certificate))
    connected.keystore.append(f"subject: {SUBJECT}")
    with serve(ca) as server:
        connected.url = server.url
        seen = check(connected)
    assert any(line.startswith(says) for line in seen.lines), seen.text


def test_a_next_ca_that_is_known(connected: Place, check: Check, lab: LabServer) -> None:
    connected.keystore.append(f"subject: {SUBJECT}")
    device = Rollover(connected)
    device.ca = lab.ca.generation.issuer.certificate
    device.announce()
    takes_over = f"takes over on {device.switch_at:%Y-%m-%d} (in 49 d)"
    assert f"  ✓ its next CA is CN=Next CA, and {takes_over}" in check(connected).lines


class Old(LabCA):
    def capabilities(self) -> tuple[str, ...]:
        return ("DES3", "SHA-1")


def test_a_ca_that_offers_weak_algorithms_only(connected: Place, check: Check, tmp_path: Path) -> None:
    ca = Old(tmp_path / "lab", lambda: datetime.now(UTC), Settings(challenge="open sesame"))
    connected.fingerprint = str(fingerprint(ca.generation.issuer.certificate))
    connected.keystore.append(f"subject: {SUBJECT}")
    with serve(ca) as server:
        connected.url = server.url
        seen = check(connected)
    assert "corp does not announce AES and SHA-256; requests use 3DES and SHA-1" in seen.warnings[0]
    assert "to corp (3DES, SHA-1, GET)" in seen.text


@pytest.mark.parametrize(
    ("authority", "words"),
    [
        pytest.param(
            "capabilities: [aes, sha256, post]", "AES, SHA-256, POST, as `capabilities` says", id="it can more"
        ),
        pytest.param("capabilities: [3des, sha1]", "3DES, SHA-1, GET, as `capabilities` says", id="a person knows"),
        pytest.param("accept: [3des, sha1]", "3DES, SHA-1, GET", id="its answers are accepted so"),
    ],
)
def test_what_a_person_says_of_a_ca_is_no_surprise(
    connected: Place, check: Check, tmp_path: Path, authority: str, words: str
) -> None:
    ca = Old(tmp_path / "lab", lambda: datetime.now(UTC), Settings(challenge="open sesame"))
    connected.fingerprint = str(fingerprint(ca.generation.issuer.certificate))
    connected.keystore.append(f"subject: {SUBJECT}")
    connected.authority.append(authority)
    with serve(ca) as server:
        connected.url = server.url
        seen = check(connected)
    assert not any("does not say" in each for each in seen.warnings)
    assert any(line.endswith(words) for line in seen.lines)


# What is said of a keystore, without a network.

SENTENCES: list[tuple[str, list[Step], str]] = [
    (
        "first enrollment with a challenge",
        [
            challenge,
            lambda p: p.keystore.extend([f"subject: {SUBJECT}", "san: [dns:web.example.net]"]),
        ],
        (
            "enrolls now: new rsa:2048 key, PKCSReq for CN=web.example.net,O=Example, dns:web.example.net "
            "signed with a self-signed certificate and the challenge password, to corp, swap by rename"
        ),
    ),
    (
        "renewal in the distance",
        [Place.put_living],
        "): new rsa:2048 key, request signed with the certificate in place, to corp, swap by rename",
    ),
    (
        "a challenge on renewals too",
        [challenge, lambda p: p.authority.append("send_challenge: always"), Place.put_living],
        "signed with the certificate in place and the challenge password",
    ),
    ("the key is kept", [Place.put_living, lambda p: p.keystore.append("rekey: never")], ": the same key, "),
    (
        "an EC key in place",
        [challenge, put_ec, lambda p: p.keystore.append("key_type: ec:p384")],
        "new ec:p384 key, PKCSReq signed with an RSA transport key and the challenge password",
    ),
    (
        "an EC key in place, and envelopes locked with the challenge",
        [
            challenge,
            put_ec,
            lambda p: p.authority.append("key_transport: password"),
            lambda p: p.keystore.append("key_type: ec:p384"),
        ],
        "new ec:p384 key, request signed with the certificate in place, to corp",
    ),
    (
        "a first EC key, and envelopes locked with the challenge",
        [
            challenge,
            lambda p: p.authority.append("key_transport: password"),
            lambda p: p.keystore.extend([f"subject: {SUBJECT}", "key_type: ec:p256"]),
        ],
        "signed with a self-signed certificate and the challenge password",
    ),
    (
        "from EC to RSA",
        [challenge, put_ec],
        "new rsa:2048 key, PKCSReq signed with a self-signed certificate and the challenge password",
    ),
    (
        "hooks, a probe, a swap by symlink",
        [
            Place.put_living,
            lambda p: p.keystore.extend(
                [
                    "hooks: {pre: [[/bin/true, a b]], post: [[/bin/true], {run: [/bin/false], timeout: 5s}]}",
                    'probe: {tls: "127.0.0.1:443"}',
                    "swap: symlink",
                ]
            ),
        ],
        (
            "/bin/true 'a b' may veto, swap by symlink, then /bin/true, then /bin/false, "
            "then checks whether 127.0.0.1:443 serves it"
        ),
    ),
    (
        "a probe by a command",
        [Place.put_living, lambda p: p.keystore.append("probe: {run: [/bin/test, -e, a b]}")],
        "swap by rename, then /bin/test -e 'a b' checks whether the consumer has it",
    ),
    ("past its threshold", [lambda p: put(p, age=70)], "renews now: "),
    ("a few hours ahead", [lambda p: put(p, age=1, lifetime=2)], " UTC (in "),
]


@pytest.mark.parametrize(("steps", "says"), [pytest.param(steps, says, id=name) for name, steps, says in SENTENCES])
def test_the_next_renewal_in_plain_words(place: Place, check: Check, steps: list[Step], says: str) -> None:
    for step in steps:
        step(place)
    seen = check(place, "--offline")
    assert (seen.code, seen.faults) == (0, [])
    assert says in seen.text


WARNINGS: list[tuple[str, list[Step], str]] = [
    ("renew_at does not fit", [lambda p: put(p, 1, 9), lambda p: p.keystore.append("renew_at: 30d")], "renew_at 30 d"),
    ("the last attempt failed", [Place.put_living, fail], "corp was down"),
    (
        "pending",
        [Place.put_living, lambda p: p.open_transaction(Phase.PENDING, poll_at=datetime.now(UTC) + DAY / 360)],
        "the CA has not decided yet; certagent asks again at ",
    ),
    ("issued", [Place.put_living, lambda p: p.open_transaction(Phase.ISSUED)], "was issued, but is not in place yet"),
    ("hooks owed", [Place.put_living, lambda p: p.open_transaction(Phase.ACTIVATED)], "post hooks have yet to run"),
    (
        "another subject",
        [Place.put_living, lambda p: p.keystore.append("subject: CN=other"), challenge],
        f"subject is CN=other, but the certificate in place has {SUBJECT}",
    ),
    (
        "other names",
        [
            lambda p: p.put_living(names=("web", "old")),
            lambda p: p.keystore.extend([f"subject: {SUBJECT}", "san: [dns:WEB, dns:new]"]),
            challenge,
        ],
        "lacks dns:new and also has dns:old",
    ),
    ("no challenge to enroll with", [lambda p: p.keystore.append(f"subject: {SUBJECT}")], "no challenge for the first"),
    ("no challenge for an EC key", [put_ec], "an EC key cannot sign a renewal"),
    (
        "no challenge for an EC key to come",
        [Place.put_living, lambda p: p.keystore.append("key_type: ec:p256")],
        "an EC key cannot sign a renewal",
    ),
    (
        "weak algorithms accepted",
        [Place.put_living, lambda p: p.authority.append("accept: [sha1, des]")],
        "replies protected with sha1, des are accepted",
    ),
    (
        "no longer configured",
        [Place.put_living, lambda p: save(p.directory("old"), State())],
        "old is no longer configured, but its state is still kept",
    ),
    (
        "no longer configured, a transaction open",
        [Place.put_living, lambda p: p.open_transaction(Phase.REQUESTED, "old")],
        "old is no longer configured, but its renewal is still open (requested)",
    ),
    (
        "no longer configured, in the middle of a swap",
        [
            Place.put_living,
            lambda p: p.open_transaction(Phase.ACTIVATING, "old", swap=Record("t1", "rename", (), "/nowhere/p")),
        ],
        "old is no longer configured, but a swap of its files was interrupted",
    ),
]


@pytest.mark.parametrize(("steps", "says"), [pytest.param(steps, says, id=name) for name, steps, says in WARNINGS])
def test_a_warning_leaves_the_exit_code_0(place: Place, check: Check, steps: list[Step], says: str) -> None:
    for step in steps:
        step(place)
    seen = check(place, "--offline")
    assert (seen.code, seen.faults) == (0, [])
    (warning,) = seen.warnings
    assert says in warning


FAULTS: list[tuple[str, list[Step], str]] = [
    ("nothing, and no subject", [], "no certificate, and no subject"),
    ("expired", [lambda p: put(p, 100)], "expired on 20"),
    ("not yet valid", [lambda p: put(p, -10)], "match, not valid before 20"),
    ("key and certificate do not match", [mismatch], "does not match the certificate"),
    ("the key is gone", [Place.put_living, lambda p: p.files()[0].unlink()], "has no private key"),
    ("the key is garbage", [Place.put_living, lambda p: p.files()[0].write_text("hello")], "holds no private key"),
    ("a state of a newer version", [damage_state], "was written by a newer certagent"),
    ("an empty challenge", [empty_challenge], "is empty"),
    ("an unknown group", [Place.put_living, lambda p: p.keystore.append("group: no-such-group")], "no-such-group"),
    (
        "no room for the metrics",
        [Place.put_living, lambda p: p.more.append(f"metrics_file: {p.files()[0]}/certagent.prom")],
        "metrics_file: ",
    ),
]


@pytest.mark.parametrize(("steps", "says"), [pytest.param(steps, says, id=name) for name, steps, says in FAULTS])
def test_a_fault_is_exit_code_1(place: Place, check: Check, steps: list[Step], says: str) -> None:
    for step in steps:
        step(place)
    seen = check(place, "--offline")
    assert seen.code == 1
    assert any(says in fault for fault in seen.faults)


def test_one_keystore_s_fault_does_not_hide_the_next_keystore(place: Place, check: Check) -> None:
    place.names = ("broken", "web")
    place.put_living()
    place.files("broken")[1].write_text("hello")
    seen = check(place, "--offline")
    assert len(seen.faults) == 1
    assert "key and certificate match" in seen.text


def test_somebody_who_may_not_write_is_told_so(place: Place) -> None:
    place.put_living()
    ssl = place.files()[0].parent
    ssl.chmod(0o555)
    try:
        done = place.run_without_override("check", "--offline")
    finally:
        ssl.chmod(0o755)
    assert done.returncode == 1
    assert f"  ✗ {ssl} is not writable\n      run certagent as root" in done.stdout
