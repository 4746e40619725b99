"""Whom to believe: the rules as tables of named cases."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache

import pytest
from asn1crypto import core
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from certagent import certificate as facts
from certagent import keys
from certagent.errors import TrustError
from certagent.trust import next_ca as following
from certagent.trust.fitness import Asked, Terms, accept_certificate
from certagent.trust.proof import comes_from
from certagent.trust.rules import SKEW, Believed, Pins, believe

from .pki import CMC_RA, DAY, NOW, TLS, Party, key, party, remade, rsa_key

MINUTE = timedelta(minutes=1)
REQUEST_AGENT = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.1")
SMARTCARD = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.2")
TWICE = [{"extn_id": "1.2.3.4", "extn_value": core.ParsableOctetString(b"\x05\x00")}] * 2  # forbidden


@cache
def cast() -> dict[str, Party]:
    """Everybody who appears in the cases."""
    root = party("root", with_key=rsa_key("root"), ca=True)
    other_root = party("other root", with_key=rsa_key("other root"), ca=True)
    issuing = party("issuing", root, with_key=rsa_key("issuing"), ca=True)
    ec_ca = party("ec ca", ca=True)
    stranger = party("stranger", ca=True)
    impostor = party("root", with_key=rsa_key("impostor"), ca=True)  # the root's name, another key
    leaf_as_ca = party("leaf", root)

    def ra(name: str, issuer: Party, **more: object) -> Party:
        more = {"with_key": rsa_key("ra"), "purposes": (CMC_RA,), **more}
        return party(name, issuer, **more)  # type: ignore[arg-type]  # party's own words

    whole = ("digital_signature", "key_encipherment")
    short = party("short", with_key=rsa_key("root"), ca=True, path_length=1)
    none = party("none", with_key=rsa_key("root"), ca=True, path_length=0)
    under_short = party("under short", short, with_key=rsa_key("issuing"), ca=True)
    return {
        "under two levels": party("under two levels", under_short, with_key=rsa_key("impostor"), ca=True),
        "under short": under_short,
        "root": root,
        "other root": other_root,
        "issuing": issuing,
        "issuing 2": party("issuing 2", root, with_key=rsa_key("other root"), ca=True),
        "lower": party("lower", issuing, with_key=rsa_key("impostor"), ca=True),
        "issuing, expired": party("issuing", root, ca=True, end=NOW - DAY),
        "ec ca": ec_ca,
        "expired root": party("expired root", with_key=rsa_key("root"), ca=True, end=NOW - DAY),
        "future root": party("future root", with_key=rsa_key("root"), ca=True, start=NOW + DAY),
        "slow root": party("slow root", with_key=rsa_key("root"), ca=True, start=NOW + SKEW),
        "under expired": party(
            "under", party("expired root", with_key=rsa_key("root"), ca=True, end=NOW - DAY), ca=True
        ),
        "stranger": stranger,
        "impostor": impostor,
        "issuing of the impostor": party("issuing", impostor, with_key=rsa_key("issuing"), ca=True),
        "v1": remade(party("v1", with_key=rsa_key("root")), version="v1", extensions=None),
        "bare": party("bare", with_key=rsa_key("root"), ca=None),
        "leaf": leaf_as_ca,
        "ca of a leaf": party("false", leaf_as_ca, with_key=rsa_key("issuing"), ca=True),
        "sha1 root": remade(party("sha1 root", with_key=rsa_key("root"), ca=True), digest="sha1"),
        "sha1 issuing": remade(issuing, root, digest="sha1"),
        "unreadable": remade(party("x", root), root, extensions=TWICE),
        "unreadable root": remade(root, extensions=TWICE),
        # CAs that may not issue what they issue
        "root of one level": short,
        "root of none": none,
        "under none": party("under none", none, with_key=rsa_key("issuing"), ca=True),
        "no signer of certificates": party("no signer", root, with_key=rsa_key("issuing"), ca=True, usage=whole),
        "root, no signer of certificates": party("no signer", with_key=rsa_key("root"), ca=True, usage=whole),
        "signer of certificates": party(
            "signer", root, with_key=rsa_key("issuing"), ca=True, usage=("key_cert_sign", "crl_sign"), path_length=0
        ),
        # RAs
        "ra": ra("ra", root, usage=whole),
        "ra of issuing": ra("ra", issuing, usage=whole),
        "ra of ec": ra("ra", ec_ca, usage=whole),
        "ra of stranger": ra("ra", stranger, usage=whole),
        "plain ra": ra("plain ra", root),
        "signing ra": ra("signing ra", root, usage=("digital_signature",), with_key=key("signing ra")),
        "encryption ra": ra("encryption ra", root, usage=("key_encipherment",)),
        "data ra": ra("data ra", root, usage=("data_encipherment",)),
        "newer data ra": ra("newer data ra", root, usage=("data_encipherment",), start=NOW - DAY),
        "newer signing ra": ra("newer signing ra", root, usage=("digital_signature",), start=NOW - DAY),
        "ec ra": ra("ec ra", ec_ca, usage=whole, with_key=key("ec ra")),
        "expired ra": ra("expired ra", root, usage=whole, end=NOW - DAY),
        "future ra": ra("future ra", root, usage=whole, start=NOW + DAY),
        "sha1 ra": remade(ra("sha1 ra", root, usage=whole), root, digest="sha1"),
        "tls": ra("tls", root, usage=whole, purposes=TLS),
        "tls and card": ra("tls and card", root, usage=whole, purposes=(*TLS, SMARTCARD)),
        "cmc ra": ra("cmc ra", root, usage=whole),
        "no purpose": ra("no purpose", root, usage=whole, purposes=()),
        "newer ra": ra("newer ra", root, usage=whole, start=NOW - DAY),
        "agent": ra("agent", root, usage=whole, purposes=(REQUEST_AGENT, *TLS)),
        # R1 under its own name and certified by R2 as well
        "root by other": party("root", other_root, with_key=rsa_key("root"), ca=True),
        "next root by root": party("root", root, with_key=rsa_key("issuing"), ca=True),
        # Without key identifiers OpenSSL takes it for self-signed, and finds no path at all.
        "next root by root, told apart": party("root", root, with_key=rsa_key("issuing"), ca=True, key_id=True),
    }


@dataclass(frozen=True)
class Offer:
    """What an authority sends, what is pinned, and what is made of it: names of the cast."""

    sent: Sequence[str]
    pinned: Sequence[str] = ()
    anchors: Sequence[str] = ()
    accept: frozenset[str] = frozenset()
    issuer: str = ""
    above: Sequence[str] = ()
    signers: Sequence[str] = ()  # beside the issuer
    recipient: str | None = ""  # the issuer, unless said; None: nobody
    remembered: Sequence[str] = ()  # RAs believed before
    refused: str = ""

    def believed(self, sent: Sequence[str] | None = None) -> Believed:
        fingerprints = tuple(facts.fingerprint(cast()[name].certificate) for name in self.pinned)
        anchors = tuple(cast()[name].certificate for name in self.anchors)
        offered = [cast()[name].certificate for name in (self.sent if sent is None else sent)]
        known = frozenset(facts.fingerprint(cast()[name].certificate) for name in self.remembered)
        return believe(offered, Pins(fingerprints, anchors, self.accept, known_ras=known), NOW)


BELIEVED = [
    pytest.param(Offer(["root"], ["root"], issuer="root"), id="a CA by its fingerprint"),
    pytest.param(Offer(["root"], anchors=["root"], issuer="root"), id="a CA that is the anchor"),
    pytest.param(Offer(["root"], ["other root", "root"], issuer="root"), id="one of two fingerprints"),
    pytest.param(Offer(["root"], anchors=["other root", "root"], issuer="root"), id="one of two anchors"),
    pytest.param(Offer(["issuing"], ["issuing"], issuer="issuing"), id="an issuing CA by its fingerprint"),
    pytest.param(
        Offer(["issuing"], anchors=["root"], issuer="issuing", above=["root"]), id="an issuing CA under the anchor"
    ),
    pytest.param(
        Offer(["issuing"], anchors=["root", "other root"], issuer="issuing", above=["root"]),
        id="an issuing CA under one of two anchors",
    ),
    pytest.param(
        Offer(["issuing", "root"], ["root"], issuer="issuing", above=["root"]), id="the root pinned, both sent"
    ),
    pytest.param(
        Offer(["issuing", "root"], ["issuing"], issuer="issuing"), id="the issuing CA pinned, its root is not believed"
    ),
    pytest.param(
        Offer(["lower", "issuing", "root"], ["root"], issuer="lower", above=["issuing", "root"]), id="three levels"
    ),
    pytest.param(
        Offer(["issuing", "issuing 2", "root"], ["root", "issuing 2"], issuer="issuing 2", above=["root"]),
        id="two issuing CAs, one named",
    ),
    pytest.param(
        Offer(["issuing, expired", "issuing 2", "root"], ["root"], issuer="issuing 2", above=["root"]),
        id="two issuing CAs, one expired",
    ),
    pytest.param(Offer(["root", "stranger"], ["root"], issuer="root"), id="a stranger's CA beside it"),
    pytest.param(Offer(["root", "impostor"], ["root"], issuer="root"), id="a CA of the same name beside it"),
    pytest.param(Offer(["root", "root"], ["root"], issuer="root"), id="sent twice"),
    pytest.param(Offer(["root", "unreadable root"], ["root"], issuer="root"), id="an unreadable one beside it"),
    pytest.param(Offer(["slow root"], ["slow root"], issuer="slow root"), id="valid from a little later on"),
    pytest.param(Offer(["v1"], ["v1"], issuer="v1"), id="an X.509 v1 root by its fingerprint"),
    pytest.param(
        Offer(["sha1 root"], ["sha1 root"], issuer="sha1 root"), id="a pinned root's own SHA-1 proves nothing"
    ),
    pytest.param(
        Offer(["sha1 issuing"], anchors=["root"], accept=frozenset({"sha1"}), issuer="sha1 issuing", above=["root"]),
        id="an issuing CA over SHA-1, accepted",
    ),
    # what those above allow
    pytest.param(
        Offer(["signer of certificates", "root"], ["root"], issuer="signer of certificates", above=["root"]),
        id="an issuing CA with key usage and path length as they should be",
    ),
    pytest.param(
        Offer(
            ["under short", "root of one level"],
            ["root of one level"],
            issuer="under short",
            above=["root of one level"],
        ),
        id="as many CAs below the root as it allows",
    ),
    pytest.param(
        Offer(["under none", "root of none"], ["under none"], issuer="under none"),
        id="more CAs than the root allows, but a person named the lowest",
    ),
    # RAs
    pytest.param(Offer(["root", "ra"], ["root"], issuer="root", signers=["ra"], recipient="ra"), id="CA and RA"),
    pytest.param(
        Offer(["ra"], anchors=["root"], issuer="root", signers=["ra"], recipient="ra"), id="the RA alone, CA as anchor"
    ),
    pytest.param(
        Offer(["ra"], anchors=["other root", "root"], issuer="root", signers=["ra"], recipient="ra"),
        id="the RA alone, its CA one of two anchors",
    ),
    pytest.param(
        Offer(["root", "plain ra"], ["root"], issuer="root", signers=["plain ra"], recipient="plain ra"),
        id="an RA without key usage",
    ),
    pytest.param(
        Offer(
            ["root", "signing ra", "encryption ra"],
            ["root"],
            issuer="root",
            signers=["signing ra"],
            recipient="encryption ra",
        ),
        id="an RA to sign and one to encrypt",
    ),
    pytest.param(
        Offer(["root", "signing ra"], ["root"], issuer="root", signers=["signing ra"]), id="an RA to sign only"
    ),
    pytest.param(
        Offer(["root", "encryption ra"], ["root"], issuer="root", recipient="encryption ra"), id="to encrypt only"
    ),
    pytest.param(
        Offer(["root", "data ra"], ["root"], issuer="root", recipient="data ra"), id="an RA for data encipherment"
    ),
    pytest.param(
        Offer(["root", "data ra", "encryption ra"], ["root"], issuer="root", recipient="encryption ra"),
        id="key encipherment before data encipherment",
    ),
    pytest.param(
        Offer(["root", "newer data ra", "encryption ra"], ["root"], issuer="root", recipient="encryption ra"),
        id="key encipherment before data encipherment, though newer",
    ),
    pytest.param(
        Offer(
            ["root", "newer signing ra", "encryption ra"],
            ["root"],
            issuer="root",
            signers=["newer signing ra"],
            recipient="encryption ra",
        ),
        id="an RA to sign, with an RSA key, is no recipient",
    ),
    pytest.param(
        Offer(
            ["ra of issuing", "issuing", "root"],
            ["root"],
            issuer="issuing",
            above=["root"],
            signers=["ra of issuing"],
            recipient="ra of issuing",
        ),
        id="an RA of the issuing CA",
    ),
    pytest.param(
        Offer(["ra", "issuing", "root"], ["root"], issuer="issuing", above=["root"], signers=["ra"], recipient="ra"),
        id="an RA of the root",
    ),
    pytest.param(
        Offer(["ec ca", "ra of ec"], ["ec ca"], issuer="ec ca", signers=["ra of ec"], recipient="ra of ec"),
        id="an EC CA with an RSA RA",
    ),
    pytest.param(Offer(["ec ca"], ["ec ca"], issuer="ec ca", recipient=None), id="an EC CA without RA"),
    pytest.param(
        Offer(["ec ca", "ec ra"], ["ec ca"], issuer="ec ca", signers=["ec ra"], recipient=None),
        id="an EC CA with an EC RA",
    ),
    pytest.param(
        Offer(["root", "ra", "ra of stranger"], ["root"], issuer="root", signers=["ra"], recipient="ra"),
        id="a stranger's RA beside the CA's",
    ),
    pytest.param(
        Offer(["root", "ra", "expired ra"], ["root"], issuer="root", signers=["ra"], recipient="ra"),
        id="the RA's expired certificate too",
    ),
    pytest.param(
        Offer(["root", "ra", "tls"], ["root"], issuer="root", signers=["ra"], recipient="ra"),
        id="a TLS certificate of the CA beside the RA",
    ),
    pytest.param(
        Offer(["root", "tls"], ["root", "tls"], issuer="root", signers=["tls"], recipient="tls"),
        id="an RA with a TLS certificate, pinned",
    ),
    pytest.param(
        Offer(
            ["root", "no purpose"],
            ["root", "no purpose"],
            issuer="root",
            signers=["no purpose"],
            recipient="no purpose",
        ),
        id="an RA without purposes, pinned",
    ),
    pytest.param(
        Offer(
            ["root", "no purpose"],
            ["root"],
            remembered=["no purpose"],
            issuer="root",
            signers=["no purpose"],
            recipient="no purpose",
        ),
        id="an RA without purposes, believed before",
    ),
    pytest.param(
        Offer(["root", "no purpose", "ra"], ["root"], issuer="root", signers=["ra"], recipient="ra"),
        id="a device without purposes beside the RA",
    ),
    pytest.param(
        Offer(["root", "ra", "newer ra"], ["root"], issuer="root", signers=["newer ra", "ra"], recipient="newer ra"),
        id="of two RAs the newer",
    ),
    pytest.param(
        Offer(
            ["root", "ra of stranger"],
            ["root", "ra of stranger"],
            issuer="root",
            signers=["ra of stranger"],
            recipient="ra of stranger",
        ),
        id="an RA of another CA, pinned",
    ),
    pytest.param(
        Offer(["root", "cmc ra"], ["root"], issuer="root", signers=["cmc ra"], recipient="cmc ra"), id="cmcRA"
    ),
    pytest.param(
        Offer(["root", "agent"], ["root"], issuer="root", signers=["agent"], recipient="agent"),
        id="Microsoft's request agent, for TLS too",
    ),
    pytest.param(
        Offer(
            ["root", "sha1 ra"],
            ["root"],
            accept=frozenset({"sha1"}),
            issuer="root",
            signers=["sha1 ra"],
            recipient="sha1 ra",
        ),
        id="an RA over SHA-1, accepted",
    ),
    # crossing
    pytest.param(
        Offer(["issuing", "root by other", "root"], ["root"], issuer="issuing", above=["root"]),
        id="cross-certified, its own root pinned",
    ),
    pytest.param(
        Offer(
            ["issuing", "root by other", "root"],
            anchors=["other root"],
            issuer="issuing",
            above=["root by other", "other root"],
        ),
        id="cross-certified, the other root pinned",
    ),
    pytest.param(
        Offer(["root", "next root by root"], ["root"], issuer="root"),
        id="the CA's next certificate waits for its rollover",
    ),
    pytest.param(
        Offer(["root", "next root by root, told apart"], ["root"], issuer="root"),
        id="the CA's next certificate waits, where a path leads to it",
    ),
]

REFUSED = [
    pytest.param(
        Offer(["root", "no purpose"], ["root"], refused="does not say that it belongs to an RA"), id="without purposes"
    ),
    # What OpenSSL takes for no CA issues nothing that a consumer would believe.
    pytest.param(Offer(["bare"], anchors=["bare"], refused="is not a CA"), id="an anchor that nothing makes a CA"),
    pytest.param(
        Offer(
            ["root, no signer of certificates"],
            ["root, no signer of certificates"],
            refused="does not allow the certificates issued below it",
        ),
        id="a named root that signs no certificates by its key usage",
    ),
    pytest.param(Offer([], ["root"], refused="found no certificate"), id="nothing sent"),
    pytest.param(Offer([], anchors=["root"], refused="found no certificate"), id="nothing sent, an anchor known"),
    pytest.param(Offer(["stranger"], ["root"], refused="not the configured one"), id="another CA"),
    pytest.param(
        Offer(["stranger"], anchors=["root"], refused="not the configured one"), id="another CA, an anchor known"
    ),
    pytest.param(Offer(["impostor"], ["root"], refused="not the configured one"), id="another CA of the same name"),
    pytest.param(
        Offer(["issuing of the impostor", "impostor"], anchors=["root"], refused="not the configured one"),
        id="an issuing CA of another root of the same name",
    ),
    pytest.param(Offer(["root"], refused="not the configured one"), id="nothing pinned"),
    pytest.param(Offer(["issuing"], ["root"], refused="not the configured one"), id="the pinned root is not sent"),
    pytest.param(Offer(["leaf"], ["leaf"], refused="is not a CA certificate"), id="a leaf pinned"),
    pytest.param(
        Offer(["ca of a leaf", "leaf"], ["leaf"], refused="is not a CA certificate"), id="a CA made by a leaf"
    ),
    pytest.param(Offer(["bare"], ["root"], refused="not the configured one"), id="no basicConstraints and not pinned"),
    pytest.param(
        Offer(["unreadable root"], ["unreadable root"], refused="is not a CA"), id="a pinned one that is unreadable"
    ),
    pytest.param(Offer(["expired root"], ["expired root"], refused="expired at"), id="expired"),
    pytest.param(Offer(["future root"], ["future root"], refused="is not valid before"), id="not yet valid"),
    pytest.param(Offer(["issuing, expired", "root"], ["root"], refused="expired at"), id="the only issuing CA expired"),
    pytest.param(
        Offer(["under expired"], anchors=["expired root"], refused="expired at"), id="under an expired anchor"
    ),
    pytest.param(Offer(["issuing", "issuing 2", "root"], ["root"], refused="2 CA certificates"), id="two issuing CAs"),
    pytest.param(Offer(["root", "other root"], ["root", "other root"], refused="2 CA certificates"), id="two named"),
    pytest.param(Offer(["sha1 issuing"], anchors=["root"], refused="signed with sha1"), id="an issuing CA over SHA-1"),
    pytest.param(
        Offer(["sha1 issuing"], anchors=["root"], accept=frozenset({"md5"}), refused="signed with sha1"),
        id="an issuing CA over SHA-1, something else accepted",
    ),
    pytest.param(Offer(["root", "ra of stranger"], ["root"], refused="not issued by"), id="a stranger's RA"),
    pytest.param(Offer(["root", "expired ra"], ["root"], refused="RA certificate .* expired"), id="an expired RA"),
    pytest.param(Offer(["root", "future ra"], ["root"], refused="is not valid before"), id="an RA not yet valid"),
    pytest.param(Offer(["root", "sha1 ra"], ["root"], refused="signed with sha1"), id="an RA over SHA-1"),
    pytest.param(Offer(["root", "tls"], ["root"], refused="purposes other than an RA's"), id="a sibling as RA"),
    pytest.param(
        Offer(["root", "tls"], ["root"], remembered=["tls"], refused="purposes other than an RA's"),
        id="a sibling as RA, which an older release believed",
    ),
    pytest.param(
        Offer(["root", "tls and card"], ["root"], refused="purposes other than an RA's"),
        id="a sibling with more purposes",
    ),
    pytest.param(Offer(["tls"], anchors=["root"], refused="purposes other than an RA's"), id="a sibling alone"),
    pytest.param(
        Offer(["under none", "root of none"], ["root of none"], refused="CN=none does not allow"),
        id="a CA below a root that allows none",
    ),
    pytest.param(
        Offer(["under none"], anchors=["root of none"], refused="CN=none does not allow"),
        id="a CA below an anchor that allows none",
    ),
    pytest.param(
        Offer(
            ["under two levels", "under short", "root of one level"],
            ["root of one level"],
            refused="CN=short does not allow",
        ),
        id="one CA more than the root allows",
    ),
    pytest.param(
        Offer(["no signer of certificates", "root"], ["root"], refused="CN=no signer does not allow"),
        id="an issuing CA that signs no certificates by its key usage",
    ),
]


@pytest.mark.parametrize("offer", BELIEVED)
def test_believed_in_any_order(offer: Offer) -> None:
    members = {name: each.certificate for name, each in cast().items()}
    for sent in itertools.permutations(offer.sent):
        believed = offer.believed(sent)
        assert believed.issuer == members[offer.issuer]
        assert believed.above == tuple(members[name] for name in offer.above)
        assert believed.signers == tuple(members[name] for name in (offer.issuer, *offer.signers))
        recipient = None if offer.recipient is None else members[offer.recipient or offer.issuer]
        assert believed.recipient == recipient
        assert set(believed.ras) == {members[name] for name in (*offer.signers, offer.recipient) if name}


@pytest.mark.parametrize("offer", REFUSED)
def test_refused_in_any_order(offer: Offer) -> None:
    for sent in itertools.permutations(offer.sent):
        with pytest.raises(TrustError, match=offer.refused) as caught:
            offer.believed(sent)
        assert caught.value.hint
        assert "\n" not in f"{caught.value}{caught.value.hint}"


def test_a_ca_that_another_one_followed_is_not_believed_for_its_path_either() -> None:
    root, issuing = cast()["root"].certificate, cast()["issuing"].certificate
    pins = Pins((), (root,), past=frozenset({facts.fingerprint(issuing)}))
    with pytest.raises(TrustError, match="a CA that has already been replaced"):
        believe([issuing], pins, NOW)


def test_of_two_named_cas_the_one_that_follows_the_other_issues() -> None:
    first, second = cast()["root"].certificate, cast()["other root"].certificate
    names = (facts.fingerprint(first), facts.fingerprint(second))
    for offered in ([first, second], [second, first]):
        assert believe(offered, Pins(names, (), followed=frozenset({names[0]})), NOW).issuer == second


def test_a_ca_that_another_one_followed_vouches_for_nobody() -> None:
    root, issuing = cast()["root"].certificate, cast()["issuing"].certificate
    pins = Pins((facts.fingerprint(root),), (), past=frozenset({facts.fingerprint(root)}))
    for offered in ([root], [issuing, root], [root, issuing]):
        with pytest.raises(TrustError, match="a CA that has already been replaced"):
            believe(offered, pins, NOW)


def test_a_leaf_makes_no_ca() -> None:
    """Whoever holds a certificate of the CA could otherwise be a CA under it."""
    with pytest.raises(TrustError):
        Offer(["ca of a leaf"], anchors=["leaf"]).believed()
    with pytest.raises(TrustError, match="not the configured one"):
        Offer(["ca of a leaf"], anchors=["root"]).believed()


def test_a_wrong_fingerprint_says_what_was_found_and_what_was_wanted() -> None:
    with pytest.raises(TrustError) as caught:
        Offer(["stranger"], ["root"]).believed()
    for name in ("stranger", "root"):
        assert str(facts.fingerprint(cast()[name].certificate)) in str(caught.value)
    assert "nothing secret was sent" in caught.value.hint


def test_a_sibling_as_ra_is_named_with_the_word_to_add() -> None:
    with pytest.raises(TrustError) as caught:
        Offer(["root", "tls"], ["root"]).believed()
    assert str(facts.fingerprint(cast()["tls"].certificate)) in caught.value.hint


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_fingerprints_of_every_kind(algorithm: str) -> None:
    root = cast()["root"].certificate
    believed = believe([root], Pins((facts.fingerprint(root, algorithm),), ()), NOW)
    assert believed.issuer == root


anybody = st.deferred(lambda: st.sampled_from(sorted(cast())))


@given(st.lists(anybody, max_size=5), st.sets(anybody, max_size=2))
def test_whatever_is_sent_only_what_is_pinned_is_believed(sent: list[str], pinned: set[str]) -> None:
    offer = Offer(sent, sorted(pinned))
    try:
        believed = offer.believed()
    except TrustError:
        return
    pins = {cast()[name].certificate for name in pinned}
    assert any(each in pins for each in believed.chain)
    for ra in believed.ras:
        issued = any(comes_from(ra, ca.certificate) for ca in cast().values() if facts.is_ca(ca.certificate))
        assert issued or ra in pins


@given(st.data())
def test_a_damaged_certificate_is_refused_or_read_never_a_crash(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["root", "issuing", "ra", "tls"]))
    der = bytearray(facts.to_der(cast()[name].certificate))
    for _ in range(data.draw(st.integers(1, 3))):
        der[data.draw(st.integers(4, len(der) - 1))] = data.draw(st.integers(0, 255))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a serial number of zero is one of the damages, and no reason to fail
        try:
            damaged = x509.load_der_x509_certificate(bytes(der))
        except (ValueError, x509.InvalidVersion):
            return
    root = cast()["root"].certificate
    for offered in ([damaged, root], [root, damaged], [damaged]):
        try:
            believed = believe(offered, Pins((facts.fingerprint(root), facts.fingerprint(damaged)), ()), NOW)
            accept_certificate([damaged], Asked(b"", root.subject, frozenset()), believed, (), NOW)
        except TrustError:
            pass


# What comes back


def dns(*names: str) -> list[x509.GeneralName]:
    return [x509.DNSName(name) for name in names]


@dataclass(frozen=True)
class Reply:
    """Certificates in a CA's answer, held against what was asked under the authority `under`."""

    certificates: Sequence[str]
    accept: frozenset[str] = frozenset()
    under: Offer = field(default_factory=lambda: Offer(["root"], ["root"]))
    chain: Sequence[str] = ("root",)
    refused: str = ""

    def orders(self) -> Iterator[tuple[Party, ...]]:
        everybody = cast() | cast_of_replies()
        return itertools.permutations(everybody[name] for name in self.certificates)

    def accepted(self, order: Sequence[Party]) -> tuple[x509.Certificate, tuple[x509.Certificate, ...]]:
        asked = Asked(
            key=keys.public_bytes(key("device").public_key()),
            subject=x509.Name.from_rfc4514_string("CN=device,O=Example"),
            names=frozenset({"dns:a.example", "dns:b.example"}),
            old=cast_of_replies()["old"].certificate,
        )
        certificates = [each.certificate for each in order]
        terms = Terms(may_lose={"san"})
        return accept_certificate(certificates, asked, self.under.believed(), self.accept, NOW, terms=terms)


