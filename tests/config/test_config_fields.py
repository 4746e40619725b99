"""Every way a key or value can be wrong, and the line a person then reads."""

from __future__ import annotations

from typing import get_args

import pytest

from certagent.config.authority import Authority
from certagent.config.file_roles import FileRole
from certagent.config.key_types import KeyType
from certagent.config.keystores import KeystoreDefinition
from certagent.config.load import load_configuration
from certagent.config.parts import Hooks
from certagent.errors import ConfigError

from .conftest import FINGERPRINT, Site

_KEYS = f"known here: {', '.join(sorted(Authority.__struct_fields__))}"
_EVENTS = f"known here: {', '.join(Hooks.__struct_fields__)}"
_TAGS = [str(cls.__struct_config__.tag) for cls in get_args(KeystoreDefinition)]
_TYPES = ", ".join(_TAGS)
_ABSOLUTE = "is not an absolute file path; start it with /, e.g. /etc/ssl/web.pem"
_SOURCE = "do not write the secret itself here; write e.g. {file: /etc/certagent/secret}, or use env or command"
_AT = "write e.g. http://scep.example.net/scep"
_OPEN = "contains a user or password, which anybody could read here"
_NAME = (
    "is not a usable name (it becomes a directory); "
    "use at most 64 letters, digits, dots, dashes and underscores, starting with a letter or digit"
)

_KEY_TYPES = ", ".join(KeyType)
_TOKEN = "    type: pkcs11\n    module: DIR/root.pem\n    token: vpn"
_PIN = "    pin: {file: DIR/corp.challenge}"

