"""Who reads challenge passwords: of all that a certificate may be for, two purposes make an RA."""

from __future__ import annotations

from functools import cache

import pytest
from cryptography import x509

from certagent import certificate as facts
from certagent.errors import TrustError
from certagent.trust import next_ca as following
from certagent.trust.rules import Believed, Pins, believe

from .pki import DAY, NOW, Party, party, rsa_key

# IANA, "SMI Security for PKIX Extended Key Purpose": 1.3.6.1.5.5.7.3.N; 28, id-kp-cmcRA, is an RA's.
PKIX = {
    1: "serverAuth",
    2: "clientAuth",
    3: "codeSigning",
    4: "emailProtection",
    5: "ipsecEndSystem",
    6: "ipsecTunnel",
    7: "ipsecUser",
    8: "timeStamping",
    9: "OCSPSigning",
    10: "dvcs",
    11: "sbgpCertAAServerAuth",
    12: "scvp-responder",
    13: "eapOverPPP",
    14: "eapOverLAN",
    15: "scvpServer",
    16: "scvpClient",
    17: "ipsecIKE",
    18: "capwapAC",
    19: "capwapWTP",
    20: "sipDomain",
    21: "secureShellClient",
    22: "secureShellServer",
    23: "sendRouter",
    24: "sendProxiedRouter",
    25: "sendOwner",
    26: "sendProxiedOwner",
    27: "cmcCA",
    29: "cmcArchive",
    30: "bgpsec-router",
    31: "BrandIndicatorforMessageIdentification",
    32: "cmKGA",
    33: "rpcTLSClient",
    34: "rpcTLSServer",
    35: "bundleSecurity",
    36: "documentSigning",
    37: "jwt",
    38: "httpContentEncrypt",
    39: "oauthAccessTokenSigning",
    40: "imUri",
    41: "configSigning",
    42: "trustAnchorConfigSigning",
    43: "updatePackageSigning",
    44: "safetyCommunication",
    45: "the next that IANA assigns",
}
MICROSOFT = {
    "20.2.2": "smart card logon",
    "10.3.1": "certificate trust list signing",
    "10.3.2": "time stamp signing",
    "10.3.3": "server gated crypto",
    "10.3.4": "encrypting file system",
    "10.3.4.1": "file recovery",
    "10.3.5": "Windows hardware driver verification",
    "10.3.8": "embedded Windows system component verification",
    "10.3.9": "root list signer",
    "10.3.10": "qualified subordination",
    "10.3.11": "key recovery",
    "10.3.12": "document signing",
    "10.3.13": "lifetime signing",
    "10.5.1": "digital rights",
    "10.6.1": "key pack licenses",
    "10.6.2": "license server verification",
    "21.5": "private key archival (CA exchange)",
    "21.6": "key recovery agent",
    "21.19": "directory service e-mail replication",
    "54.1.2": "remote desktop",
    "2.1.21": "individual code signing",
    "2.1.22": "commercial code signing",
}
OTHERS = {
    "2.5.29.37.0": "any purpose",
    "1.3.6.1.5.5.8.2.2": "IKE intermediate",
    "1.3.6.1.5.2.3.4": "Kerberos client (PKINIT)",
    "1.3.6.1.5.2.3.5": "Kerberos KDC",
    "2.16.840.1.113730.4.1": "Netscape server gated crypto",
    "2.16.840.1.113733.1.8.1": "VeriSign server gated crypto",
    "2.16.840.1.101.3.6.8": "PIV card authentication",
    "1.2.840.113583.1.1.5": "Adobe document signing",
    "2.23.133.8.1": "TPM endorsement key",
    "2.23.133.8.3": "TPM attestation key",
    "1.3.6.1.4.1.11129.2.4.4": "Certificate Transparency precertificate signing",
    "1.3.6.1.4.1.311.20.2": "Microsoft's certificate template, the stem of its request agent",
    "1.3.6.1.4.1.311.20.2.1.1": "below Microsoft's request agent",
    "1.3.6.1.5.5.7.3": "id-kp, the stem of all",
    "1.3.6.1.5.5.7.3.28.1": "below id-kp-cmcRA",
    "1.3.6.1.5.5.7.1.28": "id-pe of the same number",
    "1.3.6.1.4.1.55555.1": "somebody's own",
}
CMC_RA, REQUEST_AGENT = "1.3.6.1.5.5.7.3.28", "1.3.6.1.4.1.311.20.2.1"
PURPOSES: dict[str, tuple[str, ...]] = {
    "none at all": (),
    **{word: (f"1.3.6.1.5.5.7.3.{number}",) for number, word in PKIX.items()},
    **{f"Microsoft's {word}": (f"1.3.6.1.4.1.311.{rest}",) for rest, word in MICROSOFT.items()},
    **{word: (oid,) for oid, word in OTHERS.items()},
    "all of IANA's but an RA's": tuple(f"1.3.6.1.5.5.7.3.{number}" for number in PKIX),
    "many of Microsoft's": tuple(f"1.3.6.1.4.1.311.{rest}" for rest in MICROSOFT),
}
WHOLE = ("digital_signature", "key_encipherment")


@cache
def ca() -> Party:
    return party("root", with_key=rsa_key("root"), ca=True)


@cache
def honest() -> x509.Certificate:
    """The RA, older than whatever would take its place."""
    return holder((CMC_RA,), start=NOW - 9 * DAY)


def holder(oids: tuple[str, ...], **more: object) -> x509.Certificate:
    purposes = [x509.ObjectIdentifier(each) for each in oids]
    words = {"with_key": rsa_key("ra"), "usage": WHOLE, "purposes": purposes, "start": NOW - DAY, **more}
    return party("device7", ca(), **words).certificate  # type: ignore[arg-type]  # party's own words


def believed(*offered: x509.Certificate) -> Believed:
    return believe([ca().certificate, *offered], Pins((facts.fingerprint(ca().certificate),), ()), NOW)


@pytest.mark.parametrize("name", PURPOSES)
def test_it_is_no_ra(name: str) -> None:
    """Not alone, not beside the real one, which it would follow by its date, and not at a next CA."""
    impostor = holder(PURPOSES[name])
    with pytest.raises(TrustError, match=r"like that of any device of this CA") as caught:
        believed(impostor)
    assert f"add {facts.fingerprint(impostor)} to the authority's `fingerprint` list" in caught.value.hint
    for offered in ((impostor, honest()), (honest(), impostor)):
        found = believed(*offered)
        assert found.recipient == honest()
        assert found.signers == (ca().certificate, honest())
    other = believe([before()], Pins((facts.fingerprint(before()),), ()), NOW)
    offer = following.Offer((ca().certificate, impostor))
    with pytest.raises(TrustError, match=r"like that of any device of this CA"):
        following.find_next(offer, other, Pins((), (ca().certificate,)), (), NOW)


@cache
def before() -> x509.Certificate:
    """The CA that the one in question follows."""
    return party("before", with_key=rsa_key("before"), ca=True, start=NOW - 99 * DAY).certificate


@pytest.mark.parametrize("oid", [CMC_RA, REQUEST_AGENT])
@pytest.mark.parametrize("beside", ["none at all", "serverAuth", "any purpose", "all of IANA's but an RA's"])
def test_it_is_one(oid: str, beside: str) -> None:
    ra = holder((*PURPOSES[beside], oid))
    assert believed(ra).recipient == ra
    assert believed(ra).signers == (ca().certificate, ra)
