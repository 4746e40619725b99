"""What a renewal costs: in a batch beside the cryptography alone, by hand beside other clients, and on the disk."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from statistics import fmean

from bench.costs import ENVIRONMENT, HOME, Argv, certagent, cost, fsyncs, in_turn, python
from bench.peers import certmonger_renewing, commands
from bench.rows import Row
from bench.site import KINDS, Site, site

SWAPS = {"PEM, rename": "rekey: never", "PEM, symlink": "rekey: never, swap: symlink", "PKCS#12": "pkcs12"}


def batches(runs: int, sizes: tuple[int, int]) -> Iterator[Row]:
    """CPU of a renewal with new keys, in a usual batch and in that of a storm, beside the cryptography alone."""
    usual, large = sizes
    with site({f"{kind}{number}": KINDS[kind] for kind in ("rsa", "ec") for number in range(large)}) as at:
        actions: dict[str, dict[str, Callable[[], float]]] = {}
        for kind in ("rsa", "ec"):
            names = [f"{kind}{number}" for number in range(large)]
            actions[kind] = {f"{kind} {size}": partial(renewed, at, names[:size]) for size in sizes}
            actions[kind][f"floor {kind}"] = partial(floor, kind, large)
        # The search for the primes of an RSA key takes 20 ms or 200: the least would be the luckiest.
        seen = in_turn(2 * runs, actions["rsa"], of=fmean) | in_turn(runs, actions["ec"])
    rsa, ec = (
        {
            "the cryptography alone, ms": seen[f"floor {kind}"],
            f"in a batch of {large}, ms": seen[f"{kind} {large}"],
            f"in a batch of {usual}, ms": seen[f"{kind} {usual}"],
        }
        for kind in ("rsa", "ec")
    )
    name = f"a renewal in a batch of {large}, new rsa:2048 keys ÷ floor"
    yield Row(name, seen[f"rsa {large}"] / seen["floor rsa"], "×", 1.25, beside=rsa)
    yield Row(f"a renewal in a batch of {large}, new ec:p256 keys", seen[f"ec {large}"], "ms CPU", 30, beside=ec)


def floor(kind: str, count: int) -> float:
    argv: Argv = [python(), HOME / "bench/floor.py", kind, str(count)]
    return float(subprocess.run(argv, env=ENVIRONMENT, check=True, capture_output=True, text=True).stdout)


def renewed(at: Site, names: list[str]) -> float:
    return at.cpu("renew", "--force", *names) / len(names)


IDLE = {"renew --due": "renew --due, nothing due", "status": "status", "history device": "history"}


def beside_others(runs: int, sizes: tuple[int, int, int]) -> Iterator[Row]:
    """With the key kept: in a batch (a usual one, that of a storm, more in one command than the agent gives a worker),
    and each command as a person types it, all in turn with other clients."""
    usual, large, whole = sizes
    names = [f"kept{number}" for number in range(whole)]
    with site(dict.fromkeys(names, KINDS["kept"])) as at, site({"device": KINDS["kept"]}) as one:
        others = commands(one.directory, one.lab, one.directory / "device.key", one.directory / "device.pem")
        libraries = "import cryptography.x509, asn1crypto.cms, msgspec, yaml"
        bare: dict[str, Argv] = {
            "python -c pass": [python(), "-c", "pass"],
            "its libraries": [python(), "-c", libraries],
        }
        ours = {words: certagent(one.configuration, *words.split()) for words in ("renew --force device", *IDLE)}
        actions: dict[str, Callable[[], float]] = {
            word: partial(cost, argv, one.directory) for word, argv in {**ours, **others, **bare}.items()
        }
        actions |= {f"batch of {size}": partial(renewed, at, names[:size]) for size in sizes}
        start_alone: Argv = [python(), HOME / "bench/libraries.py", one.lab.url]
        actions["libraries"] = partial(cost, start_alone, one.directory)
        with certmonger_renewing(one.directory, one.lab) as daemon:
            seen = in_turn(runs, {**actions, "certmonger": daemon, "floor": partial(floor, "kept", large)})
    by_hand, batch = seen["renew --force device"], seen[f"batch of {large}"]
    alone = {
        "the cryptography alone, ms": seen["floor"],
        **{f"in a batch of {size}, ms": seen[f"batch of {size}"] for size in (usual, whole)},
    }
    peers = {f"{each}, ms": seen[each] for each in (*others, "certmonger")}
    yield Row(f"a renewal in a batch of {large}, key kept", batch, "ms CPU", 25, beside=alone)
    yield Row("the same ÷ strongSwan's pki", batch / seen["strongSwan's pki"], "×", 1, beside=peers)
    start = {"its libraries and one HTTP exchange, ms": seen["libraries"]}
    yield Row("one renewal by hand, key kept", by_hand, "ms CPU", 230, beside=start | peers)
    for who in (*others, "certmonger"):
        ratio = {f"in a batch of {large}, ×": batch / seen[who]}
        yield Row(f"one renewal by hand ÷ {who}", by_hand / seen[who], "×", beside=ratio)
    for words, name in IDLE.items():
        yield Row(name, seen[words], "ms CPU", 130, beside={f"{each}, ms": seen[each] for each in bare})


def disk() -> Iterator[Row]:
    names = dict(zip(("rename", "symlink", "pkcs12"), SWAPS, strict=True))
    with site({name: SWAPS[what] for name, what in names.items()}) as at:
        cost(certagent(at.configuration, "renew", "--force"), at.directory)  # now each has a previous pair
        for name, what in names.items():
            count = fsyncs(certagent(at.configuration, "renew", "--force", name), at.directory)
            yield Row(f"fsyncs of a renewal, {what}", count, "", 20)
