"""Which next CA a device follows, and what it says of one it does not: end to end, with the lab's many ways."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from cryptography import x509
from msgspec.structs import replace

from certagent import certificate as facts
from certagent.cli.assemble import contexts
from certagent.config.key_types import KeyType
from certagent.config.load import load_configuration
from certagent.lab import Call, Generation, HttpAnswer, Settings
from certagent.lab.rollover import ShadowRequest
from certagent.scep import Request, Signer, encode_next_ca
from certagent.status.as_json import as_json
from certagent.status.snapshot import take_snapshots
from certagent.transaction.renewal import Wish, advance
from certagent.transaction.report import Result
from tests.rollover.conftest import Devices
from tests.rollover.device import DAY, Device, RollingCA, another
from tests.unit.pki import Party, party, rsa_key

YEARLY = Settings(lifetime=90 * DAY, ca_lifetime=365 * DAY, rollover=70 * DAY)
STAGED = "identity 1, shadow 2, ca_file 1+2, staged"
REFUSED = "identity 1, shadow none, ca_file 1, failed"


def fingerprint(generation: Generation | None) -> str:
    assert generation is not None
    return str(facts.fingerprint(generation.issuer.certificate))


def at_the_window(device: Device) -> Device:
    """Renewed under the current CA as ever, and then asking for the next."""
    device.off(device.day(250))
    device.run()
    device.off(device.day(300))
    device.run()
    return device


def alarm(device: Device) -> str:
    """The hint of the newest failure."""
    error = device.state.last_error
    assert error is not None
    return error.hint


class SignedBy(RollingCA):
    """The next CA is announced, nested, under the signature of somebody else."""

    def next_signer(self) -> Signer:
        raise NotImplementedError

    def next_ca(self) -> HttpAnswer:
        if self.following is None:
            return super().next_ca()
        body = encode_next_ca(self.following.certificates, self.next_signer())
        return HttpAnswer(200, "application/x-x509-next-ca-cert", body, "the next CA")


class SignedByRA(SignedBy):
    def next_signer(self) -> Signer:
        return self.generation.signer


class SignedByStranger(SignedBy):
    def next_signer(self) -> Signer:
        made = party("CN=stranger", with_key=rsa_key("stranger"), ca=True)
        return Signer(made.key, made.certificate)


class SignedByItself(SignedBy):
    def next_signer(self) -> Signer:
        assert self.following is not None
        return self.following.issuer


class Spliced(RollingCA):
    """The flat form with somebody else's CA in it: the signature covers no certificate and still fits."""

    def next_ca(self) -> HttpAnswer:
        stranger = party(
            "CN=certagent lab CA", with_key=rsa_key("stranger"), ca=True, end=datetime(2040, 1, 1, tzinfo=UTC)
        )
        body = encode_next_ca([stranger.certificate], self.generation.issuer, nested=False)
        return HttpAnswer(200, "application/x-x509-ca-ra-cert", body, "spliced")


class InGetCACert(RollingCA):
    """No GetNextCACert: the next CA is shown beside the current one."""

    def capabilities(self) -> Sequence[str]:
        return [word for word in super().capabilities() if word != "GetNextCACert"]

    def ca_certificates(self) -> Sequence[x509.Certificate]:
        following = self.following
        return [*super().ca_certificates(), *self.crosses(), *(following.certificates if following else ())]

    def crosses(self) -> Sequence[x509.Certificate]:
        return ()


class CrossCertified(InGetCACert):
    def crosses(self) -> Sequence[x509.Certificate]:
        if self.following is None:
            return ()
        current, following = self.generation.issuer, self.following.issuer
        made = party(
            following.certificate.subject.rfc4514_string(),
            Party(current.certificate, current.key),
            with_key=following.key,
            ca=True,
            key_id=True,  # its own name is the issuer's: without identifiers it would look self-signed
            start=self.clock(),
            end=self.generation.ends,
        )
        return [made.certificate]


class AsEJBCA(RollingCA):
    """The next CA signs the answers to what is asked of it."""

    def reply_signer(self, request: Request) -> Signer:
        asked_of_next = isinstance(request, ShadowRequest) and self.following is not None
        return self.following.signer if asked_of_next and self.following else super().reply_signer(request)


