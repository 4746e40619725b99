"""A swap that is cut short anywhere: killed, or refused by the file system, at each single call."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from certagent.config.file_roles import FileRole
from certagent.errors import KeystoreError
from certagent.keystore import swap, swap_plan
from certagent.keystore.base import Identity

from .faults import failing, killed, watched
from .pki import certify, make_pki
from .site import Site, carry_out

TWO = {"key_file": "web.key", "certificate_file": "web.pem"}
ALL = TWO | {"chain_file": "chain.pem", "ca_file": "ca.pem"}
ONE = {"key_file": "web.pem", "certificate_file": "web.pem"}


def nothing(_site: Site) -> None:
    """No file is there: a first enrollment."""


def plain(site: Site) -> None:
    site.put(make_pki().old)


def swapped(site: Site) -> None:
    site.put(make_pki().rsa)
    site.activate(make_pki().old, "earlier")


def linked(site: Site) -> None:
    """The paths are links to files elsewhere."""
    site.put(make_pki().old)
    for path in set(site.definition.paths.values()):
        if path.exists():
            path.rename(path.with_name(f"real-{path.name}"))
            path.symlink_to(f"real-{path.name}")


def was_symlink(site: Site) -> None:
    """Swapped by symlink before the definition was changed to rename."""
    Site(site.root, site.layout | {"swap": "symlink"}).put(make_pki().rsa)
    Site(site.root, site.layout | {"swap": "symlink"}).activate(make_pki().old, "earlier")


def other_cas(site: Site) -> None:
    """Besides, it trusts a CA that it will not trust, one that it will, and before that one another of its name."""
    (site.etc / "cas").mkdir()
    plain(site)
    pki = make_pki()
    other = certify("root", pki.rsa.key, None, ca=True)
    trusted = (pki.intermediate.certificate, other, pki.root.certificate)
    plan = site.keystore.plan_trust("earlier", trusted)
    assert plan
    carry_out(plan)


CAS = ALL | {"ca_directory": "cas"}
SCENARIOS = [
    pytest.param(TWO, "rename", plain, id="rename two files"),
    pytest.param(ONE, "rename", plain, id="rename one combined file"),
    pytest.param(ALL, "rename", swapped, id="rename four files"),
    pytest.param(ALL, "rename", nothing, id="rename first enrollment"),
    pytest.param(TWO, "rename", linked, id="rename behind links"),
    pytest.param(TWO, "rename", was_symlink, id="rename after symlink"),
    pytest.param(TWO, "symlink", plain, id="symlink from plain files"),
    pytest.param(ONE, "symlink", plain, id="symlink one combined file"),
    pytest.param(ALL, "symlink", swapped, id="symlink again"),
    pytest.param(ALL, "symlink", nothing, id="symlink first enrollment"),
    pytest.param(ALL, "symlink", linked, id="symlink behind links"),
    pytest.param(CAS, "rename", other_cas, id="rename with ca_directory"),
    pytest.param(CAS, "symlink", other_cas, id="symlink with ca_directory"),
    pytest.param(CAS, "in-place", other_cas, id="in place with ca_directory"),
    pytest.param(TWO, "in-place", plain, id="in place two files"),
    pytest.param(ONE, "in-place", plain, id="in place one combined file"),
    pytest.param(ALL, "in-place", swapped, id="in place four files"),
    pytest.param(ALL, "in-place", nothing, id="in place first enrollment"),
    pytest.param(TWO, "in-place", linked, id="in place behind links"),
    pytest.param(TWO, "in-place", was_symlink, id="in place after symlink"),
]


def attempt(action: Callable[[], None]) -> KeystoreError | None:
    try:
        action()
    except KeystoreError as error:
        return error
    return None


class Scene:
    """A site that can be set back to its beginning, and the swap from its old identity to the new one."""

    def __init__(self, root: Path, layout: dict[str, Any], way: str, prepare: Callable[[Site], None]) -> None:
        self.site = Site(root / "host", layout | {"swap": way})
        prepare(self.site)
        self._template = root / "template"
        shutil.copytree(self.site.root, self._template, symlinks=True)
        self.plan = self.site.plan(make_pki().new, "swap")
        # What the journal gives back after a power cut.
        self.record = msgspec.json.decode(msgspec.json.encode(self.plan.record), type=swap_plan.Record)
        self.old = self.site.view()
        removed = {_word(file) for file in self.plan.files if file.content is None}
        self.new = self.old | {_word(file): file.content for file in self.plan.files}
        self.new = {word: content for word, content in self.new.items() if word not in removed}
        self._phase = root / "phase"

    def reset(self) -> None:
        shutil.rmtree(self.site.root)
        shutil.copytree(self._template, self.site.root, symlinks=True)
        self._phase.write_text("staging")

    def run(self) -> None:
        """As the journal's owner goes about it. (write_text goes past the calls that are counted.)"""
        swap.stage(self.plan)
        self._phase.write_text("activating")
        swap.finish(self.record)

    def recover(self) -> None:
        if self._phase.read_text() == "staging":
            swap.undo(self.record)
        else:
            swap.finish(self.record)

    def check_whole(self) -> None:
        """One whole identity is in place, with its predecessor kept, and nothing is left behind."""
        done = self._phase.read_text() == "activating"
        assert self.site.view() == (self.new if done else self.old)
        assert self.site.strays() == []
        self.check_pair(make_pki().new if done else make_pki().old)
        if done:
            kept = {file.stem: file.read_bytes() for file in (self.site.state / "previous").glob("*")}
            replaced = {_word(change) for change in self.record.changes}
            assert kept == {word: self.old[word] for word in replaced if self.old.get(word) is not None}

    def check_pair(self, expected: Identity) -> None:
        found = self.site.keystore.read()
        if found is None:
            assert expected is make_pki().old
            assert not any(self.old.values())
        else:
            assert found.certificate == expected.certificate


