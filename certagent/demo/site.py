"""The demo's directory: the files that a user of certagent would write, and where everything is."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from textwrap import dedent

from msgspec import Struct

from certagent import durable
from certagent.errors import ConfigError
from certagent.state_directory import StateDirectory

LIFETIME = 18  # seconds, of a certificate
# Of the CA: its lifetime, and how long before its end its successor is announced, and begins. While both are valid,
# a service may serve a certificate of either.
CA_LIFETIME, ROLLOVER, OVERLAP = 48, 22, 8
SERVER_NAME = "web.demo.internal"

_AGENT = """\
# Written by `certagent demo`: the configuration its agent ran with.
state_dir: {state}
live_dir: {live}
include: keystores/*.yaml

# As `certagent lab` prints it when it starts.
{authorities}
    rollover_at: {rollover_at}s           # before the CA's end: ask for the next one

defaults:
  authority: corp
"""

_WEB = """\
# A TLS server that reads a key and a chain, and must be told to read them again.
keystores:
  web:
    type: pem
    subject: CN={server_name},O=certagent demo
    san: [dns:{server_name}, ip:127.0.0.1]
    key_file: {key}
    certificate_file: {certificate}
    certificate_format: fullchain
    ca_file: {ca}              # what its clients trust: the CA, and in time the next one
    renew_at: 50%              # of the lifetime passed
    hooks:
      post: [[sh, {hook}]]
    probe: {{tls: "{address}", server_name: {server_name}}}
"""

_VPN = """\
# A client that reads key and certificate from one file, through a symbolic link that moves in one step.
keystores:
  vpn:
    type: pem
    subject: CN=vpn.demo.internal,O=certagent demo
    key_file: {combined}
    certificate_file: {combined}
    swap: symlink
    renew_at: 6s               # before the end
    hooks:
      post: [[sh, {hook}]]
"""

_RELOAD_WEB = """\
# The post hook of web: on a real host, `systemctl reload nginx`.
here=$(dirname "$0")
kill -HUP "$(cat "$here/../web/service.pid")" || exit 1
echo "$CERTAGENT_KEYSTORE $CERTAGENT_SERIAL told the TLS service to read its files again" >> "$here/../hooks.log"
"""

_TELL_VPN = """\
# The post hook of vpn: on a real host, the command that makes the client connect anew.
here=$(dirname "$0")
echo "$CERTAGENT_KEYSTORE $CERTAGENT_SERIAL wrote this line to hooks.log" >> "$here/../hooks.log"
"""


class Site(Struct, frozen=True):
    """Where everything is below the demo's directory."""

    directory: Path

    @property
    def configuration(self) -> Path:
        return self.directory / "agent.yaml"

    @property
    def certificates(self) -> dict[str, Path]:
        """The certificate file of each keystore."""
        return {"web": self.web / "fullchain.pem", "vpn": self.directory / "vpn" / "vpn.pem"}

    @property
    def web(self) -> Path:
        return self.directory / "web"

    @property
    def ca(self) -> Path:
        return self.web / "ca.pem"

    @property
    def lab(self) -> Path:
        return self.directory / "lab"

    @property
    def logs(self) -> Path:
        return self.directory / "logs"

    @property
    def hooks_log(self) -> Path:
        return self.directory / "hooks.log"

    def state(self, keystore: str) -> Path:
        return StateDirectory(self.directory / "state").keystore(keystore).path

    def configure(self, authorities: str, address: str) -> None:
        """Write the configuration, with the lab's own block in it, and the hooks. `address`: of the TLS service."""
        hooks = self.directory / "hooks"
        for directory in (self.directory / "keystores", hooks, self.directory / "vpn"):
            durable.make_directory(directory)
        self._write("hooks/reload-web.sh", _RELOAD_WEB)
        self._write("hooks/tell-vpn.sh", _TELL_VPN)
        self._write(
            "agent.yaml",
            _AGENT,
            state=_quoted(self.directory / "state"),
            live=_quoted(self.directory / "live"),
            authorities=dedent(authorities).strip(),
            rollover_at=str(ROLLOVER - 4),
        )
        self._write(
            "keystores/web.yaml",
            _WEB,
            server_name=SERVER_NAME,
            key=_quoted(self.web / "key.pem"),
            certificate=_quoted(self.certificates["web"]),
            ca=_quoted(self.ca),
            hook=_quoted(hooks / "reload-web.sh"),
            address=address,
        )
        self._write(
            "keystores/vpn.yaml",
            _VPN,
            combined=_quoted(self.certificates["vpn"]),
            hook=_quoted(hooks / "tell-vpn.sh"),
        )

    def _write(self, name: str, text: str, **values: str) -> None:
        durable.write(self.directory / name, (text.format(**values) if values else text).encode())


def make(directory: Path | None) -> Site:
    """An empty site: `directory`, made if missing, or a temporary one. Raises ConfigError."""
    try:
        if directory is None:
            return _with_directories(Path(tempfile.mkdtemp(prefix="certagent-demo-")))
        durable.make_directory(directory)
        if any(directory.iterdir()):
            raise ConfigError(f"{directory} is not empty", "name a new directory with --dir, or none")
        return _with_directories(directory.resolve())
    except OSError as error:
        raise ConfigError(
            f"the demo's files cannot be kept in {error.filename}: {error.strerror}", "name a directory with --dir"
        ) from None


def _with_directories(directory: Path) -> Site:
    site = Site(directory)
    durable.make_directory(site.logs)
    durable.make_directory(site.web)
    return site


def _quoted(path: Path) -> str:
    """A path as YAML, whatever characters it contains."""
    return json.dumps(str(path), ensure_ascii=False)