class NextIsOther(RollingCA):
    """Another key type, and so an RA with RSA keys."""

    other = KeyType.EC_P384

    def respond_http(self, call: Call) -> HttpAnswer:
        if len(self.generations._generations) == 1 and self.clock() > self.generation.ends - 70 * DAY:
            made = another(self, replace(self.settings, ca_key=self.other), 2, self.generation.ends)
            self.generations._generations.append(made)
        return super().respond_http(call)


class NextIsEd25519(NextIsOther):
    other = KeyType.ED25519


class NextIsMLDSA(NextIsOther):
    other = KeyType.ML_DSA_65


@pytest.mark.parametrize(
    ("settings", "ca", "looks"),
    [
        pytest.param(YEARLY, RollingCA, STAGED, id="nested, by the current CA"),
        pytest.param(YEARLY, AsEJBCA, STAGED, id="the reply signed by the next CA (EJBCA)"),
        pytest.param(YEARLY, NextIsOther, STAGED, id="an EC CA with an RA"),
        pytest.param(YEARLY, NextIsEd25519, STAGED, id="an Ed25519 CA with an RA"),
        pytest.param(YEARLY, NextIsMLDSA, STAGED, id="an ML-DSA CA with an RA"),
        pytest.param(replace(YEARLY, ca_key=KeyType.ML_DSA_87), RollingCA, STAGED, id="from ML-DSA to ML-DSA"),
        pytest.param(replace(YEARLY, ra=True), RollingCA, STAGED, id="an RA, and new ones with the next CA"),
        pytest.param(YEARLY, CrossCertified, STAGED, id="in GetCACert, with a cross-certificate"),
        pytest.param(replace(YEARLY, ra=True), SignedByRA, REFUSED, id="nested, by an RA nobody named"),
        pytest.param(YEARLY, SignedByStranger, REFUSED, id="nested, by an unknown party"),
        pytest.param(YEARLY, SignedByItself, REFUSED, id="nested, by itself"),
        pytest.param(replace(YEARLY, flat_next_ca=True), RollingCA, REFUSED, id="flat"),
        pytest.param(replace(YEARLY, flat_next_ca=True), Spliced, REFUSED, id="flat, spliced"),
        pytest.param(YEARLY, InGetCACert, REFUSED, id="in GetCACert alone"),
    ],
)
def test_followed_or_refused(make_device: Devices, settings: Settings, ca: type[RollingCA], looks: str) -> None:
    device = at_the_window(make_device(settings, ca=ca))
    assert device.look() == looks
    if looks == STAGED:
        device.off(device.day(365))
        assert device.run().result is Result.ROLLED_OVER
        assert device.look() == "identity 2, shadow none, ca_file 2, valid"
        device.off(device.day(440))
        assert device.run().result is Result.RENEWED
        assert device.look() == "identity 2, shadow none, ca_file 2, valid"
    else:
        assert device.hooks("failed") == 1
        assert device.run().result is Result.NOTHING  # never a silent retry: the pause after a failure holds


@pytest.mark.parametrize(
    ("settings", "ca"),
    [
        pytest.param(replace(YEARLY, flat_next_ca=True), RollingCA, id="flat"),
        pytest.param(YEARLY, InGetCACert, id="in GetCACert alone"),
        pytest.param(replace(YEARLY, ra=True), SignedByRA, id="nested, by an RA nobody named"),
    ],
)
def test_the_line_in_the_alarm_is_all_that_is_missing(
    make_device: Devices, settings: Settings, ca: type[RollingCA]
) -> None:
    device = at_the_window(make_device(settings, ca=ca))
    line = f"next_fingerprint: {fingerprint(device.ca.following)}"
    assert f"add `{line}` to the authority" in alarm(device)
    device.configure(line)
    device.run()  # a changed definition is looked at without waiting
    assert device.look() == STAGED


def test_an_ra_whose_own_fingerprint_is_configured_announces_the_next_ca(make_device: Devices) -> None:
    device = make_device(replace(YEARLY, ra=True), ca=SignedByRA)
    both = [facts.fingerprint(each) for each in (device.first, device.ca.generation.signer.certificate)]
    device.further = ("", f"fingerprint: [{both[0]}, {both[1]}]")
    device.configure()
    assert at_the_window(device).look() == STAGED


def test_a_spliced_answer_is_refused_though_the_real_one_is_named(make_device: Devices) -> None:
    device = make_device(replace(YEARLY, flat_next_ca=True), ca=Spliced)
    device.off(device.day(300))
    device.ca.generations.advance(device.clock())
    device.configure(f"next_fingerprint: {fingerprint(device.ca.following)}")
    device.run()
    assert device.look() == REFUSED


