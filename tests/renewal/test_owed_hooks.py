"""Hooks owed after the swap: each entry by itself until it succeeds, whatever becomes of the list meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import pytest

from certagent.certificate import serial_hex
from certagent.policy import Action, Condition
from certagent.state import read_history
from certagent.transaction import report
from certagent.transaction.journal import Journal, Kind, Phase
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.renewal.site import DAY, Site, ran, recording_hook


@dataclass
class Hooks:
    """Recording hooks by name; `post` configures them as the post hooks. Those of `fail` exit with 1."""

    site: Site

    def post(self, *entries: str) -> None:
        self.site.write("hooks:\n  post:\n" + "\n".join(f"    - {entry}" for entry in entries))

    def make(self, *names: str, fail: str = "") -> None:
        for name in names:
            recording_hook(self.site, name, exit_code=str(int(name in fail.split())))

    def argv(self, name: str) -> str:
        return f"[{self.site.path(name)}.sh]"

    def serials(self, name: str) -> set[str]:
        return {each.split()[3] for each in ran(self.site, name)}

    def times(self, *names: str) -> tuple[int, ...]:
        return tuple(len(ran(self.site, name)) for name in names)


@pytest.fixture
def hooks(site: Site) -> Hooks:
    return Hooks(site)


def test_one_that_fails_keeps_no_other_from_its_turn_and_is_retried_alone(hooks: Hooks) -> None:
    hooks.make("first", "second", fail="first")
    hooks.post(hooks.argv("first"), hooks.argv("second"))
    outcome = hooks.site.run()
    assert (outcome.result, outcome.next_action) == (Result.FAILED, Action.HOOKS)
    assert hooks.times("first", "second") == (1, 1)
    hooks.site.run(Wish.NOW)
    assert hooks.times("first", "second") == (2, 1)
    hooks.site.path("first.exit").write_text("0")
    assert hooks.site.run(Wish.NOW).result is Result.ENROLLED
    assert hooks.times("first", "second") == (3, 1)


def test_all_that_failed_are_told_in_one_line(hooks: Hooks) -> None:
    hooks.make("first", "second", "third", fail="first third")
    hooks.post(*map(hooks.argv, ("first", "second", "third")))
    told = str(hooks.site.run().message)
    each = [f"hook {hooks.site.path(name)}.sh exited with 1: said by {name}" for name in ("first", "third")]
    assert told == f"in place; the post hooks failed and will be retried: {'; '.join(each)}"


def test_a_success_with_an_owed_hook_reads_as_one(hooks: Hooks) -> None:
    hooks.make("reload", fail="reload")
    hooks.post(hooks.argv("reload"))
    done = hooks.site.run()
    told = f"in place; the post hook failed and will be retried: hook {hooks.site.path('reload')}.sh exited with 1"
    assert report.words(done).startswith(told)
    assert (done.hooks_owed, done.state) == (True, Condition.FAILED)
    assert [each.event for each in read_history(hooks.site.keystore_directory)] == ["hooks owed"]
    hooks.site.path("reload.exit").write_text("0")
    done = hooks.site.run(Wish.NOW)
    assert (report.words(done), done.hooks_owed) == ("enrolled", False)


def test_so_does_an_old_pair_that_is_back(hooks: Hooks) -> None:
    hooks.make("reload")
    hooks.post(hooks.argv("reload"))
    hooks.site.run()
    hooks.make("reload", fail="reload")
    Journal(hooks.site.keystore_directory).write(hooks.site.context().begin(Kind.PUT_BACK, Phase.ACTIVATED))
    told = report.words(hooks.site.run(Wish.NOW))
    assert told.startswith("the old pair is back in place; the post hook failed and will be retried: ")


@pytest.mark.parametrize(
    ("later", "run"),
    [
        pytest.param("bad good", (1, 1, 0), id="as it was"),
        pytest.param("good", (0, 1, 0), id="the failing one taken out"),
        pytest.param("good new", (0, 1, 1), id="another in its place"),
        pytest.param("new good bad", (1, 1, 1), id="one more, the order turned"),
        pytest.param("bad {good}", (1, 1, 0), id="the time limit of a done one changed"),
        pytest.param("good good", (0, 2, 0), id="a done one is to be run twice"),
    ],
)
def test_what_is_owed_is_what_is_configured_and_has_not_succeeded(
    hooks: Hooks, later: str, run: tuple[int, ...]
) -> None:
    hooks.make("bad", "good", "new", fail="bad")
    hooks.post(hooks.argv("bad"), hooks.argv("good"))
    hooks.site.run()
    hooks.site.path("bad.ran").unlink()
    words = {name: hooks.argv(name) for name in ("bad", "good", "new")}
    words["{good}"] = f"{{run: {hooks.argv('good')}, timeout: 5m}}"
    hooks.post(*(words[word] for word in later.split()))
    hooks.site.run(Wish.NOW)
    assert hooks.times("bad", "good", "new") == run


def test_a_journal_that_only_counts_is_understood(hooks: Hooks) -> None:
    """As release 0.1.0 wrote it, where the second of three had failed."""
    hooks.make("first", "second", "third", fail="first second third")
    hooks.post(*map(hooks.argv, ("first", "second", "third")))
    hooks.site.run()
    transaction = hooks.site.transaction
    assert transaction is not None
    Journal(hooks.site.keystore_directory).write(transaction.at(transaction.phase, hooks_done=1))
    hooks.site.run(Wish.NOW)
    assert hooks.times("first", "second", "third") == (1, 2, 2)
    hooks.post(*map(hooks.argv, ("second", "third")))
    hooks.site.run(Wish.NOW)
    assert hooks.times("first", "second", "third") == (1, 3, 3)


@pytest.mark.parametrize(
    ("only_if", "told"),
    [
        pytest.param("[sh, -c, 'echo why; echo test failed; exit 1']", "exited with 1: why / test failed", id="no"),
        pytest.param("[no-such-program]", "no-such-program cannot be started", id="missing"),
        pytest.param("[sh, -c, 'exit 3']", "only_if sh exited with 3", id="without a word"),
    ],
)
def test_an_entry_waits_for_another_program_s_word(hooks: Hooks, only_if: str, told: str) -> None:
    hooks.make("reload", "other")
    hooks.post(f"{{run: {hooks.argv('reload')}, only_if: {only_if}}}", hooks.argv("other"))
    outcome = hooks.site.run()
    assert (outcome.result, outcome.next_action) == (Result.FAILED, Action.HOOKS)
    assert f": hook {hooks.site.path('reload')}.sh was not run: " in str(outcome.message)
    assert told in str(outcome.message)
    assert hooks.times("reload", "other") == (0, 1)
    hooks.post(f"{{run: {hooks.argv('reload')}, only_if: ['true']}}", hooks.argv("other"))
    assert hooks.site.run(Wish.NOW).result is Result.ENROLLED
    assert hooks.times("reload", "other") == (1, 1)


def test_only_if_has_the_time_limit_and_the_environment_of_its_entry(hooks: Hooks) -> None:
    hooks.post(
        "{run: ['true'], only_if: [sh, -c, 'echo $CERTAGENT_EVENT of $CERTAGENT_KEYSTORE; sleep 60'], timeout: 1s}"
    )
    outcome = hooks.site.run()
    assert str(outcome.message).endswith(": hook true was not run: only_if sh did not end within 1 s and was killed")
    assert "sh: post of web" in hooks.site.log


def test_a_pre_hook_whose_only_if_says_no_is_a_veto(hooks: Hooks) -> None:
    hooks.make("pre")
    hooks.site.write(f"hooks: {{pre: [{{run: {hooks.argv('pre')}, only_if: ['false']}}, [/no/such]]}}")
    outcome = hooks.site.run()
    assert str(outcome.message).startswith("vetoed: hook")
    assert "only_if false exited with 1" in str(outcome.message)
    assert hooks.times("pre") == (0,)
    assert not hooks.site.certificate.exists()


def test_of_those_that_only_inform_each_has_its_turn(hooks: Hooks) -> None:
    hooks.make("mail")
    hooks.site.write(f"hooks: {{post: [['false']], failed: [['false'], {hooks.argv('mail')}]}}")
    hooks.site.run()
    assert hooks.times("mail") == (1,)


@pytest.fixture
def overdue(hooks: Hooks) -> Hooks:
    """A certificate that is due again while its hook is owed, and a CA that is away."""
    hooks.make("reload", fail="reload")
    hooks.post(hooks.argv("reload"))
    assert hooks.site.run().result is Result.FAILED
    hooks.site.server.stop()
    hooks.site.clock.advance(60 * DAY)
    assert hooks.site.run().result is Result.FAILED
    assert hooks.times("reload") == (2,)
    return hooks


def test_hooks_are_run_while_the_successor_is_waited_for(overdue: Hooks) -> None:
    site = overdue.site
    overdue.make("reload")
    assert "cannot be reached" in str(site.run(Wish.NOW).message)
    assert overdue.times("reload") == (3,)
    assert overdue.serials("reload") == {serial_hex(site.leaf())}
    site.run(Wish.NOW)
    assert overdue.times("reload") == (3,)
    assert site.events().count("enrolled") == 1


def test_hooks_that_fail_meanwhile_are_told_and_retried_by_the_rhythm(overdue: Hooks) -> None:
    site = overdue.site
    assert site.run().result is Result.NOTHING  # within the pause
    assert overdue.times("reload") == (2,)
    site.clock.advance(timedelta(days=1))
    site.run()
    assert overdue.times("reload") == (3,)


def test_hooks_are_owed_on_where_the_successor_comes_to_nothing(overdue: Hooks) -> None:
    site = overdue.site
    site.write(f"renew_at: 90%\nhooks: {{post: [{overdue.argv('reload')}]}}")
    site.clock.advance(timedelta(days=8))  # poll_limit is over
    assert site.run().next_action is Action.HOOKS
    overdue.make("reload")
    assert site.run(Wish.NOW).result is Result.ENROLLED
    assert overdue.serials("reload") == {serial_hex(site.leaf())}
