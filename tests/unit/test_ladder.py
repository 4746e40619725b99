"""The ways back to a certificate: which rungs there are, and what leads from one to the next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from certagent.config.authority import Authority
from certagent.config.parts import Secret
from certagent.config.values import Fingerprint
from certagent.errors import (
    CertagentError,
    HttpError,
    KeystoreError,
    RejectedError,
    TokenLockedError,
    TransientError,
    TrustError,
    UnfitError,
    UnreachableError,
)
from certagent.transaction.journal import Kind, Phase, Transaction
from certagent.transaction.ladder import (
    LEADS_DOWN,
    CannotIntroduceError,
    Named,
    Rung,
    Standing,
    below,
    check_introduction,
    renews_with,
    rungs,
    told,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
NEITHER, FACTORY, CHALLENGE, BOTH = Named(), Named(introduction=True), Named(challenge=True), Named(True, True)
EC = Named(introduction=True, renews=False)  # the certificate in place cannot sign, and there is no challenge
C, I, S, P = Rung.CERTIFICATE, Rung.INTRODUCTION, Rung.CHALLENGE, Rung.PERSON  # noqa: E741


@pytest.mark.parametrize(
    ("standing", "named", "expected"),
    [
        (Standing.VALID, NEITHER, (C,)),
        (Standing.VALID, BOTH, (C,)),  # what the CA refuses today it may grant tomorrow
        (Standing.VALID, EC, (I,)),
        (Standing.EXPIRED, EC, (I,)),
        (Standing.EXPIRED, NEITHER, (C,)),
        (Standing.EXPIRED, FACTORY, (C, I)),
        (Standing.EXPIRED, CHALLENGE, (C, S)),
        (Standing.EXPIRED, BOTH, (C, I, S)),
        (Standing.REPLACED, NEITHER, (P,)),
        (Standing.REPLACED, FACTORY, (I,)),
        (Standing.REPLACED, CHALLENGE, (S,)),
        (Standing.REPLACED, BOTH, (I, S)),
        (Standing.NONE, NEITHER, (P,)),
        (Standing.NONE, FACTORY, (I,)),
        (Standing.NONE, CHALLENGE, (S,)),
        (Standing.NONE, BOTH, (I, S)),
    ],
)
def test_the_rungs_that_certagent_climbs(standing: Standing, named: Named, expected: tuple[Rung, ...]) -> None:
    assert rungs(standing, named) == expected


@pytest.mark.parametrize("standing", Standing)
@pytest.mark.parametrize("named", [NEITHER, FACTORY, CHALLENGE, BOTH, EC])
def test_a_person_is_the_last_of_every_ladder_that_is_told(standing: Standing, named: Named) -> None:
    *others, last = told(standing, named)
    assert last is P
    assert P not in others
    assert set(rungs(standing, named)) <= {*others, last}


def transaction(kind: Kind, rung: str = "", **fields: Any) -> Transaction:
    given = {"id": "t1", "authority": "lab", "started_at": NOW, "endpoint": "http://ca", **fields}
    return Transaction(kind=kind, phase=Phase.REQUESTED, rung=rung, **given)


EXPIRED: dict[str, Any] = {"old_not_after": NOW}
VALID: dict[str, Any] = {"old_not_after": NOW + DAY}


@pytest.mark.parametrize(
    ("it", "named", "expected"),
    [
        pytest.param(transaction(Kind.RENEWAL, **VALID), BOTH, None, id="a valid certificate"),
        pytest.param(transaction(Kind.RENEWAL, **EXPIRED), NEITHER, None, id="expired, no other way"),
        pytest.param(transaction(Kind.RENEWAL, **EXPIRED), FACTORY, I, id="expired, a factory identity"),
        pytest.param(transaction(Kind.RENEWAL, **EXPIRED), CHALLENGE, S, id="expired, a challenge"),
        pytest.param(transaction(Kind.RENEWAL, **EXPIRED), BOTH, I, id="expired, both"),
        pytest.param(transaction(Kind.RENEWAL, "introduction", **VALID), FACTORY, None, id="an EC key"),
        pytest.param(transaction(Kind.RENEWAL, "introduction", **EXPIRED), FACTORY, None, id="an EC key, expired"),
        pytest.param(transaction(Kind.ENROLLMENT, "introduction"), FACTORY, None, id="the only way"),
        pytest.param(transaction(Kind.ENROLLMENT, "introduction"), BOTH, S, id="then the challenge"),
        pytest.param(transaction(Kind.ENROLLMENT, "introduction"), CHALLENGE, None, id="no longer configured"),
        pytest.param(transaction(Kind.ENROLLMENT, "challenge"), BOTH, None, id="the challenge is the last"),
        pytest.param(transaction(Kind.ENROLLMENT), CHALLENGE, None, id="begun by an earlier release"),
        pytest.param(transaction(Kind.ENROLLMENT, "person"), NEITHER, None, id="a person"),
        pytest.param(transaction(Kind.ENROLLMENT, source="old"), BOTH, None, id="a move"),
        pytest.param(transaction(Kind.ROLLOVER, **EXPIRED), BOTH, None, id="a rollover"),
    ],
)
def test_the_next_rung(it: Transaction, named: Named, expected: Rung | None) -> None:
    assert below(it, named, NOW) is expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(RejectedError("no", "", word), True, id=f"signed {word}")
        for word in ("badAlg", "badMessageCheck", "badRequest", "badCertId", "no reason given")
    ]
    + [
        pytest.param(CannotIntroduceError("an EC key"), True, id="a key that cannot introduce"),
        # The CA has not said anything about it yet.
        pytest.param(UnreachableError("no route"), False, id="network"),
        pytest.param(HttpError("HTTP 500", "", 500), False, id="HTTP 500, the first time"),
        pytest.param(TransientError("the clocks differ"), False, id="badTime: the same request is signed again"),
        # Trouble of our own, or with the answer: another way would not help.
        pytest.param(KeystoreError("the factory key is gone"), False, id="a file that is missing"),
        pytest.param(TokenLockedError("wrong PIN"), False, id="a token's PIN"),
        pytest.param(TrustError("another CA"), False, id="a CA that is not trusted"),
        pytest.param(UnfitError("no SAN"), False, id="a certificate that is not fit"),
    ],
)
def test_only_a_refusal_leads_down(error: CertagentError, *, expected: bool) -> None:
    assert isinstance(error, LEADS_DOWN) is expected


def authority(transport: str = "rsa") -> Authority:
    challenge = Secret(file="/etc/challenge") if transport == "password" else None
    pin = Fingerprint("sha256", bytes(32))
    return Authority(url="http://ca", fingerprint=pin, key_transport=transport, challenge=challenge)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "transport", "works"),
    [
        ("rsa:2048", "rsa", True),
        ("rsa:2048", "oaep", True),
        ("rsa:2048", "password", True),
        ("ec:p256", "rsa", False),
        ("ec:p256", "oaep", False),
        ("ec:p256", "password", True),
        ("ed25519", "rsa", False),
    ],
)
def test_which_keys_can_introduce(key: str, transport: str, *, works: bool) -> None:
    if works:
        check_introduction(key, authority(transport))
    else:
        with pytest.raises(CannotIntroduceError, match="cannot be encrypted to it"):
            check_introduction(key, authority(transport))


@pytest.mark.parametrize(
    ("key", "transport", "named", "expected"),
    [
        pytest.param("rsa:2048", "rsa", FACTORY, C, id="an RSA key renews itself"),
        pytest.param("ec:p256", "rsa", FACTORY, I, id="an EC key is introduced again, before it expires"),
        pytest.param("ml-dsa:65", "rsa", FACTORY, I, id="so is an ML-DSA key"),
        pytest.param("ec:p256", "rsa", BOTH, C, id="a challenge tells who asks"),
        pytest.param("ec:p256", "rsa", NEITHER, C, id="nobody can: somebody at the CA has to approve"),
        pytest.param("ec:p256", "password", BOTH, C, id="the challenge locks the envelopes"),
    ],
)
def test_what_authenticates_a_renewal(key: str, transport: str, named: Named, expected: Rung) -> None:
    assert renews_with(key, authority(transport), named) is expected