FIELDS = [
    # keys
    pytest.param(
        {1: "sate_dir: DIR/state"}, "1: sate_dir: is not a known key; did you mean state_dir?", id="unknown key at top"
    ),
    pytest.param(
        {12: "    type: pem\n    mod: '0640'"},
        "13: keystores.web.mod: is not a known key; did you mean mode?",
        id="unknown key of a keystore",
    ),
    pytest.param(
        {7: "    zzz: 1"},
        f"7: authorities.corp.zzz: is not a known key; {_KEYS}",
        id="unknown key like none: all shown",
    ),
    pytest.param(
        {9: "  authority: corp\n  key_file: DIR/x"},
        "10: defaults.key_file: is not a known key; set it in each keystore instead",
        id="a key of one type only in defaults",
    ),
    pytest.param(
        {16: "    certificate_file: DIR/web.pem\n    key_file: DIR/b.key"},
        "17: keystores.web.key_file: appears twice; it is first on line 15; remove one of them",
        id="key given twice",
    ),
    pytest.param(
        {17: "  web: {}"},
        "17: keystores.web: appears twice; it is first on line 11; remove one of them",
        id="name twice",
    ),
    pytest.param(
        {12: "    type: pem\n    <<: {mode: '0600'}"},
        "13: keystores.web.'<<': merging is not supported; put shared values under defaults",
        id="merge key",
    ),
    pytest.param(
        {5: "    # no url"},
        "4: authorities.corp.url: is missing; add it: the SCEP URL, http:// or https://; "
        "or a list: the next one is asked when those before it cannot be reached",
        id="needed key missing",
    ),
    pytest.param(
        {16: "    # no certificate"},
        "11: keystores.web.certificate_file: is missing; "
        "add it: the certificate; the same path as key_file = one combined file",
        id="needed path missing",
    ),
    pytest.param(
        {7: "    ? {a: b}\n    : c"},
        "7: authorities.corp: has a key that is not a single word; put text that contains { or [ in quotes",
        id="a table as key",
    ),
    # names
    pytest.param({11: "  we b:"}, f"11: keystores.'we b': {_NAME}", id="keystore name with a space"),
    pytest.param({11: "  ../web:"}, f"11: keystores.'../web': {_NAME}", id="keystore name that leaves its directory"),
    pytest.param({11: f"  {'w' * 65}:"}, f"11: keystores.'{'w' * 64}': {_NAME}", id="keystore name too long"),
    # types of YAML values
    pytest.param(
        {12: "    type: pem\n    mode: 0640"},
        '13: keystores.web.mode: must be text, not a number (as YAML reads it); put it in quotes: "0640"',
        id="mode without quotes",
    ),
    pytest.param(
        {12: "    type: pem\n    owner: 0"},
        '13: keystores.web.owner: must be text, not a number (as YAML reads it); put it in quotes: "0"',
        id="number where text belongs",
    ),
    pytest.param(
        {12: '    type: pem\n    owner: "4294967295"'},
        "13: keystores.web.owner: is larger than any number of a user or group; write a name, or a number in quotes",
        id="an owner beyond all numbers",
    ),
    pytest.param(
        {12: "    type: pem\n    owner: no"},
        '13: keystores.web.owner: must be text, not yes or no (as YAML reads it); put it in quotes: "no"',
        id="yes or no where text belongs",
    ),
    pytest.param(
        {15: "    key_file:"},
        "15: keystores.web.key_file: must be text, not nothing; give it a value, or remove the line",
        id="nothing where text belongs",
    ),
    pytest.param(
        {15: "    key_file: [DIR/web.key]"},
        "15: keystores.web.key_file: must be a single value, not a list; remove the brackets",
        id="list where one value belongs",
    ),
    pytest.param(
        {14: "    san: dns:web.example.net"},
        "14: keystores.web.san: must be a list, not a single value; put it in brackets: [dns:web.example.net]",
        id="one value where a list belongs",
    ),
    pytest.param(
        {14: "    san: [dns: web.example.net]"},
        "14: keystores.web.san[0]: must be a single value, not a table; write it without a space after the colon",
        id="name with a space after the colon",
    ),
    pytest.param(
        {17: "    hooks: [[systemctl, reload, nginx]]"},
        f"17: keystores.web.hooks: must be a table of keys, not a list; {_EVENTS}",
        id="hooks without an event",
    ),
    pytest.param(
        {17: "    hooks: {post: [systemctl, reload, nginx]}"},
        "17: keystores.web.hooks.post: must be a list of commands, each of them a list; "
        "write [[systemctl, reload, nginx]]",
        id="one command where a list of commands belongs",
    ),
    pytest.param(
        {17: "    hooks: {post: systemctl reload nginx}"},
        "17: keystores.web.hooks.post: must be a list of commands, each of them a list, not a single value; "
        "write [[systemctl, reload, nginx]]",
        id="shell line as hook",
    ),
    pytest.param(
        {17: "    hooks: {pre: [{run: [nginx, -t], once: true}]}"},
        "17: keystores.web.hooks: has once: true under pre; only post, ca_changed and crl_changed run for several",
        id="a veto for several keystores",
    ),
    pytest.param(
        {17: "    hooks: {post: [{run: [nginx], once: 2}]}"},
        "17: keystores.web.hooks.post[0].once: must be true or false; write true or false",
        id="once twice",
    ),
    pytest.param(
        {17: "    activate_in: [Saturday 02:00-05:00, Sat-Sun 02:00-02:00]"},
        "17: keystores.web.activate_in[0]: 'Saturday 02:00-05:00' is not a time of the week; "
        "write e.g. Sat-Sun 02:00-05:00, Fri 22:00-02:00, or 02:00-04:00\n"
        "17: keystores.web.activate_in[1]: 'Sat-Sun 02:00-02:00' ends when it starts; "
        "write 00:00-24:00 for the whole day",
        id="no times of the week",
    ),
    pytest.param(
        {17: "    activate_in: Sat 02:00-05:00"},
        "17: keystores.web.activate_in: must be a list, not a single value; put it in brackets: [ ... ]",
        id="one time of the week where a list belongs",
    ),
    pytest.param(
        {17: "    hooks: {post: [[]]}"},
        "17: keystores.web.hooks.post[0]: is an empty list; add an entry, or remove the line",
        id="empty command",
    ),
    pytest.param(
        {17: "    hooks: {post: [{run: [systemctl], timeout: 60}]}"},
        "17: keystores.web.hooks.post[0].timeout: '60' is not a duration; add a unit: 60s, 60m, 60h or 60d",
        id="duration without a unit",
    ),
    pytest.param(
        {2: "max_workers: 0"},
        "2: max_workers: is not a whole number in the allowed range; write a number from 1 to 64",
        id="no workers",
    ),
    pytest.param(
        {2: "max_workers: many"},
        "2: max_workers: is not a whole number in the allowed range; write a number from 1 to 64",
        id="word where a number belongs",
    ),
    pytest.param(
        {2: f"max_workers: 1{':1' * 1000}"},
        "2: max_workers: is not a whole number in the allowed range; write a number from 1 to 64",
        id="number in base 60, very long",
    ),
    pytest.param(
        {13: "    subject: !!python/object/apply:os.system [id]"},
        "13: keystores.web.subject: begins with a YAML tag (!...); remove it, or put the value in quotes\n"
        "13: keystores.web.subject: must be a single value, not a list; remove the brackets",
        id="python tag",
    ),
    pytest.param(
        {15: '    key_file: "/a\\0b"'},
        "15: keystores.web.key_file: has an escape sequence that is not a character; remove it",
        id="NUL in a path",
    ),
    # values
    pytest.param(
        {13: "    subject: web.example.net"},
        "13: keystores.web.subject: 'web.example.net' is not an RFC 4514 name; did you mean CN=web.example.net?",
        id="subject that is not a name",
    ),
    pytest.param(
        {13: f"    subject: cn={'x' * 65},O=Example"},
        "13: keystores.web.subject: CN has 65 characters, not at most 64; "
        "put a longer host name only in san, as dns:NAME",
        id="common name too long",
    ),
    pytest.param(
        {13: f"    subject: CN={'ä' * 33}"},
        "13: keystores.web.subject: CN has 66 characters, not at most 64; "
        "put a longer host name only in san, as dns:NAME",
        id="common name too long in UTF-8",
    ),
    pytest.param(
        {13: "    subject: CN=web,C=DEU"},
        "13: keystores.web.subject: C has 3 characters, not 2; write the two-letter country code (ISO 3166), e.g. DE",
        id="country of three letters",
    ),
    pytest.param(
        {13: "    subject: CN=web,DEPARTMENT=x"},
        "13: keystores.web.subject: 'DEPARTMENT' is not an attribute that certagent knows; write its OID, "
        "e.g. 2.5.4.51=x",
        id="attribute that nobody knows",
    ),
    pytest.param(
        {14: "    san: [dns:ok.example, 'dns:a..example']"},
        "14: keystores.web.san[1]: the DNS name 'a..example' has an empty part; "
        "remove leading, trailing and double dots",
        id="empty label",
    ),
    pytest.param(
        {14: f"    san: ['dns:{'x' * 64}.example']"},
        f"14: keystores.web.san[0]: the part '{'x' * 64}' of a DNS name has 64 characters; at most 63 are "
        f"allowed; shorten it",
        id="label too long",
    ),
    pytest.param(
        {14: f"    san: ['dns:{'x.' * 130}example']"},
        "14: keystores.web.san[0]: the DNS name has 267 characters; at most 253 are allowed; shorten it",
        id="DNS name too long",
    ),
    pytest.param(
        {14: "    san: ['dns:www.*.example']"},
        "14: keystores.web.san[0]: 'www.*.example' is not a DNS name; a * must be the whole first part",
        id="asterisk in the middle",
    ),
    pytest.param(
        {14: "    san: ['dns:https://www.example']"},
        "14: keystores.web.san[0]: 'https://www.example' is not a DNS name; use letters, digits, - and _",
        id="URL for a DNS name",
    ),
    pytest.param(
        {14: "    san: ['email:device']"},
        "14: keystores.web.san[0]: 'device' is not an e-mail address; write e.g. email:device@example.net",
        id="address without its domain",
    ),
    pytest.param(
        {14: "    san: ['uri:www.example.net']"},
        "14: keystores.web.san[0]: 'www.example.net' is not an absolute URI; "
        "write it with its scheme, e.g. uri:https://example.net/",
        id="URI without its scheme",
    ),
    pytest.param(
        {14: f"    san: [{', '.join(f'dns:h{number}.example' for number in range(251))}]"},
        "14: keystores.web.san: has 251 entries; at most 250 are allowed; shorten it",
        id="too many names",
    ),
    pytest.param(
        {14: "    extended_key_usage: [serverAuth, ServerAuth]"},
        "14: keystores.web.extended_key_usage[1]: 'ServerAuth' is not a purpose; did you mean server_auth?",
        id="purpose misspelled",
    ),
    pytest.param(
        {14: "    key_usage: [keyCertSign]"},
        "14: keystores.web.key_usage[0]: 'keyCertSign' is not a key usage; known here: digital_signature, "
        "content_commitment, key_encipherment, data_encipherment, key_agreement; spellings like serverAuth work too",
        id="a CA's key usage",
    ),
    pytest.param(
        {14: "    san: [dns:ok.example, 192.0.2.7]"},
        "14: keystores.web.san[1]: '192.0.2.7' is not a name; did you mean ip:192.0.2.7?",
        id="alternative name without its kind",
    ),
    pytest.param(
        {14: "    san: ['ip:192.0.2.700']"},
        "14: keystores.web.san[0]: '192.0.2.700' is not an IP address; write e.g. ip:192.0.2.7",
        id="impossible address",
    ),
    pytest.param(
        {12: "    type: pem\n    mode: '0644'"},
        "13: keystores.web.mode: mode 0644 would let everybody on the host read the private key; make its last digit 0",
        id="key readable by everybody",
    ),
    pytest.param(
        {12: "    type: pem\n    renew_at: 100%"},
        "13: keystores.web.renew_at: '100%' must be more than 0% and less than 100%; write e.g. 66%",
        id="renewal at the very end",
    ),
    pytest.param(
        {12: "    type: pem\n    renew_at: 0d"},
        "13: keystores.web.renew_at: '0d' is not between 1 millisecond and 100 years; write e.g. 90s, 15m, 6h or 30d",
        id="no time at all",
    ),
    pytest.param(
        {12: "    type: pem\n    jitter: 5"},
        "13: keystores.web.jitter: '5' is not a share between 0% and 100%; write e.g. 66% or 5%",
        id="share without its sign",
    ),
    pytest.param(
        {12: "    type: pem\n    key_type: rsa2048"},
        f"13: keystores.web.key_type: 'rsa2048' is not one of {_KEY_TYPES}; did you mean rsa:2048?",
        id="key type misspelled",
    ),
    *(
        pytest.param(
            {12: f"    type: pem\n    key_type: {word}"},
            f"13: keystores.web.key_type: '{word}' is not one of {_KEY_TYPES}; did you mean {meant}?",
            id=f"key type as others write it: {word}",
        )
        for word, meant in {"ML-DSA-65": "ml-dsa:65", "mldsa44": "ml-dsa:44", "Ed25519": "ed25519"}.items()
    ),
    *(
        pytest.param(
            {12: f"    type: pem\n    key_type: {word}"},
            f"13: keystores.web.key_type: '{word}' is not one of {_KEY_TYPES}; "
            "such a key only receives secrets, but a key has to sign the request for its certificate",
            id=f"key type that cannot sign: {word}",
        )
        for word in ("ml-kem:768", "ML-KEM-1024", "x25519")
    ),
    *(
        pytest.param(
            {12: _TOKEN, 15: _PIN, 16: f"    uri_file: DIR/uri\n    key_type: {word}"},
            f"11: keystores.web: has key_type {word}, which certagent cannot make in a token; "
            "tokens hold RSA and EC keys",
            id=f"key type {word} in a token",
        )
        for word in ("ed25519", "ml-dsa:65")
    ),
    pytest.param(
        {9: "  authority: corp\n  key_type: ed448", 12: _TOKEN, 15: _PIN, 16: "    uri_file: DIR/uri"},
        "12: keystores.web: has key_type ed448, which certagent cannot make in a token; tokens hold RSA and EC keys",
        id="key type in a token, by the defaults",
    ),
    pytest.param(
        {12: _TOKEN, 15: _PIN, 16: "    uri_file: DIR/uri\n    key_type: ed25518"},
        f"19: keystores.web.key_type: 'ed25518' is not one of {_KEY_TYPES}; write one of them",
        id="key type in a token, misspelled: one fault",
    ),
    pytest.param(
        {12: "    type: pem\n    key_type: ml-dsa:65\n    key_format: pkcs1"},
        "11: keystores.web: cannot write ml-dsa:65 keys as pkcs1; use key_format: pkcs8, their only form",
        id="key format that the key does not have",
    ),
    pytest.param(
        {12: "    type: pem\n    swap: no"},
        "13: keystores.web.swap: 'no' is not one of rename, symlink, in-place; write one of them",
        id="choice YAML would read as no",
    ),
    pytest.param(
        {7: "    accept: [sha2]"},
        "7: authorities.corp.accept[0]: 'sha2' is not one of sha1, md5, 3des, des; write one of them",
        id="unknown weak algorithm",
    ),
    pytest.param(
        {7: "    capabilities: [aes, sha-256]"},
        "7: authorities.corp.capabilities[1]: 'sha-256' is not one of aes, 3des, sha256, sha512, sha1, post, renewal, "
        "next_ca; did you mean sha256?",
        id="unknown capability",
    ),
    pytest.param(
        {7: "    capabilities: [sha256, post]"},
        "4: authorities.corp: has capabilities without a cipher; add aes, or 3des if the CA supports nothing better",
        id="capabilities that would mean 3DES in silence",
    ),
    pytest.param(
        {7: "    capabilities: [aes, post]"},
        "4: authorities.corp: has capabilities without a digest; add sha256 or sha512, or sha1 if the CA "
        "supports nothing "
        "better",
        id="capabilities that would mean SHA-1 in silence",
    ),
    pytest.param(
        {6: "    fingerprint: sha256:9f86"},
        "6: authorities.corp.fingerprint: a sha256 fingerprint has 64 hex digits, but this one has 4; copy it again",
        id="fingerprint cut short",
    ),
    pytest.param(
        {5: "    url: http://scep.example.net/scep?operation=x"},
        f"5: authorities.corp.url: contains a query (?…), but certagent adds its own; {_AT}",
        id="query in the URL",
    ),
    pytest.param(
        {5: "    url: ftp://scep.example.net/scep"},
        f"5: authorities.corp.url: begins with ftp://, not http:// or https://; {_AT}",
        id="another protocol",
    ),
    pytest.param(
        {7: "    accept: [SHA1]"},
        "7: authorities.corp.accept[0]: 'SHA1' is not one of sha1, md5, 3des, des; did you mean sha1?",
        id="capital letters",
    ),
    pytest.param(
        {6: "    fingerprint: '" + "ab" * 16 + "'"},
        "6: authorities.corp.fingerprint: '" + "ab" * 16 + "' is an MD5 fingerprint, which can be forged; "
        "write what `openssl x509 -noout -fingerprint -sha256 -in ca.pem` prints",
        id="what NDES shows",
    ),
    pytest.param(
        {14: "    san: ['DNS:web']"},
        "14: keystores.web.san[0]: 'DNS:web' is not a name; did you mean dns:web?",
        id="as OpenSSL",
    ),
    pytest.param(
        {14: "    san: ['dns:a b']"},
        "14: keystores.web.san[0]: 'dns:a b' contains a space; write e.g. dns:web.example.net, one name per entry",
        id="two names in one",
    ),
    pytest.param(
        {6: f"    fingerprint: [{FINGERPRINT}, 'sha1:9f86']"},
        "6: authorities.corp.fingerprint[1]: 'sha1:9f86' is a SHA-1 fingerprint, which can be forged; "
        "write what `openssl x509 -noout -fingerprint -sha256 -in ca.pem` prints",
        id="weak fingerprint in a list",
    ),
    pytest.param(
        {7: "    https_client_key: DIR/corp.challenge"},
        "4: authorities.corp: has only one of https_client_certificate and https_client_key; give both or none",
        id="a TLS key without its certificate",
    ),
    pytest.param(
        {7: "    https_ca_file: DIR/corp.challenge"},
        "4: authorities.corp: has https_… keys but an http:// url; write https://, or remove them",
        id="TLS files without TLS",
    ),
    pytest.param(
        {7: "    key_transport: password"},
        "4: authorities.corp: has key_transport: password and no challenge; the challenge is that password",
        id="a key under a challenge that is not there",
    ),
    pytest.param(
        {6: "    # none"},
        "4: authorities.corp: has neither fingerprint nor trust_anchor; add one: certagent does not trust a "
        "CA on first use",
        id="authority nobody vouches for",
    ),
    pytest.param(
        {5: "    url: scep.example.net/scep"},
        f"5: authorities.corp.url: does not begin with http:// or https://; {_AT}",
        id="URL without scheme",
    ),
    pytest.param(
        {5: "    url: [http://one.example.net/scep, two.example.net/scep]"},
        f"5: authorities.corp.url[1]: does not begin with http:// or https://; {_AT}",
        id="URL without scheme in a list",
    ),
    pytest.param(
        {5: "    url: []"},
        "4: authorities.corp: has an empty url list; write the SCEP URL",
        id="no URL in a list",
    ),
    pytest.param(
        {5: "    url: [http://one.example.net/scep, http://one.example.net/scep]"},
        "4: authorities.corp: has the same url twice; remove one",
        id="a URL twice",
    ),
    pytest.param(
        {5: "    url: [https://one.example.net/scep, http://two.example.net/scep]", 7: "    https_ca_file: DIR/a.pem"},
        "4: authorities.corp: has https_… keys but an http:// url; write https://, or remove them",
        id="TLS files with an http:// URL in a list",
    ),
    pytest.param(
        {5: "    url: http://me:hunter2@scep.example.net/scep"},
        f"5: authorities.corp.url: {_OPEN}; {_AT}",
        id="password in the URL",
    ),
    pytest.param(
        {7: "    proxy: http://me:hunter2@proxy.example.net:3128"},
        f"7: authorities.corp.proxy: {_OPEN}; write e.g. http://proxy.example.net:3128",
        id="password in the proxy's URL",
    ),
    pytest.param(
        {5: "    url: http://scep.example.net:99999/scep"},
        "5: authorities.corp.url: is a URL with an invalid host or port; write e.g. http://scep.example.net:8080/scep",
        id="impossible port",
    ),
    pytest.param(
        {17: "    probe: {tls: '127.0.0.1'}"},
        '17: keystores.web.probe.tls: is not a host and a port; write e.g. "127.0.0.1:443"',
        id="probe without port",
    ),
    pytest.param(
        {17: "    probe: {tls: '127.0.0.1:70000'}"},
        '17: keystores.web.probe.tls: needs a port between 1 and 65535; write e.g. "127.0.0.1:443"',
        id="probe with an impossible port",
    ),
    pytest.param(
        {17: "    probe: {timeout: 30s}"},
        '17: keystores.web.probe: must have exactly one of tls and run; write e.g. {tls: "127.0.0.1:443"}',
        id="probe of nothing",
    ),
    pytest.param(
        {17: "    probe: {run: [/bin/true], starttls: smtp}"},
        "17: keystores.web.probe: has starttls or server_name together with run; they go with tls",
        id="probe by a command, with STARTTLS",
    ),
    pytest.param(
        {17: "    probe: {tls: '127.0.0.1:25', starttls: smpt}"},
        "17: keystores.web.probe.starttls: 'smpt' is not one of smtp, imap, postgres; did you mean smtp?",
        id="probe with a protocol misspelled",
    ),
    pytest.param(
        {17: "    probe: {run: [bin/true]}"},
        "17: keystores.web.probe.run: does not begin with a program; "
        "write its absolute path, or just its name to find it on PATH",
        id="probe by a command with a relative path",
    ),
    # types of keystores
    pytest.param(
        {12: "    type: pme"},
        f"12: keystores.web.type: is not one of {_TYPES}; did you mean pem?",
        id="type misspelled",
    ),
    pytest.param(
        {12: "    type: pfx", 15: "    file: DIR/web.p12", 16: "    password: {file: DIR/corp.challenge}\n    own: me"},
        f"12: keystores.web.type: is not one of {_TYPES}; write one of them\n"
        "17: keystores.web.own: is not a known key; did you mean owner?",
        id="type unknown: the rest is read as the type it looks like",
    ),
    pytest.param({12: "    # no type"}, "11: keystores.web.type: is missing; add type: pem", id="type missing"),
    pytest.param(
        {12: "    # no type", 15: "    module: DIR/root.pem", 16: "    token: vpn"},
        "11: keystores.web.type: is missing; add type: pkcs11\n"
        "11: keystores.web.pin: is missing; add it: the user PIN of the token\n"
        "11: keystores.web.uri_file: is missing; add it: holds the RFC 7512 URI of the active key, for "
        "consumers to read",
        id="type missing: the one that fits best is shown",
    ),
    pytest.param(
        {11: "  web: pem", **dict.fromkeys(range(12, 18), "")},
        "11: keystores.web: must be a table of keys, not a single value; known here: type and others",
        id="a keystore that is its type",
    ),
    pytest.param(
        {12: "    type: pem\n    password: {file: DIR/corp.challenge}"},
        "13: keystores.web.password: is not a key of type pem; only keystores of type pkcs12 have it",
        id="a key of another type",
    ),
    pytest.param(
        {12: "    type: pkcs12\n    password: {file: DIR/corp.challenge}", 15: "    file: DIR/web.p12"},
        "17: keystores.web.certificate_file: is not a key of type pkcs12; only keystores of type pem and "
        "pkcs11 have it",
        id="a key of two other types",
    ),
    pytest.param(
        {12: "    type: pkcs12\n    password: hunter2", 15: "    file: DIR/web.p12", 16: ""},
        f"13: keystores.web.password: must be a table of keys, not a single value; {_SOURCE}",
        id="PKCS#12 password in the open",
    ),
    *(
        pytest.param(
            {
                12: f"    type: pkcs11\n    module: DIR/root.pem\n    token: '{token}'",
                15: _PIN,
                16: "    uri_file: DIR/uri",
            },
            "14: keystores.web.token: is not a token's label, serial:NUMBER, or a pkcs11: URI without a PIN; "
            "write e.g. token: vpn; `pkcs11-tool --list-token-slots` lists the tokens",
            id=f"token {word}",
        )
        for word, token in {
            "by a URI with its PIN": "pkcs11:token=vpn?pin-value=hunter2",
            "by a URI with its PIN in capitals": "pkcs11:token=vpn?PIN-value=hunter2",
            "of no name": "",
            "of a label longer than labels are": "v" * 33,
            "of a serial number longer than those are": "serial:" + "1" * 17,
        }.items()
    ),
    pytest.param(
        {12: _TOKEN, 15: f"{_PIN}\n    certificate_object: false", 16: "    uri_file: DIR/uri"},
        "11: keystores.web: has nowhere to keep the certificate; add certificate_file, or set certificate_object: true",
        id="a certificate that is kept nowhere",
    ),
    pytest.param(
        {12: _TOKEN, 15: f"{_PIN}\n    certificate_object: perhaps", 16: "    uri_file: DIR/uri"},
        "18: keystores.web.certificate_object: must be true or false; write true or false",
        id="neither yes nor no",
    ),
    pytest.param(
        {12: _TOKEN, 15: _PIN, 16: "    uri_file: DIR/uri\n    snippet: {template: DIR/root.pem, file: DIR/uri}"},
        "19: keystores.web.snippet.file: is the same file as keystores.web.uri_file (agent.yaml:18); "
        "give each its own path",
        id="snippet over the URI",
    ),
    pytest.param(
        {12: _TOKEN, 15: _PIN, 16: "    uri_file: DIR/root.pem"},
        "18: keystores.web.uri_file: is the same file as keystores.web.module (agent.yaml:13); give each its own path",
        id="URI over the module",
    ),
    # references
    pytest.param(
        {9: "  authority: crop"},
        "9: defaults.authority: is not the name of an authority; did you mean corp?",
        id="default authority",
    ),
    pytest.param(
        {12: "    type: pem\n    authority: crop"},
        "13: keystores.web.authority: is not the name of an authority; did you mean corp?",
        id="authority misspelled",
    ),
    pytest.param(
        {9: "  rekey: never"},
        "11: keystores.web.authority: is missing; set it here or under defaults (corp)",
        id="no authority, even if there is just one",
    ),
    # paths
    pytest.param({15: "    key_file: web.key"}, f"15: keystores.web.key_file: {_ABSOLUTE}", id="relative path"),
    pytest.param({15: "    key_file: DIR/keys/"}, f"15: keystores.web.key_file: {_ABSOLUTE}", id="directory as file"),
    pytest.param(
        {1: "state_dir: state"},
        "1: state_dir: is not an absolute directory path; start it with /, e.g. /var/lib/certagent",
        id="relative state directory",
    ),
    pytest.param(
        {17: "    chain_file: DIR/x/../web.pem"},
        "17: keystores.web.chain_file: is the same file as keystores.web.certificate_file (agent.yaml:16); "
        "give each its own path",
        id="one file for two purposes",
    ),
    pytest.param(
        {16: "    certificate_file: DIR/./web.key"},
        "16: keystores.web.certificate_file: is the same file as key_file, written differently; "
        "for one combined file, write the same path twice",
        id="combined file written in two ways",
    ),
    pytest.param(
        {16: "    certificate_file: DIR/web.key\n    ca_file: DIR/web.key"},
        "17: keystores.web.ca_file: is the same file as keystores.web.key_file (agent.yaml:15); give each its own path",
        id="combined file that is also the CA file",
    ),
    pytest.param(
        {17: "    ca_file: DIR/web.pem\n  b: {type: pem, key_file: DIR/b.key, certificate_file: DIR//web.pem}"},
        "17: keystores.web.ca_file: is the same file as keystores.web.certificate_file (agent.yaml:16); "
        "give each its own path\n"
        "18: keystores.b.certificate_file: is the same file as keystores.web.certificate_file (agent.yaml:16); "
        "give each its own path",
        id="two keystores, one file",
    ),
    pytest.param(
        {2: "metrics_file: DIR/web.pem"},
        "16: keystores.web.certificate_file: is the same file as metrics_file (agent.yaml:2); give each its own path",
        id="metrics over a certificate",
    ),
    pytest.param(
        {15: "    key_file: DIR/state/web.key"},
        "15: keystores.web.key_file: is inside state_dir; choose another directory",
        id="key in the state directory",
    ),
    pytest.param(
        {15: "    key_file: DIR/live/web.key"},
        "15: keystores.web.key_file: is inside live_dir; choose another directory",
        id="key in the live directory",
    ),
    pytest.param(
        {16: "    certificate_file: DIR/web.pem\n    ca_directory: DIR/live/cas"},
        "17: keystores.web.ca_directory: is inside live_dir; choose another directory",
        id="CA directory in the live directory",
    ),
    pytest.param(
        {2: "live_dir: DIR/state/live"},
        "2: live_dir: one of state_dir and live_dir is inside the other; use two separate directories",
        id="live directory in the state directory",
    ),
    pytest.param(
        {15: "    key_file: DIR/agent.yaml"},
        "15: keystores.web.key_file: is part of this configuration; choose another path",
        id="key over the configuration",
    ),
    pytest.param(
        {15: "    key_file: DIR/corp.challenge"},
        "15: keystores.web.key_file: is the same file as authorities.corp.challenge.file (agent.yaml:7); "
        "give each its own path",
        id="key over a secret",
    ),
    pytest.param(
        {6: "    trust_anchor: DIR/root.pem", 17: "    ca_file: DIR/root.pem"},
        "17: keystores.web.ca_file: is the same file as authorities.corp.trust_anchor (agent.yaml:6); "
        "give each its own path",
        id="ca_file over the trust anchor",
    ),
    # secrets
    pytest.param(
        {7: "    challenge: hunter2"},
        f"7: authorities.corp.challenge: must be a table of keys, not a single value; {_SOURCE}",
        id="secret in the open",
    ),
    pytest.param(
        {7: "    challenge: {hunter2}"},
        f"7: authorities.corp.challenge: holds an unknown key; {_SOURCE}",
        id="secret in the open, in braces",
    ),
    pytest.param(
        {7: "    challenge: !hunter2"},
        "7: authorities.corp.challenge: begins with a YAML tag (!...); remove it, or put the value in quotes\n"
        f"7: authorities.corp.challenge: must be a table of keys, not a single value; {_SOURCE}",
        id="secret in the open that looks like a tag",
    ),
    pytest.param(
        {7: "    challenge: {file: hunter2}"}, f"7: authorities.corp.challenge.file: {_ABSOLUTE}", id="secret as path"
    ),
    pytest.param(
        {7: "    challenge: {file: DIR/corp.challenge, env: HOME}"},
        "7: authorities.corp.challenge: must have exactly one of file, credential, env and command; "
        "write e.g. {file: /etc/certagent/secret}",
        id="two sources of a secret",
    ),
    pytest.param(
        {7: "    challenge: {credential: ../corp.challenge}"},
        "7: authorities.corp.challenge.credential: is not the name of a systemd credential; write e.g. scep-challenge",
        id="credential as path",
    ),
    # programs
    pytest.param(
        {17: "    hooks: {pre: [[./tell]]}"},
        "17: keystores.web.hooks.pre[0]: does not begin with a program; "
        "write its absolute path, or just its name to find it on PATH",
        id="program by relative path",
    ),
    pytest.param(
        {17: "  b: {type: pkcs12, file: DIR/b.p12, password: {file: DIR/b.p12}}"},
        "17: keystores.b.file: is the same file as keystores.b.password.file (agent.yaml:17); give each its own path",
        id="a keystore over its own password",
    ),
]


