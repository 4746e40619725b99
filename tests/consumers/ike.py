"""Peers of an IPsec gateway: a charon of their own in a network namespace, which authenticates and is authenticated."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from pathlib import Path

from tests.consumers import network
from tests.consumers.network import CONSUMER, HOME, INSIDE

# The kernel may have no ESP: charon brings its own, over /dev/net/tun. 10.99.x.1 is what lies behind each side.
IN_USERLAND = "kernel-libipsec {\n    load = yes\n}\n"
CONNECTION = """\
connections { home {
    local { auth = pubkey
            id = gateway.example.net }
    remote { auth = pubkey }
    children { net { local_ts = 10.99.1.1/32
                     remote_ts = 10.99.2.1/32 } }
} }
"""
# As the comment of keystores/strongswan-token.yaml says.
MODULE = "charon-systemd { plugins { pkcs11 { modules { softhsm { path = /usr/lib/softhsm/libsofthsm2.so } } } } }\n"
PIN = """\
secrets { token-vpn { module = softhsm
                      pin = 1234 } }
"""
_SETTINGS = f"""\
charon-systemd {{
    load_modular = yes
    plugins {{
        include /etc/strongswan.d/charon/*.conf
        vici {{ socket = unix://{HOME}/vici }}
    }}
}}
"""
_PEER = """\
connections {{ {name} {{
    remote_addrs = {gateway}
    local {{ auth = pubkey
            certs = {name}.pem }}
    remote {{ auth = pubkey
             id = gateway.example.net }}
    children {{ {name} {{ local_ts = 10.99.2.1/32
                        remote_ts = 10.99.1.1/32 }} }}
}} }}
"""
# A second charon knows nothing of the gateway's but the address.
PREPARE = f"""\
{network.PREPARE}
ip addr add 10.99.1.1/32 dev lo
ip -n peer addr add 10.99.2.1/32 dev lo
mkdir -p {HOME}/{{conf.d,x509,x509ca,x509ocsp,x509aa,x509ac,x509crl,private,pubkey,rsa,ecdsa,bliss,pkcs8,pkcs12}}
cat >{HOME}/strongswan.conf <<END
{_SETTINGS}END
echo 'include conf.d/*.conf' >{HOME}/swanctl.conf
systemd-run --quiet --unit=peers --service-type=notify --property=NetworkNamespacePath=/run/netns/peer \\
    --setenv=STRONGSWAN_CONF={HOME}/strongswan.conf charon-systemd
"""
_ONE_AT_A_TIME = threading.Lock()


class IkePeer:
    """Believes the CAs in `trusted`; `identity` holds its key and certificate."""

    def __init__(self, trusted: Path, identity: Path) -> None:
        self._name = identity.stem
        certificate = re.findall(r"-----BEGIN CERT.*?-----END CERTIFICATE-----\n", identity.read_text(), re.DOTALL)[0]
        (HOME / "x509" / f"{self._name}.pem").write_text(certificate)
        (HOME / "private" / f"{self._name}.key").write_bytes(identity.read_bytes())
        for number, ca in enumerate(re.findall(r"-----BEGIN.*?-----END [^\n]*\n", trusted.read_text(), re.DOTALL)):
            (HOME / "x509ca" / f"{trusted.stem}-{number}.pem").write_text(ca)
        (HOME / "conf.d" / f"{self._name}.conf").write_text(_PEER.format(name=self._name, gateway=CONSUMER))
        done = _swanctl("--load-all", "--noprompt")
        assert done.returncode == 0, done.stdout + done.stderr

    def talk(self) -> int:
        """Authenticate, have a tunnel, end it: the serial number of the gateway's certificate. Raises OSError."""
        with _ONE_AT_A_TIME:
            _swanctl("--flush-certs")
            done = _swanctl("--initiate", "--child", self._name, "--timeout", "20")
            if done.returncode != 0:
                raise ConnectionError(" / ".join((done.stdout + done.stderr).splitlines()[-3:]))
            shown = _swanctl("--list-certs", "--type", "x509", "--subject", "CN=gateway.example.net").stdout
            _swanctl("--terminate", "--ike", self._name, "--force")
            [serial] = re.findall(r"serial: +([0-9a-f:]+)", shown)
            return int(serial.replace(":", ""), 16)

    def is_served(self) -> bool:
        try:
            self.talk()
        except ConnectionError:
            return False
        return True


def _swanctl(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "STRONGSWAN_CONF": f"{HOME}/strongswan.conf", "SWANCTL_DIR": str(HOME)}
    argv = [*INSIDE, "swanctl", *words, "--uri", f"unix://{HOME}/vici"]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=60)
