"""What a right configuration becomes."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certagent.config.checks import _Factory
from certagent.config.configuration import Configuration
from certagent.config.decode import Location, ValueToCheck
from certagent.config.key_types import KeyType
from certagent.config.keystores import KeystoreDefaults, PemKeystore
from certagent.config.load import digest_of, load_configuration, state_dir_of
from certagent.errors import ConfigError
from tests.cost import cpu

from .conftest import BASE, FINGERPRINT, Site

ROOT = Path(__file__).parents[2]


def test_a_configuration_with_much_in_it_is_understood(site: Site) -> None:
    site.write("tell", "#!/bin/sh\n", 0o755)
    site.write(
        "agent.yaml",
        f"""
state_dir: DIR/state
include: keystores/*.yaml
metrics_file: DIR/certagent.prom
worker_timeout: 10m
max_workers: 2
check_every: 1h
authorities:
  corp:
    url: http://scep.example.net/scep
    ca_identifier: corp-ca
    fingerprint: {FINGERPRINT}
    trust_anchor: [DIR/root.pem]
    challenge: {{command: [DIR/tell]}}
    send_challenge: always
    accept: [sha1, des]
    proxy: http://proxy.example.net:3128
    timeout: 30s
    poll_interval: 5m
    poll_limit: 7d
    rollover_at: 60d
    next_fingerprint: {FINGERPRINT}
defaults:
  authority: corp
  renew_at: 66%
  key_type: ec:p256
  rekey: never
  jitter: 5%
keystores:
  web:
    type: pem
    subject: CN=web.example.net,O=Example
    san: [dns:web.example.net, ip:192.0.2.7]
    key_file: DIR/web.key
    certificate_file: DIR/web.pem
    certificate_format: leaf
    chain_file: DIR/web-chain.pem
    ca_file: DIR/corp-ca.pem
    owner: root
    group: "0"
    mode: "0640"
    swap: symlink
    hooks:
      pre: [[DIR/tell]]
      post: [{{run: [systemctl, reload, nginx], timeout: 90s}}]
    probe: {{tls: "127.0.0.1:443", server_name: web.example.net}}
""",
    )
    loaded = load_configuration(site.main)
    authority, web = loaded.authorities["corp"], loaded.keystores["web"]
    assert str(authority.fingerprints[0]) == FINGERPRINT
    assert authority.trust_anchors == (site.directory / "root.pem",)
    assert authority.rollover_at.before_end == timedelta(days=60)
    assert web.renew_at.passed == 0.66
    assert web.key_type is KeyType.EC_P256
    assert web.mode == 0o640
    assert [str(name) for name in web.san] == ["dns:web.example.net", "ip:192.0.2.7"]
    assert web.hooks.commands("post")[0].timeout == timedelta(seconds=90)
    assert loaded.authority_of(web) is authority


def test_defaults_fill_what_a_keystore_does_not_say_key_by_key(site: Site) -> None:
    site.change(
        {
            9: "  authority: corp\n  rekey: never\n  mode: '0640'\n  hooks: {failed: [[nginx]], post: [[nginx]]}",
            12: "    type: pem\n    mode:",
        }
    )
    web = load_configuration(site.main).keystores["web"]
    assert web.rekey == "never"
    assert web.mode is None, "a key without a value takes a default back"
    assert web.hooks.failed == (), "hooks are one key: replaced as a whole"


def test_included_files_are_beside_the_file_and_get_its_defaults(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.change({2: 'include: ["keystores/*.yaml", "*.yaml", DIR/keystores/a.yaml]', 9: "  authority: two"})
    site.write("keystores/a.yaml", f"authorities:\n  two: {{url: 'http://b/', fingerprint: '{FINGERPRINT}'}}\n")
    site.write("keystores/b.yaml", "keystores:\n  b: {type: pem, key_file: DIR/b, certificate_file: DIR/b}\n")
    site.write("keystores/empty.yaml", "# nothing yet\n")
    site.write("keystores/.c.yaml.swp", "an editor's\n")
    monkeypatch.chdir("/")
    loaded = load_configuration(site.main)
    assert list(loaded.keystores) == ["web", "b"]
    assert {keystore.authority for keystore in loaded.keystores.values()} == {"two"}
    assert list(loaded.keystores["b"].paths) == ["key"]


def test_a_glob_that_matches_nothing_is_fine(site: Site) -> None:
    site.change({2: "include: keystores/*.yaml"})
    assert list(load_configuration(site.main).keystores) == ["web"]


def test_a_directory_whose_name_looks_like_a_glob_is_just_a_directory(tmp_path: Path, site: Site) -> None:
    inner = Site(tmp_path / "[x]")
    inner.directory.mkdir()
    inner.write("a.yaml", "keystores: {}\n")
    inner.write("agent.yaml", "include: a.yaml\n")
    assert load_configuration(inner.main).keystores == {}


def test_aliases_and_a_byte_order_mark_are_fine(site: Site) -> None:
    site.change({17: "    hooks: {post: &reload [[nginx]], failed: *reload}"})
    site.main.write_bytes(b"\xef\xbb\xbf" + site.main.read_bytes())
    hooks = load_configuration(site.main).keystores["web"].hooks
    assert hooks.post == hooks.failed == (("nginx",),)


def test_a_group_may_read_a_secret(site: Site) -> None:
    (site.directory / "corp.challenge").chmod(0o640)
    load_configuration(site.main)


def test_paths_that_are_links_into_the_live_directory_stay_right(site: Site) -> None:
    # What `swap: symlink` leaves behind after the first swap.
    live = site.directory / "live/web"
    live.mkdir(parents=True)
    for name in ("web.key", "web.pem"):
        (live / name).write_text("")
        (site.directory / name).symlink_to(live / name)
    load_configuration(site.main)


def test_two_links_to_one_file_are_one_file(site: Site) -> None:
    (site.directory / "web.pem").symlink_to("web.key")
    assert "is the same file as" in site.problems()[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("leads_to", ["agent.yaml", "web.key", "corp.challenge", "state", "."])
def test_somebody_elses_link_stops_no_other_keystore(site: Site, leads_to: str) -> None:
    """Who owns a keystore's directory may put any link there: nothing is written through it (keystore/files.py)."""
    site.change({18: "  theirs: {type: pem, key_file: DIR/theirs/key.pem, certificate_file: DIR/theirs/in/cert.pem}"})
    theirs = site.directory / "theirs"
    theirs.mkdir()
    for link in (theirs / "key.pem", theirs / "in"):
        link.symlink_to(site.directory / leads_to)
        os.chown(link, 65534, 65534, follow_symlinks=False)
    os.chown(theirs, 65534, 65534)
    assert set(load_configuration(site.main).keystores) == {"web", "theirs"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_somebody_elses_link_in_place_of_a_factory_identity_stops_no_keystore(site: Site) -> None:
    site.change({17: FACTORY.replace("DIR/factory.key", "DIR/theirs/factory.key")})
    site.write("web.key", "", 0o600)
    link = site.directory / "theirs/factory.key"
    link.parent.mkdir()
    link.symlink_to(site.directory / "web.key")
    for path in (link, link.parent):
        os.chown(path, 65534, 65534, follow_symlinks=False)
    load_configuration(site.main)


FACTORY = "    introduce_with: {type: pem, key_file: DIR/factory.key, certificate_file: DIR/factory.pem}"
WHERE = {
    "of the authority": {7: f"{FACTORY}\n    challenge: {{file: DIR/corp.challenge}}"},
    "of the keystore": {17: FACTORY},
}


@pytest.mark.parametrize("where", WHERE.values(), ids=list(WHERE))
@pytest.mark.parametrize("read", ["factory.key", "factory.pem"])
@pytest.mark.parametrize(("line", "written"), [(15, "key_file"), (16, "certificate_file")])
def test_a_factory_identity_is_no_file_of_a_keystore(
    site: Site, where: dict[int, str], read: str, line: int, written: str
) -> None:
    lines = {**where, line: f"    {written}: DIR/{read}"}
    site.change(dict(sorted(lines.items(), reverse=True)))
    [problem] = site.problems()
    assert f"keystores.web.{written}: is the factory identity that " in problem


@pytest.mark.parametrize(
    ("swap", "is_refused"), [("in-place", True), ("rename", False)], ids=["written into", "only its name replaced"]
)
def test_a_hard_link_of_a_factory_identity(site: Site, swap: str, *, is_refused: bool) -> None:
    site.change({17: f"{FACTORY}\n    swap: {swap}"})
    for name in ("factory.key", "factory.pem"):
        site.write(name, "", 0o600)
    (site.directory / "web.pem").hardlink_to(site.directory / "factory.pem")
    if is_refused:
        assert "keystores.web.certificate_file: is the factory identity that " in site.problems()[0]
    else:
        load_configuration(site.main)


def test_a_factory_identity_that_is_mounted_elsewhere_too_is_written_into(tmp_path: Path) -> None:
    """Seen from here, a mount is the same inode by another path."""
    (tmp_path / "factory.pem").write_text("")
    read = ValueToCheck("read_file", ("introduce_with",), Location("agent.yaml", 1), f"{tmp_path}/factory.pem")
    found = _Factory.of([read], str).written_through(
        f"{tmp_path}/./factory.pem", in_place=False, closed=lambda _: False
    )
    assert found == read


URIS = {
    "pkcs11:token=factory;id=%01": True,
    "pkcs11:id=%01;token=factory;object=Device%20key;type=private": True,
    "pkcs11:token=factory": False,
    "pkcs11:token=factory;id=": False,
    "pkcs11:token=factory;id=%01;pin-value=hunter2": False,
    "pkcs11:token=factory;id=%01?pin-value=hunter2": False,
    "pkcs11:token=factory;id=%01?PIN-VALUE=hunter2": False,
    "pkcs11:token=factory;id=%01?pin%2dvalue=hunter2": False,
    "pkcs11:token=factory;id=%01&pin-source=/etc/hunter2": False,
}


@pytest.mark.parametrize(("uri", "is_taken"), URIS.items())
def test_the_uri_of_a_factory_identity_names_a_key_and_no_pin(site: Site, uri: str, *, is_taken: bool) -> None:
    """Else every message about it would tell the PIN."""
    token = f'{{type: pkcs11, module: /usr/lib/p11.so, uri: "{uri}", pin: {{file: DIR/pin}}}}'
    site.change({17: f"    introduce_with: {token}"})
    if is_taken:
        load_configuration(site.main)
    else:
        [problem] = site.problems()
        assert "without a PIN" in problem
        assert "hunter2" not in problem


STATE_DIRS = [
    pytest.param(BASE, "DIR/state", id="a right file"),
    pytest.param("state_dir: DIR/x\nkeystores: {web: nonsense}\nfoo: 1\n", "DIR/x", id="wrong elsewhere"),
    pytest.param("state_dir: DIR/x   # here\nkeystores: [\n", "DIR/x", id="not YAML further down"),
    pytest.param("state_dir: 'DIR/x'\n\tkeystores:\n", "DIR/x", id="not YAML, quoted"),
    pytest.param("{state_dir: DIR/x, authorities: 1}\n", "DIR/x", id="in braces"),
    pytest.param("keystores: {}\n", "/var/lib/certagent", id="not said"),
    pytest.param("state_dir: x\n", "/var/lib/certagent", id="relative"),
    pytest.param("state_dir: [a]\n", "/var/lib/certagent", id="no path"),
    pytest.param("", "/var/lib/certagent", id="empty"),
]


@pytest.mark.parametrize(("text", "expected"), STATE_DIRS)
def test_the_state_directory_is_found_even_in_a_broken_file(site: Site, text: str, expected: str) -> None:
    site.write("agent.yaml", text)
    assert state_dir_of(site.main) == Path(expected.replace("DIR", str(site.directory)))


def test_the_state_directory_is_the_default_where_a_file_cannot_be_believed(site: Site) -> None:
    site.main.chmod(0o666)
    assert state_dir_of(site.main) == Path("/var/lib/certagent")
    assert state_dir_of(site.directory / "missing") == Path("/var/lib/certagent")


@pytest.mark.parametrize(
    ("lines", "changes"),
    [
        pytest.param({}, False, id="nothing changed"),
        pytest.param({1: "state_dir: DIR/else"}, False, id="something of the agent's own"),
        pytest.param({9: "  renew_at: 50%\n  authority: corp"}, True, id="a default"),
        pytest.param({9: "  renew_at: 66%\n  authority: corp"}, False, id="a default said aloud"),
        pytest.param({14: "    san: [dns:other.example.net]"}, True, id="a name"),
        pytest.param({17: "    hooks: {post: [{run: [nginx], timeout: 61s}]}"}, True, id="a hook"),
        pytest.param({7: "    timeout: 31s"}, True, id="the authority"),
        pytest.param({12: "    type: pem\n    mode: '0600'"}, True, id="the mode"),
    ],
)
def test_the_digest_changes_with_the_definition_alone(site: Site, lines: dict[int, str], changes: bool) -> None:
    def digest() -> str:
        loaded = load_configuration(site.main)
        return digest_of(loaded.keystores["web"], loaded.authorities["corp"])

    before = digest()
    site.change(lines)
    assert (digest() != before) is changes


def test_ten_times_as_many_keystores_take_ten_times_as_long_to_load(site: Site) -> None:
    def load(count: int) -> None:
        more = (
            f"  web{i}: {{type: pem, key_file: DIR/{i}.key, certificate_file: DIR/{i}.pem, subject: CN=web{i}}}\n"
            for i in range(count)
        )
        site.write("agent.yaml", BASE + "".join(more))
        assert len(load_configuration(site.main).keystores) == count + 1

    few, many = (min(cpu(load, count) for _ in range(3)) for count in (20, 200))
    assert many < 3 * 10 * few


def test_loading_brings_in_nothing_heavy() -> None:
    code = "import sys; from certagent.config import load; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()
    heavy = {"cryptography", "requests", "asn1crypto", "apscheduler", "rich", "subprocess"}
    assert not heavy & set(loaded)


LETTERS = [
    pytest.param("certificate_file: DIR/zürich.pem", "keystores.web.certificate_file", id="a path"),
    pytest.param(
        "hooks: {post: [{run: [/bin/sh, -c, 'echo zürich']}]}", "keystores.web.hooks.post[0].run", id="a command"
    ),
]


@pytest.mark.parametrize(("line", "key"), LETTERS)
def test_letters_that_the_locale_cannot_write_are_told(site: Site, line: str, key: str) -> None:
    more = "" if line.startswith("certificate_file") else ", certificate_file: DIR/web.pem"
    web = f"  web: {{type: pem, subject: CN=web, key_file: DIR/web.key{more}, {line}}}\n"
    site.write("agent.yaml", BASE.partition("  web:")[0] + web)
    program = (
        "import pathlib, sys; from certagent.config import load; load.load_configuration(pathlib.Path(sys.argv[1]))"
    )
    argv = [sys.executable, "-c", program, str(site.main)]
    ascii_only = {"PATH": os.environ["PATH"], "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    told = subprocess.run(argv, capture_output=True, text=True, env=ascii_only, cwd=ROOT, check=False)
    assert f"{key}: has letters that this process cannot use in file names (ascii)" in told.stderr


def _load_text(site: Site, text: str) -> None:
    site.main.write_bytes(text.encode("utf-8", "surrogatepass"))
    problems: tuple[str, ...] = ("not empty",)
    try:
        assert isinstance(load_configuration(site.main), Configuration)
    except ConfigError as error:
        problems = error.problems
    assert problems
    assert not any("\n" in line for line in problems)
    "".join(problems).encode()  # fit for a terminal
    state_dir_of(site.main)


_fuzz = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
_words = st.sampled_from([
    *Configuration.__struct_fields__, *PemKeystore.__struct_fields__, *KeystoreDefaults.__struct_fields__,
    *("type", "pem", "corp", "url", "fingerprint", "file", "env", "command", "run", "post", FINGERPRINT, "/etc/x"),
    *("http://h/", "66%", "30d", "CN=a", "dns:a", "0640", "~", "yes", "'", '"', "&a", "*a", "<<", "!x", "|", "\\0"),
])  # fmt: skip
_marks = st.sampled_from([": ", "\n", "\n  ", "\n    ", " - ", "[", "]", "{", "}", ", ", "#", "\t", "---\n"])


@_fuzz
@given(text=st.text(max_size=200))
def test_any_text_gives_a_configuration_or_a_config_error(site: Site, text: str) -> None:
    _load_text(site, text)


@_fuzz
@given(parts=st.lists(_words | _marks, max_size=40))
def test_any_soup_of_known_words_gives_a_configuration_or_a_config_error(site: Site, parts: list[str]) -> None:
    _load_text(site, "".join(parts))


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.dates() | st.binary(max_size=3) | _words | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words | st.integers(), inner, max_size=4),
    max_leaves=20,
)


@_fuzz
@given(
    top=st.fixed_dictionaries(
        {},
        optional={
            "authorities": st.dictionaries(_words, _values | st.fixed_dictionaries({"url": _values}), max_size=2),
            "defaults": st.dictionaries(_words, _values, max_size=3),
            "keystores": st.dictionaries(_words, st.dictionaries(_words, _values, max_size=6), max_size=2),
            "include": _values,
            "state_dir": _values,
        },
    )
)
def test_any_values_in_the_right_places_give_a_configuration_or_a_config_error(site: Site, top: object) -> None:
    _load_text(site, yaml.safe_dump(top, allow_unicode=True))