HOST = [
    pytest.param(
        {5: "    url: https://scep.example.net/scep", 7: "    https_ca_file: DIR/gone.pem"},
        "7: authorities.corp.https_ca_file: gone.pem cannot be read: No such file or directory; "
        "create the file, or correct the path",
        id="no CA file for TLS",
    ),
    pytest.param(
        {12: "    type: pkcs11\n    module: DIR/gone.so\n    token: vpn", 15: _PIN, 16: "    uri_file: DIR/uri"},
        "13: keystores.web.module: gone.so cannot be read: No such file or directory; create the file, or "
        "correct the path",
        id="module missing",
    ),
    pytest.param(
        {7: "    challenge: {file: DIR/missing}"},
        "7: authorities.corp.challenge.file: missing cannot be read: No such file or directory; "
        "create the file, or correct the path",
        id="secret file missing",
    ),
    pytest.param(
        {7: "    challenge: {file: DIR/bin}"},
        "7: authorities.corp.challenge.file: bin is not a file; correct the path",
        id="directory as secret",
    ),
    pytest.param(
        {7: "    challenge: {file: DIR/root.pem}"},
        "7: authorities.corp.challenge.file: root.pem can be read by everybody on the host; run chmod o= root.pem",
        id="secret open to everybody",
    ),
    pytest.param(
        {7: "    challenge: {credential: certagent-test-unset}"},
        "7: authorities.corp.challenge.credential: there is no credential certagent-test-unset; put "
        "LoadCredential=certagent-test-unset:/PATH/TO/IT below [Service] by `systemctl edit certagent.service`, and "
        "restart it; a command typed by hand finds it while that unit runs",
        id="credential that is not there",
    ),
    pytest.param(
        {7: "    challenge: {env: CERTAGENT_TEST_UNSET}"},
        "7: authorities.corp.challenge.env: the environment variable CERTAGENT_TEST_UNSET is not set; "
        "set it for the certagent process, or use file",
        id="variable not set",
    ),
    pytest.param(
        {7: "    challenge: {command: [DIR/root.pem]}"},
        "7: authorities.corp.challenge.command: begins with root.pem, which is not executable; run chmod +x root.pem",
        id="secret from a file that cannot run",
    ),
    pytest.param(
        {6: "    trust_anchor: [DIR/root.pem, DIR/other.pem]"},
        "6: authorities.corp.trust_anchor[1]: other.pem cannot be read: No such file or directory; "
        "create the file, or correct the path",
        id="trust anchor missing",
    ),
    pytest.param(
        {17: "    hooks: {post: [[sytemctl, reload, nginx]]}"},
        "17: keystores.web.hooks.post[0]: begins with sytemctl, which is not on PATH; "
        "install it, or write its absolute path",
        id="program misspelled",
    ),
    pytest.param(
        {17: "    hooks: {pre: [{run: [DIR/gone]}]}"},
        "17: keystores.web.hooks.pre[0].run: begins with gone, which does not exist; install it, or correct the path",
        id="program missing",
    ),
    pytest.param(
        {9: "  authority: corp\n  hooks: {failed: [[gone]]}"},
        "10: defaults.hooks.failed[0]: begins with gone, which is not on PATH; install it, or write its absolute path",
        id="program in defaults: said once",
    ),
]


