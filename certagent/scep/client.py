"""The SCEP operations against one URL, as bytes and certificates. Nothing here is believed yet."""

from __future__ import annotations

from datetime import timedelta

from cryptography import x509

from certagent.scep.authority import read_ca_certificates
from certagent.scep.capabilities import Capabilities
from certagent.scep.transport import Transport


class Client:
    """A SCEP server at `url`. Every method raises TransientError when it cannot be reached in `timeout`."""

    def __init__(
        self, url: str, *, ca_identifier: str | None = None, timeout: timedelta, proxy: str | None = None
    ) -> None:
        self._transport = Transport(url, timeout=timeout, proxy=proxy)
        self._ca_identifier = ca_identifier

    def get_capabilities(self) -> Capabilities:
        """GetCACaps. An HTTP error or a web page means a CA that knows the operation not: no capabilities."""
        answer = self._transport.try_get("GetCACaps", self._ca_identifier)
        return Capabilities.parse(answer.body) if answer.status == 200 else Capabilities()

    def get_ca_certificates(self) -> tuple[x509.Certificate, ...]:
        """GetCACert: the CA's certificate, its RAs', sometimes the chain above. Raises TrustError if malformed."""
        return read_ca_certificates(self._transport.get("GetCACert", self._ca_identifier))

    def pki_operation(self, message: bytes, *, post: bool) -> bytes:
        """PKIOperation; `post` as the capabilities say, GET puts the message into the URL."""
        if post:
            return self._transport.post("PKIOperation", message)
        return self._transport.get("PKIOperation", message)
