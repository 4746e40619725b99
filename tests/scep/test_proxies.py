"""Which proxy is used for which address: the table of docs/operating.md."""

from __future__ import annotations

import pytest
from requests.utils import select_proxy

from certagent.scep.proxies import proxies_for

OURS, THEIRS, ANY = "http://ours:3128", "http://theirs:3128", "http://any:3128"
HTTP, HTTPS = "http://scep.example.net/scep", "https://scep.example.net/scep"

CASES: dict[str, tuple[str, str | None, dict[str, str], str | None]] = {
    "none at all": (HTTP, None, {}, None),
    "the authority's": (HTTP, OURS, {"http_proxy": THEIRS}, OURS),
    "the authority's, for https too": (HTTPS, OURS, {"https_proxy": THEIRS}, OURS),
    "the authority's, whatever no_proxy says": (HTTP, OURS, {"no_proxy": "scep.example.net"}, OURS),
    "the environment's for http": (HTTP, None, {"http_proxy": THEIRS, "https_proxy": ANY}, THEIRS),
    "the environment's for https": (HTTPS, None, {"http_proxy": ANY, "https_proxy": THEIRS}, THEIRS),
    "the environment's for anything": (HTTP, None, {"all_proxy": ANY}, ANY),
    "in capital letters": (HTTP, None, {"ALL_PROXY": ANY}, ANY),
    "not for a host in no_proxy": (HTTP, None, {"http_proxy": THEIRS, "no_proxy": "scep.example.net"}, None),
    "not for a domain in no_proxy": (HTTP, None, {"http_proxy": THEIRS, "no_proxy": ".example.net"}, None),
    "not for a network in no_proxy": (
        "http://192.0.2.9/scep",
        None,
        {"http_proxy": THEIRS, "no_proxy": "192.0.2.0/24"},
        None,
    ),
    "with a login in the environment": (
        HTTP,
        None,
        {"http_proxy": "http://me:pw@theirs:3128"},
        "http://me:pw@theirs:3128",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_proxy_is(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url, configured, environment, expected = CASES[case]
    for word in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(word, raising=False)
        monkeypatch.delenv(word.upper(), raising=False)
    for word, value in environment.items():
        monkeypatch.setenv(word, value)
    assert select_proxy(url, proxies_for(url, configured, "scep.example.net")) == expected