@pytest.mark.parametrize(
    ("day", "result"),
    [
        pytest.param(320, Result.RENEWED, id="the certificate is still valid"),
        pytest.param(500, Result.ENROLLED, id="the certificate has expired: the challenge enrolls anew"),
    ],
)
def test_a_ca_never_seen_needs_a_person_once(make_device: Devices, day: int, result: Result) -> None:
    device = make_device(YEARLY)
    device.off(device.day(250))
    device.run()
    device.ca.roll_over_now()
    device.off(device.day(day))
    assert device.run().result is Result.FAILED
    line = f"next_fingerprint: {fingerprint(device.ca.generation)}"
    assert f"add `{line}` to the authority" in alarm(device)
    assert device.by(device.leaf()) == "1"
    device.configure(line)
    assert device.run().result is result
    assert device.look().startswith("identity 2, shadow none, ca_file 2")
    device.configure()  # the line is not needed for ever
    device.off(device.clock.now + 80 * DAY)
    assert device.run().result is Result.RENEWED


def test_a_clock_that_was_lost_waits_with_the_switch(make_device: Devices) -> None:
    device = at_the_window(make_device(YEARLY))
    device.off(datetime(1970, 1, 1, tzinfo=UTC))
    assert device.run().result is Result.WAITING
    assert device.by(device.leaf()) == "1"
    device.off(device.day(370))
    assert device.run().result is Result.ROLLED_OVER


def test_one_next_ca_for_all_keystores_of_an_authority(make_device: Devices) -> None:
    """Each has a shadow of its own; the CA is asked for the next one once a run."""
    device = make_device(YEARLY)
    text = device.config.read_text()
    web = text[text.index("  web:\n") :]
    device.config.write_text(
        text + web.replace("  web:", "  app:").replace("/web.", "/app.").replace("ca.pem", "app-ca.pem")
    )

    def run_both() -> list[Result]:
        made = contexts(load_configuration(device.config), ["web", "app"], lambda *_: None, lambda *_: None)
        return [advance(replace(each, clock=device.clock), Wish.DUE, lambda: False).result for each in made]

    device.off(device.day(250))
    run_both()
    device.off(device.day(300))
    run_both()
    assert device.ca.calls["GetNextCACert"] == 1
    assert sum(record.kind == "rollover" for record in device.ca.issued()) == 2
    device.off(device.day(365))
    assert run_both() == [Result.ROLLED_OVER, Result.ROLLED_OVER]


def test_it_is_told(make_device: Devices) -> None:
    """Hooks, status and history of one rollover."""
    device = at_the_window(make_device(YEARLY))
    for day in (301, 320, 340):
        device.off(device.day(day))
        device.run()
    shown = as_json(take_snapshots(load_configuration(device.config), now=device.clock(), host="here"))["keystores"][
        "web"
    ]
    assert (shown["state"], shown["next_action"]) == ("staged", "switch")
    assert shown["next_action_at"] == f"{device.day(365):%Y-%m-%dT%H:%M:%SZ}"
    assert (device.hooks("staged"), device.hooks("ca_changed"), device.hooks("post")) == (1, 2, 3)
    device.off(device.day(365))
    device.run()
    device.run()
    assert (device.hooks("staged"), device.hooks("ca_changed"), device.hooks("post")) == (1, 3, 4)
    assert device.events()[-4:] == ["staged", "trusted", "renewed", "rolled over"]


SECOND = DAY / 86400


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(
            Settings(lifetime=20 * SECOND, ca_lifetime=60 * SECOND, rollover=20 * SECOND, overlap=5 * SECOND),
            id="seconds",
        ),
        pytest.param(
            Settings(lifetime=12 * 365 * DAY, ca_lifetime=40 * 365 * DAY, rollover=9 * 365 * DAY), id="decades"
        ),
    ],
)
def test_of_any_lifetime(make_device: Devices, settings: Settings) -> None:
    device = make_device(settings)
    for expected in ("1", "2"):
        generation = device.ca.generation
        device.live(generation.begins + 0.95 * (generation.ends - generation.begins - settings.overlap))
        assert device.look().startswith(f"identity {expected}, shadow {int(expected) + 1}, ")
        device.live(generation.ends - settings.overlap)
        device.ca.generations.advance(device.clock())
    assert device.by(device.leaf()) == "3"