@pytest.mark.parametrize(("lines", "expected"), HOST)
def test_what_the_host_lacks_is_told_and_stops_nothing(site: Site, lines: dict[int, str], expected: str) -> None:
    site.change(lines)
    assert site.lacking() == [f"agent.yaml:{line}" for line in expected.split("\n")]


@pytest.mark.parametrize(("lines", "expected"), FIELDS)
def test_a_fault_is_told_with_line_key_and_hint(site: Site, lines: dict[int, str], expected: str) -> None:
    site.change(lines)
    assert site.problems() == [f"agent.yaml:{line}" for line in expected.split("\n")]


@pytest.mark.parametrize(("lines", "expected"), FIELDS)
def test_no_fault_repeats_a_secret_or_breaks_its_line(site: Site, lines: dict[int, str], expected: str) -> None:
    site.change(lines)
    assert not any("hunter2" in line or "\n" in line for line in site.problems())


def test_all_faults_are_told_at_once_in_the_order_of_the_lines(site: Site) -> None:
    site.change(
        {1: "state_dir: state", 5: "    url: x", 9: "  authority: crop", 13: "    subject: x", 16: "    mode: 1"}
    )
    lines = [int(line.split(":")[1]) for line in site.problems()]
    assert lines == [1, 5, 9, 11, 13, 16]


def test_one_fault_is_the_error_itself_and_many_are_counted(site: Site) -> None:
    site.change({1: "state_dir: state"})
    with pytest.raises(ConfigError, match=r"agent.yaml:1: state_dir: is not an absolute") as caught:
        load_configuration(site.main)
    assert caught.value.hint == "start it with /, e.g. /var/lib/certagent"
    site.change({1: "state_dir: state", 2: "live_dir: live"})
    with pytest.raises(ConfigError, match=r"agent.yaml: 2 faults; the first one: .*state_dir"):
        load_configuration(site.main)


def test_the_base_of_this_table_is_right(site: Site) -> None:
    assert load_configuration(site.main).keystores["web"].paths[FileRole.KEY] == site.directory / "web.key"