def mine(
    issuer: Party, name: str = "CN=device,O=Example", names: Sequence[str] = ("a.example",), **more: object
) -> Party:
    return party(name, issuer, with_key=key("device"), san=dns(*names), **more)  # type: ignore[arg-type]  # its words


@cache
def cast_of_replies() -> dict[str, Party]:
    root, issuing = cast()["root"], cast()["issuing"]
    good = mine(root)
    return {
        "good": good,
        "good too": mine(root),
        "old": mine(root, start=NOW - 9 * DAY),
        "by issuing": mine(issuing),
        "by lower": mine(cast()["lower"]),
        "by stranger": mine(cast()["stranger"]),
        "by impostor": mine(cast()["impostor"]),
        "by a leaf": mine(cast()["leaf"]),
        "of another": party("CN=device,O=Example", root, with_key=key("another")),
        "another name": mine(root, "CN=admin,O=Example"),
        "a longer name": mine(root, "CN=device,OU=x,O=Example"),
        "the name in another order": mine(root, "O=Example,CN=device"),
        "the name in other letters": mine(root, "CN=Device,O=Example"),
        "both names": mine(root, names=("b.example", "a.example")),
        "names in capitals": mine(root, names=("A.EXAMPLE",)),
        "no names": mine(root, names=()),
        "more names": mine(root, names=("a.example", "evil.example")),
        "a UPN": party(
            "CN=device,O=Example", root, with_key=key("device"), san=[x509.OtherName(facts.UPN, b"\x0c\x05admin")]
        ),
        "a CA": mine(root, ca=True),
        "no basicConstraints": mine(root, ca=None),
        "future": mine(root, start=NOW + DAY),
        "a little later": mine(root, start=NOW + SKEW),
        "a little later, for a minute": mine(root, start=NOW + MINUTE, end=NOW + 2 * MINUTE),
        "expired": mine(root, end=NOW - DAY),
        "sha1": remade(good, root, digest="sha1"),
        "md5": remade(good, root, digest="md5"),
        "unreadable": remade(good, root, extensions=TWICE),
        "self-signed": mine(party("CN=device,O=Example", with_key=key("device"))),
        "expired issuing": mine(cast()["issuing, expired"]),
        "by sha1 issuing": mine(cast()["sha1 issuing"]),
    }


