"""The consumers that keystores/ has a definition for, each configured as the comment of its definition says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.consumers import eap, ike, openvpn
from tests.interop.commands import ROOT

_BACKEND = """\
[Unit]
Description=what stunnel's clients are led to
[Service]
ExecStart=/usr/bin/python3 -m http.server --bind 127.0.0.1 --directory /srv/backend 143
"""
_APACHE = """\
<VirtualHost *:443>
    ServerName www.example.net
    DocumentRoot /var/www/html
    SSLEngine on
    SSLCertificateFile    /etc/ssl/certs/apache.pem
    SSLCertificateKeyFile /etc/ssl/private/apache.key
</VirtualHost>
"""
_NGINX = """\
user www-data;
pid /run/nginx.pid;
events { }
http {
    access_log off;
    server {
        listen 443 ssl;
        server_name www.example.net;
        ssl_certificate     /etc/ssl/certs/nginx.pem;
        ssl_certificate_key /etc/ssl/private/nginx.key;
        location / { return 200 "ok\\n"; }
    }
}
"""
_HAPROXY = """\
global
    user haproxy
    group haproxy
defaults
    mode http
    timeout connect 10s
    timeout client 10s
    timeout server 10s
frontend web
    bind :443 ssl crt /etc/haproxy/certs/site.pem
    http-request return status 200 content-type text/plain string "ok\\n"
"""
_STUNNEL = """\
foreground = yes
[mail]
accept = 993
connect = 127.0.0.1:143
cert = /etc/stunnel/mail.pem
CAfile = /etc/stunnel/mail-ca.pem
verifyChain = yes
"""
_MOSQUITTO = """\
listener 8883
certfile /etc/mosquitto/certs/broker.pem
keyfile  /etc/mosquitto/certs/broker.key
cafile   /etc/mosquitto/ca_certificates/corp.pem
require_certificate true
use_identity_as_username true
"""
_POSTGRESQL = """\
ssl = on
ssl_cert_file = '/etc/postgresql/tls/server.pem'
ssl_key_file  = '/etc/postgresql/tls/server.key'
ssl_ca_file   = '/etc/postgresql/tls/ca.pem'
port = 5432
"""
_APP = f"""\
[Service]
ExecStart=/usr/bin/java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 {ROOT}/tests/consumers/App.java \\
    /etc/java/app.p12 /etc/certagent/java.password 8443
