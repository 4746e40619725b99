"""What the client refuses: name, what the CA (or who stands in its place) does, the error. The table is the
specification; every case goes the whole way, from a renewal that is due to the outcome a person reads.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from asn1crypto import core
from cryptography import x509

from certagent.certificate import to_der
from certagent.lab import Settings
from certagent.scep import Algorithms, FailInfo, PkiStatus, degenerate
from certagent.scep.message import FAIL_INFO, FAIL_INFO_TEXT, MESSAGE_TYPE, PKI_STATUS, RECIPIENT_NONCE, TRANSACTION_ID
from certagent.scep.signed import CONTENT_TYPE, MESSAGE_DIGEST
from tests.hostile import answers as web
from tests.hostile import certificates as made
from tests.hostile import replies as forged
from tests.hostile.case import (
    FORGED,
    MIXED_UP,
    NEVER,
    STRANGER,
    TEXT,
    UTF8,
    Case,
    accepting,
    assert_refused,
    case,
    reply,
)
from tests.hostile.conftest import Enrolled
from tests.hostile.lab import (
    CAPABILITIES,
    Fault,
    Forge,
    Forger,
    Hostile,
    replying,
)
from tests.renewal.site import DAY

TRANSACTIONS = [
    reply("nonce of nobody", forged.nonce(lambda _: bytes(16)), "does not repeat the request's nonce", MIXED_UP),
    reply("half the nonce", forged.nonce(lambda ours: ours[:8]), "does not repeat the request's nonce", MIXED_UP),
    reply("nonce and a byte", forged.nonce(lambda ours: ours + b"\0"), "does not repeat the request's nonce", MIXED_UP),
    reply("nonce backwards", forged.nonce(lambda ours: ours[::-1]), "does not repeat the request's nonce", MIXED_UP),
    reply("empty nonce", forged.nonce(lambda _: b""), "does not repeat the request's nonce", MIXED_UP),
    reply("no nonce", forged.nonce(lambda _: None), "does not repeat the request's nonce", MIXED_UP),
    reply("nonce echoed as the sender's", forged.nonce_echoed_as_senders, "does not repeat the request's nonce"),
    reply("nonce twice", forged.extra(RECIPIENT_NONCE, core.OctetString(bytes(16))), "more than one value"),
    reply("another transaction", forged.transaction(lambda _: "0" * 64), "belongs to another transaction", MIXED_UP),
    reply("first half of the transaction ID", forged.transaction(lambda ours: ours[:32]), "to another transaction"),
    reply("transaction ID and more", forged.transaction(lambda ours: ours + "0"), "to another transaction"),
    reply("transaction ID and a space", forged.transaction(lambda ours: ours + " "), "to another transaction"),
    reply("transaction ID in upper case", forged.transaction(str.upper), "to another transaction"),
    reply("empty transaction ID", forged.transaction(lambda _: ""), "to another transaction"),
    reply("no transaction ID", forged.attributes({TRANSACTION_ID: None}), "to another transaction", MIXED_UP),
    reply("transaction ID twice", forged.twice(TRANSACTION_ID), "more than one value", FORGED),
    reply("transaction ID, and another", forged.extra(TRANSACTION_ID, TEXT("0")), "more than one value", FORGED),
    reply("transaction ID of two values", forged.two_values, "more than one value", FORGED),
    reply("a reply of before", forged.replayed, "to another transaction", MIXED_UP, renewed_before=True),
    reply(
        "a reply of before, the key kept",
        forged.replayed,
        "to another transaction",
        MIXED_UP,
        renewed_before=True,
        keystore="rekey: never",
    ),
    reply(
        "message type of a request", forged.attributes({MESSAGE_TYPE: TEXT("19")}), "is not a reply: message type 19"
    ),
    reply(
        "message type of a renewal", forged.attributes({MESSAGE_TYPE: TEXT("17")}), "is not a reply: message type 17"
    ),
    reply("no message type", forged.attributes({MESSAGE_TYPE: None}), "is not a reply"),
    reply("message type twice", forged.twice(MESSAGE_TYPE), "more than one value"),
    reply("message type in other digits", forged.attributes({MESSAGE_TYPE: UTF8("٣")}), "is not a reply"),
    reply("status twice", forged.extra(PKI_STATUS, TEXT("2")), "more than one value"),
    reply("unknown status", forged.attributes({PKI_STATUS: TEXT("1")}), "an unknown status"),
    reply("no status", forged.attributes({PKI_STATUS: None}), "an unknown status"),
]

SIGNATURES = [
    reply("a stranger, its certificate sent", forged.by(forged.stranger), "is signed by an unknown party", STRANGER),
    reply("a sibling, a device of this CA", forged.by(forged.sibling), "is signed by an unknown party", STRANGER),
    reply("another CA of the same name", forged.by(forged.namesake), "is signed by an unknown party", STRANGER),
    reply("a stranger as the CA", forged.by(forged.double), "the signature of the CA's reply is wrong", FORGED),
    reply("a stranger under the CA's key identifier", forged.by_key_identifier, "is wrong", FORGED),
    reply("the RA's encryption certificate", forged.by(forged.encryption_ra), "by an unknown party", STRANGER, ra=True),
    reply(
        "an RA that is not offered",
        forged.by(forged.unoffered_ra_signs),
        "signed by an unknown party",
        STRANGER,
        ra=True,
    ),
    case("an RA that has expired", forged.expired_ra_signs, "trust", "signed by an unknown party", STRANGER, ra=True),
    reply("no SignerInfo", forged.edited(forged.unsigned), "has 0 signatures instead of one", FORGED),
    reply("SignerInfo twice", forged.edited(forged.twice_signed), "has 2 signatures instead of one", FORGED),
    reply("SignerInfo of a stranger as well", forged.and_a_stranger, "has 2 signatures instead of one", FORGED),
    reply("signature of zeros", forged.edited(forged.signature_of_zeros), "signature of the CA's reply is wrong"),
    reply("empty signature", forged.edited(forged.signature_missing), "signature of the CA's reply is wrong"),
    reply("unknown signature", forged.edited(forged.unknown_signature), "signature of the CA's reply is wrong"),
    reply("unknown digest", forged.edited(forged.unknown_digest), "the unknown digest md2"),
    reply(
        "no attributes, signed so",
        forged.no_attributes,
        "does not sign its attributes, and so not its transaction",
        FORGED,
    ),
    reply("attributes stripped", forged.edited(forged.stripped), "does not sign its attributes", FORGED),
    reply(
        "attributes where nobody signs", forged.edited(forged.attributes_moved), "does not sign its attributes", FORGED
    ),
    reply("attribute rewritten", forged.edited(forged.transaction_rewritten), "signature of the CA's reply is wrong"),
    reply("content replaced", forged.edited(forged.content_replaced), "changed after it was signed (message digest)"),
    reply("content removed", forged.edited(forged.content_removed), "changed after it was signed (message digest)"),
    reply("wrong message digest", forged.attributes(forged.WRONG_DIGEST), "changed after it was signed"),
    reply("no message digest", forged.without(MESSAGE_DIGEST), "changed after it was signed"),
    reply("content type twice", forged.twice(CONTENT_TYPE), "more than one value"),
    reply("another content type", forged.attributes(forged.CONTENT_TYPE_OF_SIGNED_DATA), "not plain data"),
    reply(
        "FAILURE made SUCCESS",
        forged.edited(forged.refusal_to_success, PkiStatus.FAILURE),
        "signature of the CA's reply is wrong",
        FORGED,
    ),
    case("the request itself, come back", web.echo, "trust", "is signed by an unknown party", STRANGER),
]

UNDECIPHERED = "the CA's envelope cannot be decrypted"
ENVELOPES = [
    reply("enveloped to another device", forged.for_the_sibling, "the CA's envelope is encrypted to somebody else"),
    reply("another's key under our name", forged.under_our_name, UNDECIPHERED),
    reply("two recipients", forged.enveloping(forged.two_recipients), "not encrypted to exactly one RSA key"),
    reply("no recipient", forged.enveloping(forged.no_recipient), "not encrypted to exactly one RSA key"),
    reply("wrong padding", forged.enveloping(forged.wrong_padding), UNDECIPHERED),
    reply("ciphertext garbled", forged.enveloping(forged.garbled), "content of the CA's envelope is malformed"),
    reply("half a block", forged.enveloping(forged.half_a_block), UNDECIPHERED),
    reply("no ciphertext", forged.enveloping(forged.no_ciphertext), UNDECIPHERED),
    reply("key garbled", forged.enveloping(forged.garbled_key), UNDECIPHERED),
    reply("key too short", forged.enveloping(forged.short_key), UNDECIPHERED),
    reply("key of another cipher", forged.enveloping(forged.key_of_another_cipher), UNDECIPHERED),
    reply("vector too short", forged.enveloping(forged.short_vector), UNDECIPHERED),
    reply("unknown cipher", forged.enveloping(forged.unknown_cipher), "the unknown cipher"),
    reply("unknown key transport", forged.enveloping(forged.unknown_transport), "an unknown key transport"),
    reply("not encrypted", lambda f: f.signed(content=degenerate([f.issued])), "CMS signed_data, not enveloped_data"),
    reply("SUCCESS with nothing", lambda f: f.signed(content=None), "says SUCCESS but is empty"),
    reply("SUCCESS with a byte", lambda f: f.signed(content=b"\0"), "the CA's envelope is malformed"),
    reply("nothing inside", forged.enclosing(lambda _: b""), "content of the CA's envelope is malformed"),
    reply("text inside", forged.enclosing(lambda _: b"certificate"), "content of the CA's envelope is malformed"),
    reply("a bare certificate inside", forged.enclosing(lambda f: to_der(f.issued)), "is malformed"),
    reply("another envelope inside", forged.enclosing(Forger.envelope), "CMS enveloped_data, not signed_data"),
    reply("signed inside", forged.enclosing(lambda f: f.signed(content=b"x")), "is signed twice"),
    reply("no certificate inside", forged.enclosing(lambda _: degenerate([])), "SUCCESS but holds no certificate"),
    reply("a broken certificate inside", forged.enclosing(forged.broken_certificate), "is malformed"),
]

TRAILING = [
    reply("a byte after the reply", lambda f: f.reply() + b"\n", "has 1 bytes of extra data"),
    reply("two replies", lambda f: f.reply() * 2, "after its end"),
    reply("more in the ContentInfo", forged.more_in(), "is malformed"),
    reply("more in the SignedData", forged.more_in(1, 0), "is malformed"),
    reply("more in the SignerInfo", forged.more_in(1, 0, -1, 0), "is malformed"),
    reply("more in a signed attribute", forged.more_in(1, 0, -1, 0, 3, 0), "is wrong"),
    reply("more after the envelope", lambda f: f.signed(content=f.envelope() + b"\0"), "envelope is malformed"),
    reply("more in the EnvelopedData", lambda f: f.signed(content=forged.grown(f.envelope(), 1, 0)), "is malformed"),
    reply(
        "more after the certificates",
        forged.enclosing(lambda f: degenerate([f.issued]) + b"\0"),
        "content of the CA's envelope is malformed",
    ),
    reply(
        "more in the certificates' SignedData",
        forged.enclosing(lambda f: forged.grown(degenerate([f.issued]), 1, 0)),
        "content of the CA's envelope is malformed",
    ),
    reply(
        "more in the certificate",
        forged.enclosing(lambda f: forged.grown(degenerate([f.issued]), 1, 0, 3, 0)),
        "is malformed",
    ),
]

CERTIFICATES = [
    case("for another key", made.sending(made.for_another_key), "unfit", "no certificate for our key", NEVER),
    case("for almost our key", made.sending(made.for_almost_our_key), "unfit", "no certificate for our key", NEVER),
    case("two for our key", made.sending(made.two_for_our_key), "unfit", "2 certificates for our key", NEVER),
    case("a hundred of others", made.sending(made.a_hundred_of_others), "unfit", "no certificate for our key", NEVER),
    case("the old one again", made.sending(made.the_old_one), "unfit", "no certificate for our key", NEVER),
    case(
        "the old one again, the key kept",
        made.sending(made.the_old_one),
        "unfit",
        "sent the current certificate again",
        keystore="rekey: never",
    ),
    case("issued by another CA", made.from_(forged.stranger), "unfit", "not issued by the pinned CA", NEVER),
    case("issued by a CA of the same name", made.from_(forged.namesake), "unfit", "not issued by the pinned CA"),
    case("issued by another, not sent", made.unsent(forged.namesake), "unfit", "not issued by the pinned CA"),
    case("signed by another in the CA's name", made.sending(made.signed_by_another), "unfit", "not issued by"),
    case("issued by a sibling", made.from_(forged.sibling), "unfit", "not issued by the pinned CA", NEVER),
    case("issued by a stranger's intermediate", made.from_(made.intermediate_of_a_stranger), "unfit", "not issued by"),
    case("issued by an expired intermediate", made.from_(made.expired_intermediate), "unfit", "expired at"),
    case(
        "issued by one CA too many",
        made.from_(made.intermediate("key_cert_sign")),
        "unfit",
        "production does not allow",
    ),
    case("issued by a CA that may not", made.from_(made.intermediate("crl_sign")), "unfit", "intermediate does not"),
    case("issued by nobody", made.sending(made.self_signed), "unfit", "not issued by the pinned CA"),
    case("another name", made.leaf(name="CN=other.example.net,O=Example"), "unfit", "but 'CN=web.example.net,O=Exa"),
    case("a name more", made.leaf(name="CN=web.example.net,OU=x,O=Example"), "unfit", "was requested"),
    case("name in upper case", made.leaf(name="CN=WEB.EXAMPLE.NET,O=Example"), "unfit", "was requested"),
    case("no name", made.leaf(name=""), "unfit", "issued '(no subject)'"),
    case(
        "a DNS name more",
        made.leaf(san=[*made.SAN, x509.DNSName("mail.example.net")]),
        "unfit",
        "names that were not requested: dns:mail.example.net",
        NEVER,
    ),
    case("a wildcard", made.leaf(san=[x509.DNSName("*.example.net")]), "unfit", "not requested: dns:*.example.net"),
    case("an address", made.leaf(san=[*made.SAN, made.address("192.0.2.1")]), "unfit", "not requested: ip:192.0.2.1"),
    case("an e-mail", made.leaf(san=[x509.RFC822Name("root@example.net")]), "unfit", "not requested: email:root@ex"),
    case("CA:TRUE", made.leaf(ca=True), "unfit", "the CA issued a CA certificate", NEVER),
    case("valid tomorrow", made.living(DAY, 9 * DAY), "unfit", "is not valid before 2026-12-02 12:00:00 UTC", "clock"),
    case("expired", made.living(-9 * DAY, -DAY), "unfit", "expired at 2026-11-30 12:00:00 UTC", "clock"),
    case("expired this second", made.living(-9 * DAY, timedelta(0)), "unfit", "expired at 2026-12-01 12:00:00 UTC"),
    case("signed over SHA-1", made.weakly_signed("sha1"), "unfit", "is signed with sha1", "add `sha1` to"),
    case("signed over MD5", made.weakly_signed("md5"), "unfit", "is signed with md5", "add `md5` to"),
    case(
        "signed over MD5 where SHA-1 is accepted",
        made.weakly_signed("md5"),
        "unfit",
        "is signed with md5",
        authority=accepting("sha1"),
    ),
]


def refusal(**changes: object) -> Fault:
    return forged.status(PkiStatus.FAILURE, **changes)


def refusal_of(changes: dict[str, core.Asn1Value | None]) -> Fault:
    return replying(lambda forger: forger.signed(changes, content=None, status=PkiStatus.FAILURE))


NO_TEXT = core.IA5String.load(b"\x16\x02\xff\xfe")
REFUSALS = [
    reply(
        "PENDING by a stranger",
        lambda f: f.reply(PkiStatus.PENDING, signer=forged.stranger(f)),
        "by an unknown party",
    ),
    reply("PENDING nobody signed", forged.edited(forged.unsigned, PkiStatus.PENDING), "0 signatures"),
    reply("PENDING with another nonce", lambda f: f.reply(PkiStatus.PENDING, recipient_nonce=bytes(16)), "nonce"),
    reply("PENDING of another transaction", lambda f: f.reply(PkiStatus.PENDING, transaction_id="0"), "another trans"),
    reply(
        "FAILURE by an unknown party",
        lambda f: f.reply(PkiStatus.FAILURE, signer=forged.stranger(f)),
        "by an unknown party",
    ),
    reply("FAILURE nobody signed", forged.edited(forged.unsigned, PkiStatus.FAILURE), "0 signatures"),
    reply("FAILURE with another nonce", lambda f: f.reply(PkiStatus.FAILURE, recipient_nonce=bytes(16)), "nonce"),
    reply("FAILURE of another transaction", lambda f: f.reply(PkiStatus.FAILURE, transaction_id="0"), "another trans"),
    case("FAILURE", refusal(fail_info=FailInfo.BAD_ALG), "rejected", "the CA refused the request: badAlg", "algorithm"),
    case("FAILURE for its time", refusal(fail_info=FailInfo.BAD_TIME), "transient", "request: badTime", "clock says"),
    case("FAILURE without a reason", refusal(), "rejected", "no reason given", "ask the CA's operator"),
    case("FAILURE for a reason of Dogtag's", refusal_of({FAIL_INFO: TEXT("9")}), "rejected", "(failInfo 9)"),
    case("FAILURE for a reason that is no number", refusal_of({FAIL_INFO: TEXT("none")}), "rejected", "no reason"),
    case("FAILURE for a reason of many digits", refusal_of({FAIL_INFO: TEXT("9" * 9999)}), "rejected", "no reason"),
    case(
        "words with escape sequences",
        refusal_of({FAIL_INFO: TEXT("2"), FAIL_INFO_TEXT: UTF8("\x1b[2J\x1b]0;x\x07no\rsuch\u202e user\0\x9b1m")}),
        "rejected",
        "badRequest ([2J ]0;x no",
    ),
    case(
        "words of many lines",
        refusal_of({FAIL_INFO_TEXT: UTF8("\n\n  denied \nroot: all is well\n")}),
        "rejected",
        "no reason given (denied)",
    ),
    case(
        "words without end",
        refusal_of({FAIL_INFO_TEXT: UTF8("so " * 200_000)}),
        "rejected",
        "…)",
    ),
    case(
        "words of no character set",
        refusal_of({FAIL_INFO_TEXT: core.IA5String.load(b"\x16\x02\xff\xfe")}),
        "rejected",
        "no reason",
    ),
    reply(
        "FAILURE's words with SUCCESS",
        lambda f: f.signed({FAIL_INFO: TEXT("2"), FAIL_INFO_TEXT: UTF8("no")}, content=None),
        "says SUCCESS but is empty",
    ),
    case(
        "FAILURE with a certificate all the same",
        replying(lambda f: f.signed(content=f.envelope(), status=PkiStatus.FAILURE)),
        "rejected",
        "no reason given",
    ),
]


def weak(cipher: str, digest: str) -> Forge:
    return lambda forger: forger.reply(algorithms=Algorithms(cipher, digest))


def weak_ca(*words: str) -> Fault:
    def fault(ca: Hostile) -> None:
        ca.words = words

    return fault


OLD = Settings(lifetime=90 * DAY, accept=frozenset({"sha1", "3des"}))
WEAK = [
    reply("MD5", weak("aes128-cbc", "md5"), "protects its reply with md5", "add md5 to the authority's `accept`"),
    reply("SHA-1", weak("aes128-cbc", "sha1"), "protects its reply with sha1", "add sha1 to the authority's `accept`"),
    reply("3DES", weak("3des", "sha256"), "protects its reply with 3des", "add 3des to the authority's `accept`"),
    reply("DES", weak("des", "sha256"), "protects its reply with des", "add des to the authority's `accept`"),
    reply("DES and SHA-1", weak("des", "sha1"), "with des and sha1", "add des and sha1 to the authority's `accept`"),
    reply("DES where 3DES is accepted", weak("des", "sha256"), "with des", "add des to", authority=accepting("3des")),
    reply("FAILURE over SHA-1", lambda f: f.reply(PkiStatus.FAILURE, algorithms=Algorithms("3des", "sha1")), "sha1"),
    reply("PENDING over MD5", lambda f: f.reply(PkiStatus.PENDING, algorithms=Algorithms("3des", "md5")), "with md5"),
    case("nothing but 3DES and SHA-1 known", weak_ca("DES3", "SHA-1"), "trust", "3des and sha1", settings=OLD),
    case("no capabilities", weak_ca(), "trust", "3des and sha1", "add 3des and sha1 to", settings=OLD),
    case(
        "SHA-256 and SHA-512 taken out of the capabilities",
        weak_ca("AES", "POSTPKIOperation", "Renewal", "SHA-1"),
        "trust",
        "authority lab no longer offers",
        "somebody may be trying to weaken the exchange",
        renewed_before=True,
    ),
    case(
        "AES taken out of the capabilities",
        weak_ca("DES3", "POSTPKIOperation", "Renewal", "SHA-256"),
        "trust",
        "authority lab no longer offers AES",
        renewed_before=True,
    ),
    case(
        "capabilities turned into a web page",
        web.http(200, b"<html>", CAPABILITIES),
        "trust",
        "no longer offers",
        renewed_before=True,
    ),
    case(
        "capabilities taken away",
        web.http(200, b"DES3", CAPABILITIES),
        "trust",
        "no longer offers",
        renewed_before=True,
    ),
]


@pytest.mark.parametrize("wanted", [*TRANSACTIONS, *SIGNATURES, *ENVELOPES, *TRAILING, *CERTIFICATES, *REFUSALS, *WEAK])
def test_refused(enrolled: Enrolled, wanted: Case) -> None:
    assert_refused(enrolled, wanted)
