"""What the agent hands to a worker: the configuration of some keystores alone, read back as the same."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from certagent.config.configuration import Configuration
from certagent.config.load import digest_of, load_configuration, load_for_agent, load_handed
from certagent.errors import ConfigError

from .conftest import FINGERPRINT, Site
from .test_config_shipped import _OF_A_HOST, KEYSTORES


@contextmanager
def handed(content: bytes, mode: int = 0o600) -> Iterator[int]:
    descriptor = os.memfd_create("handed")
    try:
        os.fchmod(descriptor, mode)
        os.write(descriptor, content)
        yield descriptor
    finally:
        os.close(descriptor)


def excerpt(site: Site, names: Sequence[str]) -> Configuration:
    with handed(load_for_agent(site.main).excerpt(names)) as descriptor:
        found = load_handed(descriptor)
    assert found is not None
    return found


def digests(configuration: Configuration) -> dict[str, str]:
    return {name: digest_of(each, configuration.authority_of(each)) for name, each in configuration.keystores.items()}


def another(name: str, authority: str = "corp") -> str:
    files = f"key_file: DIR/{name}.key, certificate_file: DIR/{name}.pem"
    return f"keystores: {{{name}: {{type: pem, authority: {authority}, subject: CN={name}, {files}}}}}\n"


@pytest.mark.parametrize("shipped", KEYSTORES, ids=lambda path: str(path.name))
def test_a_shipped_keystore_is_the_same(site: Site, shipped: Path) -> None:
    site.change({2: "include: keystores/*.yaml"})
    site.write(f"keystores/{shipped.name}", _OF_A_HOST.sub("DIR/corp.challenge", shipped.read_text()))
    whole = load_configuration(site.main)
    assert digests(excerpt(site, list(whole.keystores))) == digests(whole)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("    template: 'a \"quoted\" \\ word: {x}, # y'", id="quotes and YAML's own marks"),
        pytest.param('    template: "line\\nbreak, tab\\t, \\u0007, \\x85, \\u2028, \\ufeff"', id="escapes"),
        pytest.param("    template: Größe 🔐", id="beyond ASCII"),
        pytest.param("    template: '0640'", id="a number in quotes"),
        pytest.param("    template: 'yes'", id="yes in quotes"),
        pytest.param("    template: 2026-11-26", id="a date, which is text here"),
        pytest.param("    mode:", id="nothing"),
        pytest.param("    hooks: {post: [{run: [nginx, ''], timeout: 90s}, [nginx, -t]]}", id="an empty word"),
        pytest.param("    renew_at: 0.1d\n    jitter: 7.3%", id="numbers with a unit"),
    ],
)
def test_every_way_to_write_a_value_is_read_back_as_the_same(line: str, site: Site) -> None:
    site.change({12: f"    type: pem\n{line}", 17: "    key_type: ec:p256"})
    whole = load_configuration(site.main)
    assert excerpt(site, ["web"]).keystores == whole.keystores


def test_it_holds_the_keystores_asked_for_their_and_the_default_authority_and_the_settings(site: Site) -> None:
    site.change({2: "include: more-*.yaml\nmax_workers: 7\nworker_timeout: 90s"})
    site.write("more-1.yaml", another("vpn", "two"))
    site.write("more-2.yaml", another("app"))
    site.write("more-3.yaml", f"authorities: {{two: {{url: 'http://b/', fingerprint: '{FINGERPRINT}'}}}}\n")
    site.write("more-4.yaml", f"authorities: {{six: {{url: 'http://c/', fingerprint: '{FINGERPRINT}'}}}}\n")
    whole, found = load_configuration(site.main), excerpt(site, ["vpn"])
    assert (list(found.keystores), list(found.authorities)) == (["vpn"], ["two", "corp"])
    assert found.keystores["vpn"] == whole.keystores["vpn"]
    assert found.authorities["two"] == whole.authorities["two"]
    assert found.defaults == whole.defaults
    words = ("state_dir", "live_dir", "max_workers", "worker_timeout")
    assert [getattr(found, word) for word in words] == [getattr(whole, word) for word in words]


def test_it_does_not_grow_with_the_installation(site: Site) -> None:
    site.change({2: "include: more-*.yaml"})
    small = load_for_agent(site.main).excerpt(["web"])
    for number in range(50):
        site.write(f"more-{number}.yaml", another(f"more-{number}"))
    assert load_for_agent(site.main).excerpt(["web"]) == small


def test_nothing_handed_is_none() -> None:
    with handed(b"") as descriptor:
        assert load_handed(descriptor) is None


@pytest.mark.parametrize("mode", [pytest.param(0o620, id="its group"), pytest.param(0o602, id="everybody")])
def test_what_others_may_write_to_is_not_believed(mode: int, site: Site) -> None:
    content = load_for_agent(site.main).excerpt(["web"])
    with handed(content, mode) as descriptor, pytest.raises(ConfigError, match="is writable by"):
        load_handed(descriptor)


def test_a_pipe_is_not_believed() -> None:
    reading, writing = os.pipe()
    try:
        with pytest.raises(ConfigError, match="is not a file"):
            load_handed(reading)
    finally:
        os.close(reading)
        os.close(writing)


def test_what_is_larger_than_any_file_may_be_is_not_handed(site: Site) -> None:
    """Nothing is: the worker reads the configuration itself."""
    names = [f"www{number:07}.example.net" for number in range(250)]
    site.change({2: "include: more-*.yaml"})
    for number in range(200):
        more = another(f"more-{number}").replace(
            "subject:", f"san: [{', '.join(f'dns:{name}' for name in names)}], subject:"
        )
        site.write(f"more-{number}.yaml", more)
    served = load_for_agent(site.main)
    few, all_of_them = served.excerpt(["more-1", "more-2"]), served.excerpt(served.keystores)
    assert len(few) > 10_000
    assert all_of_them == b""
