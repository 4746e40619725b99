"""Which proxy to use for a URL: the configured one, otherwise the environment's, as everywhere on the host."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from requests.utils import get_environ_proxies, select_proxy

from certagent.errors import TransientError
from certagent.text import one_line


def proxies_for(url: str, configured: str | None, host: str) -> dict[str, str]:
    """The proxies in the form of `requests`. Raises TransientError, which names `host`, for an unsupported kind."""
    if configured:
        return {"http": configured, "https": configured}
    proxies = get_environ_proxies(url)
    scheme, said, _ = (select_proxy(url, proxies) or "").partition("://")
    if said and scheme.lower() not in ("http", "https"):
        raise TransientError(
            f"{host} cannot be reached: {_variable(url)} in the environment names a {one_line(scheme)}:// proxy",
            "only http:// and https:// proxies work: set the authority's proxy, or no_proxy",
        )
    return proxies


def remedy(url: str, configured: str | None) -> str:
    """What to do about a proxy that does not work."""
    if configured:
        return "check the authority's `proxy`: is its address right, and is it up?"
    return f"the proxy is named by {_variable(url)} in the environment: correct that, or set no_proxy"


def _variable(url: str) -> str:
    """The environment variable that names the proxy for this URL."""
    names = (f"{urlsplit(url).scheme}_proxy", "all_proxy")
    return next((word for name in names for word in (name, name.upper()) if os.environ.get(word)), names[0])
