"""HTTP, and nothing of SCEP but its URLs (RFC 8894 §4.1). Only this module sends anything with `requests`.

No server is trusted: size, time and redirects are limited, and nothing is decompressed for it. scep/tls.py says what
TLS servers must show. Of the environment, only the proxies count, if none is configured: http_proxy, https_proxy,
all_proxy and no_proxy, as everywhere on the host; not ~/.netrc, not the variables of `requests`.
"""

from __future__ import annotations

import base64
import logging
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from email.utils import parsedate_to_datetime
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import requests
from msgspec import Struct, field
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, ProtocolError, ProxyError, ReadTimeoutError

from certagent.errors import CertagentError, ConfigError, HttpError, TransientError, UnreachableError
from certagent.scep import tls, wire, words
from certagent.scep.proxies import proxies_for, remedy
from certagent.text import one_line

log = logging.getLogger(__name__)

MAX_SIZE = 2 * 1024 * 1024  # bytes; a CA chain or a CertRep is a few KiB, a large CRL does not come this way
# What HTTP recommends that everybody supports (RFC 9110 §4.1), and Apache, nginx and Tomcat accept as a request line.
# An enrollment with an RSA-2048 key takes some 3,500 bytes, with RSA-4096 5,300; a large certificate adds to it.
MAX_URL = 8000  # bytes
_MAX_REDIRECTS = 3
_FAULT = "check the CA's log"
_NOT_IN = "check the logs of the CA and of any proxy in front of it: one of them rejects this request"
_AWAY = "the server is down or busy; certagent asks again"
_HINTS = {
    401: _NOT_IN,
    403: _NOT_IN,
    407: "the proxy requires a login: let it accept this host without one",
    429: _AWAY,
    502: _AWAY,
    503: _AWAY,
    504: _AWAY,
}
_CHUNK = 16 * 1024
_LONGEST_WAIT = timedelta(days=7)  # callers that wait have shorter limits of their own
_PACKINGS = ("gzip", "deflate", "compress", "br", "zstd")  # servers write other words there too, which change nothing


class Answer(Struct, frozen=True):
    """A whole HTTP answer, of any status.

    `server`: the Server header in one line; untrusted. `wait`: from its Retry-After header.
    """

    status: int
    body: bytes
    server: str = ""
    wait: timedelta | None = None


# Called for every exchange with the operation, the message that was sent (if any), and the answer.
Witness = Callable[[str, bytes | None, Answer], None]


class _Exchange(Struct):
    """One request and its answer, carried out on its own thread and abandoned at the deadline."""

    method: str
    url: str
    body: bytes | None
    deadline: float  # time.monotonic()
    answer: Answer | None = None
    error: Exception | None = field(default=None)


class _Adapter(HTTPAdapter):
    """Connects with our TLS contexts, and only once: the caller decides when to try again."""

    def __init__(self, ca_file: Path | None, client_certificate: tls.Pair | None) -> None:
        super().__init__(max_retries=0)
        self._ca_file = ca_file
        self._client_certificate = client_certificate

    # Each is made once, and only if it is needed: a host's trust store takes 30 ms to load.
    @cached_property
    def server_context(self) -> ssl.SSLContext:
        return tls.context_for(self._ca_file, self._client_certificate)

    @cached_property
    def proxy_context(self) -> ssl.SSLContext:
        return tls.context_for(self._ca_file)

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: bool | str, cert: str | tuple[str, str] | None = None
    ) -> tuple[Any, Any]:
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        if host["scheme"] != "https":
            return host, {}
        return host, {"ssl_context": self.server_context, "cert_reqs": ssl.CERT_REQUIRED}

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = wire.POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        if proxy.lower().startswith("https:"):
            options["proxy_ssl_context"] = self.proxy_context
        manager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = wire.POOLS
        return manager

    def cert_verify(self, *_: object, **__: object) -> None:
        """`requests` would add certifi's roots to those that the context trusts."""


