"""Which CRLs are taken: whole ones, and none that is older than the one we have."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from certagent.errors import TrustError
from certagent.trust import crl

NOW = datetime(2030, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
KEY = ec.generate_private_key(ec.SECP256R1())


def point(**said: bool | frozenset[x509.ReasonFlags] | list[x509.GeneralName]) -> x509.IssuingDistributionPoint:
    defaults: dict[str, object] = dict.fromkeys(
        (
            *("only_contains_user_certs", "only_contains_ca_certs", "indirect_crl"),
            "only_contains_attribute_certs",
        ),
        False,
    )
    every = {"full_name": None, "relative_name": None, "only_some_reasons": None, **defaults, **said}
    return x509.IssuingDistributionPoint(**every)  # type: ignore[arg-type]


def revocations(
    *extensions: tuple[x509.ExtensionType, bool],
    number: int | None = 7,
    begins: datetime = NOW,
    lifetime: timedelta = 24 * HOUR,
    serials: tuple[int, ...] = (),
) -> x509.CertificateRevocationList:
    builder = x509.CertificateRevocationListBuilder().issuer_name(x509.Name.from_rfc4514_string("CN=CA"))
    builder = builder.last_update(begins).next_update(begins + lifetime)
    if number is not None:
        builder = builder.add_extension(x509.CRLNumber(number), critical=False)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    for serial in serials:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(begins)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(KEY, hashes.SHA256())


STRANGE = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
FRESHEST = x509.FreshestCRL([x509.DistributionPoint([x509.DNSName("x")], None, None, None)])
URI = x509.UniformResourceIdentifier("http://x/crl")


@pytest.mark.parametrize(
    ("extension", "critical", "why"),
    [
        pytest.param(STRANGE, False, None, id="something unknown"),
        pytest.param(STRANGE, True, "unknown critical extension, 1.2.3.4", id="unknown and critical"),
        pytest.param(FRESHEST, False, None, id="it has deltas besides"),
        pytest.param(x509.DeltaCRLIndicator(1), True, "is a delta", id="a delta"),
        pytest.param(point(indirect_crl=True), True, "indirect", id="of other CAs too"),
        pytest.param(
            point(only_some_reasons=frozenset({x509.ReasonFlags.key_compromise})), True, "reasons", id="some reasons"
        ),
        pytest.param(point(only_contains_attribute_certs=True), True, "attribute", id="attribute certificates"),
        pytest.param(point(only_contains_user_certs=True), True, None, id="its users'"),
        pytest.param(point(only_contains_ca_certs=True), True, None, id="its CAs'"),
        pytest.param(point(full_name=[URI]), True, None, id="of one distribution point"),
    ],
)
def test_what_kind_of_list_is_taken(extension: x509.ExtensionType, critical: bool, why: str | None) -> None:
    found = revocations((extension, critical))
    if why is None:
        crl.check_whole(found)
    else:
        with pytest.raises(TrustError, match=why):
            crl.check_whole(found)


@pytest.mark.parametrize(
    ("kept", "found", "taken"),
    [
        pytest.param((7, 0), (8, 1), True, id="the next one"),
        pytest.param((7, 0), (7, 0), False, id="the same one"),
        pytest.param((7, 0), (7, 1), True, id="the same number, later"),
        pytest.param((7, 0), (8, 0), True, id="in the same second"),
        pytest.param((7, 0), (6, 1), None, id="a lower number, though later"),
        pytest.param((7, 0), (8, -1), None, id="a higher number, though earlier"),
        pytest.param((7, 0), (None, 1), True, id="a number no more"),
        pytest.param((None, 0), (1, 1), True, id="a number from now on"),
        pytest.param((None, 0), (None, -1), None, id="without numbers, earlier"),
        pytest.param((None, 0), (None, 1), True, id="without numbers, later"),
        pytest.param((2**64, 0), (2**64 - 1, 1), None, id="large numbers count as numbers"),
    ],
)
def test_neither_number_nor_time_goes_back(
    kept: tuple[int | None, int], found: tuple[int | None, int], taken: bool | None
) -> None:
    in_hand, new = (revocations(number=number, begins=NOW + at * HOUR) for number, at in (kept, found))
    if taken is None:
        with pytest.raises(TrustError, match="older than the one we have"):
            crl.follows(new, in_hand)
    else:
        assert crl.follows(new, in_hand) is taken


def test_an_issue_that_is_good_for_longer_is_another() -> None:
    assert crl.follows(revocations(lifetime=48 * HOUR), revocations())


def test_our_own_among_the_revoked() -> None:
    found = revocations(serials=(3, 5, 9))
    assert crl.revoked_among(found, [5, 7]) == {5: NOW}
    assert crl.revoked_among(found, []) == {}


def test_all_lists_of_a_file_are_read() -> None:
    one, two = revocations(number=1), revocations(number=2)
    together = one.public_bytes(Encoding.PEM) + b"-----BEGIN X509 CRL-----\nrubbish\n" + two.public_bytes(Encoding.PEM)
    assert [crl.number(each) for each in crl.read_all(together)] == [1, 2]
    assert [crl.number(each) for each in crl.read_all(one.public_bytes(Encoding.DER))] == [1]
    assert crl.read_all(b"no list") == []


@pytest.mark.parametrize("oid", ["2.5.29.20", "2.5.29.27", "2.5.29.28"], ids=["number", "delta", "distribution point"])
@pytest.mark.parametrize("content", [b"", b"\xff", b"\x04\x01a"], ids=["empty", "cut", "another type"])
def test_a_list_whose_extension_cannot_be_read_is_refused_in_words(oid: str, content: bytes) -> None:
    broken = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), content)
    with pytest.raises(TrustError, match="a part of the CRL cannot be read"):
        crl.check_whole(revocations((broken, False), number=None))
