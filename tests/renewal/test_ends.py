"""A transaction ends when its reason ends: each way to that, how many certificates it costs, and what is told."""

from __future__ import annotations

import secrets
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec.structs import replace

from certagent import certificate as facts
from certagent import keys, state
from certagent.lab import Answer, Settings
from certagent.scep import Request
from certagent.transaction.journal import Phase
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.renewal.line import CERT_POLL, PKCS_REQ, RENEWAL_REQ, BadLine, approve, line
from tests.renewal.site import DAY, Site, Sites, recording_hook

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
LIFE = Settings(lifetime=90 * DAY)
MANUAL = replace(LIFE, manual=True)
TWO_NAMES = "san: [dns:web.example.net, dns:www.example.net]"
OTHER = "the configuration now asks for something else"
FORCE = "--force asks for another"


class Own(BadLine):
    """A CA with rules of its own: it certifies the first name alone, for as long as `lives` says, for whatever key
    `for_key` says. `forgets`: it knows no transaction a second time, as servers without a memory. `repeats`: it sends
    what it issued first, whatever it is asked.
    """

    lives: timedelta | None = None
    for_key: keys.PublicKey | None = None
    forgets = False
    repeats = False
    first: x509.Certificate | None = None

    def decide(self, request: Request) -> Answer:
        if self.forgets:
            request = replace(request, transaction_id=secrets.token_hex(8))
        return super().decide(request)

    def issue(self, csr: x509.CertificateSigningRequest) -> x509.Certificate:
        if self.repeats and self.first is not None:
            return self.first
        made = super().issue(csr)
        begins, end = made.not_valid_before_utc, made.not_valid_after_utc
        if self.lives is not None:
            end = self.clock().replace(microsecond=0) + self.lives
            begins = min(begins, end - HOUR)
        key = self.for_key or made.public_key()
        builder = x509.CertificateBuilder(made.issuer, made.subject, key, made.serial_number, begins, end)
        for each in made.extensions:
            if isinstance(each.value, x509.SubjectAlternativeName):
                value = x509.SubjectAlternativeName(list(each.value)[:1])
                builder = builder.add_extension(value, each.critical)
            else:
                builder = builder.add_extension(each.value, each.critical)
        self.first = builder.sign(self.generation.issuer.key, hashes.SHA256())
        return self.first


def own(site: Site) -> Own:
    assert isinstance(site.ca, Own)
    return site.ca


def define(site: Site, names: str, keystore: str = "", authority: str = "") -> None:
    site.write(f"subject: CN=web.example.net,O=Example\n{names}\n{keystore}", authority, subject=False)


def reasons(site: Site) -> list[str]:
    """Why transactions were abandoned, as `history` shows it."""
    return [each.message for each in state.read_history(site.keystore_directory) if each.event == "abandoned"]


def names(site: Site) -> set[str]:
    return set(facts.alternative_names(site.leaf()))


# --- our own refusal, and a changed definition ------------------------------------------------------


@pytest.fixture
def refused(make_site: Sites) -> Site:
    """What the CA issued for the first certificate lacks a name, and was not taken."""
    site = make_site(LIFE, ca=Own)
    define(site, TWO_NAMES)
    outcome = site.run()
    assert (outcome.result, "lacks dns:www.example.net" in str(outcome.message)) == (Result.FAILED, True)
    return site


@pytest.mark.parametrize("wish", [Wish.DUE, Wish.ENROLL])
def test_what_was_refused_is_taken_where_it_is_what_is_asked_for_now(refused: Site, wish: Wish) -> None:
    """The name that the CA would not certify is taken out of the definition: no other certificate is asked for."""
    define(refused, "san: [dns:web.example.net]")
    assert refused.run(wish).result is Result.ENROLLED
    assert (len(refused.ca.issued()), reasons(refused)) == (1, [])
    assert "the certificate that was refused before is what the configuration asks for now" in refused.log
    assert refused.run().result is Result.NOTHING


