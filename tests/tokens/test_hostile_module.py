"""A vendor's module that crashes, hangs, lies or loses its token costs its keystore one attempt, and others nothing."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from certagent import state
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.tokens.conftest import Sites
from tests.tokens.site import Place, TokenSite, forget_modules

pytestmark = pytest.mark.needs("softhsm", "opensc", "gcc")

Order = Callable[[str], None]


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    module = tmp_path_factory.mktemp("shim") / "shim.so"
    source = Path(__file__).with_name("shim.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", str(module), str(source), "-ldl"], check=True)
    return module


@pytest.fixture
def order(tmp_path: Path) -> Order:
    """What goes wrong from now on; nothing: all is well again."""

    def give(text: str) -> None:
        (tmp_path / "order").write_text(text)

    return give


@pytest.fixture
def site(softhsm: Place, shim: Path, tmp_path: Path, make_site: Sites, monkeypatch: pytest.MonkeyPatch) -> TokenSite:
    """A device whose token is behind the shim."""
    monkeypatch.setenv("SHIM_REAL", softhsm.module)
    monkeypatch.setenv("SHIM_ORDER", str(tmp_path / "order"))
    made = make_site(replace(softhsm, module=str(shim)), real_time=True)
    made.write()
    return made


def in_a_batch(site: TokenSite, *, limit: str = "60s") -> None:
    """The token's keystore first, and a plain one after it."""
    site.write(top=f"worker_timeout: {limit}")
    text = site.config.read_text()
    app = (
        "  app:\n    type: pem\n    authority: lab\n    subject: CN=app\n"
        f"    key_file: {site.path('files/app.key')}\n    certificate_file: {site.path('files/app.pem')}\n"
    )
    site.config.write_text(text + app)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("C_Sign segv", "was ended by signal 11", id="crash while signing"),
        pytest.param("C_Initialize segv", "was ended by signal 11", id="crash when loaded"),
        pytest.param("C_GenerateKeyPair segv", "was ended by signal 11", id="crash while making a key"),
        pytest.param("C_Login hang", "did not answer within 4 s", id="hang"),
        pytest.param("C_Sign rv 80001234", "cannot sign with key", id="a code nobody knows"),
        pytest.param("C_GenerateKeyPair gone", "there is no token vpn", id="token pulled out"),
    ],
)
def test_the_rest_of_the_batch_is_served(site: TokenSite, order: Order, text: str, told: str) -> None:
    in_a_batch(site, limit="8s" if "hang" in text else "60s")
    order(text)
    done = site.command("renew", "--due", "--report", "json")
    assert done.returncode == 1
    web, app = map(json.loads, done.stdout.splitlines())
    assert (web["keystore"], web["result"]) == ("web", "failed")
    assert told in web["message"]
    assert (app["keystore"], app["result"]) == ("app", "enrolled")
    remembered = site.state
    assert remembered.failures == 1
    assert remembered.retry_at is not None
    assert site.events() == ["failed"]


@pytest.mark.parametrize(
    ("text", "result"), [pytest.param("", "enrolled", id="well"), pytest.param("C_Sign segv", "failed", id="crash")]
)
def test_so_is_a_batch_whose_definitions_the_agent_hands(site: TokenSite, order: Order, text: str, result: str) -> None:
    in_a_batch(site)
    order(text)
    done = site.worker("web", "app")
    told = [(each["keystore"], each["result"]) for each in map(json.loads, done.stdout.splitlines())]
    assert told == [("web", result), ("app", "enrolled")], done.stderr


def test_after_a_crash_the_next_attempt_carries_on_and_leaves_nothing_behind(site: TokenSite, order: Order) -> None:
    in_a_batch(site)
    for text in ("C_GenerateKeyPair segv 0 once", "C_Sign segv 0 once", "C_CreateObject segv 0 once"):
        order(text)
        assert site.command("renew").returncode == 1
        assert not site.path("order").exists()
    assert site.command("renew").returncode == 0
    assert state.load(site.keystore_directory) is not None
    assert site.place.objects() == {"Private Key": 1, "Public Key": 1, "Certificate": 1}
    assert site.pair_matches()


# python-pkcs11 ends a search that could not begin once more when it is collected, and complains.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "text",
    [
        pytest.param("C_Sign rv 31 once", id="signing, device memory"),
        pytest.param("C_Decrypt rv 5 once", id="decryption, general error"),
        pytest.param("C_FindObjectsInit rv 90 once", id="search, operation active"),
        pytest.param("C_GetAttributeValue rv 82 once", id="attribute, handle gone stale"),
        pytest.param("C_CreateObject rv b3 once", id="certificate, session gone"),
        pytest.param("C_CreateObject late 31", id="certificate, made and never admitted"),
        pytest.param("C_GenerateKeyPair rv 31 once", id="key, device memory"),
        pytest.param("C_GenerateKeyPair late 31 once", id="key, made and then not admitted"),
    ],
)
def test_what_a_fresh_session_mends_is_no_failure(site: TokenSite, order: Order, text: str) -> None:
    order(text)
    assert site.run(Wish.NOW).result is Result.ENROLLED
    site.path("order").unlink(missing_ok=True)
    assert site.place.objects() == {"Private Key": 1, "Public Key": 1, "Certificate": 1}


def test_a_key_that_could_leave_is_not_used(site: TokenSite, order: Order) -> None:
    order("C_GenerateKeyPair leaky")
    outcome = site.run(Wish.NOW)
    assert outcome.result is Result.FAILED
    assert "made a key that can be exported" in str(outcome.message)
    assert not site.place.objects()
    assert not site.ca.issued()


@pytest.mark.parametrize("text", ["C_CreateObject rv 31", "C_GenerateKeyPair late 31"])
def test_a_failed_creation_leaves_nothing_behind(site: TokenSite, order: Order, text: str) -> None:
    order(text)
    assert site.run(Wish.NOW).result is Result.FAILED
    site.path("order").unlink()
    forget_modules()
    assert site.run(Wish.NOW).result is Result.ENROLLED
    assert site.place.objects() == {"Private Key": 1, "Public Key": 1, "Certificate": 1}


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        pytest.param("20000", "one try left", id="final try"),
        pytest.param("40000", "is locked", id="locked"),
    ],
)
def test_flags_are_read_before_a_login(site: TokenSite, order: Order, flags: str, told: str) -> None:
    order(f"C_GetTokenInfo flags {flags}")
    outcome = site.run(Wish.NOW)
    assert outcome.result is Result.FAILED
    assert told in str(outcome.message)
    assert not list(site.path("state/tokens").rglob("pin.json"))


def test_a_login_of_unknown_outcome_counts(site: TokenSite, order: Order) -> None:
    order("C_Login rv 80000001")
    site.run(Wish.NOW)
    forget_modules()
    outcome = site.run(Wish.NOW)
    assert "2 logins in a row to token vpn failed or were cut off" in str(outcome.message)


def test_a_token_pulled_out_in_the_middle_is_a_failure_in_words(site: TokenSite, order: Order) -> None:
    site.run(Wish.NOW)
    order("C_Sign gone")
    outcome = site.run(Wish.RENEW)
    assert outcome.result is Result.FAILED
    assert "there is no token vpn" in str(outcome.message)
    assert "is it plugged in" in str(outcome.hint)
