"""HTTP, and nothing of SCEP but its URLs (RFC 8894 §4.1). The one door to `requests`.

A server is given no trust: size, time and redirects are bounded. TLS servers are judged by the CA file given, else
by the system's trust store (as openssl finds it: SSL_CERT_FILE, SSL_CERT_DIR); ~/.netrc is not read. Without a
configured proxy the environment's http_proxy, https_proxy and no_proxy count, as everywhere on the host.
"""

from __future__ import annotations

import base64
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit

import requests
from requests.utils import get_environ_proxies

from certagent.errors import ConfigError, HttpError, TransientError
from certagent.scep.text import one_line

MAX_SIZE = 2 * 1024 * 1024  # bytes; a CA chain or a CertRep is a few KiB, a large CRL does not come this way
# What HTTP wants everybody to take (RFC 9110 §4.1), and what Apache, nginx and Tomcat do take of a whole request line.
# An enrollment with an RSA-2048 key comes to some 3,500 bytes, with RSA-4096 to 5,300; a large certificate adds to it.
MAX_URL = 8000  # bytes
_MAX_REDIRECTS = 3
_CHUNK = 16 * 1024


@dataclass(frozen=True)
class Answer:
    """A whole HTTP answer, of whatever status."""

    status: int
    body: bytes


# Is told of every exchange: the operation, the message that was sent (if any), the answer.
Witness = Callable[[str, bytes | None, Answer], None]


@dataclass
class _Exchange:
    """One request and its answer, carried out on a thread of its own and abandoned at the deadline."""

    method: str
    url: str
    body: bytes | None
    deadline: float  # time.monotonic()
    answer: Answer | None = None
    error: Exception | None = field(default=None)