SuccessExitStatus=143
"""
_TOKEN = """\
softhsm2-util --init-token --free --label web --pin 1234 --so-pin 567890
install -m 600 /dev/null /etc/certagent/softhsm.pin
printf %s 1234 >/etc/certagent/softhsm.pin
"""
_PROVIDER = {
    f"/etc/{path}": (ROOT / "keystores" / name).read_text()
    for path, name in {
        "certagent/keystores/openssl-provider.cnf": "openssl-provider.cnf",
        "systemd/system/nginx.service.d/token.conf": "provider.service.conf",
        "systemd/system/haproxy.service.d/token.conf": "provider.service.conf",
        "systemd/system/openvpn@.service.d/token.conf": "provider.service.conf",
    }.items()
}
_PRELOADED = (ROOT / "keystores/provider.service.conf").read_text().replace("#Environment", "Environment")
_NGINX_ON_TOKEN = _NGINX.replace("user www-data;", "user root;").replace("private/nginx.key", "certs/web-key.pem")
_NGINX_BY_ENGINE = """\
user root;
pid /run/nginx.pid;
events { }
http {
    access_log off;
    server {
        listen 443 ssl;
        server_name www.example.net;
        include /etc/nginx/certagent-web.conf;
        location / { return 200 "ok\\n"; }
    }
}
"""
_HAPROXY_ON_TOKEN = _HAPROXY.replace("    user haproxy\n    group haproxy\n", "")
_POSTFIX = """\
compatibility_level = 3.6
myhostname = mail.example.net
mydestination = localhost
inet_interfaces = loopback-only
smtpd_tls_security_level = may
smtpd_tls_cert_file = /etc/postfix/tls/mail.pem
smtpd_tls_key_file  = /etc/postfix/tls/mail.key
"""
_DOVECOT_2_3 = """\
protocols = imap
listen = 127.0.0.1
ssl = required
ssl_cert = </etc/dovecot/tls/mail.pem
ssl_key  = </etc/dovecot/tls/mail.key
passdb {
  driver = static
}
"""
_DOVECOT_2_4 = """\
dovecot_config_version = 2.4.1
dovecot_storage_version = 2.4.0
protocols = imap
listen = 127.0.0.1
ssl = required
ssl_server_cert_file = /etc/dovecot/tls/mail.pem
ssl_server_key_file  = /etc/dovecot/tls/mail.key
passdb static {
  password = nobody logs in
}
"""
# A cluster of its own: whatever else the host has, this one is the only one in the machine.
_CLUSTER = """\
rm -rf /etc/postgresql/*/* /var/lib/postgresql/*/*
version=$(ls /usr/lib/postgresql | sort -V | tail -1)
pg_createcluster $version main
cat /root/postgresql.conf >>/etc/postgresql/$version/main/postgresql.conf
echo 'hostssl all all 127.0.0.1/32 trust clientcert=verify-ca' >/etc/postgresql/$version/main/pg_hba.conf
install -d -m 755 /etc/postgresql/tls
"""


def _shipped(name: str) -> str:
    return (ROOT / "keystores" / name).read_text()


@dataclass(frozen=True)
class Consumer:
    """`unit` is started once its files are there; `files`: what stands where, before; `prepare`: shell, as root.

    `definition`: the name of its file and keystore, if it is another; `changes`: what a person writes there instead.
    `needs`: parts of tests/conftest.py. `verifies`: it wants a certificate of its clients. `refuses`: it refuses
    connections for a moment when a hook has it read its files again. `starts`: a hook starts it, the first time.
    `quiet`: hooks have nothing to complain about while it does not run. `tries`: visits of a peer between renewals.
    `lead`: seconds, on a quiet machine, in which two peers and a worker fit: one of them may wait to be refused.
    """

    needs: tuple[str, ...]
    unit: str
    port: int
    protocol: str
    server_name: str = "www.example.net"
    files: Mapping[str, str] = field(default_factory=dict)
    prepare: str = ""
    definition: str = ""
    changes: Mapping[str, str] = field(default_factory=dict)
    verifies: bool = False
    refuses: bool = False
    starts: bool = False
    quiet: bool = False
    tries: int = 100
    lead: float = 15.0


CONSUMERS = {
    "wpa-supplicant": Consumer(
        ("wpa_supplicant",),
        "wpa_supplicant-wired@eth0",
        0,
        "eap",
        files={"/etc/wpa_supplicant/wpa_supplicant-wired-eth0.conf": eap.SUPPLICANT},
        prepare=eap.PREPARE,
        changes={"wpa_supplicant@eth0": "wpa_supplicant-wired@eth0"},
        verifies=True,
        quiet=True,
        tries=4,
    ),
    "wpa_supplicant with its key in a TPM": Consumer(
        ("wpa_supplicant", "tpm", "engine"),
        "wpa_supplicant-wired@eth0",
        0,
        "eap",
        files={
            "/etc/certagent/keystores/wpa-supplicant-token.conf.template": _shipped(
                "wpa-supplicant-token.conf.template"
            )
        },
        prepare=eap.TPM,
        definition="tpm2",
        verifies=True,
        quiet=True,
        tries=4,
    ),
    "openvpn": Consumer(
        ("openvpn", "openssl"),
        "openvpn@vpn",
        1194,
        "openvpn client",
        files={"/etc/openvpn/vpn.conf": openvpn.SERVER},
        prepare=openvpn.PREPARE,
        verifies=True,
        starts=True,
        tries=5,
    ),
    "openvpn as a client": Consumer(
        ("openvpn", "openssl"),
        "openvpn@vpn",
        1194,
        "openvpn server",
        files={"/etc/openvpn/vpn.conf": openvpn.CLIENT},
        prepare=openvpn.PREPARE,
        definition="openvpn",
        changes={"[server_auth]": "[client_auth]"},
        verifies=True,
        starts=True,
        tries=5,
        lead=30.0,
    ),
    "strongswan": Consumer(
        ("swanctl", "strongswan-libipsec"),
        "strongswan",
        500,
        "ike",
        files={
            "/etc/strongswan.d/charon/kernel-libipsec.conf": ike.IN_USERLAND,
            "/etc/swanctl/conf.d/home.conf": ike.CONNECTION,
        },
        prepare=ike.PREPARE,
        verifies=True,
        quiet=True,
        tries=20,
    ),
    "strongswan with its key in a token": Consumer(
        ("swanctl", "strongswan-libipsec", "softhsm", "strongswan-pkcs11"),
        "strongswan",
        500,
        "ike",
        files={
            "/etc/strongswan.d/charon/kernel-libipsec.conf": ike.IN_USERLAND,
            "/etc/strongswan.d/softhsm.conf": ike.MODULE,
            "/etc/swanctl/conf.d/home.conf": ike.CONNECTION + ike.PIN,
            "/etc/certagent/keystores/swanctl-token.conf.template": _shipped("swanctl-token.conf.template"),
        },
        prepare=f"""\