class _Session(requests.Session):
    """Does not follow redirects: we do, because requests would first read a redirect's body, decompressed."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


class Transport:
    """Exchanges with one SCEP URL. `timeout` is for a whole exchange, from the name lookup to the last byte.

    For https, only certificates in `ca_file` (PEM) may end a chain, and `client_certificate` is ours:
    PEM files of the certificate and its unencrypted key. Every method raises TransientError naming the host, with the
    server's own words if it gave any. ConfigError for an invalid url, and for unusable files.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: timedelta,
        proxy: str | None = None,
        ca_file: Path | None = None,
        client_certificate: tls.Pair | None = None,
        witness: Witness | None = None,
        max_size: int = MAX_SIZE,
    ) -> None:
        self.url = url
        self.server = ""  # the last answer's Server header
        self._witness = witness
        self._max_size = max_size
        self.host = _host(url)
        self.wait: timedelta | None = None  # of the newest answer
        self._timeout = timeout.total_seconds()
        self._proxy = proxy
        self._proxies: dict[str, dict[str, str]] = {}  # by scheme, host and port: the environment stays as it is
        self._session = _Session()
        self._session.trust_env = False
        adapter = _Adapter(ca_file, client_certificate)
        if ca_file or client_certificate:
            _ = adapter.server_context  # unusable files are an error of the configuration, reported at once
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, adapter)
        self._session.headers.update({"Accept-Encoding": "identity", "User-Agent": "certagent"})

    def get(self, operation: str, message: str | bytes | None = None) -> bytes:
        """`operation` by GET; bytes are sent as base64, and everything is percent-encoded."""
        return self.whole(self.try_get(operation, message))

    def try_get(self, operation: str, message: str | bytes | None = None) -> Answer:
        """Like `get`, but an HTTP error counts as an answer too."""
        answer = self._exchange("GET", self._address(operation, message), None)
        return self._seen(operation, message if isinstance(message, bytes) else None, answer)

    def post(self, operation: str, body: bytes) -> bytes:
        """`operation` by POST, with a Content-Length."""
        answer = self._exchange("POST", self._address(operation, None), body)
        return self.whole(self._seen(operation, body, answer))

    def download(self) -> bytes:
        """The content of the URL itself, without an operation: a CRL."""
        return self.whole(self._exchange("GET", self.url, None))

    def _seen(self, operation: str, message: bytes | None, answer: Answer) -> Answer:
        self.wait = answer.wait
        if self._witness is not None:
            self._witness(operation, message, answer)
        return answer

    def _address(self, operation: str, message: str | bytes | None) -> str:
        if isinstance(message, bytes):
            message = base64.b64encode(message).decode("ascii")
        query = "" if message is None else "&message=" + quote(message, safe="")
        return f"{self.url}?operation={operation}{query}"

    def whole(self, answer: Answer) -> bytes:
        """The body of a 200. Raises HttpError for any other status."""
        if answer.status == 200:
            return answer.body
        said = words.told(answer.body)
        error = HttpError(
            f"{self.host} answered HTTP {answer.status}{f': {said}' if said else ''}",
            _HINTS.get(answer.status, _FAULT),
            answer.status,
        )
        error.wait = answer.wait
        raise error

    def _exchange(self, method: str, url: str, body: bytes | None) -> Answer:
        if len(url) > MAX_URL:
            raise TransientError(
                f"the message needs a URL of {len(url)} bytes, more than {self.host} can be expected to accept",
                "the CA must support POSTPKIOperation; or use shorter keys and names",
            )
        exchange = _Exchange(method, url, body, time.monotonic() + self._timeout)
        # A socket timeout is per read: a server that sends a byte now and then could hold us for ever, and a
        # name lookup has no timeout at all. So the exchange is abandoned when its time is over.
        thread = threading.Thread(target=self._carry_out, args=(exchange,), name="scep-exchange", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            raise TransientError(f"{self.host} cannot be asked: {error}", "the host has run out of processes") from None
        thread.join(self._timeout + 0.5)
        self._log(exchange)
        if exchange.error is not None:
            raise self._explain(exchange.error) from None
        if exchange.answer is None:
            raise self._too_slow()
        self.server = exchange.answer.server
        return exchange.answer

    def _log(self, exchange: _Exchange) -> None:
        """A debug line (-v). Of the query, only the operation: the rest is the message."""
        took = self._timeout - (exchange.deadline - time.monotonic())
        address, _, query = exchange.url.partition("?")
        operation = f" {query.partition('&')[0].partition('=')[2]}" if query else ""
        sent = f", {len(exchange.body)} bytes" if exchange.body is not None else ""
        answer = exchange.answer
        came = "no answer" if answer is None else f"HTTP {answer.status}, {len(answer.body)} bytes"
        log.debug("%s %s%s%s: %s after %.2f s", exchange.method, address, operation, sent, came, took)

    def _carry_out(self, exchange: _Exchange) -> None:
        try:
            exchange.answer = self._follow(exchange)
        except (requests.RequestException, HTTPError, CertagentError, OSError, ValueError) as error:
            # ValueError: from urllib3 and http.client, for unusable addresses and headers.
            exchange.error = error

    def _follow(self, exchange: _Exchange) -> Answer:
        url = exchange.url
        for _ in range(_MAX_REDIRECTS + 1):
            with self._send(exchange, url) as response:
                target = response.headers.get("Location") if response.status_code in (301, 302, 307, 308) else None
                if target is None:
                    body = self._read(response, exchange.deadline)
                    server = one_line(response.headers.get("Server", ""))
                    return Answer(response.status_code, body, server, retry_after(response.headers))
                url = self._redirected(url, target)
        raise TransientError(f"{self.host} redirects in circles", "set the authority's url to the final address")

    def _send(self, exchange: _Exchange, url: str) -> requests.Response:
        what = {"Content-Type": "application/x-pki-message"} if exchange.body is not None else {}
        headers = {**self._session.headers, **what}
        request = requests.Request(
            exchange.method, url, headers=headers, data=exchange.body, cookies=self._session.cookies
        )
        return self._session.send(  # not `request`, which merges settings of its own that we do not have
            request.prepare(),
            proxies=self._proxies_for(url),
            timeout=max(0.001, exchange.deadline - time.monotonic()),
            allow_redirects=False,
            stream=True,
        )

    def _proxies_for(self, url: str) -> dict[str, str]:
        parts = urlsplit(url)
        place = f"{parts.scheme}://{parts.netloc}"
        if place not in self._proxies:
            self._proxies[place] = proxies_for(url, self._proxy, self.host)
        return self._proxies[place]

    def _read(self, response: requests.Response, deadline: float) -> bytes:
        packed = response.headers.get("Content-Encoding", "").lower()
        if any(word in packed for word in _PACKINGS):
            raise TransientError(
                f"{self.host} compresses its answer with {one_line(packed)}, which was not requested",
                "turn off compression for the SCEP address, at the CA or the proxy in front of it",
            )
        body = BytesIO()  # its value is not a second copy
        # Not decompressed, so a few bytes cannot grow large.
        for chunk in response.raw.stream(_CHUNK, decode_content=False):
            body.write(chunk)
            if body.tell() > self._max_size:
                raise TransientError(
                    f"{self.host} answers with more than {self._max_size // 1024} KiB",
                    "SCEP answers are smaller: is the authority's url the CA's SCEP address?",
                )
            if time.monotonic() > deadline:
                raise self._too_slow()
        return body.getvalue()

    def _redirected(self, url: str, target: str) -> str:
        """The target of a redirect: the same host, never from https to http (the answers may be secret)."""
        new = urljoin(url, target)
        before, after = urlsplit(url), urlsplit(new)
        downgrade = before.scheme == "https" and after.scheme != "https"
        if after.hostname != before.hostname or after.scheme not in ("http", "https") or downgrade:
            raise TransientError(
                f"{self.host} redirects to another place: {one_line(f'{after.scheme}://{after.hostname}')}",
                "not followed; if the CA moved, change the authority's url",
            )
        return new

    def _or_https(self) -> str:
        return "; does this port expect https://?" if self.url.startswith("http://") else ""

    def _too_slow(self) -> UnreachableError:
        return UnreachableError(
            f"{self.host} did not answer within {self._timeout:g} seconds",
            "is the CA overloaded? You can raise the authority's timeout",
        )

    def _explain(self, error: Exception) -> CertagentError:
        if isinstance(error, CertagentError):
            return error
        refusal = next((cause for cause in _causes(error) if isinstance(cause, ssl.SSLError)), None)
        if refusal is not None:
            proxy = any(isinstance(cause, ProxyError) for cause in _causes(error))
            return UnreachableError(*tls.trouble("the proxy" if proxy else self.host, refusal))
        match error:
            case requests.exceptions.ProxyError():
                what, hint = "cannot be reached through the proxy", remedy(self.url, self._proxy)
            case requests.exceptions.Timeout() | ReadTimeoutError():
                return self._too_slow()
            case wire.EndlessError():
                hint = "is the authority's url the CA's SCEP address?"
                return TransientError(f"{self.host} sends endless headers or chunks", hint)
            case ProtocolError():
                what, hint = "cut its answer off", f"the connection or a proxy failed; try again{self._or_https()}"
            case requests.exceptions.ConnectionError():
                cut = any(isinstance(cause, ConnectionResetError) for cause in _causes(error))
                hint = (
                    "does this port expect https://?"
                    if cut and self._or_https()
                    else "is the CA up, and does the network work?"
                )
                what = f"cannot be reached: {_reason(error)}"
            case _:
                hint = f"is the authority's url the CA's SCEP address?{self._or_https()}"
                return TransientError(f"{self.host} does not speak proper HTTP", hint)
        return UnreachableError(f"{self.host} {what}", hint)


def retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """How long the server asks us to wait (RFC 9110 §10.2.3); a date is relative to the server's own Date."""
    said = headers.get("Retry-After", "").strip()
    try:
        if said.isascii() and said.isdigit():
            wait = timedelta(seconds=int(said[:9]))
        else:
            wait = parsedate_to_datetime(said) - parsedate_to_datetime(headers["Date"])
    except (KeyError, ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(max(wait, timedelta(0)), _LONGEST_WAIT)


def _host(url: str) -> str:
    """Host and port, for people; without the user and password that a URL may hold."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:
        parts, port = None, ""
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("the authority's url is not an http:// or https:// address", "write it as the CA gives it")
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return name + port


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and the errors that urllib3 wrapped, from the outside in."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        inner = seen.args[0] if seen.args and isinstance(seen.args[0], BaseException) else None
        wrapped = getattr(seen, "reason", None)  # for an SSLError, it is only text
        seen = (wrapped if isinstance(wrapped, BaseException) else None) or inner or seen.__cause__ or seen.__context__


def _reason(error: BaseException) -> str:
    """The operating system's words, from inside the errors that urllib3 wraps around them."""
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.strerror:
            return one_line(cause.strerror)
    return "the connection failed"