class Transport:
    """Exchanges with one SCEP URL. `timeout` bounds a whole exchange, from the name lookup to the last byte.

    For https, `ca_file` (PEM) holds the only roots that are believed, and `client_certificate` is ours: PEM files
    of the certificate and its unencrypted key. Every method raises TransientError naming the host, with the
    server's own words where it gave any. ConfigError for a url that is none, and for files that do not serve.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: timedelta,
        proxy: str | None = None,
        ca_file: Path | None = None,
        client_certificate: tuple[Path, Path] | None = None,
        witness: Witness | None = None,
        max_size: int = MAX_SIZE,
    ) -> None:
        self._url = url
        self._witness = witness
        self._max_size = max_size
        self.host = _host(url)
        self._timeout = timeout.total_seconds()
        self._proxy = proxy
        paths = ssl.get_default_verify_paths()
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = str(ca_file) if ca_file else paths.cafile or paths.capath or True
        if client_certificate is not None:
            self._session.cert = (str(client_certificate[0]), str(client_certificate[1]))
        _check_tls_files(ca_file, client_certificate)
        self._session.headers.update({"Accept-Encoding": "identity", "User-Agent": "certagent"})

    def get(self, operation: str, message: str | bytes | None = None) -> bytes:
        """`operation` by GET; bytes travel as base64, both percent-encoded."""
        return self.whole(self.try_get(operation, message))

    def try_get(self, operation: str, message: str | bytes | None = None) -> Answer:
        """As `get`, but an HTTP error is an answer too."""
        answer = self._exchange("GET", self._address(operation, message), None)
        return self._seen(operation, message if isinstance(message, bytes) else None, answer)

    def post(self, operation: str, body: bytes) -> bytes:
        """`operation` by POST, with a Content-Length."""
        answer = self._exchange("POST", self._address(operation, None), body)
        return self.whole(self._seen(operation, body, answer))

    def download(self) -> bytes:
        """What lies at the URL itself, without an operation: a CRL."""
        return self.whole(self._exchange("GET", self._url, None))

    def _seen(self, operation: str, message: bytes | None, answer: Answer) -> Answer:
        if self._witness is not None:
            self._witness(operation, message, answer)
        return answer

    def _address(self, operation: str, message: str | bytes | None) -> str:
        if isinstance(message, bytes):
            message = base64.b64encode(message).decode("ascii")
        query = "" if message is None else "&message=" + quote(message, safe="")
        return f"{self._url}?operation={operation}{query}"

    def whole(self, answer: Answer) -> bytes:
        """The body of a 200. Raises HttpError for any other status."""
        if answer.status == 200:
            return answer.body
        words = one_line(answer.body)
        told = f": {words}" if words and not words.startswith("<") else ""  # the head of a web page says nothing
        raise HttpError(
            f"{self.host} answered HTTP {answer.status}{told}",
            "see the CA's log; is the authority's url its SCEP address?",
            answer.status,
        )

    def _exchange(self, method: str, url: str, body: bytes | None) -> Answer:
        if len(url) > MAX_URL:
            raise TransientError(
                f"the message makes a URL of {len(url)} bytes, more than {self.host} can be expected to take",
                "the CA must offer POSTPKIOperation; or use shorter keys and names",
            )
        exchange = _Exchange(method, url, body, time.monotonic() + self._timeout)
        # A socket timeout is per read: a server that sends a byte now and then would hold us for ever, and a
        # name lookup has no timeout at all. So the exchange is left behind when its time is over.
        thread = threading.Thread(target=self._carry_out, args=(exchange,), name="scep-exchange", daemon=True)
        thread.start()
        thread.join(self._timeout + 0.5)
        if exchange.error is not None:
            raise self._explain(exchange.error) from None
        if exchange.answer is None:
            raise self._too_slow()
        return exchange.answer

    def _carry_out(self, exchange: _Exchange) -> None:
        try:
            exchange.answer = self._follow(exchange)
        except (requests.RequestException, TransientError, OSError, ValueError) as error:
            # ValueError: urllib3's and http.client's for addresses and headers beyond repair.
            exchange.error = error

    def _follow(self, exchange: _Exchange) -> Answer:
        url = exchange.url
        for _ in range(_MAX_REDIRECTS + 1):
            with self._send(exchange, url) as response:
                target = response.headers.get("Location") if response.status_code in (301, 302, 307, 308) else None
                if target is None:
                    return Answer(response.status_code, self._read(response, exchange.deadline))
                url = self._redirected(url, target)
        raise TransientError(f"{self.host} redirects in circles", "give the authority the address it ends at")

    def _send(self, exchange: _Exchange, url: str) -> requests.Response:
        proxies = {"http": self._proxy, "https": self._proxy} if self._proxy else get_environ_proxies(url)
        return self._session.request(
            exchange.method,
            url,
            data=exchange.body,
            headers={"Content-Type": "application/x-pki-message"} if exchange.body is not None else None,
            proxies=proxies,
            timeout=max(0.001, exchange.deadline - time.monotonic()),
            allow_redirects=False,
            stream=True,
        )

    def _read(self, response: requests.Response, deadline: float) -> bytes:
        body = bytearray()
        for chunk in response.iter_content(_CHUNK):
            body += chunk
            if len(body) > self._max_size:
                raise TransientError(
                    f"{self.host} answers with more than {self._max_size // 1024} KiB",
                    "no SCEP answer is that large: is the authority's url the CA's SCEP address?",
                )
            if time.monotonic() > deadline:
                raise self._too_slow()
        return bytes(body)

    def _redirected(self, url: str, target: str) -> str:
        """Where a redirect leads: the same host, never from https to http (the answers may be secret)."""
        new = urljoin(url, target)
        before, after = urlsplit(url), urlsplit(new)
        downgrade = before.scheme == "https" and after.scheme != "https"
        if after.hostname != before.hostname or after.scheme not in ("http", "https") or downgrade:
            raise TransientError(
                f"{self.host} redirects to another place: {one_line(f'{after.scheme}://{after.hostname}')}",
                "not followed; if the CA moved, change the authority's url",
            )
        return new

    def _too_slow(self) -> TransientError:
        return TransientError(
            f"{self.host} did not answer within {self._timeout:g} seconds",
            "is the CA overloaded? The authority's timeout can be raised",
        )

    def _explain(self, error: Exception) -> TransientError:
        if isinstance(error, TransientError):
            return error
        tls = next((cause for cause in _causes(error) if isinstance(cause, ssl.SSLError)), None)
        if tls is not None:
            return TransientError(*_tls_trouble(self.host, tls))
        match error:
            case requests.exceptions.ProxyError():
                what, hint = "cannot be reached through the proxy", "is the authority's proxy right, and up?"
            case requests.exceptions.Timeout():
                return self._too_slow()
            case requests.exceptions.ChunkedEncodingError() | requests.exceptions.ContentDecodingError():
                what, hint = "broke its answer off", "the connection or a proxy did; try again"
            case requests.exceptions.ConnectionError():
                what, hint = f"cannot be reached: {_reason(error)}", "is the CA up, and the network?"
            case _:
                what, hint = "does not speak proper HTTP", "is the authority's url the CA's SCEP address?"
        return TransientError(f"{self.host} {what}", hint)


def _check_tls_files(ca_file: Path | None, client_certificate: tuple[Path, Path] | None) -> None:
    """Load them as the exchange will, so that a fault is told as the configuration's. Raises ConfigError."""
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(
            f"https_ca_file {ca_file} cannot be used: {_reason(error)}", "it holds root certificates, as PEM"
        ) from None
    if client_certificate is None:
        return
    try:
        # Without the empty passphrase an encrypted key would be asked for at the terminal.
        context.load_cert_chain(*client_certificate, password="")
    except OSError as error:
        raise ConfigError(
            f"https_client_certificate {client_certificate[0]} cannot be used: {_reason(error)}",
            "it and https_client_key are PEM, belong together, and the key is not encrypted",
        ) from None


def _host(url: str) -> str:
    """Host and port, for people; not the user and password a URL may hold."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:
        parts, port = None, ""
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("the authority's url is not an http:// or https:// address", "write it as the CA gives it")
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return name + port


def _tls_trouble(host: str, error: ssl.SSLError) -> tuple[str, str]:
    """What went wrong with TLS, and what to do."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"{host} has a TLS certificate that is not trusted: {one_line(error.verify_message)}",
            "add its root to the host's trust store, or name it with https_ca_file",
        )
    # TLS 1.3 servers miss a client certificate only after the handshake, and may be gone before they can say so.
    gone = isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)
    reason = "it hung up" if gone else (error.reason or "unknown").lower().replace("_", " ")
    if gone or "alert" in reason:
        return f"{host} refuses TLS with us: {reason}", "does it want an https_client_certificate, or another one?"
    return f"{host} does not speak TLS with us: {reason}", "is https:// right, and the port?"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and what urllib3 wrapped: from the outside in."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        inner = seen.args[0] if seen.args and isinstance(seen.args[0], BaseException) else None
        wrapped = getattr(seen, "reason", None)  # of an SSLError, only text
        seen = (wrapped if isinstance(wrapped, BaseException) else None) or inner or seen.__cause__ or seen.__context__


def _reason(error: BaseException) -> str:
    """The operating system's words at the bottom of what urllib3 wraps around them."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLError):
            return (cause.reason or "not PEM").lower().replace("_", " ")
        if isinstance(cause, OSError) and cause.strerror:
            return one_line(cause.strerror)
    return "the connection failed"