def replies(*names: str, **more: object) -> Reply:
    return Reply(names, **more)  # type: ignore[arg-type]  # Reply's own words


SHA1 = frozenset({"sha1"})
ROOT_AND_ISSUING = Offer(["root", "issuing"], ["root"])


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(replies("good"), id="the one asked for"),
        pytest.param(replies("good", "good"), id="sent twice"),
        pytest.param(replies("good", "root"), id="with its CA"),
        pytest.param(replies("good", "of another"), id="with somebody else's"),
        pytest.param(replies("good", "stranger"), id="with a stranger's CA"),
        pytest.param(replies("both names"), id="every name"),
        pytest.param(replies("names in capitals"), id="names in capitals"),
        pytest.param(replies("no names"), id="fewer names"),
        pytest.param(replies("no basicConstraints"), id="without basicConstraints"),
        pytest.param(replies("a little later"), id="from a little later on"),
        pytest.param(replies("a little later, for a minute"), id="from a little later on, and not for long"),
        pytest.param(replies("sha1", accept=SHA1), id="over SHA-1, accepted"),
        pytest.param(replies("md5", accept=frozenset({"md5"})), id="over MD5, accepted"),
        pytest.param(replies("by issuing", "issuing", chain=("issuing", "root")), id="with the intermediate"),
        pytest.param(
            replies("by lower", "lower", "issuing", chain=("lower", "issuing", "root")), id="with two of them"
        ),
        pytest.param(
            replies("by issuing", under=ROOT_AND_ISSUING, chain=("issuing", "root")), id="under the known issuing CA"
        ),
        pytest.param(replies("good", under=ROOT_AND_ISSUING), id="by the root above the issuing CA"),
        pytest.param(
            replies("by issuing", "root", "sha1 root", under=Offer(["issuing"], ["issuing"]), chain=("issuing",)),
            id="what lies above the pinned CA is not taken from a reply",
        ),
        pytest.param(
            replies("by sha1 issuing", "sha1 issuing", accept=SHA1, chain=("sha1 issuing", "root")),
            id="an intermediate over SHA-1, accepted",
        ),
    ],
)
def test_accepted(reply: Reply) -> None:
    everybody = cast()
    for order in reply.orders():
        certificate, chain = reply.accepted(order)
        assert keys.match(key("device"), certificate.public_key())
        assert chain == tuple(everybody[name].certificate for name in reply.chain)


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(replies(refused="no certificate for our key"), id="nothing"),
        pytest.param(replies("of another", refused="no certificate for our key"), id="for another key"),
        pytest.param(replies("unreadable", refused="no certificate for our key"), id="unreadable"),
        pytest.param(replies("good", "good too", refused="2 certificates for our key"), id="two for our key"),
        pytest.param(replies("by stranger", "stranger", refused="not issued by the pinned"), id="by another CA"),
        pytest.param(replies("by impostor", "impostor", refused="not issued by"), id="by another CA of the same name"),
        pytest.param(replies("by issuing", refused="not issued by"), id="the intermediate is missing"),
        pytest.param(replies("by a leaf", "leaf", refused="not issued by"), id="by somebody's leaf"),
        pytest.param(replies("self-signed", refused="not issued by"), id="self-signed"),
        pytest.param(replies("another name", refused="CN=admin"), id="another subject"),
        pytest.param(replies("a longer name", refused="OU=x"), id="a longer subject"),
        pytest.param(replies("the name in another order", refused="was requested"), id="the subject in another order"),
        pytest.param(replies("the name in other letters", refused="was requested"), id="the subject in other letters"),
        pytest.param(replies("more names", refused="not requested: dns:evil.example$"), id="one name more"),
        pytest.param(replies("a UPN", refused="not requested: upn:admin$"), id="a name of another kind"),
        pytest.param(replies("a CA", refused="issued a CA certificate"), id="CA:TRUE"),
        pytest.param(replies("future", refused="is not valid before"), id="not yet valid"),
        pytest.param(replies("expired", refused="expired at"), id="expired"),
        pytest.param(replies("old", refused="sent the current certificate again"), id="the old one again"),
        pytest.param(replies("sha1", refused="signed with sha1"), id="over SHA-1"),
        pytest.param(replies("md5", accept=SHA1, refused="signed with md5"), id="over MD5, SHA-1 accepted"),
        pytest.param(
            replies("expired issuing", "issuing, expired", refused="expired at"), id="by an expired intermediate"
        ),
        pytest.param(
            replies("by sha1 issuing", "sha1 issuing", refused="signed with sha1"), id="by an intermediate over SHA-1"
        ),
    ],
)
def test_not_accepted(reply: Reply) -> None:
    for order in reply.orders():
        with pytest.raises(TrustError, match=reply.refused) as caught:
            reply.accepted(order)
        assert caught.value.hint