@pytest.mark.parametrize("change", ["key_type: rsa:3072", "subject: CN=other.example.net"])
def test_not_for_another_key_or_subject(refused: Site, change: str) -> None:
    key, _, value = change.partition(": ")
    define(refused, "san: [dns:web.example.net]")
    text = refused.config.read_text()
    changed = text.replace("CN=web.example.net,O=Example", value) if key == "subject" else f"{text}    {change}\n"
    refused.config.write_text(changed)
    assert refused.run().result is Result.ENROLLED
    assert len(refused.ca.issued()) == 2


SLOW = [pytest.mark.slow]  # tests/unit/test_ends.py has every row; here some of them go the whole way


@pytest.mark.parametrize(
    "wish",
    [
        Wish.DUE,
        Wish.ENROLL,
        pytest.param(Wish.NOW, marks=SLOW),
        pytest.param(Wish.RENEW, marks=SLOW),
        pytest.param(Wish.ENROLL_ANEW, marks=SLOW),
    ],
)
def test_what_is_asked_for_now_is_asked_for(refused: Site, wish: Wish) -> None:
    """Whatever the command, at once, and for one certificate."""
    define(refused, "san: [dns:mail.example.net]")
    assert refused.run(wish).result is Result.ENROLLED
    assert names(refused) == {"dns:mail.example.net"}
    assert len(refused.ca.issued()) == 2
    assert reasons(refused) == [OTHER]
    assert f"enrollment given up: {OTHER}" in refused.log


@pytest.mark.parametrize(
    ("wish", "issued"),
    [
        pytest.param(Wish.DUE, 1, id="the agent: not before the pause is over"),
        pytest.param(Wish.NOW, 2, id="renew"),
        pytest.param(Wish.ENROLL_ANEW, 2, id="enroll --force"),
    ],
)
@pytest.mark.parametrize("forgets", [False, True])
def test_what_is_asked_for_as_before_costs_one_certificate_a_command(
    refused: Site, wish: Wish, issued: int, forgets: bool
) -> None:
    own(refused).forgets = forgets
    refused.run(wish)
    assert len(refused.ca.issued()) == issued


@pytest.fixture
def pending(make_site: Sites) -> Site:
    site = make_site(MANUAL, ca=BadLine)
    define(site, TWO_NAMES)
    assert site.run().result is Result.PENDING
    return site


def test_a_pending_request_ends_where_another_would_be_made(pending: Site) -> None:
    """tests/unit/test_asked.py has what makes it another."""
    before = pending.transaction
    define(pending, "san: [dns:mail.example.net]")
    assert pending.run().result is Result.PENDING
    after = pending.transaction
    assert before is not None
    assert after is not None
    assert before.transaction_id != after.transaction_id
    assert reasons(pending) == [OTHER]


def test_a_pending_request_goes_on_where_it_would_be_the_same(pending: Site) -> None:
    define(pending, TWO_NAMES, "hooks: {failed: [['true']]}\nrenew_at: 50%\nmay_lose: [san]", "poll_interval: 1m")
    assert pending.run(Wish.NOW).result is Result.PENDING
    assert line(pending).types() == [PKCS_REQ, CERT_POLL]
    assert len({request.transaction_id for request in line(pending).asked}) == 1


def test_a_renewal_asks_for_what_is_in_place_so_that_names_in_the_definition_change_nothing(make_site: Sites) -> None:
    site = make_site(LIFE, ca=BadLine)
    define(site, TWO_NAMES)
    site.run()
    site.ca.settings = MANUAL
    assert site.run(Wish.RENEW).result is Result.PENDING
    define(site, "san: [dns:mail.example.net]")
    assert site.run(Wish.NOW).result is Result.PENDING
    assert (line(site).types()[1:], reasons(site)) == ([RENEWAL_REQ, CERT_POLL], [])


