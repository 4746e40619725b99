"""keystores/softhsm.yaml and the files beside it, as its comment says, on a machine that boots."""

from __future__ import annotations

import re

import pytest

from .conftest import ROOT, Machine
from .test_units import LIBRARY

CONFIGURATION = """\
include: keystores/*.yaml
authorities:
  corp: {url: "http://127.0.0.1:8080/scep", fingerprint: "FINGERPRINT", challenge: {file: /root/challenge}}
"""
NGINX = """\
user root;
pid /run/nginx.pid;
events { }
http { server { listen 443 ssl; server_name www.example.net; include /etc/nginx/certagent-web.conf; } }
"""


@pytest.mark.slow
@pytest.mark.needs("nspawn", "openssl", "softhsm", "nginx", "engine")
def test_nginx_serves_with_a_key_in_a_token(machine: Machine) -> None:
    machine.install("certagent-recover.service")
    machine.write("/etc/certagent/agent.yaml", CONFIGURATION)
    machine.write("/etc/nginx/nginx.conf", NGINX, 0o644)
    for file in ("softhsm.yaml", "openssl-engine.cnf", "nginx-token.conf.template"):
        machine.write(f"/etc/certagent/keystores/{file}", (ROOT / "keystores" / file).read_text(), 0o644)
    unit = (ROOT / "keystores/nginx-token.service.conf").read_text()
    machine.write("/etc/systemd/system/nginx.service.d/token.conf", unit, 0o644)
    printed = machine.boot(f"""{LIBRARY}
lab
softhsm2-util --init-token --free --label web --pin 1234 --so-pin 567890
install -m 600 /dev/null /etc/certagent/softhsm.pin
printf %s 1234 >/etc/certagent/softhsm.pin
certagent enroll softhsm
systemctl start nginx || journalctl -u nginx
show nginx -p ActiveState
certagent renew softhsm
mkdir /etc/systemd/system/certagent-renew.service.d
printf '[Service]\\nExecStart=\\nExecStart=/usr/bin/certagent -c /etc/certagent/agent.yaml renew --force softhsm\\n' \\
    >/etc/systemd/system/certagent-renew.service.d/again.conf
systemctl daemon-reload
echo before: $(openssl x509 -noout -serial -in /etc/ssl/certs/web.pem)
systemctl start certagent-renew
show certagent-renew -p Result
journalctl -u certagent-renew -o cat
show nginx -p ActiveState
echo served: $(openssl s_client -connect 127.0.0.1:443 </dev/null 2>/dev/null | openssl x509 -noout -serial)
echo in place: $(openssl x509 -noout -serial -in /etc/ssl/certs/web.pem)
""")
    assert printed.count("nginx: ActiveState=active") == 2, printed
    assert "certagent-renew: Result=success" in printed, printed  # in the unit's sandbox
    [served] = re.findall(r"^served: (serial=\w+)$", printed, re.MULTILINE)
    assert f"in place: {served}" in printed, printed
    assert f"before: {served}" not in printed, printed
