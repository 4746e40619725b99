"""Pulling the plug: a renewal is killed ahead of each call by which it changes anything, then carried on.

After every kill: no second certificate was asked for, key and certificate match once `recover` has run,
the post hook ran, and nothing is left lying about.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from certagent.transaction.journal import Phase
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.renewal.site import Site, Sites, ran, recording_hook

KILLED = 99


def count_down(name: str, step: int, seen: list[int], real: Callable[..., Any]) -> Callable[..., Any]:
    """`real`, but process number `step` of all calls counted in `seen` ends the process instead."""

    def call(*arguments: Any, **words: Any) -> Any:
        seen[0] += 1
        if seen[0] == step:
            os._exit(KILLED)
        return real(*arguments, **words)

    return call


def killed(step: int, action: Callable[[], object]) -> bool:
    """Run `action` in a process that vanishes ahead of its call number `step`; False if it came to its end."""
    child = os.fork()
    if child == 0:
        try:
            seen = [0]
            # Between these, a kill leaves the same files behind. (What a power cut adds, fsync answers for:
            # tests/keystore/test_swap_faults.py.)
            for name in ("pwrite", "replace", "rename", "symlink", "link", "unlink", "mkdir", "rmdir"):
                setattr(os, name, count_down(name, step, seen, getattr(os, name)))
            action()
        except BaseException:  # noqa: BLE001 -- whatever it is, the child must not go on as a second pytest
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, KILLED)
    return code == KILLED


@pytest.mark.parametrize(
    "way",
    [
        pytest.param("swap: rename", marks=pytest.mark.slow, id="rename"),
        pytest.param("swap: symlink", marks=pytest.mark.slow, id="symlink"),
        pytest.param("certificate_file: {key}", marks=pytest.mark.slow, id="combined file"),
    ],
)
def test_a_renewal_killed_anywhere_goes_on(make_site: Sites, way: str) -> None:
    site = make_site()
    hook = recording_hook(site, "post")
    site.write(f"{way.format(key=site.key)}\nkey_type: rsa:2048\nhooks: {{post: [[{hook}]]}}")
    if "certificate_file" in way:
        site.__class__ = CombinedSite
    assert site.run().result is Result.ENROLLED
    step, phases = 0, set()
    alive = True
    while alive:
        step += 1
        issued, hooks, old = len(site.ca.issued()), len(ran(site, "post")), site.leaf().serial_number
        alive = killed(step, lambda: site.run(Wish.RENEW))
        if alive:
            phases.add(carry_on(site, old))
        assert site.pair_matches(), step
        assert site.leaf().serial_number != old, step
        assert len(site.ca.issued()) == issued + 1, step
        assert len(ran(site, "post")) > hooks, step
        assert site.leftovers() == [], step
        assert site.transaction is None, step
        assert not any(site.path("state/keystores/web/shadow").glob("*.pem")), step
        assert site.path("state/keystores/web/previous").is_dir(), step
    assert step > 20
    assert phases >= {
        None,
        Phase.STARTED,
        Phase.REQUESTED,
        Phase.ISSUED,
        Phase.STAGING,
        Phase.ACTIVATING,
        Phase.ACTIVATED,
    }


class CombinedSite(Site):
    @property
    def certificate(self) -> Any:
        return self.key


def carry_on(site: Site, old: int) -> Phase | None:
    """As after a power cut: recover at boot, then the next run. The phase the kill left."""
    left = site.transaction
    for recovered in site.recover():
        assert recovered.error is None
    assert site.pair_matches()  # what a consumer finds that starts now
    if left is not None:
        assert site.run(Wish.NOW).result is Result.RENEWED
    elif site.leaf().serial_number == old:
        assert site.run(Wish.RENEW).result is Result.RENEWED
    else:
        assert site.run(Wish.NOW).result is Result.NOTHING
    return left.phase if left else None
