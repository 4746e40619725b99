"""The SCEP operations against one URL, as bytes and certificates. Whom to believe is for the caller."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509

from certagent.scep.ca_certificates import read_ca_certificates
from certagent.scep.capabilities import Capabilities
from certagent.scep.next_ca import NextCA, read_next_ca

if TYPE_CHECKING:
    from certagent.scep.transport import Witness

_OUT_OF_ORDER = (429, 502, 503, 504)  # too many requests, and a gateway's words for a server that is down


class Client:
    """A SCEP server at `url`. Every method raises TransientError when it cannot be reached in `timeout`.

    `ca_file` and `client_certificate` are for https, see Transport, as are the errors it raises when it is made.
    `witness` is told of every exchange, for a capture.
    """

    def __init__(
        self,
        url: str,
        *,
        ca_identifier: str | None = None,
        timeout: timedelta,
        proxy: str | None = None,
        ca_file: Path | None = None,
        client_certificate: tuple[Path, Path] | None = None,
        witness: Witness | None = None,
    ) -> None:
        from certagent.scep.transport import Transport  # noqa: PLC0415 -- HTTP is loaded by those who ask somebody

        self._transport = Transport(
            url,
            timeout=timeout,
            proxy=proxy,
            ca_file=ca_file,
            client_certificate=client_certificate,
            witness=witness,
        )
        self._ca_identifier = ca_identifier

    def get_capabilities(self) -> Capabilities:
        """GetCACaps (RFC 8894 §3.5). An HTTP error or a web page comes from a CA without the operation: none.

        Not so a status that speaks of now: taken for an answer, it would pass for a downgrade.
        """
        answer = self._transport.try_get("GetCACaps", self._ca_identifier)
        if answer.status == 200 or answer.status in _OUT_OF_ORDER:
            return Capabilities.parse(self._transport.whole(answer))
        return Capabilities()

    def get_ca_certificates(self) -> tuple[x509.Certificate, ...]:
        """GetCACert (RFC 8894 §4.2): the CA's certificate, its RAs', sometimes the chain. TrustError if malformed."""
        return read_ca_certificates(self._transport.get("GetCACert", self._ca_identifier))

    def get_next_ca_certificates(self, *, signers: Sequence[x509.Certificate], accept: Collection[str]) -> NextCA:
        """GetNextCACert (RFC 8894 §4.7), verified by `read_next_ca`: TrustError for what cannot be believed."""
        answer = self._transport.get("GetNextCACert", self._ca_identifier)
        return read_next_ca(answer, signers=signers, accept=accept)

    def pki_operation(self, message: bytes, *, post: bool) -> bytes:
        """PKIOperation (RFC 8894 §4.1); `post` as the capabilities say, GET puts the message into the URL."""
        if post:
            return self._transport.post("PKIOperation", message)
        return self._transport.get("PKIOperation", message)
