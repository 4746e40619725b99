"""What RFC 8894 asks of a client's messages, as a CA hears them from the agent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from asn1crypto import cms, core
from cryptography import x509

from certagent.lab import Settings
from certagent.scep import MessageType, parse_issuer_and_subject
from certagent.scep.asn1 import issuer_and_serial
from certagent.scep.message import SENDER_NONCE, TRANSACTION_ID
from certagent.transaction.report import Result
from tests.renewal.line import CERT_POLL, PKCS_REQ, RENEWAL_REQ, BadLine, approve, line
from tests.renewal.site import DAY, Clock, Site, Sites, start_lab

MINUTE = timedelta(minutes=1)


class Claiming(BadLine):
    """Claims what it is told to claim."""

    words: Sequence[str] | None = None

    def capabilities(self) -> Sequence[str]:
        return super().capabilities() if self.words is None else self.words


@pytest.fixture(scope="module")
def polled(tmp_path_factory: pytest.TempPathFactory) -> BadLine:
    """The CA of a site that lost the answer to its request, sent it again, polled twice, and has its certificate."""
    clock, directory = Clock(), tmp_path_factory.mktemp("polled")
    with start_lab(directory / "lab", clock, Settings(lifetime=90 * DAY, manual=True), BadLine) as lab:
        site = Site(directory, clock, lab)
        site.write()
        line(site).lost = 1
        assert site.run().result is Result.FAILED
        for _ in range(2):
            site.clock.advance(420 * MINUTE)
            assert site.run().result is Result.PENDING
        approve(site)
        site.clock.advance(420 * MINUTE)
        assert site.run().result is Result.ENROLLED
        assert line(site).types() == [PKCS_REQ, PKCS_REQ, CERT_POLL, CERT_POLL]
        return line(site)


def attribute(message: bytes, oid: str) -> core.Asn1Value:
    (info,) = cms.ContentInfo.load(message)["content"]["signer_infos"]
    (value,) = [each["values"][0] for each in info["signed_attrs"] if each["type"].dotted == oid]
    return core.load(value.dump())


def recipient(message: bytes) -> bytes:
    envelope = bytes(cms.ContentInfo.load(message)["content"]["encap_content_info"]["content"])
    (info,) = cms.ContentInfo.load(envelope)["content"]["recipient_infos"]
    return bytes(info.chosen["rid"].dump())


@pytest.mark.parametrize(
    ("claims", "asked_as"),
    [
        pytest.param(["AES", "SHA-256", "POSTPKIOperation", "Renewal"], RENEWAL_REQ, id="Renewal is claimed"),
        pytest.param(["AES", "SHA-256", "POSTPKIOperation"], PKCS_REQ, id="it is not"),
    ],
)
def test_2_3_a_renewal_is_a_renewalreq_signed_by_the_certificate_in_place(
    make_site: Sites, claims: list[str], asked_as: MessageType
) -> None:
    site = make_site(Settings(lifetime=90 * DAY), ca=Claiming)
    ca = line(site)
    assert isinstance(ca, Claiming)
    ca.words = claims
    site.write("rekey: never")
    site.run()
    old = site.leaf()
    site.clock.advance(60 * DAY)
    assert site.run().result is Result.RENEWED
    first, renewal = ca.asked
    assert (first.message_type, renewal.message_type) == (PKCS_REQ, asked_as)
    assert (first.signer == old, renewal.signer == old) == (False, True)


@pytest.mark.parametrize("minutes", [1, 20])
def test_2_5_polls_come_as_often_as_is_configured(make_site: Sites, minutes: int) -> None:
    site = make_site(Settings(lifetime=90 * DAY, manual=True), ca=BadLine)
    site.write(authority=f"poll_interval: {minutes}m")
    site.run()
    for polls in range(3):
        assert line(site).types() == [PKCS_REQ, *[CERT_POLL] * polls]
        site.clock.advance(minutes * MINUTE - timedelta(seconds=1))
        assert site.run().next_action_at == site.clock.now + timedelta(seconds=1)
        assert line(site).types() == [PKCS_REQ, *[CERT_POLL] * polls]
        site.clock.advance(timedelta(seconds=1))
        assert site.run().next_action_at == site.clock.now + minutes * MINUTE


def test_3_2_1_1_the_transaction_id_is_one_printablestring_for_all_messages(polled: BadLine) -> None:
    said = [attribute(message, TRANSACTION_ID) for message in polled.heard]
    assert {type(each) for each in said} == {core.PrintableString}
    assert len({each.native for each in said}) == 1


def test_3_2_1_5_each_message_has_16_fresh_bytes(polled: BadLine) -> None:
    nonces = [attribute(message, SENDER_NONCE) for message in polled.heard]
    assert {(type(each), len(each.native)) for each in nonces} == {(core.OctetString, 16)}
    assert len({each.native for each in nonces}) == len(nonces) == 4


def test_3_3_3_a_poll_names_the_ca_and_the_subject_of_the_csr(polled: BadLine) -> None:
    request = x509.load_der_x509_csr(polled.asked[0].content)
    issuer = polled.generation.issuer.certificate.subject
    polls = [asked.content for asked in polled.asked if asked.message_type is CERT_POLL]
    wanted = (issuer.public_bytes(), request.subject.public_bytes())
    assert [parse_issuer_and_subject(each) for each in polls] == [wanted] * 2


def test_3_3_3_what_should_control_a_poll_is_its_recipient_and_its_transaction_id(polled: BadLine) -> None:
    """So a CA need not open its envelope."""
    ours = issuer_and_serial(polled.generation.recipient.certificate)
    assert {recipient(message) for message in polled.heard} == {ours}
    assert len({request.transaction_id for request in polled.asked}) == 1
