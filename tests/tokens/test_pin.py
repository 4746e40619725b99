"""No code path locks a token: what was tried is remembered, over restarts and between keystores."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from certagent.errors import KeystoreError, TokenLockedError
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.tokens.apart import exit_code, killed_behind_a_login
from tests.tokens.conftest import Sites
from tests.tokens.site import SO_PIN, Place, TokenSite, forget_modules, run

pytestmark = pytest.mark.needs("softhsm", "opensc")


@pytest.fixture
def site(softhsm: Place, make_site: Sites) -> TokenSite:
    made = make_site(softhsm)
    made.write()
    return made


def memory(site: TokenSite) -> Path:
    [directory] = site.path("state/tokens").iterdir()
    return directory / "pin.json"


def restarted(site: TokenSite) -> str:
    """One attempt of a new process; what it failed with."""
    forget_modules()
    outcome = site.run(Wish.NOW)
    assert outcome.result is Result.FAILED
    return f"{outcome.message}; {outcome.hint}"


def test_a_wrong_pin_is_tried_once(site: TokenSite) -> None:
    site.place.put_pin("9999")
    assert "the PIN of token vpn is wrong" in restarted(site)
    before = memory(site).read_bytes()
    for _ in range(5):
        assert "the token refused it before, and it has not changed since" in restarted(site)
    assert memory(site).read_bytes() == before
    assert json.loads(before)["tries"] == 1
    assert "user PIN count low" in site.place.told("token flags")


def test_the_right_pin_ends_it(site: TokenSite) -> None:
    site.place.put_pin("9999")
    restarted(site)
    site.place.put_pin("1234")
    forget_modules()
    assert site.run(Wish.NOW).result is Result.ENROLLED
    assert not memory(site).exists()


def test_a_third_try_is_never_made(site: TokenSite) -> None:
    for pin in ("9991", "9992"):
        site.place.put_pin(pin)
        assert "is wrong" in restarted(site)
    for pin in ("9993", "1234"):
        site.place.put_pin(pin)
        assert "a third might lock it" in restarted(site)
    memory(site).unlink()  # as the hint says
    forget_modules()
    assert site.run(Wish.NOW).result is Result.ENROLLED


def test_keystores_on_one_token_share_what_is_known(site: TokenSite) -> None:
    text = site.config.read_text()
    site.write("token: serial:SERIAL\nuri_file: OTHER")
    other = site.config.read_text().partition("  web:")[2]
    other = other.replace("SERIAL", site.place.told("serial num")).replace("OTHER", str(site.path("files/app.uri")))
    site.config.write_text(text + "  app:" + other.replace(str(site.certificate), str(site.path("files/app.pem"))))
    site.place.put_pin("9999")
    assert "is wrong" in restarted(site)
    forget_modules()
    with pytest.raises(TokenLockedError, match="the token refused it before"):
        site.context("app").configured.keystore.create_shadow(
            "00" * 16, site.context("app").configured.definition.key_type
        )


def test_a_kill_in_the_middle_of_a_login_counts_as_a_try(site: TokenSite) -> None:
    for _ in range(2):
        assert exit_code(killed_behind_a_login, site.config, site.clock.now) == -signal.SIGKILL
    assert json.loads(memory(site).read_bytes())["tries"] == 2
    assert "2 logins in a row to token vpn failed or were cut off" in restarted(site)


def test_what_is_remembered_tells_no_pin_and_is_private(site: TokenSite) -> None:
    site.place.put_pin("73519")
    restarted(site)
    assert memory(site).stat().st_mode & 0o777 == 0o600
    for file in site.path("state").rglob("*"):
        assert not file.is_file() or b"73519" not in file.read_bytes()
    assert not [line for line in site.log if "73519" in line]


def test_a_pin_that_is_no_text_is_no_try(site: TokenSite) -> None:
    site.place.pin_file.write_bytes(b"\xff\xfe\n")
    assert "is not text" in restarted(site)
    assert not list(site.path("state/tokens").rglob("pin.json"))


@pytest.mark.needs("tpm")
def test_a_tpm_does_not_come_near_its_lockout(on_tpm: Place, make_site: Sites) -> None:
    site = make_site(on_tpm)
    site.write()
    on_tpm.put_pin("9999")
    for _ in range(4):
        assert "is wrong" in restarted(site)
    on_tpm.put_pin("1234")
    forget_modules()
    assert site.run(Wish.NOW).result is Result.ENROLLED


def test_a_damaged_memory_is_no_fresh_start(site: TokenSite) -> None:
    site.place.put_pin("9999")
    restarted(site)
    memory(site).write_text("{")
    forget_modules()
    outcome = site.run(Wish.NOW)
    assert outcome.result is Result.FAILED
    assert "pin.json is damaged" in str(outcome.message)


def test_a_token_that_is_not_there_says_which_are(site: TokenSite) -> None:
    site.write("token: lost")
    with pytest.raises(KeystoreError, match="there is no token lost") as error:
        site.context().configured.keystore.create_shadow("00" * 16, site.context().configured.definition.key_type)
    assert "present: vpn" in error.value.hint


def test_two_tokens_of_one_name_are_told_apart_by_their_serial(site: TokenSite) -> None:
    argv = ["softhsm2-util", "--init-token", "--free", "--label", "vpn", "--pin", "1234", "--so-pin", SO_PIN]
    run(argv, site.place.environment)
    with pytest.raises(KeystoreError, match="2 tokens match vpn") as error:
        site.context().configured.keystore.create_shadow("00" * 16, site.context().configured.definition.key_type)
    [selector] = [word for word in error.value.hint.split() if word.startswith("serial:")]
    site.write(f"token: {selector}")
    forget_modules()
    assert site.run(Wish.NOW).result is Result.ENROLLED
