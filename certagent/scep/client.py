"""The SCEP operations against one URL, as bytes and certificates. Whom to believe is for the caller."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509

from certagent.errors import CertagentError, TransientError
from certagent.scep.addresses import Addresses
from certagent.scep.ca_certificates import read_ca_certificates
from certagent.scep.capabilities import Capabilities
from certagent.scep.next_ca import NextCA, read_next_ca

if TYPE_CHECKING:
    from certagent.scep.transport import Transport, Witness

_OUT_OF_ORDER = (429, 502, 503, 504)  # too many requests, and a gateway's words for a server that is down


class Client:
    """A SCEP server at `url`, or at several addresses, of which the next is asked where one is silent (addresses.py).

    Every method raises TransientError when none can be reached; `timeout` is that of one address.
    `ca_file` and `client_certificate` are for https, see Transport, as are the errors it raises when it is made.
    `witness` is told of every exchange, for a capture.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        *,
        ca_identifier: str | None = None,
        timeout: timedelta,
        proxy: str | None = None,
        ca_file: Path | None = None,
        client_certificate: tuple[Path, Path] | None = None,
        witness: Witness | None = None,
    ) -> None:
        from certagent.scep.transport import Transport  # noqa: PLC0415 -- HTTP is loaded by those who ask somebody

        self.addresses = Addresses(
            [
                Transport(
                    address,
                    timeout=timeout,
                    proxy=proxy,
                    ca_file=ca_file,
                    client_certificate=client_certificate,
                    witness=witness,
                )
                for address in ((url,) if isinstance(url, str) else url)
            ]
        )
        self._ca_identifier = ca_identifier

    @property
    def wait(self) -> timedelta | None:
        """How long the newest answer asked to be left alone; None where it did not."""
        return self.addresses.wait

    def get_capabilities(self, before: Capabilities | None = None) -> Capabilities:
        """GetCACaps (RFC 8894 §3.5). An HTTP error or a web page comes from a CA without the operation: none.

        Not so a status that speaks of now: taken for an answer, it would pass for a downgrade. `before`: what the CA
        could do when it was last asked, which stands (the same object) where there is no answer at the moment.
        """

        def asked(transport: Transport) -> Capabilities:
            answer = transport.try_get("GetCACaps", self._ca_identifier)
            if before is not None or answer.status == 200 or answer.status in _OUT_OF_ORDER:
                return Capabilities.parse(transport.whole(answer))
            return Capabilities()

        try:
            return self.addresses.ask(asked)
        except TransientError:
            if before is None:
                raise
            return before

    def get_ca_certificates(self) -> tuple[x509.Certificate, ...]:
        """GetCACert (RFC 8894 §4.2): the CA's certificate, its RAs', sometimes the chain. TrustError if malformed."""
        return read_ca_certificates(self.addresses.ask(lambda each: each.get("GetCACert", self._ca_identifier)))

    def look_at_others(self) -> Iterator[tuple[str, tuple[x509.Certificate, ...] | CertagentError]]:
        """GetCACert of the addresses that had nothing to say yet: each with what it answers, or why it does not."""
        for each in self.addresses.others():
            try:
                yield each.url, read_ca_certificates(each.get("GetCACert", self._ca_identifier))
            except CertagentError as error:
                yield each.url, error

    def get_next_ca_certificates(self, *, signers: Sequence[x509.Certificate], accept: Collection[str]) -> NextCA:
        """GetNextCACert (RFC 8894 §4.7), verified by `read_next_ca`: TrustError for what cannot be believed."""
        answer = self.addresses.ask(lambda each: each.get("GetNextCACert", self._ca_identifier))
        return read_next_ca(answer, signers=signers, accept=accept)

    def pki_operation(self, message: bytes, *, post: bool, first: str = "") -> bytes:
        """PKIOperation (RFC 8894 §4.1); `post` as the capabilities say, GET puts the message into the URL.

        `first`: the address that is asked before the others, for it knows the transaction.
        """
        if post:
            return self.addresses.ask(lambda each: each.post("PKIOperation", message), first)
        return self.addresses.ask(lambda each: each.get("PKIOperation", message), first)
