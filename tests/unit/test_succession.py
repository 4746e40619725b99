"""Who may follow a CA: every proof, every refusal, in tables; and how long a line of successors is believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations

import pytest

from certagent import certificate as facts
from certagent.config.values import Fingerprint
from certagent.errors import TrustError
from certagent.trust.next_ca import CERTIFIED, CHAINS, Change, Offer, Successor, extended, find_next
from certagent.trust.rules import Believed, Pins
from tests.unit.pki import CMC_RA, DAY, NOW, Party, party, remade, rsa_key


def ca(name: str, issuer: Party | None = None, *, key: str = "", start: int = -1, end: int = 300) -> Party:
    """A CA; its key goes by its name or by `key`; days from now."""
    made = rsa_key(key or name)
    return party(name, issuer, with_key=made, ca=True, start=NOW + start * DAY, end=NOW + end * DAY)


@dataclass(frozen=True)
class World:
    """The CA of today with its RA, the one to come with its RA, and what may vouch for that."""

    current: Party
    ra: Party
    following: Party
    next_ra: Party
    cross: Party
    root: Party
    below: Party
    stranger: Party

    @property
    def believed(self) -> Believed:
        today = self.current.certificate
        return Believed(today, (), (today, self.ra.certificate), self.ra.certificate)


@cache
def world() -> World:
    current = ca("CN=today", start=-300, end=60)
    following = ca("CN=tomorrow", start=50)
    root = ca("CN=root", start=-900, end=9000)
    usage = ("key_encipherment", "digital_signature")
    return World(
        current=current,
        ra=party("RA of today", current, with_key=rsa_key("ra"), usage=usage, purposes=(CMC_RA,)),
        following=following,
        next_ra=party(
            "RA of tomorrow",
            following,
            with_key=rsa_key("next ra"),
            usage=usage,
            purposes=(CMC_RA,),
            start=NOW + 50 * DAY,
            end=NOW + 99 * DAY,
        ),
        cross=ca("CN=tomorrow", current, start=50, end=60),
        root=root,
        below=ca("CN=below the root", root, start=50),
        stranger=ca("CN=stranger", start=-1),
    )


def fingerprint(made: Party) -> Fingerprint:
    return facts.fingerprint(made.certificate)


def find(
    offered: Sequence[Party],
    *,
    signed_by: Party | None = None,
    pins: Sequence[Party] = (),
    anchors: Sequence[Party] = (),
    named: Sequence[Party] = (),
) -> Successor | None:
    it = world()
    configured = Pins(
        (fingerprint(it.current), *map(fingerprint, pins)), tuple(each.certificate for each in anchors), frozenset()
    )
    offer = Offer(tuple(each.certificate for each in offered), signed_by.certificate if signed_by else None)
    return find_next(offer, it.believed, configured, [fingerprint(each) for each in named], NOW)


W = world()
V1 = party("CN=tomorrow", with_key=rsa_key("v1"), ca=None, start=NOW + 50 * DAY, end=NOW + 300 * DAY)
LEAF = party("CN=a device", W.current, with_key=rsa_key("device"))


@pytest.mark.parametrize(
    ("offered", "how", "proof"),
    [
        pytest.param([W.following], {"signed_by": W.current}, "signed by the current CA", id="nested"),
        pytest.param([W.following], {"named": [W.following]}, "its fingerprint is configured", id="next_fingerprint"),
        pytest.param([W.following], {"pins": [W.following]}, "its fingerprint is configured", id="fingerprint"),
        pytest.param(
            [W.following],
            {"signed_by": W.ra, "pins": [W.ra]},
            "signed by the RA whose fingerprint is configured",
            id="nested, by an RA that is named",
        ),
        pytest.param([W.below], {"anchors": [W.root]}, "it chains to a configured anchor", id="anchor"),
        pytest.param([W.below, W.root], {"named": [W.root]}, "it chains to a configured anchor", id="root by name"),
        pytest.param([W.following, W.cross], {}, "its key is certified by the current CA", id="cross-certificate"),
        pytest.param([W.cross], {}, "its key is certified by the current CA", id="cross-certificate alone"),
        pytest.param(
            [W.current, W.ra, W.following, W.next_ra], {"signed_by": W.current}, "signed by the current CA", id="all"
        ),
    ],
)
def test_believed_with_a_proof_in_any_order(offered: list[Party], how: dict[str, object], proof: str) -> None:
    for order in permutations(offered):
        found = find(order, **how)  # type: ignore[arg-type]  # words of `find`
        assert found is not None
        assert found.proof == proof
        assert found.starts == NOW + 50 * DAY
        assert found.believed.issuer not in W.believed.chain


@pytest.mark.parametrize(
    ("offered", "how", "says"),
    [
        pytest.param([W.following], {}, "nothing proves", id="flat"),
        pytest.param([W.stranger], {"named": [W.following]}, "nothing proves", id="flat, spliced"),
        pytest.param([W.following], {"signed_by": W.ra}, "nothing proves", id="nested, by an RA nobody named"),
        pytest.param([W.following], {"signed_by": W.stranger}, "nothing proves", id="nested, by an unknown party"),
        pytest.param([W.below, W.root], {}, "nothing proves", id="a root nobody named"),
        pytest.param(
            [ca("CN=tomorrow", key="forged", start=50), W.cross], {}, "nothing proves", id="the cross of another key"
        ),
        pytest.param(
            [W.following, W.stranger], {"signed_by": W.current}, "2 CAs are offered as the next", id="two candidates"
        ),
        pytest.param(
            [ca("CN=of the past", key="past", start=-9, end=-1)], {"signed_by": W.current}, "expired", id="expired"
        ),
        pytest.param([remade(W.following, digest="sha1")], {"signed_by": W.current}, "with sha1", id="weak signature"),
        pytest.param(
            [W.following, party("RA of a stranger", W.stranger, with_key=rsa_key("ra"))],
            {"signed_by": W.current},
            "not issued by the pinned CA",
            id="the RA of somebody else",
        ),
    ],
)
def test_refused(offered: list[Party], how: dict[str, object], says: str) -> None:
    with pytest.raises(TrustError, match=says) as caught:
        find(offered, **how)  # type: ignore[arg-type]  # words of `find`
    assert caught.value.hint


def test_the_refusal_says_the_line_that_would_do() -> None:
    with pytest.raises(TrustError) as caught:
        find([W.following])
    assert str(fingerprint(W.following)) in str(caught.value)
    assert f"add `next_fingerprint: {fingerprint(W.following)}` to the authority" in caught.value.hint


@pytest.mark.parametrize(
    "offered",
    [
        pytest.param([], id="nothing"),
        pytest.param([W.current, W.ra], id="the current authority"),
        pytest.param([V1], id="no CA certificate"),
        pytest.param([LEAF], id="a device's certificate"),
        pytest.param([ca("CN=yesterday", start=-900, end=1)], id="a CA of the past"),
    ],
)
def test_no_next_ca(offered: list[Party]) -> None:
    assert find(offered, signed_by=W.current) is None


def test_the_current_cas_ra_beside_it_is_nobodys_business() -> None:
    """GetCACert shows the RA of today beside the next CA."""
    found = find([W.current, W.ra, W.following], named=[W.following])
    assert found is not None
    assert found.believed.recipient == W.following.certificate


def test_its_ra_receives_the_requests() -> None:
    found = find([W.following, W.next_ra], signed_by=W.current)
    assert found is not None
    assert found.believed.recipient == W.next_ra.certificate
    assert found.believed.signers == (W.following.certificate, W.next_ra.certificate)


@pytest.mark.parametrize(
    ("how", "above"),
    [
        pytest.param({"signed_by": W.current}, [W.root], id="signed with it"),
        pytest.param({"anchors": [W.root]}, [W.root], id="configured"),
        pytest.param({"named": [W.below]}, [], id="not what only stands beside it"),
    ],
)
def test_what_is_above_it(how: dict[str, object], above: list[Party]) -> None:
    found = find([W.below, W.root], **how)  # type: ignore[arg-type]  # words of `find`
    assert found is not None
    assert found.believed.above == tuple(each.certificate for each in above)


A, B, C, D = (ca(f"CN={name}") for name in "ABCD")


def link(successor: Party, predecessor: Party, *above: Party, proof: str = "") -> Change:
    names = [str(fingerprint(each)) for each in (successor, predecessor, *above)]
    return Change(successor=names[0], predecessor=names[1], above=tuple(names[2:]), proof=proof)


@pytest.mark.parametrize(
    ("pinned", "links", "before", "believed"),
    [
        pytest.param([A], [], [], [A], id="no change"),
        pytest.param([A], [link(B, A)], [], [A, B], id="one change"),
        pytest.param([A], [link(C, B), link(B, A)], [], [A, B, C], id="two, in any order"),
        pytest.param([A], [link(C, B)], [], [A], id="a line that leads nowhere"),
        pytest.param([D], [link(B, A), link(C, B)], [], [D], id="the pin was taken out"),
        pytest.param([A], [link(B, A, C)], [], [A, B, C], id="what was proven above it"),
        pytest.param([A], [link(B, A), link(A, B)], [], [A, B], id="round and round"),
        pytest.param([A], [link(B, A, proof="signed by the current CA")], [], [A, B], id="signed by the CA before"),
        pytest.param([A], [link(B, A, proof="its fingerprint is configured")], [], [A, B], id="a person's word"),
        pytest.param([A], [link(B, A, proof="certified by the current CA")], [], [A], id="certified, as 0.1 saw it"),
        pytest.param([A], [link(B, A, proof=CERTIFIED)], [], [A, B], id="certified, as it is seen now"),
        pytest.param([A], [link(B, A, proof=CHAINS)], [B], [A], id="a path that is none"),
    ],
)
def test_a_line_is_believed_as_long_as_its_beginning(
    pinned: list[Party], links: list[Change], before: list[Party], believed: list[Party]
) -> None:
    pins = extended(Pins(tuple(map(fingerprint, pinned)), ()), links, [each.certificate for each in before])
    assert set(pins.fingerprints) == set(map(fingerprint, believed))
    assert pins.followed <= set(pins.fingerprints)


@pytest.mark.parametrize("by_file", [True, False], ids=["trust_anchor", "fingerprint of the root"])
def test_a_line_may_begin_below_an_anchor(by_file: bool) -> None:
    first = ca("CN=first", W.root)
    root = W.root.certificate
    pins = Pins((), (root,)) if by_file else Pins((fingerprint(W.root),), ())
    found = extended(pins, [link(B, first)], [first.certificate, root])
    assert fingerprint(B) in found.fingerprints
    assert found.followed == {fingerprint(first)}


def test_an_anchor_of_somebody_else_roots_nothing() -> None:
    first = ca("CN=first", W.root)
    found = extended(Pins((), (W.stranger.certificate,)), [link(B, first)], [first.certificate])
    assert found.fingerprints == ()