def test_the_subject_may_come_in_other_string_types() -> None:
    """Many CAs write PrintableString where UTF8String was asked for."""
    good = cast_of_replies()["good"]
    names = {"organization_name": "Example", "common_name": "device"}
    again = remade(good, cast()["root"], subject=asn1_x509.Name.build(names, use_printable=True))
    assert b"\x13\x06device" in facts.to_der(again.certificate)
    assert replies("good").accepted([again])[0] == again.certificate


# Who follows


def test_a_next_ca_is_held_to_what_those_above_it_allow_unless_a_person_named_it() -> None:
    next_ca, anchor = cast()["under none"].certificate, cast()["root of none"].certificate
    current = Offer(["other root"], ["other root"]).believed()
    offer, pins = following.Offer((next_ca, anchor)), Pins((), (anchor,))
    with pytest.raises(TrustError, match="does not allow the certificates issued below it"):
        following.find_next(offer, current, pins, (), NOW)
    named = following.find_next(offer, current, pins, [facts.fingerprint(next_ca)], NOW)
    assert named is not None
    assert named.believed.issuer == next_ca


def test_a_next_ca_that_may_sign_no_certificates_is_refused_whoever_named_it() -> None:
    next_ca, root = cast()["no signer of certificates"].certificate, cast()["root"].certificate
    current = Offer(["other root"], ["other root"]).believed()
    for named in ((), [facts.fingerprint(next_ca)]):
        with pytest.raises(TrustError, match="does not allow the certificates issued below it"):
            following.find_next(following.Offer((next_ca, root)), current, Pins((), (root,)), named, NOW)
