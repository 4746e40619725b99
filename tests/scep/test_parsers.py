"""Whatever bytes come: the parsers answer, or raise one of certagent's own errors, and nothing else."""

from __future__ import annotations

import contextlib
from base64 import b64encode
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from certagent.certificate import to_der, to_pem
from certagent.config.values import KeyTransport
from certagent.errors import CertagentError
from certagent.keys import PrivateKey
from certagent.scep import (
    Issued,
    MessageType,
    NextCA,
    PkiStatus,
    build_csr,
    csr_challenge,
    decode_reply,
    decode_request,
    degenerate,
    encode_next_ca,
    encode_request,
    parse_issuer_and_serial,
    parse_issuer_and_subject,
    read_ca_certificates,
    read_next_ca,
)
from certagent.scep.signed import read_degenerate

from .forms import Gcm, as_go
from .parts import EVERYTHING, NONCE, STRONG, TRANSACTION, World, name
from .test_queries import crl

Mutate = Callable[[bytes], bytes]
ours = settings(max_examples=60, deadline=None)


@st.composite
def mutations(draw: st.DrawFn) -> Mutate:
    """A few bytes overwritten, cut out, put in, or repeated, anywhere."""
    steps = draw(
        st.lists(
            st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 40), st.binary(max_size=8)),
            min_size=1,
            max_size=4,
        )
    )

    def mutate(data: bytes) -> bytes:
        for where, cut, put in steps:
            at = int(where * len(data))
            data = data[:at] + put + data[at + (cut if cut < 20 else len(put)) :]
        return data

    return mutate


@given(mutate=mutations())
@ours
def test_a_changed_reply_is_refused_or_says_the_same(world: World, mutate: Mutate) -> None:
    with contextlib.suppress(CertagentError):
        reply = world.decode(mutate(world.reply()), accept=EVERYTHING)
        assert reply == Issued((world.issued,), world.ca.certificate)


@given(mutate=mutations())
@ours
def test_a_changed_refusal_is_not_believed(world: World, mutate: Mutate) -> None:
    honest = world.reply(PkiStatus.FAILURE)
    with contextlib.suppress(CertagentError):
        assert world.decode(mutate(honest), accept=EVERYTHING) == world.decode(honest)


@given(mutate=mutations())
@ours
def test_envelopes(world: World, mutate: Mutate) -> None:
    """Even a CA in its right to sign sends strange envelopes."""
    with contextlib.suppress(CertagentError):
        world.decode(world.signed(content=mutate(world.content()) or None), accept=EVERYTHING)


@given(mutate=mutations())
@ours
def test_requests(world: World, mutate: Mutate) -> None:
    honest = encode_request(
        MessageType.PKCS_REQ,
        b"content",
        transaction_id=TRANSACTION,
        sender_nonce=NONCE,
        signer=world.device,
        recipient=world.ca.certificate,
        algorithms=STRONG,
    )
    with contextlib.suppress(CertagentError):
        assert decode_request(mutate(honest), recipients=[world.ca]).content == b"content"


@given(mutate=mutations(), apart=st.booleans())
@ours
def test_envelopes_in_gcm(world: World, mutate: Mutate, apart: bool) -> None:
    envelope = Gcm(as_go, apart=apart)(degenerate([world.issued]), world.device.certificate)
    with contextlib.suppress(CertagentError):
        reply = world.decode(world.signed(content=mutate(envelope) or None))
        assert reply == Issued((world.issued,), world.ca.certificate)


@given(mutate=mutations(), key_transport=st.sampled_from(["oaep", "password"]))
@ours
def test_envelopes_with_other_locks(world: World, mutate: Mutate, key_transport: KeyTransport) -> None:
    envelope = world.content(key_transport=key_transport, password=b"secret")
    with contextlib.suppress(CertagentError):
        decode_reply(
            world.signed(content=mutate(envelope) or None),
            transaction_id=TRANSACTION,
            sender_nonce=NONCE,
            signers=world.signers,
            decrypter=world.device,
            accept=EVERYTHING,
            password=b"secret",
        )


@given(mutate=mutations(), attributes=st.booleans())
@ours
def test_a_changed_next_ca_is_refused_or_says_the_same(world: World, mutate: Mutate, attributes: bool) -> None:
    honest = encode_next_ca([world.issued], world.ca, signed_attributes=attributes)
    with contextlib.suppress(CertagentError):
        found = read_next_ca(mutate(honest), signers=world.signers, accept=EVERYTHING)
        assert not found.nested or found == NextCA((world.issued,), world.ca.certificate, nested=True)


@given(mutate=mutations())
@ours
def test_certificates_and_crls_inside(world: World, mutate: Mutate) -> None:
    """Even a CA in its right to sign sends strange ones."""
    with contextlib.suppress(CertagentError):
        read_degenerate(mutate(degenerate([world.issued], crl(world.ca))), "the content")


@given(mutate=mutations())
@ours
def test_ca_certificates(world: World, mutate: Mutate) -> None:
    one, bundle = to_der(world.ra.certificate), degenerate([world.ca.certificate, world.ra.certificate])
    for honest in (one, bundle, one + b"\r\n" + bundle, b64encode(one), to_pem([world.ra.certificate])):
        with contextlib.suppress(CertagentError):
            read_ca_certificates(mutate(honest))


@given(mutate=mutations())
@ours
def test_challenges(rsa_keys: list[PrivateKey], mutate: Mutate) -> None:
    request = build_csr(rsa_keys[0], name("CN=web"), san=None, challenge="secret")
    with contextlib.suppress(CertagentError):
        csr_challenge(mutate(request))


@given(data=st.binary(max_size=200) | st.binary(max_size=100).map(lambda tail: b"\x30\x80" + tail))
@settings(deadline=None)
def test_anything(world: World, data: bytes) -> None:
    for parse in (
        world.decode,
        lambda given: decode_request(given, recipients=[world.ca]),
        read_ca_certificates,
        lambda given: read_next_ca(given, signers=world.signers, accept=()),
        lambda given: read_degenerate(given, "the content"),
        csr_challenge,
        parse_issuer_and_serial,
        parse_issuer_and_subject,
    ):
        with contextlib.suppress(CertagentError):
            parse(data)