@pytest.mark.parametrize("change", ["rekey: never", "key_type: ec:p256"])
def test_a_renewal_ends_with_the_key_that_is_wanted_no_more(make_site: Sites, change: str) -> None:
    """The person's wish stands: it is not due, and asked for anew all the same."""
    site = make_site(LIFE, ca=BadLine)
    define(site, TWO_NAMES)
    site.run()
    key = site.leaf().public_key()
    site.ca.settings = MANUAL
    assert site.run(Wish.RENEW).result is Result.PENDING
    define(site, TWO_NAMES, change)
    site.ca.settings = LIFE
    assert site.run().result is Result.RENEWED
    now = site.leaf().public_key()
    assert (now == key) if change == "rekey: never" else isinstance(now, ec.EllipticCurvePublicKey)
    assert (len(site.ca.issued()), reasons(site)) == (2, [OTHER])


def test_what_was_issued_for_other_names_is_not_put_in_place(make_site: Sites) -> None:
    """A pre hook would not have it, and said so; the names are corrected."""
    site = make_site(LIFE, ca=BadLine)
    hook = recording_hook(site, "pre", exit_code="1")
    define(site, TWO_NAMES, f"hooks: {{pre: [[{hook}]]}}")
    assert site.run().result is Result.FAILED
    site.path("pre.exit").write_text("0")
    define(site, "san: [dns:mail.example.net]", f"hooks: {{pre: [[{hook}]]}}")
    assert site.run().result is Result.ENROLLED
    assert names(site) == {"dns:mail.example.net"}
    assert len(site.ca.issued()) == 2


@pytest.mark.parametrize(
    ("wish", "issued"),
    [pytest.param(Wish.NOW, 2, id="renew", marks=SLOW), pytest.param(Wish.RENEW, 3, id="renew --force")],
)
def test_what_a_hook_vetoed_gives_way_to_force_alone(make_site: Sites, wish: Wish, issued: int) -> None:
    site = make_site(LIFE, ca=BadLine)
    define(site, TWO_NAMES)
    site.run()
    hook = recording_hook(site, "pre", exit_code="1")
    define(site, TWO_NAMES, f"hooks: {{pre: [[{hook}]]}}")
    assert site.run(Wish.RENEW).result is Result.FAILED
    site.path("pre.exit").write_text("0")
    assert site.run(wish).result is Result.RENEWED
    assert len(site.ca.issued()) == issued


# --- answers that can never become good ---------------------------------------------------------------


def test_what_expired_on_its_way_is_asked_for_anew_at_once(make_site: Sites) -> None:
    site = make_site(LIFE, ca=Own)
    own(site).lives = 2 * HOUR
    site.write()
    line(site).lost = 1
    assert site.run().result is Result.FAILED
    site.clock.advance(3 * HOUR)
    assert site.run().result is Result.ENROLLED
    assert len(site.ca.issued()) == 2
    assert "the certificate that the CA issued has already expired" in reasons(site)[0]


def test_a_ca_that_issues_what_has_expired_is_asked_rarely(make_site: Sites) -> None:
    site = make_site(LIFE, ca=Own)
    own(site).lives = -HOUR
    site.write()
    cost = certificates_of_a_day(site)
    assert cost <= 4
    assert site.state.last_error is not None
    assert site.state.last_error.kind == "unfit"


def certificates_of_a_day(site: Site) -> int:
    """Run whenever the worker said so, and count what is issued."""
    end, issued = site.clock() + DAY, len(site.ca.issued())
    while site.clock() < end:
        outcome = site.run()
        assert outcome.next_action_at is not None
        site.clock.now = max(outcome.next_action_at, site.clock() + timedelta(seconds=1))
    return len(site.ca.issued()) - issued


@pytest.mark.parametrize("repeats", [pytest.param(False, marks=SLOW), True])
def test_a_certificate_for_another_key_is_not_waited_for(make_site: Sites, repeats: bool) -> None:
    """As of a CA that knows the name, and sends what it has (NDES): the same again and again."""
    site = make_site(LIFE, ca=Own)
    own(site).for_key = ec.generate_private_key(ec.SECP256R1()).public_key()
    own(site).forgets, own(site).repeats = True, repeats
    site.write()
    outcome = site.run()
    assert "the CA's answer holds no certificate for our key" in str(outcome.message)
    assert len(list(site.keystore_directory.glob("refused/*.pem"))) == 1
    assert certificates_of_a_day(site) <= 4
    own(site).for_key, own(site).repeats = None, False
    assert site.run(Wish.NOW).result is Result.ENROLLED


