"""What does a renewal cost beside Debian's scepclient? Both against the same scepserver, in turn, the key kept.

python bench/renew.py [RUNS]

Single figures on a shared machine say little; the ratios, pair by pair, are what to look at. A worker that serves many
keystores pays for its start once: the last lines show that.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from certagent import certificate as facts
from tests.interop.scepserver import CHALLENGE, ScepServer, scepserver

BATCH = 25


@dataclass(frozen=True)
class Cost:
    """Seconds of wall clock and processor: of one process, as the kernel counts."""

    wall: float
    cpu: float


def cost(argv: Sequence[str | Path], directory: Path) -> Cost:
    started = time.monotonic()
    process = subprocess.Popen(argv, cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.stderr is not None
    told = process.stderr.read().decode()
    process.stderr.close()
    if process.returncode:
        raise SystemExit(f"{argv[0]} exited with {process.returncode}: {told}")
    return Cost(wall, usage.ru_utime + usage.ru_stime)


def write_configuration(directory: Path, server: ScepServer, names: Sequence[str]) -> Path:
    challenge = directory / "challenge"
    challenge.write_text(CHALLENGE)
    challenge.chmod(0o600)
    ca = facts.load_pem(server.ca.read_bytes(), str(server.ca))[0]
    lines = [
        f"state_dir: {directory / 'state'}",
        "authorities:",
        "  peer:",
        f"    url: {server.url}",
        f"    fingerprint: {facts.fingerprint(ca)}",
        f"    challenge: {{file: {challenge}}}",
        "    send_challenge: always",
        "    accept: [sha1, des]",
        "defaults: {authority: peer, rekey: never}",
        "keystores:",
    ]
    for name in names:
        files = f"key_file: {directory / name}.key, certificate_file: {directory / name}.pem"
        lines.append(f"  {name}: {{type: pem, subject: CN={name}, {files}}}")
    configuration = directory / "agent.yaml"
    configuration.write_text("\n".join(lines) + "\n")
    configuration.chmod(0o600)
    return configuration


def main() -> int:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        with scepserver(directory) as server:
            names = [f"device{number}" for number in range(BATCH)]
            configuration = write_configuration(directory, server, names)
            certagent: list[str | Path] = [sys.executable, "-m", "certagent", "-c", configuration]
            os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
            subprocess.run([*certagent, "enroll", *names], check=True, capture_output=True)
            # It makes its key at the first run, and renews at each one after that.
            theirs: list[str | Path] = [
                "scepclient",
                "-private-key",
                "peer.key",
                "-certificate",
                "peer.pem",
                "-cn",
                "peer",
            ]
            theirs += ["-server-url", server.url, "-challenge", CHALLENGE]
            subprocess.run(theirs, cwd=directory, check=True, capture_output=True)
            renew: list[str | Path] = [*certagent, "renew", "--force"]
            pairs = [(cost([*renew, names[0]], directory), cost(theirs, directory)) for _ in range(runs)]
            batch = cost([*renew, *names], directory)
    tell(pairs, batch)
    return 0


def tell(pairs: Sequence[tuple[Cost, Cost]], batch: Cost) -> None:
    print(f"one renewal with the key kept, {len(pairs)} runs in turn; median")
    for figure in ("wall", "cpu"):
        ours, peers = ([getattr(each[side], figure) * 1000 for each in pairs] for side in (0, 1))
        ratio = statistics.median(one / other for one, other in zip(ours, peers, strict=True))
        one, other = statistics.median(ours), statistics.median(peers)
        print(f"  {figure:4} certagent {one:6.1f} ms   scepclient {other:6.1f} ms   ratio {ratio:5.1f}")
    print(f"{BATCH} in one worker: {batch.wall / BATCH * 1000:.1f} ms wall, {batch.cpu / BATCH * 1000:.1f} ms CPU each")


if __name__ == "__main__":
    raise SystemExit(main())
