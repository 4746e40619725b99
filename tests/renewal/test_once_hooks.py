"""Hooks marked `once`: keystores that share a consumer, and one run for all. The real command, on the real clock."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from certagent import state
from certagent.lab import Settings
from certagent.state_directory import StateDirectory
from certagent.transaction.journal import Journal, Transaction
from tests.renewal.site import DAY, Site, Sites

NAMES = ("a", "b", "c")


class Fleet:
    """Keystores of one configuration. A hook `NAME` notes what it is told; it fails while `NAME.fails` is there."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def hook(self, name: str) -> Path:
        script = self.site.path(name)
        script.write_text(
            "#!/bin/sh\n"
            f'echo "$CERTAGENT_EVENT $CERTAGENT_KEYSTORES/$CERTAGENT_KEYSTORE" >>{script}.ran\n'
            f"echo said by {name}\n"
            f"[ ! -e {script}.dies ] || {{ rm {script}.dies; kill -9 $PPID; }}\n"
            f"[ ! -e {script}.fails ]\n"
        )
        script.chmod(0o755)
        return script

    def fails(self, name: str, *, when: bool) -> None:
        file = self.site.path(f"{name}.fails")
        if when:
            file.touch()
        else:
            file.unlink()

    def ran(self, name: str) -> list[str]:
        """What it was told each time: event, the names of all, and after the slash the one keystore's."""
        file = self.site.path(f"{name}.ran")
        return file.read_text().splitlines() if file.exists() else []

    def write(self, hooks: dict[str, str], further: str = "") -> None:
        """A keystore for each name; RESTART and OTHER in its hooks are two scripts."""
        self.site.write()
        text = self.site.config.read_text()
        head = text[: text.index("keystores:")]
        scripts = {"RESTART": str(self.hook("restart")), "OTHER": str(self.hook("other"))}
        lines = ["defaults: {authority: lab, jitter: 0%}", "keystores:"]
        for name, what in hooks.items():
            told = what.replace("RESTART", scripts["RESTART"]).replace("OTHER", scripts["OTHER"])
            base = self.site.path("files")
            files = f"key_file: {base}/{name}.key, certificate_file: {base}/{name}.pem"
            ca_file = f"ca_file: {base}/{name}-ca.pem, " if "ca_changed" in told else ""
            lines.append(f"  {name}: {{type: pem, subject: CN={name}, {files}, {ca_file}{further} hooks: {{{told}}}}}")
        self.site.config.write_text(head + "\n".join(lines) + "\n")

    def renew(self, *words: str, code: int = 0) -> str:
        done = self.site.command("renew", *words, timeout=60)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def transaction(self, name: str) -> Transaction | None:
        return Journal(StateDirectory(self.site.path("state")).keystore(name).path).open()

    def open(self, names: Sequence[str] = NAMES) -> list[str]:
        return [name for name in names if self.transaction(name)]


@pytest.fixture
def fleet(make_site: Sites) -> Fleet:
    return Fleet(make_site(Settings(lifetime=90 * DAY), real_time=True))


RESTART = "post: [{run: [RESTART], once: true}]"


def test_one_run_for_all_names_them_all_and_comes_when_all_are_in_place(fleet: Fleet) -> None:
    fleet.write(dict.fromkeys(NAMES, RESTART))
    told = fleet.renew()
    assert fleet.ran("restart") == ["post a b c/"]
    assert [line.split(",")[0] for line in told.splitlines() if "enrolled" in line] == [f"{n}: enrolled" for n in NAMES]
    assert fleet.open() == []
    fleet.renew()
    assert len(fleet.ran("restart")) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hooks", "restart", "other"),
    [
        pytest.param(
            {"a": RESTART, "b": "post: [[RESTART]]", "c": RESTART}, ["post b/b", "post a c/"], [], id="one without it"
        ),
        pytest.param(
            {"a": RESTART, "b": "post: [{run: [OTHER], once: true}]", "c": RESTART},
            ["post a c/"],
            ["post b/"],
            id="another consumer's",
        ),
        pytest.param(
            {"a": RESTART, "b": "post: [{run: [RESTART], once: true, timeout: 5m}]"},
            ["post a/", "post b/"],
            [],
            id="another time limit is another entry",
        ),
        pytest.param(
            {"a": "post: [{run: [RESTART], once: true}], ca_changed: [{run: [RESTART], once: true}]", "b": RESTART},
            ["post a b/"],
            [],
            id="for the certificate and for the CA",
        ),
        pytest.param(
            {"a": "ca_changed: [{run: [RESTART], once: true}]", "b": "ca_changed: [{run: [RESTART], once: true}]"},
            ["ca_changed a b/"],
            [],
            id="for the CA alone",
        ),
        pytest.param(
            {"a": "post: [{run: [RESTART], once: true}, [OTHER]]", "b": RESTART},
            ["post a b/"],
            ["post a/a"],
            id="beside one of its own",
        ),
        pytest.param(
            {"a": "post: [{run: [RESTART], once: true, only_if: ['true']}]", "b": RESTART},
            ["post b/", "post a/"],
            [],
            id="a condition makes another entry",
        ),
    ],
)
def test_what_is_one_run(fleet: Fleet, hooks: dict[str, str], restart: list[str], other: list[str]) -> None:
    fleet.write(hooks)
    fleet.renew()
    assert sorted(fleet.ran("restart")) == sorted(restart)
    assert fleet.ran("other") == other


