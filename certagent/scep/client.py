"""The SCEP operations against one URL, as bytes and certificates. Nothing here is believed yet."""

from __future__ import annotations

from datetime import timedelta

from cryptography import x509

from certagent.scep.authority import read_ca_certificates
from certagent.scep.capabilities import Capabilities
from certagent.scep.transport import Transport, Witness

_OUT_OF_ORDER = (429, 502, 503, 504)  # too many requests, and a gateway's words for a server that is down


class Client:
    """A SCEP server at `url`. Every method raises TransientError when it cannot be reached in `timeout`.

    `witness` is told of every exchange, for a capture.
    """

    def __init__(
        self,
        url: str,
        *,
        ca_identifier: str | None = None,
        timeout: timedelta,
        proxy: str | None = None,
        witness: Witness | None = None,
    ) -> None:
        self._transport = Transport(url, timeout=timeout, proxy=proxy, witness=witness)
        self._ca_identifier = ca_identifier

    def get_capabilities(self) -> Capabilities:
        """GetCACaps. An HTTP error or a web page comes from a CA without the operation: no capabilities.

        Not so a status that speaks of now: taken for an answer, it would pass for a downgrade.
        """
        answer = self._transport.try_get("GetCACaps", self._ca_identifier)
        if answer.status == 200 or answer.status in _OUT_OF_ORDER:
            return Capabilities.parse(self._transport.whole(answer))
        return Capabilities()

    def get_ca_certificates(self) -> tuple[x509.Certificate, ...]:
        """GetCACert: the CA's certificate, its RAs', sometimes the chain above. Raises TrustError if malformed."""
        return read_ca_certificates(self._transport.get("GetCACert", self._ca_identifier))

    def pki_operation(self, message: bytes, *, post: bool) -> bytes:
        """PKIOperation; `post` as the capabilities say, GET puts the message into the URL."""
        if post:
            return self._transport.post("PKIOperation", message)
        return self._transport.get("PKIOperation", message)
