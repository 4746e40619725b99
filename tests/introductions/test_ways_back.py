"""A device that was off for long: its certificate, the factory identity, the challenge, each tried in its turn."""

from __future__ import annotations

import pytest
from cryptography import x509

from certagent import certificate as facts
from certagent import state
from certagent.config.key_types import KeyType
from certagent.errors import RejectedError
from certagent.lab.checks import is_self_signed
from certagent.lab.http import HttpAnswer
from certagent.scep import MessageType, Request, csr_challenge
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.introductions.conftest import Sites
from tests.introductions.maker import HearingCA, Maker, heard, types, write
from tests.renewal.site import DAY, Site

PKCS_REQ, RENEWAL_REQ = MessageType.PKCS_REQ, MessageType.RENEWAL_REQ
RENEWABLE = "key_type: rsa:2048"


def off_for_a_year(site: Site) -> None:
    site.run()
    assert site.pair_matches()
    heard(site).clear()
    site.clock.advance(365 * DAY)


def signers(site: Site) -> list[str]:
    return [facts.subject_text(each.signer) for each in heard(site)]


def test_the_factory_identity_after_the_certificate_that_is_no_longer_renewed(site: Site, maker: Maker) -> None:
    write(site, maker.write(maker.device()), challenge=True, keystore=RENEWABLE)
    off_for_a_year(site)
    old = site.leaf()
    assert site.run().result is Result.ENROLLED
    assert site.leaf() != old
    assert types(site) == [RENEWAL_REQ, PKCS_REQ, PKCS_REQ]
    assert [each.signer for each in heard(site)[:2]] == [old, old]
    assert signers(site)[2] == "CN=PID:R9 SN:FOC1,O=Maker Inc"
    assert all(csr_challenge(each.content) is None for each in heard(site))  # it was not needed, so it was not sent
    assert any(
        "its certificate: the CA refused" in line and "now enrolls with the factory" in line for line in site.log
    )


class Particular(HearingCA):
    """Introduces nobody, whoever made it."""

    def authenticate(self, request: Request, csr: x509.CertificateSigningRequest) -> str:
        if not is_self_signed(request.signer) and self._issued.of(request.signer) is None:
            raise RejectedError("not this maker", fail_info="badRequest")
        return super().authenticate(request, csr)


def test_the_challenge_after_the_factory_identity(make_site: Sites, maker: Maker) -> None:
    site = make_site(ca=Particular)
    write(site, maker.write(maker.device()), challenge=True, keystore=RENEWABLE)
    assert site.run().result is Result.ENROLLED
    assert [csr_challenge(each.content) is not None for each in heard(site)] == [False, True]
    assert len({each.transaction_id for each in heard(site)}) == 2
    off_for_a_year(site)
    assert site.run().result is Result.ENROLLED
    assert [csr_challenge(each.content) is not None for each in heard(site)] == [False, False, False, True]
    told = [event.message for event in state.read_history(site.keystore_directory) if event.event == "rejected"]
    assert any(line.startswith("the factory identity: the CA refused the request: badRequest") for line in told)


def test_a_person_where_the_configuration_names_nothing_more(make_site: Sites, maker: Maker) -> None:
    site = make_site(ca=Particular)
    write(site, maker.write(maker.device()))
    outcome = site.run()
    assert outcome.result is Result.FAILED
    assert "somebody has to help" in str(outcome.hint)
    assert len(heard(site)) == 1
    site.clock.advance(DAY)
    site.run()
    assert len(heard(site)) == 2  # and again, slowly: the CA may have learned of the maker


class OutOfOrder(HearingCA):
    """Answers HTTP 500; whoever asks for its certificate gets it."""

    def pki_operation(self, message: bytes) -> HttpAnswer:
        super().pki_operation(message)
        raise OSError("out of order")


def test_without_another_rung_a_ca_out_of_order_hears_the_same_request(make_site: Sites, maker: Maker) -> None:
    site = make_site(ca=OutOfOrder)
    write(site, maker.write(maker.device()))
    for _ in range(3):
        assert site.run(Wish.NOW).result is Result.FAILED
    assert len({each.transaction_id for each in heard(site)}) == 1
    assert len(set(signers(site))) == 1


def test_a_ca_that_cannot_be_reached_leads_nowhere(site: Site, maker: Maker) -> None:
    write(site, maker.write(maker.device()), challenge=True, keystore=RENEWABLE)
    off_for_a_year(site)
    site.server.stop()
    for _ in range(3):
        assert site.run(Wish.NOW).result is Result.FAILED
    assert site.transaction is not None
    assert site.transaction.kind.value == "renewal"


@pytest.mark.parametrize("challenge", [False, True])
def test_an_ec_key_is_told_before_anything_is_asked(site: Site, maker: Maker, *, challenge: bool) -> None:
    write(site, maker.write(maker.device(key_type=KeyType.EC_P256)), challenge=challenge)
    outcome = site.run()
    if challenge:  # a rung of its own, not a stand-in in silence
        assert outcome.result is Result.ENROLLED
        assert any("ec:p256 key can sign the request, but" in line for line in site.log)
        assert len(heard(site)) == 1
    else:
        assert outcome.result is Result.FAILED
        assert "ec:p256 key can sign the request, but the CA's answer cannot be encrypted to it" in str(outcome.message)
        assert heard(site) == []


def test_an_ec_key_introduces_where_the_challenge_locks_the_envelopes(site: Site, maker: Maker) -> None:
    device = maker.device(key_type=KeyType.EC_P256)
    write(site, maker.write(device), "key_transport: password", challenge=True)
    assert site.run().result is Result.ENROLLED
    [asked] = heard(site)
    assert (asked.signer, csr_challenge(asked.content)) == (device.certificate, None)


def test_a_person_s_enrollment_begins_with_the_factory_identity(site: Site, maker: Maker) -> None:
    write(site, maker.write(maker.device()), challenge=True)
    site.run()
    heard(site).clear()
    assert site.run(Wish.ENROLL_ANEW).result is Result.ENROLLED
    assert signers(site) == ["CN=PID:R9 SN:FOC1,O=Maker Inc"]
