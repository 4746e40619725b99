"""The machine that is soaked: a CA on a fast schedule, the agent, and an nginx for each keystore."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from certagent import certificate as facts
from tests.consumers import servers
from tests.consumers.clients import SERVER_NAME
from tests.interop.commands import argv, environment
from tests.renewal.site import pair_matches
from tests.rollover.generations import Followers
from tests.waiting import free_port, until

_CONFIG = """\
state_dir: {directory}/state
live_dir: {directory}/live
authorities:
  lab:
    url: {url}
    fingerprint: {fingerprint}
    challenge: {{file: {directory}/lab/challenge}}
    timeout: 5s
    rollover_at: 60%
defaults:
  authority: lab
  jitter: 0%
  renew_at: 50%
keystores:
"""
_KEYSTORE = """\
  {name}:
    type: pem
    subject: CN={server}
    san: [dns:{server}]
    swap: {swap}
    key_file: {files}/key.pem
    certificate_file: {files}/certificate.pem
    ca_file: {files}/ca.pem
    certificate_format: leaf
    hooks:
      post: [[{files}/reload]]
      ca_changed: [[touch, {files}/ca_changed]]
"""
# It fails while the file `broken` is there.
_RELOAD = (
    "#!/bin/sh\ntest ! -e {broken} || exit 1\ntest ! -s {nginx}/pid || exec nginx -c {nginx}/nginx.conf -s reload\n"
)


@dataclass
class Consumer:
    """One keystore, the nginx that serves it, and the clients that believe its ca.pem."""

    name: str
    files: Path
    port: int = field(default_factory=free_port)

    @property
    def certificate(self) -> Path:
        return self.files / "certificate.pem"

    @property
    def serial(self) -> int:
        return facts.load_pem(self.certificate.read_bytes(), self.name)[0].serial_number

    def is_whole(self) -> bool:
        """Whether a pair lies there that belongs together."""
        leaf = facts.load_pem(self.certificate.read_bytes(), self.name)[0]
        return pair_matches(self.files / "key.pem", leaf)

    def leftovers(self) -> list[str]:
        return [each.name for each in self.files.iterdir() if each.name.startswith(".")]


class Device:
    """Inside `running`, everything runs; what may be troubled has a method here."""

    def __init__(self, directory: Path, life: float) -> None:
        self.directory = directory
        self.life = life
        self.consumers = [Consumer(name, directory / name) for name in ("web", "api")]
        self.broken = directory / "broken"
        self.lab: subprocess.Popen[bytes]
        self.agent: subprocess.Popen[bytes]

    @property
    def log(self) -> Path:
        return self.directory / "agent.log"

    @contextmanager
    def running(self) -> Iterator[list[Followers]]:
        """The clients, one set for each consumer."""
        with ExitStack() as stack:
            self._start_lab(stack)
            self._write()
            self.start_agent()
            stack.callback(self._end_agent)
            until(lambda: all((each.files / "ca.pem").exists() for each in self.consumers), told=self.log.read_text)
            clients = []
            for each in self.consumers:
                stack.enter_context(servers.nginx(each.files / "nginx/nginx.conf", each.port))
                clients.append(stack.enter_context(Followers(each.port, each.files)))
            yield clients

    def _start_lab(self, stack: ExitStack) -> None:
        # A next CA is announced at half of the CA's life and issues from three quarters on: `rollover_at` lies between.
        spans = {"--lifetime": 1, "--ca-lifetime": 24, "--rollover": 12, "--overlap": 6}
        words = [word for option, lives in spans.items() for word in (option, f"{round(lives * self.life)}s")]
        log = stack.enter_context((self.directory / "lab.log").open("w"))
        command = argv("lab", "--dir", self.directory / "lab", "--port", "0", *words)
        self.lab = stack.enter_context(subprocess.Popen(command, env=environment(), stdout=log, stderr=log))
        stack.callback(self.lab.terminate)
        stack.callback(self.lab.send_signal, signal.SIGCONT)
        until(lambda: "Requests:" in Path(log.name).read_text())

    def _write(self) -> None:
        banner = (self.directory / "lab.log").read_text()
        [fingerprint], [url] = re.findall(r"CA +(sha256:\S+)", banner), re.findall(r"URL +(\S+)", banner)
        text = _CONFIG.format(directory=self.directory, url=url, fingerprint=fingerprint)
        for each, swap in zip(self.consumers, ("rename", "symlink"), strict=True):
            each.files.mkdir()
            nginx = each.files / "nginx"
            servers.nginx_configuration(nginx, port=each.port, key=each.files / "key.pem", certificate=each.certificate)
            reload_ = each.files / "reload"
            reload_.write_text(_RELOAD.format(broken=self.broken, nginx=nginx))
            reload_.chmod(0o755)
            text += _KEYSTORE.format(name=each.name, server=SERVER_NAME, swap=swap, files=each.files)
        self.config.write_text(text)
        self.config.chmod(0o600)

    @property
    def config(self) -> Path:
        return self.directory / "agent.yaml"

    def start_agent(self) -> None:
        with self.log.open("ab") as log:
            self.agent = subprocess.Popen(argv("-c", self.config, "run"), env=environment(), stdout=log, stderr=log)

    def _end_agent(self) -> None:
        self.agent.terminate()
        self.agent.wait()

    def workers(self) -> list[int]:
        with suppress(FileNotFoundError, ProcessLookupError):
            return list(map(int, Path(f"/proc/{self.agent.pid}/task/{self.agent.pid}/children").read_text().split()))
        return []

    def memory(self) -> int:
        """The agent's, in kB; 0 while there is none."""
        with suppress(FileNotFoundError, ProcessLookupError):
            found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.agent.pid}/status").read_text())
            return int(found[1]) if found else 0
        return 0

    def open_files(self) -> int:
        """The agent's, pipes and sockets included."""
        with suppress(FileNotFoundError, ProcessLookupError):
            return len(list(Path(f"/proc/{self.agent.pid}/fd").iterdir()))
        return 0

    def state_size(self) -> int:
        """Bytes in the state directory and in live_dir."""
        total = 0
        for top in ("state", "live"):
            for path in (self.directory / top).rglob("*"):
                with suppress(FileNotFoundError):
                    total += path.lstat().st_size
        return total