@pytest.mark.parametrize(
    ("wish", "phase"),
    [
        (Wish.RENEW, Phase.REQUESTED),
        (Wish.ENROLL_ANEW, Phase.PENDING),
        pytest.param(Wish.RENEW, Phase.PENDING, marks=SLOW),
        pytest.param(Wish.ENROLL_ANEW, Phase.REQUESTED, marks=SLOW),
    ],
)
def test_force_is_always_a_way_out(make_site: Sites, wish: Wish, phase: Phase) -> None:
    site = make_site(MANUAL, ca=BadLine)
    site.write()
    line(site).lost = int(phase is Phase.REQUESTED)
    site.run()
    before = site.transaction
    assert before is not None
    assert before.phase is phase
    site.ca.settings = LIFE
    assert site.run(wish).result is Result.ENROLLED
    assert len({request.transaction_id for request in line(site).asked}) == 2
    assert reasons(site) == [FORCE]
    assert len(site.ca.issued()) == 1


@pytest.mark.parametrize("wish", [Wish.DUE, Wish.ENROLL])
def test_without_force_a_lost_answer_is_asked_for_again(make_site: Sites, wish: Wish) -> None:
    """And costs nothing."""
    site = make_site(LIFE, ca=BadLine)
    site.write()
    line(site).lost = 1
    site.run()
    site.clock.advance(HOUR)
    assert site.run(wish).result is Result.ENROLLED
    assert len({(each.transaction_id, each.content) for each in line(site).asked}) == len(site.ca.issued()) == 1


@pytest.mark.slow
def test_a_rollover_s_shadow_is_asked_for_with_the_key_that_is_wanted_now(make_site: Sites) -> None:
    rolling = Settings(lifetime=365 * DAY, ca_lifetime=365 * DAY, rollover=70 * DAY, overlap=30 * DAY)
    site = make_site(rolling, ca=BadLine)
    site.write()
    site.run()
    site.clock.advance(300 * DAY)
    site.ca.settings = replace(rolling, manual=True)
    site.run()
    waiting = len(site.ca.store.all_waiting())
    site.write("key_type: rsa:3072")
    site.run()
    assert OTHER in reasons(site)
    assert len(site.ca.store.all_waiting()) > waiting
    approve(site)


# --- somebody else ------------------------------------------------------------------------------------


def test_a_certificate_that_somebody_replaced_ends_the_request_before_it_costs_anything(make_site: Sites) -> None:
    site = make_site(LIFE, ca=BadLine)
    site.write()
    site.run()
    first = site.certificate.read_bytes(), site.key.read_bytes()
    site.run(Wish.RENEW)
    second = site.certificate.read_bytes(), site.key.read_bytes()
    site.certificate.write_bytes(first[0])
    site.key.write_bytes(first[1])
    site.clock.advance(60 * DAY)
    site.ca.settings = MANUAL
    assert site.run().result is Result.PENDING
    site.certificate.write_bytes(second[0])
    site.key.write_bytes(second[1])
    site.run()
    approve(site)
    assert "another program replaced the certificate in the meantime" in reasons(site)


# --- the commands -------------------------------------------------------------------------------------


def test_by_the_commands_themselves(make_site: Sites) -> None:
    site = make_site(LIFE, ca=Own, real_time=True)
    define(site, TWO_NAMES)
    refused = site.command("enroll", "web")
    assert refused.returncode == 1
    assert "lacks dns:www.example.net, which was requested" in refused.stderr
    define(site, "san: [dns:mail.example.net]")
    foreseen = site.command("renew", "--dry-run", "web").stdout
    assert foreseen == f"web: would give up the enrollment that is open: {OTHER}; then enrollment anew\n"
    done = site.command("enroll", "web")
    assert done.returncode == 0, done.stderr
    assert OTHER in done.stderr
    assert names(site) == {"dns:mail.example.net"}
    assert len(site.ca.issued()) == 2
