"""Peers of an OpenVPN server or client, each for one connection."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from pathlib import Path

from tests.consumers import network
from tests.consumers.network import CONSUMER, HOME, INSIDE, PEERS
from tests.waiting import slowness

PREPARE = f"""\
{network.PREPARE}
mkdir -p /etc/openvpn/cas
cat >{HOME}/verify <<'END'
#!/bin/sh
test "$1" != 0 || echo "$tls_serial_0" >{HOME}/serial
END
chmod +x {HOME}/verify
"""
_FILES = "cert /etc/openvpn/vpn.pem\nkey /etc/openvpn/vpn.key\ncapath /etc/openvpn/cas\n"
SERVER = f"dev tun\nproto udp\nserver 10.8.0.0 255.255.255.0\ntopology subnet\ndh none\nkeepalive 1 5\n{_FILES}"
CLIENT = f"client\ndev tun\nproto tcp-client\nremote {PEERS}\nnobind\nconnect-retry 1 1\nhand-window 6\n{_FILES}"
_LIMIT = 40.0  # seconds for a connection
_SOON = 8.0  # seconds, on a quiet machine; who is refused over UDP often hears nothing
_DONE = {"server": "Peer Connection Initiated", "client": "Initialization Sequence Completed"}
_REFUSED = re.compile("VERIFY ERROR|alert")  # so that nobody has to wait for the limit
_COMMON = (
    *("--verb", "3", "--dev", "tun", "--cd", str(HOME)),
    *("--script-security", "2", "--tls-verify", f"{HOME}/verify"),
)
_ROLES = {
    # A handshake that a restart of the server cuts short is begun again, as any client does.
    "client": (
        *("--client", "--proto", "udp", "--remote", CONSUMER, "--nobind", "--remote-cert-tls", "server"),
        *("--hand-window", "6", "--connect-retry", "1", "1"),
    ),
    "server": (
        *("--server", "10.8.0.0", "255.255.255.0", "--topology", "subnet", "--proto", "tcp-server", "--dh", "none"),
        *("--remote-cert-tls", "client"),
    ),
}
_ONE_AT_A_TIME = threading.Lock()


class OpenVpnPeer:
    """Believes the CAs in `trusted`; `identity` holds its key and certificate. `role`: server or client."""

    def __init__(self, role: str, trusted: Path, identity: Path) -> None:
        cas = HOME / trusted.stem
        cas.mkdir(exist_ok=True)
        for number, ca in enumerate(re.findall(r"-----BEGIN.*?-----END [^\n]*\n", trusted.read_text(), re.DOTALL)):
            (cas / f"{number}.pem").write_text(ca)
        subprocess.run(["openssl", "rehash", str(cas)], check=True, capture_output=True)
        files = ["--capath", str(cas), "--cert", str(identity), "--key", str(identity)]
        self._argv = [*INSIDE, "openvpn", *_COMMON, *_ROLES[role], *files]
        self._done = _DONE[role]

    def talk(self, limit: float = _LIMIT) -> int:
        """Have a connection, end it: the serial number of the consumer's certificate. Raises OSError."""
        with (
            _ONE_AT_A_TIME,
            subprocess.Popen(
                self._argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
            ) as process,
        ):
            end = threading.Timer(limit, _end, [process])
            end.start()
            assert process.stdout
            said = []
            try:
                for line in process.stdout:
                    said.append(line.rstrip())
                    if self._done in line:
                        return int((HOME / "serial").read_text())
                    if _REFUSED.search(line):
                        break
            finally:
                end.cancel()
                _end(process)
            raise ConnectionError(" / ".join(said[-4:]))

    def is_served(self) -> bool:
        try:
            self.talk(_SOON * slowness())
        except ConnectionError:
            return False
        return True


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
