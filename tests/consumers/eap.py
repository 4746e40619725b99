"""Authenticators of an 802.1X client, by EAP-TLS over a cable: hostapd, with the server in it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

from tests.consumers import network
from tests.consumers.network import HOME, INSIDE
from tests.waiting import PATIENCE

# As the comment of keystores/wpa-supplicant.yaml says.
SUPPLICANT = """\
ctrl_interface=/run/wpa_supplicant
ap_scan=0
network={
    key_mgmt=IEEE8021X
    eap=TLS
    identity="host/router.example.net"
    client_cert="/etc/wpa_supplicant/client.pem"
    private_key="/etc/wpa_supplicant/client.key"
    ca_cert="/etc/wpa_supplicant/ca.pem"
}
"""
# No udev runs in a container, so systemd knows of no device.
PREPARE = f"""\
{network.PREPARE}
echo '* TLS' >{HOME}/users
sed '/device$/d' /lib/systemd/system/wpa_supplicant-wired@.service \\
    >/etc/systemd/system/wpa_supplicant-wired@.service
systemctl daemon-reload
"""
# As the comment of keystores/tpm2.yaml says, with a TPM in software.
TPM = f"""\
{PREPARE}
mkdir /root/tpm
systemd-run --quiet --unit=swtpm swtpm socket --tpm2 --tpmstate dir=/root/tpm --flags not-need-init,startup-clear \\
    --server type=tcp,port=2321,bindaddr=127.0.0.1 --ctrl type=tcp,port=2322,bindaddr=127.0.0.1
systemctl start dbus
until tpm2_pcrread --tcti=swtpm:host=127.0.0.1,port=2321 >/dev/null 2>&1; do sleep 0.2; done
systemd-run --quiet --unit=abrmd --service-type=dbus --property=BusName=com.intel.tss2.Tabrmd \\
    tpm2-abrmd --allow-root --tcti=swtpm:host=127.0.0.1,port=2321
mkdir /etc/tpm2_pkcs11
ln -s /usr/lib/*/pkcs11/libtpm2_pkcs11.so /usr/lib/*/engines-3/pkcs11.so /etc/certagent/
tpm2_ptool init
tpm2_ptool addtoken --pid=1 --label=host --userpin=1234 --sopin=5678
printf %s 1234 | install -m 600 /dev/stdin /etc/certagent/tpm2.pin
"""
_HOSTAPD = """\
interface=eth0
driver=wired
ieee8021x=1
eapol_version=2
use_pae_group_addr=1
eap_reauth_period=0
eap_server=1
eap_user_file={home}/users
ca_cert={trusted}
server_cert={identity}
private_key={identity}
"""
_ONE_AT_A_TIME = threading.Lock()


class Authenticator:
    """Believes the CAs in `trusted`; `identity` holds its key and certificate."""

    def __init__(self, trusted: Path, identity: Path) -> None:
        self._file = HOME / f"{identity.stem}.conf"
        self._file.write_text(_HOSTAPD.format(home=HOME, trusted=trusted, identity=identity))

    def talk(self) -> int:
        """Authenticate the client once: the serial number of its certificate. Raises OSError."""
        log = HOME / "hostapd.log"
        with (
            _ONE_AT_A_TIME,
            log.open("w") as output,
            subprocess.Popen(
                [*INSIDE, "hostapd", "-d", str(self._file)], stdout=output, stderr=output, start_new_session=True
            ) as process,
        ):
            try:
                return self._authenticated(log)
            finally:
                os.killpg(process.pid, signal.SIGTERM)

    def _authenticated(self, log: Path) -> int:
        asked, deadline = 0.0, time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if time.monotonic() > asked + 8:  # a reload in the middle of it leaves a client silent for half a minute
                asked = time.monotonic()
                subprocess.run(["wpa_cli", "-i", "eth0", "reassociate"], capture_output=True, check=False)
            said = log.read_text(errors="replace")
            if "CTRL-EVENT-EAP-SUCCESS " in said:
                return int(re.findall(r"depth=0 serial_num=([0-9A-Fa-f]+)", said)[-1], 16)
            if "CTRL-EVENT-EAP-FAILURE " in said:
                break
            time.sleep(0.05)
        raise ConnectionError(" / ".join(said.splitlines()[-4:]))

    def is_served(self) -> bool:
        try:
            self.talk()
        except ConnectionError:
            return False
        return True