softhsm2-util --init-token --free --label vpn --pin 1234 --so-pin 567890
echo 1234 | install -m 600 /dev/stdin /etc/certagent/strongswan.pin
{ike.PREPARE}""",
        definition="strongswan-token",
        verifies=True,
        quiet=True,
        tries=20,
    ),
    "nginx": Consumer(("nginx",), "nginx", 443, "http", files={"/etc/nginx/nginx.conf": _NGINX}),
    "haproxy": Consumer(
        ("haproxy",),
        "haproxy",
        443,
        "http",
        files={"/etc/haproxy/haproxy.cfg": _HAPROXY},
        prepare="mkdir -p /etc/haproxy/certs",
    ),
    "apache": Consumer(
        ("apache",),
        "apache2",
        443,
        "http",
        files={"/etc/apache2/sites-available/certagent.conf": _APACHE},
        prepare="a2enmod -q ssl; a2dissite -q '*'; a2ensite -q certagent",
    ),
    "stunnel": Consumer(
        ("stunnel",),
        "stunnel@mail",
        993,
        "http",
        "mail.example.net",
        files={
            "/etc/stunnel/mail.conf": _STUNNEL,
            "/etc/systemd/system/backend.service": _BACKEND,
            "/etc/systemd/system/stunnel@.service.d/reload.conf": (ROOT / "keystores/stunnel.service.conf").read_text(),
        },
        prepare="mkdir -p /srv/backend; systemctl daemon-reload; systemctl start backend",
        verifies=True,
        refuses=True,
    ),
    "mosquitto": Consumer(
        ("mosquitto",),
        "mosquitto",
        8883,
        "mqtt",
        "mqtt.example.net",
        files={"/etc/mosquitto/conf.d/tls.conf": _MOSQUITTO},
        verifies=True,
        refuses=True,
    ),
    "postgresql": Consumer(
        ("postgresql",),
        "postgresql",
        5432,
        "postgres",
        "db.example.net",
        files={"/root/postgresql.conf": _POSTGRESQL},
        prepare=_CLUSTER,
        verifies=True,
    ),
    "postfix": Consumer(
        ("postfix",),
        "postfix",
        25,
        "smtp",
        "mail.example.net",
        files={"/etc/postfix/main.cf": _POSTFIX},
        prepare="install -d -m 755 /etc/postfix/tls; cp /usr/share/postfix/master.cf.dist /etc/postfix/master.cf",
    ),
    "dovecot": Consumer(
        ("dovecot",),
        "dovecot",
        143,
        "imap",
        "mail.example.net",
        files={"/root/dovecot-2.3": _DOVECOT_2_3, "/root/dovecot-2.4": _DOVECOT_2_4},
        prepare="install -d -m 755 /etc/dovecot/tls\n"
        "cp /root/dovecot-$(dovecot --version | cut -c1-3) /etc/dovecot/dovecot.conf",
        refuses=True,  # 2.4 says BYE to who is about to log in
    ),
    "java": Consumer(
        ("java",),
        "app",
        8443,
        "http",
        "app.example.net",
        files={"/etc/systemd/system/app.service": _APP},
        prepare="""\
mkdir -p /etc/java
openssl rand -hex 16 | install -m 600 /dev/stdin /etc/certagent/java.password
systemctl daemon-reload
""",
        refuses=True,
        starts=True,
    ),
    "nginx with its key in a token, by the engine": Consumer(
        ("nginx", "softhsm", "engine"),
        "nginx",
        443,
        "http",
        files={
            "/etc/nginx/nginx.conf": _NGINX_BY_ENGINE,
            "/etc/certagent/keystores/openssl-engine.cnf": _shipped("openssl-engine.cnf"),
            "/etc/certagent/keystores/nginx-token.conf.template": _shipped("nginx-token.conf.template"),
            "/etc/systemd/system/nginx.service.d/token.conf": _shipped("nginx-token.service.conf"),
        },
        prepare=f"{_TOKEN}systemctl daemon-reload",
        definition="softhsm",
    ),
    "nginx with its key in a token": Consumer(
        ("nginx", "softhsm", "provider"),
        "nginx",
        443,
        "http",
        files={**_PROVIDER, "/etc/nginx/nginx.conf": _NGINX_ON_TOKEN.replace("certs/nginx.pem", "certs/web.pem")},
        prepare=f"{_TOKEN}systemctl daemon-reload",
        definition="softhsm-provider",
    ),
    "haproxy with its key in a token": Consumer(
        ("haproxy", "softhsm", "provider"),
        "haproxy",
        443,
        "http",
        files={
            **_PROVIDER,
            "/etc/systemd/system/haproxy.service.d/token.conf": _PRELOADED,
            "/etc/haproxy/haproxy.cfg": _HAPROXY_ON_TOKEN,
        },
        prepare=f"{_TOKEN}systemctl daemon-reload; mkdir -p /etc/haproxy/certs",
        definition="softhsm-provider",
        refuses=True,  # a connection or none at each reload
        changes={
            "/etc/ssl/certs/web-key.pem": "/etc/haproxy/certs/site.pem",
            "/etc/ssl/certs/web.pem": "/etc/haproxy/certs/site.pem",
            "[systemctl, reload, nginx]": "[systemctl, reload, haproxy]",
        },
    ),
}
