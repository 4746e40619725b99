"""The SCEP operations against one URL, as bytes and certificates. The caller decides what to trust."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509

from certagent.errors import OUT_OF_ORDER, CertagentError, HttpError, TransientError
from certagent.scep import words
from certagent.scep.addresses import Addresses
from certagent.scep.ca_certificates import read_ca_certificates
from certagent.scep.capabilities import Capabilities
from certagent.scep.next_ca import NextCA, read_next_ca
from certagent.text import with_hint
from certagent.uncollected import loading

if TYPE_CHECKING:
    from certagent.scep.transport import Transport, Witness

_NO_POST = (405, 501)  # statuses of requests that the server did not even look at
_NOT_HERE = (400, 403, 404, 410, 422)  # at GetCACert, which is the first request
_TOO_LONG = 414
_ADDRESS = "check the CA's log; is the authority's url the CA's SCEP address?"
_WHICH_CA = "is the authority's url the CA's SCEP address, and does the CA need a ca_identifier?"
_TOO_MANY = 429  # requests


class Client:
    """A SCEP server at `url`, or at several addresses; if one does not answer, the next is asked (addresses.py).

    Every method raises TransientError if none can be reached; `timeout` is per address.
    `ca_file` and `client_certificate` are for https; see Transport, also for the errors its constructor raises.
    `witness` is called with every exchange, for a capture.
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
        with loading():
            from certagent.scep.transport import Transport  # noqa: PLC0415 -- loads HTTP, which only clients need

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
        self._refuse_post: set[str] = set()

    @property
    def wait(self) -> timedelta | None:
        """How long the newest answer asked certagent to wait; None if it did not."""
        return self.addresses.wait

    def get_capabilities(self, before: Capabilities | None = None) -> Capabilities:
        """GetCACaps (RFC 8894 §3.5). An HTTP error or a web page means a CA without this operation: no capabilities.

        A temporary status does not: as an answer, it would look like a downgrade. `before`: the capabilities when the
        CA was last asked; returned (the same object) if there is no answer at the moment, unless the CA wants to be
        left alone: then the other requests wait too.
        """

        def asked(transport: Transport) -> Capabilities:
            answer = transport.try_get("GetCACaps", self._ca_identifier)
            if before is not None or answer.status == 200 or answer.status in OUT_OF_ORDER:
                return Capabilities.parse(transport.whole(answer))
            return Capabilities()

        try:
            return self.addresses.ask(asked)
        except TransientError as error:
            if before is None or error.wait or (isinstance(error, HttpError) and error.status == _TOO_MANY):
                raise
            return before

    def get_ca_certificates(self) -> tuple[x509.Certificate, ...]:
        """GetCACert (RFC 8894 §4.2): the CA's certificate, its RAs', sometimes the chain. TrustError if malformed."""
        return self._read(self.addresses.ask(self._get_ca_certificates))

    def look_at_others(self) -> Iterator[tuple[str, tuple[x509.Certificate, ...] | CertagentError]]:
        """GetCACert at the addresses that have not been asked yet: each with its answer, or its error."""
        for each in self.addresses.others():
            try:
                yield each.url, self._read(self._get_ca_certificates(each))
            except CertagentError as error:
                yield each.url, error

    def _get_ca_certificates(self, transport: Transport) -> bytes:
        try:
            return transport.get("GetCACert", self._ca_identifier)
        except HttpError as error:
            if error.status in _NOT_HERE:
                error.hint = _ADDRESS
                self._wonder_which(error)
            raise

    def _read(self, answer: bytes) -> tuple[x509.Certificate, ...]:
        try:
            return read_ca_certificates(answer)
        except TransientError as error:
            if words.is_text(answer):  # not a truncated one
                self._wonder_which(error)
            raise

    def _wonder_which(self, error: TransientError) -> None:
        """Many CAs on one server answer like this, in words, if the request does not say which CA is meant."""
        if self._ca_identifier is None:
            error.hint = _WHICH_CA

    def get_next_ca_certificates(self, *, signers: Sequence[x509.Certificate], accept: Collection[str]) -> NextCA:
        """GetNextCACert (RFC 8894 §4.7), verified by `read_next_ca`: TrustError if the answer cannot be trusted."""
        answer = self.addresses.ask(lambda each: each.get("GetNextCACert", self._ca_identifier))
        return read_next_ca(answer, signers=signers, accept=accept)

    def pki_operation(self, message: bytes, *, post: bool, first: str = "") -> bytes:
        """PKIOperation (RFC 8894 §4.1); `post` as the capabilities say, GET puts the message into the URL.

        `first`: the address to ask before the others, because it knows the transaction. If the POST method is refused,
        perhaps by a proxy, the message goes by GET.
        """
        return self.addresses.ask(
            lambda each: (
                self._post(each, message) if post and each.url not in self._refuse_post else _get(each, message)
            ),
            first,
        )

    def _post(self, transport: Transport, message: bytes) -> bytes:
        try:
            return transport.post("PKIOperation", message)
        except HttpError as refusal:
            if refusal.status not in _NO_POST:
                raise
            try:
                answer = _get(transport, message)
            except TransientError as error:
                if isinstance(error, HttpError) and error.status not in (*_NO_POST, 404, _TOO_LONG):
                    raise
                refusal.hint = with_hint(f"GET is refused too: {error}", error.hint)
                raise refusal from None
            self._refuse_post.add(transport.url)
            return answer


def _get(transport: Transport, message: bytes) -> bytes:
    try:
        return transport.get("PKIOperation", message)
    except HttpError as error:
        if error.status == _TOO_LONG or "404.15" in str(error):  # IIS, which has no separate status for it
            error.hint = (
                "the request is too long for a query: the server must accept POST (add post to `capabilities`), "
                "or longer queries (IIS: maxQueryString)"
            )
        raise