def _files(view: dict[str, bytes | None]) -> dict[str, bytes | None]:
    """Those of the pair, which come together by links."""
    return {word: content for word, content in view.items() if word in set(FileRole)}


def _word(file: swap_plan.NewFile | swap_plan.Change) -> str:
    return Path(file.kept_name).stem


@pytest.fixture
def scene(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(tmp_path, *request.param)


def _scenarios(ways: str) -> pytest.MarkDecorator:
    chosen = [pytest.param(each.values, id=each.id) for each in SCENARIOS if str(each.values[1]) in ways]
    return pytest.mark.parametrize("scene", chosen, indirect=True)


scenarios, renames = _scenarios("rename symlink in-place"), _scenarios("rename")


@scenarios
def test_killed_at_any_call_then_recovered(scene: Scene) -> None:
    step, alive = 0, True
    while alive:
        step += 1
        scene.reset()
        alive = killed(step, scene.run)
        scene.recover()
        scene.check_whole()
    assert step > 10


@pytest.mark.slow
@scenarios
def test_killed_again_while_recovering(scene: Scene) -> None:
    step, alive = 0, True
    while alive:
        step += 4
        again = 0
        while True:
            again += 3
            scene.reset()
            alive = killed(step, scene.run)
            if not killed(again, scene.recover):
                break
            scene.recover()
            scene.check_whole()


@scenarios
def test_a_full_disk_at_any_call_of_staging_leaves_no_trace(scene: Scene) -> None:
    step = 0
    while True:
        step += 1
        scene.reset()
        with failing(step, errno.ENOSPC) as hit:
            error = attempt(lambda: swap.stage(scene.plan))
        if not hit:
            break
        if hit == ["link"]:  # a copy takes the place of a second name
            assert error is None
            continue
        assert "No space left on device" in str(error)
        assert error
        assert error.hint
        scene.check_whole()


@pytest.mark.slow
@scenarios
def test_refused_at_any_call_of_finishing_a_whole_identity_is_in_place(scene: Scene) -> None:
    step = 0
    while True:
        step += 1
        scene.reset()
        swap.stage(scene.plan)
        with failing(step, errno.EBUSY) as hit:
            try:
                swap.finish(scene.record)
            except swap.UndoneError:
                assert scene.site.view() == scene.old
                assert scene.site.strays() == []
                carry_out(scene.site.plan(make_pki().new, "again"))
            except KeystoreError:
                assert _files(scene.site.view()) in (_files(scene.old), _files(scene.new))
                swap.finish(scene.record)
        assert scene.site.view() == scene.new
        assert scene.site.strays() == []
        if not hit:
            break


@renames
def test_killed_while_putting_back(scene: Scene) -> None:
    """The last rename is refused, the earlier ones are being taken back, and then the power goes."""
    last = scene.record.changes[-1].target

    def refused() -> None:
        real = os.replace

        def replace(source: Any, target: Any, **directories: Any) -> None:
            if str(target) == Path(last).name and str(source).endswith("certagent-swap"):
                raise OSError(errno.EBUSY, "busy")
            real(source, target, **directories)

        os.replace = replace  # type: ignore[assignment]  # the narrow signature is all that is used
        try:
            swap.finish(scene.record)
        except swap.UndoneError:
            pass
        finally:
            os.replace = real

    step, alive = 0, True
    while alive:
        step += 1
        scene.reset()
        swap.stage(scene.plan)
        alive = killed(step, refused)
        error = attempt(lambda: swap.finish(scene.record))
        assert error is None or isinstance(error, swap.UndoneError)
        assert scene.site.view() == (scene.old if error else scene.new)
        assert scene.site.strays() == []


@scenarios
def test_what_readers_see_meanwhile(scene: Scene) -> None:
    seen = []

    def look(_number: int, _name: str, _arguments: tuple[Any, ...]) -> None:
        seen.append(scene.site.view())

    scene.reset()
    with watched(look):
        scene.run()
    for view in seen:
        if scene.record.way != "in-place":
            assert all(view[word] in (scene.old.get(word), scene.new.get(word)) for word in view)
        if scene.record.way == "symlink":
            assert _files(view) in (_files(scene.old), _files(scene.new))
    assert seen[0] == scene.old
    assert scene.site.view() == scene.new


@scenarios
def test_nothing_is_replaced_before_all_is_on_the_disk(scene: Scene) -> None:
    """The order of calls a power cut cannot upset: content, then the names, then the commit point."""
    synced: set[str] = set()

    def note(_number: int, name: str, arguments: tuple[Any, ...]) -> None:
        if name == "fsync":
            synced.add(str(Path(f"/proc/self/fd/{arguments[0]}").readlink()))
        elif name == "open":
            synced.discard(str(Path(arguments[0]).parent) if arguments[1] & os.O_CREAT else "")

    scene.reset()
    with watched(note):
        swap.stage(scene.plan)
    staged = {change.staged for change in scene.record.changes if change.staged}
    assert staged <= synced
    assert {str(Path(path).parent) for path in staged} <= synced
    assert any(scene.old.values()) == (scene.record.previous in synced)


@scenarios
def test_each_step_may_be_repeated(scene: Scene) -> None:
    scene.reset()
    swap.undo(scene.record)
    swap.stage(scene.plan)
    swap.undo(scene.record)
    swap.undo(scene.record)
    scene.check_whole()
    swap.stage(scene.plan)
    swap.stage(scene.plan)
    scene._phase.write_text("activating")
    swap.finish(scene.record)
    seen: list[dict[str, bytes | None]] = []
    with watched(lambda *_: seen.append(scene.site.view())):
        swap.finish(scene.record)
    assert all(view == scene.new for view in seen), "a repeat is not to be noticed by readers"
    scene.check_whole()