def test_each_owes_it_until_it_has_succeeded(fleet: Fleet) -> None:
    fleet.write(dict.fromkeys(NAMES, RESTART))
    fleet.fails("restart", when=True)
    told = fleet.renew(code=1)
    assert told.count("exited with 1: said by restart") == len(NAMES)
    assert fleet.open() == list(NAMES)
    places = [StateDirectory(fleet.site.path("state")).keystore(name).path for name in NAMES]
    assert len({state.recall(place).retry_at for place in places}) == 1, "what failed together is tried again together"
    fleet.fails("restart", when=False)
    fleet.renew("--due")
    assert len(fleet.ran("restart")) == 1, "the pause after a failure counts"
    fleet.renew()
    assert fleet.ran("restart") == ["post a b c/"] * 2
    assert fleet.open() == []


def test_another_hook_that_fails_is_no_reason_to_leave_it(fleet: Fleet) -> None:
    fleet.write({"a": "post: [[OTHER], {run: [RESTART], once: true}]", "b": RESTART})
    fleet.fails("other", when=True)
    fleet.renew(code=1)
    assert fleet.ran("restart") == ["post a b/"]
    assert fleet.open("ab") == ["a"]
    fleet.fails("other", when=False)
    fleet.renew()
    assert (len(fleet.ran("restart")), len(fleet.ran("other"))) == (1, 2)
    assert fleet.open("ab") == []


@pytest.mark.slow
def test_one_that_waits_for_its_next_try_is_served_by_anothers(fleet: Fleet) -> None:
    fleet.write({"a": RESTART})
    fleet.fails("restart", when=True)
    fleet.renew(code=1)
    fleet.fails("restart", when=False)
    fleet.write({"a": RESTART, "b": RESTART})
    fleet.renew("--due")
    assert fleet.ran("restart") == ["post a/", "post a b/"]


def test_a_kill_after_it_has_it_run_again(fleet: Fleet) -> None:
    fleet.write(dict.fromkeys(NAMES, RESTART))
    fleet.site.path("restart.dies").touch()
    fleet.renew(code=-9)
    assert fleet.open() == list(NAMES)
    fleet.renew("--due")
    assert fleet.ran("restart") == ["post a b c/"] * 2
    assert fleet.open() == []


@pytest.mark.slow
def test_the_old_pair_comes_back_with_a_run_of_its_own(fleet: Fleet) -> None:
    fleet.write(dict.fromkeys("ab", RESTART))
    fleet.renew()
    fleet.write(dict.fromkeys("ab", RESTART), "probe: {tls: '127.0.0.1:1', timeout: 1s},")
    fleet.renew("--force", code=1)
    assert fleet.ran("restart") == ["post a b/"] * 3  # the first pair, the next, and back
    assert fleet.open("ab") == []


def test_the_report_tells_twice_of_one_that_waits_for_others(fleet: Fleet) -> None:
    fleet.write({"a": RESTART, "b": RESTART, "c": "post: [[OTHER]]"})
    done = fleet.site.command("renew", "--due", "--report", "json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["keystore"], line["result"]) for line in lines] == [
        ("a", "in place"),
        ("b", "in place"),
        ("a", "enrolled"),
        ("b", "enrolled"),
        ("c", "enrolled"),
    ]
