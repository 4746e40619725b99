"""What the commands say about a factory identity and the ways back, before they are needed. Each in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import pytest

from certagent import keys
from certagent.certificate import to_pem
from certagent.cli.check_introduction import Introductions
from certagent.cli.check_secrets import Secrets
from certagent.cli.main import main
from certagent.config.key_types import KeyType
from certagent.config.load import load_configuration
from certagent.errors import ConfigError
from tests.introductions.conftest import Sites
from tests.introductions.maker import Maker, write
from tests.renewal.site import DAY, Site
from tests.unit.pki import Party, party

Told = Callable[..., str]


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Told:
    def run(site: Site, *words: str, code: int = 0) -> str:
        got = main(["-c", str(site.config), *words])
        said = "".join(capsys.readouterr())
        assert got == code, said
        return said

    return run


@pytest.fixture
def now(make_site: Sites) -> Site:
    """On the clock that commands look at."""
    return make_site(real_time=True)


def test_check_says_who_introduces_and_how(now: Site, maker: Maker, told: Told) -> None:
    write(now, maker.write(maker.device()), challenge=True)
    said = told(now, "check")
    assert f"the factory identity in {maker.certificate_file}: CN=PID:R9 SN:FOC1,O=Maker Inc, rsa:2048, by " in said
    assert "valid until 9999-12-31" in said
    assert "PKCSReq for CN=web.example.net,O=Example, dns:web.example.net signed with the factory identity, to" in said
    assert "challenge password" not in said
    assert "the factory identity (which expires 9999-12-31); then the challenge; then a person has to help" in said


@pytest.mark.parametrize(
    ("device", "challenge", "code", "word"),
    [
        pytest.param({"end": DAY}, True, 0, "certagent tries it all the same: the CA decides", id="expired"),
        pytest.param({"key_type": KeyType.EC_P256}, True, 0, "cannot be encrypted to it", id="EC, with a challenge"),
        pytest.param({"key_type": KeyType.EC_P256}, False, 1, "cannot be encrypted to it", id="EC, nothing else"),
    ],
)
def test_check_says_what_is_wrong_with_it(
    now: Site, maker: Maker, told: Told, *, device: dict[str, object], challenge: bool, code: int, word: str
) -> None:
    given = {key: now.clock() - value if isinstance(value, timedelta) else value for key, value in device.items()}
    write(now, maker.write(maker.device(**given)), challenge=challenge)  # type: ignore[arg-type]  # a row's own words
    assert word in told(now, "check", code=code)


def test_check_says_who_renews_a_key_that_cannot_do_so_itself(now: Site, maker: Maker, told: Told) -> None:
    write(now, maker.write(maker.device()), keystore="key_type: ec:p256")
    told(now, "enroll", "web")
    said = told(now, "check")
    assert "signed with the factory identity" in said
    assert "cannot sign a renewal" not in said
    assert "should its certificate expire: the factory identity (which expires 9999-12-31); then a person" in said


def test_check_does_not_run_the_command_of_a_password(now: Site, maker: Maker, told: Told) -> None:
    named = maker.write_p12(maker.device()).partition(" password:")[0]
    write(now, f"{named} password: {{command: [/bin/false]}}}}")
    assert "is looked at when it is needed: a command has its password" in told(now, "check")


def test_check_reads_it_once_however_many_keystores_it_may_introduce(now: Site, maker: Maker) -> None:
    write(now, maker.write(maker.device()))
    introductions = Introductions(now.path("state"), Secrets((), frozenset()), now.clock())
    found = introductions.introducing(now.context().configured)
    assert found is not None
    maker.key_file.unlink()  # whoever looks again misses it
    assert introductions.introducing(now.context().configured) == found


def test_check_and_enroll_miss_what_is_not_there(now: Site, maker: Maker, told: Told) -> None:
    write(now, maker.write(maker.device()), challenge=True)
    maker.certificate_file.unlink()
    assert f"{maker.certificate_file} cannot be read: No such file" in told(now, "check", code=1)
    assert f"the factory identity's {maker.certificate_file} does not exist" in told(now, "enroll", "web", code=1)


def test_plan_and_status_of_a_device_that_was_off_for_a_year(now: Site, maker: Maker, told: Told) -> None:
    write(now, maker.write(maker.device()), challenge=True)
    last, ca = now.clock() - 365 * DAY, now.ca.generation.issuer
    old = party("CN=web.example.net", Party(ca.certificate, ca.key), start=last - 90 * DAY, end=last)
    now.certificate.write_bytes(to_pem([old.certificate]))
    now.key.write_bytes(keys.to_pem(old.key))
    now.key.chmod(0o600)
    back = (
        "web: back to a certificate: its certificate, if the CA still renews it",
        "the factory identity (which expires 9999-12-31)",
        "the challenge",
        "a person has to help",
    )
    for words in (["plan"], ["status"], ["check"]):
        said = told(now, *words, code=int(words == ["check"]))
        assert "; then ".join(back).removeprefix("web: ") in said
    ways = json.loads(told(now, "status", "--json"))["keystores"]["web"]["ways"]
    assert ways == ["certificate", "introduction", "challenge", "person"]


def test_a_valid_certificate_s_ladder_is_told_too(now: Site, maker: Maker, told: Told) -> None:
    write(now, maker.write(maker.device()), keystore="key_type: rsa:2048")
    told(now, "enroll", "web")
    assert "web: should its certificate expire: its certificate, if the CA still renews it; then the" in told(
        now, "plan"
    )
    ways = json.loads(told(now, "plan", "--json"))["ways"]
    assert ways == [{"keystore": "web", "ways": ["certificate", "introduction", "person"]}]


def test_no_keystore_has_a_file_of_it(site: Site, maker: Maker) -> None:
    named = maker.write(maker.device()).replace(str(maker.key_file), str(site.key))
    write(site, named)
    with pytest.raises(ConfigError, match=r"is the factory identity that authorities\.lab\.introduce_with"):
        load_configuration(site.config)


def test_moving_a_foreign_identity_advises_introduce_with(now: Site, maker: Maker, told: Told) -> None:
    write(now, maker.write(maker.device()))
    told(now, "enroll", "web")  # so that the CA is known
    text = now.config.read_text()
    files = f"key_file: {maker.key_file}, certificate_file: {maker.certificate_file}"
    mic = f"  mic: {{type: pem, authority: lab, {files}}}\n"
    named = next(line for line in text.splitlines() if "introduce_with" in line)
    now.config.write_text(text.replace(f"{named}\n", "") + mic)
    said = told(now, "enroll", "mic", "--into", "web", "--force", code=1)
    assert "another CA than that of lab issued the certificate in mic" in said
    assert "set introduce_with to mic's files" in said
