"""What changes what is asked of the CA, so that an open request is another one by now; and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509

from certagent import keys
from certagent.config.load import load_configuration
from certagent.transaction.asked import digest, wanted
from certagent.transaction.planned_request import plan_request
from tests.unit.pki import TLS, party, rsa_key

LAB = {"url": "http://ca.example/scep", "fingerprint": f"sha256:{'00' * 32}", "challenge": "{env: SECRET}"}
WEB = {
    "type": "pem",
    "authority": "lab",
    "key_file": "/etc/web/key.pem",
    "certificate_file": "/etc/web/cert.pem",
    "subject": "CN=web.example.net",
    "san": "[dns:web.example.net, dns:www.example.net]",
}
OF_THE_AUTHORITY = ("challenge", "send_challenge", "key_transport", "poll_interval", "accept", "timeout")


def in_place() -> x509.Certificate:
    names = [x509.DNSName("web.example.net"), x509.DNSName("www.example.net")]
    return party("web.example.net", with_key=rsa_key("web"), purposes=TLS, san=names).certificate


def asked(directory: Path, changes: dict[str, str], there: x509.Certificate | None, *, renews: bool) -> str:
    lab = LAB | {key: value for key, value in changes.items() if key in OF_THE_AUTHORITY}
    web = WEB | {key: value for key, value in changes.items() if key not in OF_THE_AUTHORITY}
    sections = (("authorities", "lab", lab), ("keystores", "web", web))
    file = directory / "agent.yaml"
    file.write_text(
        "".join(
            f"{section}:\n  {name}:\n" + "".join(f"    {key}: {value}\n" for key, value in lines.items())
            for section, name, lines in sections
        )
    )
    file.chmod(0o600)
    configuration = load_configuration(file)
    definition, authority = configuration.keystores["web"], configuration.authorities["lab"]
    signs = there if renews else None
    planned = plan_request(definition, authority, None, keys.type_of(signs.public_key()) if signs else None)
    return digest(wanted("web", definition, signs, there), planned, authority)


CHANGES = [
    # what is said instead                                                  a first one, one in its place, a renewal
    pytest.param({}, (False, False, False), id="nothing"),
    pytest.param({"subject": "CN=mail.example.net"}, (True, True, False), id="subject"),
    pytest.param({"san": "[dns:web.example.net]"}, (True, True, False), id="a name less"),
    pytest.param({"san": "[dns:www.example.net, dns:web.example.net]"}, (False, False, False), id="the order of names"),
    pytest.param({"san": "[dns:WEB.example.net, dns:www.example.net]"}, (False, False, False), id="capitals"),
    pytest.param({"key_usage": "[digitalSignature]"}, (True, True, False), id="key_usage"),
    pytest.param({"extended_key_usage": "[serverAuth]"}, (True, True, False), id="a purpose"),
    pytest.param({"extended_key_usage": "[clientAuth, serverAuth]"}, (True, False, False), id="what is in place"),
    pytest.param({"template": "WebServer"}, (True, True, False), id="template"),
    pytest.param({"key_type": "rsa:3072"}, (True, True, True), id="key_type"),
    pytest.param({"rekey": "never"}, (False, False, True), id="rekey"),
    pytest.param({"key_transport": "oaep"}, (True, True, True), id="key_transport"),
    pytest.param({"challenge": "{env: OTHER}"}, (True, True, False), id="challenge"),
    pytest.param({"send_challenge": "always"}, (False, False, True), id="send_challenge"),
    pytest.param({"hooks": "{post: [['true']]}"}, (False, False, False), id="hooks"),
    pytest.param({"mode": '"0640"', "owner": "root", "group": "root"}, (False, False, False), id="rights"),
    pytest.param({"certificate_file": "/etc/web/other.pem"}, (False, False, False), id="the place"),
    pytest.param({"renew_at": "50%", "jitter": "0%"}, (False, False, False), id="when"),
    pytest.param({"activate_in": "['Sat 02:00-05:00']"}, (False, False, False), id="activate_in"),
    pytest.param({"accept_names": "[dns:x.example.net]"}, (False, False, False), id="what is taken: accept_names"),
    pytest.param({"may_lose": "[san]", "check_subject": "key"}, (False, False, False), id="what is taken"),
    pytest.param({"poll_interval": "1m", "timeout": "5s", "accept": "[sha1]"}, (False, False, False), id="manners"),
]


@pytest.mark.parametrize(("change", "expected"), CHANGES)
def test_what_changes_the_request(tmp_path: Path, change: dict[str, str], expected: tuple[bool, bool, bool]) -> None:
    there = in_place()
    cases = ((None, False), (there, False), (there, True))
    found = tuple(
        asked(tmp_path, change, each, renews=renews) != asked(tmp_path, {}, each, renews=renews)
        for each, renews in cases
    )
    assert found == expected


def test_a_renewal_asks_for_what_is_in_place(tmp_path: Path) -> None:
    other = party("mail.example.net", with_key=rsa_key("web")).certificate
    assert asked(tmp_path, {}, in_place(), renews=True) != asked(tmp_path, {}, other, renews=True)
