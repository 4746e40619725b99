"""keystores/softhsm-provider.yaml for OpenVPN: the key of the server is in a token, that of its client in a file."""

from __future__ import annotations

import pytest

from tests.interop.commands import ROOT
from tests.systemd.conftest import Machine
from tests.systemd.test_units import LIBRARY

pytestmark = [pytest.mark.slow, pytest.mark.daemons, pytest.mark.needs("nspawn", "softhsm", "openvpn", "provider")]

CONFIGURATION = """\
include: keystores/*.yaml
authorities:
  corp: {url: "http://127.0.0.1:8080/scep", fingerprint: "FINGERPRINT", challenge: {file: /root/challenge}}
keystores:
  client:
    type: pem
    authority: corp
    subject: CN=client.example.net
    key_file: /root/client.key
    certificate_file: /root/client.pem
    ca_file: /etc/openvpn/ca.pem
"""
# Without a network device; the handshake is what is looked at. The unit does not see /root.
PEER = """\
dev null
proto tcp-{role}
port 1194
tls-{role}
dh none
ca /etc/openvpn/ca.pem
"""
SERVER = PEER.format(role="server") + "cert /etc/ssl/certs/web.pem\nkey /etc/ssl/certs/web-key.pem\n"
CLIENT = PEER.format(role="client") + (
    "cert /root/client.pem\nkey /root/client.key\nremote 127.0.0.1\nconnect-retry 1\nverb 3\n"
    "verify-x509-name www.example.net name\n"
)
CHANGES = {
    "[systemctl, reload, nginx]": "[systemctl, restart, openvpn@vpn]",
    '    probe: {tls: "127.0.0.1:443", server_name: www.example.net}\n': "",
}


def test_its_tunnel_is_built_before_and_after_a_renewal(machine: Machine) -> None:
    machine.install("certagent-recover.service")
    definition = (ROOT / "keystores/softhsm-provider.yaml").read_text()
    for shipped, changed in CHANGES.items():
        assert shipped in definition
        definition = definition.replace(shipped, changed)
    machine.write("/etc/certagent/agent.yaml", CONFIGURATION)
    machine.write("/etc/certagent/keystores/softhsm-provider.yaml", definition)
    for file, where in (
        ("openssl-provider.cnf", "/etc/certagent/keystores/openssl-provider.cnf"),
        ("provider.service.conf", "/etc/systemd/system/openvpn@.service.d/token.conf"),
    ):
        machine.write(where, (ROOT / "keystores" / file).read_text(), 0o644)
    machine.write("/etc/openvpn/vpn.conf", SERVER)
    machine.write("/root/client.conf", CLIENT)
    printed = machine.boot(f"""{LIBRARY}
lab
softhsm2-util --init-token --free --label web --pin 1234 --so-pin 567890
install -m 600 /dev/null /etc/certagent/softhsm.pin
printf %s 1234 >/etc/certagent/softhsm.pin
tunnels() {{ grep -c 'Peer Connection Initiated' /root/client.log; }}
built() {{ for try in $(seq 300); do test "$(tunnels)" -ge $1 && return; sleep 0.2; done; }}
certagent enroll client
certagent enroll softhsm-provider
openvpn --config /root/client.conf --log /root/client.log --daemon
built 1
certagent renew --force softhsm-provider
built 2
echo "tunnels: $(tunnels)"
cat /root/client.log
journalctl -u openvpn@vpn -o cat
""")
    assert "softhsm-provider: renewed" in printed, printed
    assert "tunnels: 2" in printed, printed
