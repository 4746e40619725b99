"""A device without a certificate is introduced by its factory identity, which is read and never written."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from certagent import certificate as facts
from certagent.scep import MessageType, csr_challenge
from certagent.transaction.journal import Phase
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.introductions.conftest import Sites
from tests.introductions.maker import Maker, heard, types, write
from tests.renewal.site import DAY, Site
from tests.unit.pki import Party

FORMS = pytest.mark.parametrize("lay", [Maker.write, pytest.param(Maker.write_p12, marks=pytest.mark.needs("openssl"))])


@FORMS
def test_it_signs_the_first_request_and_the_device_gets_a_name_of_its_own(
    site: Site, maker: Maker, lay: Callable[[Maker, Party], str]
) -> None:
    device = maker.device()
    write(site, lay(maker, device))
    before = maker.as_left()
    assert site.run().result is Result.ENROLLED
    assert site.pair_matches()
    assert facts.subject_text(site.leaf()) == "CN=web.example.net,O=Example"
    assert facts.alternative_names(site.leaf()) == {"dns:web.example.net"}
    [asked] = heard(site)
    assert (asked.message_type, asked.signer) == (MessageType.PKCS_REQ, device.certificate)
    assert asked.beside == (maker.issuer.certificate,)  # the chain, without the root that the CA has itself
    assert csr_challenge(asked.content) is None
    assert [each.kind for each in site.ca.issued()] == ["introduction"]
    assert maker.as_left() == before


def test_from_then_on_the_new_certificate_renews_itself(site: Site, maker: Maker) -> None:
    write(site, maker.write(maker.device()), keystore="key_type: rsa:2048")
    site.run()
    own = site.leaf()
    site.clock.advance(70 * DAY)
    maker.key_file.unlink()  # nobody asks for it
    assert site.run().result is Result.RENEWED
    assert types(site) == [MessageType.PKCS_REQ, MessageType.RENEWAL_REQ]
    assert heard(site)[1].signer == own


def test_a_key_that_cannot_renew_itself_is_introduced_again_while_it_is_valid(site: Site, maker: Maker) -> None:
    """No envelope can be made for an EC key; without this, a device without a challenge would wait for its end."""
    device = maker.device()
    write(site, maker.write(device), keystore="key_type: ec:p256\nrekey: never")
    site.run()
    first = site.leaf()
    site.clock.advance(70 * DAY)
    assert site.run().result is Result.RENEWED
    assert site.pair_matches()
    assert types(site) == [MessageType.PKCS_REQ, MessageType.PKCS_REQ]
    assert [each.signer for each in heard(site)] == [device.certificate, device.certificate]
    assert site.leaf().public_key() == first.public_key()
    assert facts.alternative_names(site.leaf()) == facts.alternative_names(first)


def test_so_is_its_shadow_under_the_next_ca(make_site: Sites, maker: Maker) -> None:
    site = make_site(lifetime=365 * DAY, ca_lifetime=365 * DAY, rollover=70 * DAY, overlap=30 * DAY)
    device = maker.device()
    write(site, maker.write(device), keystore="key_type: ec:p256")
    site.run()
    site.clock.advance(300 * DAY)
    site.run()
    staged = site.context().configured.rollover.open()
    assert staged is not None
    assert staged.phase is Phase.ISSUED, "\n".join(site.log)
    assert {each.signer for each in heard(site)} == {device.certificate}


def test_the_keystore_s_own_goes_before_the_authority_s(site: Site, maker: Maker) -> None:
    device = maker.device()
    named = maker.write(device)
    elsewhere = named.replace("factory.", "no-such.")
    write(site, elsewhere, keystore=f"introduce_with: {named}")
    assert site.run().result is Result.ENROLLED
    assert heard(site)[0].signer == device.certificate


@pytest.mark.parametrize(
    ("authority", "sent"), [("", False), ("send_challenge: always", True)], ids=["enrollment", "always"]
)
def test_the_challenge_goes_along_only_where_it_goes_along_always(
    site: Site, maker: Maker, authority: str, sent: bool
) -> None:
    write(site, maker.write(maker.device()), authority, challenge=True)
    assert site.run().result is Result.ENROLLED
    assert (csr_challenge(heard(site)[0].content) is not None) is sent


def test_one_of_the_ca_s_own_asks_with_renewal_req(make_site: Sites, maker: Maker) -> None:
    """RFC 8894 §2.3: the signer has a certificate of this CA. What the CA makes of it is its own affair."""
    site = make_site()
    own = Party(site.ca.generation.issuer.certificate, site.ca.generation.issuer.key)
    write(site, maker.write(maker.device(issuer=own, start=site.clock())))
    assert site.run().result is Result.FAILED
    assert types(site)[0] is MessageType.RENEWAL_REQ


def test_its_own_end_is_the_ca_s_affair(site: Site, maker: Maker) -> None:
    write(site, maker.write(maker.device(end=site.clock() - DAY)))
    outcome = site.run()
    assert outcome.result is Result.FAILED
    assert "neither this CA's nor a known maker's" in str(outcome.message)
    assert types(site) == [MessageType.PKCS_REQ]


def test_pending_is_polled_with_the_same_signer(make_site: Sites, maker: Maker) -> None:
    site = make_site(manual=True)
    device = maker.device()
    write(site, maker.write(device))
    assert site.run().result is Result.PENDING
    [waiting] = site.ca.store.all_waiting()
    site.ca.store.decide(waiting, "approved")
    site.clock.advance(DAY)
    assert site.run().result is Result.ENROLLED
    assert types(site) == [MessageType.PKCS_REQ, MessageType.CERT_POLL]
    assert [each.signer for each in heard(site)] == [device.certificate] * 2
    assert facts.subject_text(site.leaf()) == "CN=web.example.net,O=Example"


def test_a_lost_answer_is_asked_for_again_with_the_same_key(site: Site, maker: Maker) -> None:
    write(site, maker.write(maker.device()))
    stops = iter((False, True))
    assert site.run(stopping=lambda: next(stops)).result is Result.STOPPED
    kept = site.transaction
    assert kept is not None
    assert heard(site) == []
    assert site.run(Wish.NOW).result is Result.ENROLLED
    assert [each.transaction_id for each in heard(site)] == [kept.transaction_id]


@pytest.mark.parametrize(
    ("meanwhile", "result", "word"),
    [
        pytest.param(lambda maker: maker.key_file.unlink(), Result.FAILED, "does not exist", id="gone"),
        pytest.param(
            lambda maker: maker.certificate_file.write_text("?\n"), Result.FAILED, "no certificate", id="broken"
        ),
        pytest.param(
            lambda maker: maker.write(maker.device(name="CN=Another")), Result.ENROLLED, "another one now", id="another"
        ),
    ],
)
def test_it_changes_while_the_request_is_open(
    site: Site, maker: Maker, meanwhile: Callable[[Maker], object], result: Result, word: str
) -> None:
    write(site, maker.write(maker.device()))
    stops = iter((False, True))
    site.run(stopping=lambda: next(stops))
    meanwhile(maker)
    outcome = site.run(Wish.NOW)
    assert outcome.result is result
    assert word in f"{outcome.message} {site.log}"
    if result is Result.FAILED:  # the request waits for it
        assert heard(site) == []
        maker.write(maker.device())
        assert site.run(Wish.NOW).result is Result.ENROLLED


def test_the_ca_does_not_know_the_maker(make_site: Sites, maker: Maker) -> None:
    site = make_site(makers=())
    write(site, maker.write(maker.device()))
    outcome = site.run()
    assert outcome.result is Result.FAILED
    assert "does this CA let certificates of CN=Maker Issuing CA introduce this subject?" in str(outcome.hint)
    assert not site.key.exists()


def test_nothing_is_signed_for_a_ca_that_is_not_the_pinned_one(site: Site, maker: Maker) -> None:
    write(site, maker.write(maker.device()), f"fingerprint: sha256:{'ab' * 32}")
    outcome = site.run()
    assert outcome.result is Result.FAILED
    assert site.state.last_error is not None
    assert site.state.last_error.kind == "trust"
    assert heard(site) == []


def test_a_device_may_come_again_but_not_with_another_s_name(site: Site, maker: Maker) -> None:
    write(site, maker.write(maker.device()))
    assert site.run().result is Result.ENROLLED
    assert site.run(Wish.ENROLL_ANEW).result is Result.ENROLLED
    maker.write(maker.device(name="CN=Another"))
    outcome = site.run(Wish.ENROLL_ANEW)
    assert outcome.result is Result.FAILED
    assert "another device was introduced with this name" in str(outcome.message)
