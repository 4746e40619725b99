"""GetNextCACert: the successor of a CA that is about to expire (RFC 8894 §4.7, draft-nourse-scep-11 §5.2.6)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from asn1crypto import cms
from cryptography import x509
from msgspec import Struct

from certagent.errors import TrustError
from certagent.scep import asn1
from certagent.scep.algorithms import Signer, refuse_weak
from certagent.scep.message import MESSAGE_TYPE
from certagent.scep.signed import (
    SIGNING_TIME,
    assemble,
    degenerate,
    message_digest,
    read_degenerate,
    signed_attributes,
    signing_time_value,
    verify,
)

_WHAT = "the CA's answer to GetNextCACert"
_UNSIGNED = "a next CA must be announced under the current CA's signature; it was not used"


class NextCA(Struct, frozen=True):
    """The next CA's certificate and its RAs', in the answer's order, and who in the current authority vouches for them.

    `nested`: the form of RFC 8894, in which the signature covers the certificates, and `signed_by` made it. In the
    flat form of the drafts it covers nothing: anybody may have put other certificates in, `signed_by` is None,
    and only another proof (a configured fingerprint, a pinned root, a cross-certificate) lets them be trusted.
    """

    certificates: tuple[x509.Certificate, ...]
    signed_by: x509.Certificate | None
    nested: bool


def read_next_ca(data: bytes, *, signers: Sequence[x509.Certificate], accept: Collection[str]) -> NextCA:
    """Verify and read an answer to GetNextCACert, in either form.

    `signers` are the certificates of the current authority that may sign it, `accept` the weak digests that they
    may still use. In the flat form too, an answer without a right signature by one of them is refused: it is not
    from this CA. Raises TransientError if it is not CMS at all, TrustError if it cannot be trusted.
    """
    asn1.outer(data, _WHAT)
    with asn1.parsing(_WHAT):
        if not asn1.is_content_info(data):
            raise TrustError(f"{_WHAT} is not a CMS message, so nobody signed it", _UNSIGNED)
    outer = asn1.content_info(data, "signed_data", _WHAT)
    with asn1.parsing(_WHAT):
        content = asn1.encapsulated(outer)
        is_signed = bool(outer["signer_infos"].contents)
    if not is_signed:
        how = "contains certificates that nobody signed" if content else "holds certificates but no signature"
        raise TrustError(f"{_WHAT} {how}", _UNSIGNED)
    # A signature without attributes covers the content, which is read as a SEQUENCE, never as a SET of attributes.
    signed = verify(outer, signers, _WHAT, content_types=("data", "signed_data"), bare=True)
    if MESSAGE_TYPE in signed.attributes:
        raise TrustError(f"{_WHAT} is the answer to another request", _UNSIGNED)
    if not signed.content:
        return _believable(NextCA(asn1.certificates_of(outer, _WHAT), None, nested=False))
    refuse_weak([signed.digest], accept)
    certificates, _ = read_degenerate(signed.content, f"what is signed in {_WHAT}")
    return _believable(NextCA(certificates, signed.signer, nested=True))


def _believable(found: NextCA) -> NextCA:
    if not found.certificates:
        raise TrustError(f"{_WHAT} holds no certificate", "this is the CA's fault; check its log")
    return found


def encode_next_ca(
    certificates: Sequence[x509.Certificate],
    signer: Signer,
    *,
    nested: bool = True,
    digest: str = "sha256",
    signed_attributes: bool = True,
    signing_time: datetime | None = None,
    content_type: str = "data",
) -> bytes:
    """The server's side: the answer to GetNextCACert, nested (RFC 8894 §4.7.1) or flat (the drafts).

    Without `signed_attributes`, the signature is over the content itself, as OpenXPKI makes it. `content_type` of the
    nested content: OpenSSL, and so sscep, reads only `data`; XiPKI writes `signed_data`.
    """
    content, digest = degenerate(certificates) if nested else None, message_digest(signer.key, digest)
    attributes = _attributes(content, digest, content_type, signing_time) if signed_attributes else None
    carried = [signer.certificate] if nested else certificates
    return assemble(content, attributes, signer, digest, carried, content_type=content_type)


def _attributes(
    content: bytes | None, digest: str, content_type: str, signing_time: datetime | None
) -> cms.CMSAttributes:
    more = {} if signing_time is None else {SIGNING_TIME: signing_time_value(signing_time)}
    return signed_attributes(content, more, digest, content_type)
