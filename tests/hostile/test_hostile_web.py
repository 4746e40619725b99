"""What the client refuses of GetCACert and of HTTP: name, what the CA or who stands before it does, the error."""

from __future__ import annotations

import pytest

from certagent.scep import degenerate
from tests.hostile import answers as web
from tests.hostile import replies as forged
from tests.hostile.case import ADDRESS, BROKEN, TRY_AGAIN, Case, assert_refused, case, soon
from tests.hostile.conftest import Enrolled
from tests.hostile.lab import (
    CA_CERTIFICATES,
    body,
    offering,
    raw,
    serving,
)

LOG = "check the CA's log"
NOT_PINNED = "the authority's CA is not the configured one"
AUTHORITIES = [
    case("another CA", offering(web.another_ca), "trust", NOT_PINNED, "nothing secret was sent"),
    case("another CA of the same name", offering(web.namesake_ca), "trust", NOT_PINNED, "nothing secret was sent"),
    case("a bundle of nothing", body(CA_CERTIFICATES, lambda _: degenerate([])), "transient", "holds no certificate"),
    case("no answer", body(CA_CERTIFICATES, lambda _: b""), "transient", "GetCACert is empty", ADDRESS),
    case("a web page", body(CA_CERTIFICATES, lambda _: b"\r\n<html>"), "transient", "is a web page", "ca_identifier"),
    case("text", body(CA_CERTIFICATES, lambda _: b"no such CA"), "transient", "is not SCEP: no such", "ca_identifier"),
    case("an HTTP error", web.http(404, b"no such CA", CA_CERTIFICATES), "http", "HTTP 404: no such CA"),
    case("cut short", web.truncated(CA_CERTIFICATES), "transient", "GetCACert was cut off", TRY_AGAIN),
    case("bytes after the certificate", body(CA_CERTIFICATES, lambda der: der + b"\0\0"), "trust", "2 bytes of extra"),
    case("more in the certificate", body(CA_CERTIFICATES, forged.grown), "trust", "is malformed", BROKEN),
    case("a broken name", serving(CA_CERTIFICATES, web.broken_ca), "trust", "malformed", BROKEN),
    case("an empty SEQUENCE", body(CA_CERTIFICATES, lambda _: b"\x30\x00"), "trust", "malformed", BROKEN),
    case("an RA of another CA", offering(web.ra_of_another_ca), "trust", "RA certificate CN=RA"),
    case("an RA of a CA of the same name", offering(web.ra_of_a_namesake), "trust", "not issued by the pinned CA"),
    case(
        "a sibling as the RA",
        offering(web.sibling_as_ra),
        "trust",
        "purposes other than an RA's",
        "if it is the RA's, add",
    ),
    case("an RA that has expired", offering(web.expired_ra), "trust", "RA certificate CN=RA expired at", "clock"),
    case(
        "an RA that is valid tomorrow",
        offering(web.ra_of_tomorrow),
        "trust",
        "RA certificate CN=RA is not valid before",
    ),
    case("an RA signed over SHA-1", offering(web.weak_ra), "trust", "CN=RA is signed with sha1", "add `sha1`"),
    case(
        "a CA that has expired",
        web.only(web.expired_ca),
        "trust",
        "the CA certificate CN=old CA expired at",
        "clock",
        authority=web.pinned(web.expired_ca),
    ),
    case(
        "a CA that is valid tomorrow",
        web.only(web.ca_of_tomorrow),
        "trust",
        "the CA certificate CN=new CA is not valid before",
        authority=web.pinned(web.ca_of_tomorrow),
    ),
    case(
        "two CAs, both pinned",
        web.only(web.honest_ca, web.stranger_ca),
        "trust",
        "offers 2 CA certificates that could be the issuer",
        "name only the one that issues",
        authority=web.pinned(web.honest_ca, web.stranger_ca),
    ),
    case(
        "a pinned certificate that is no CA",
        web.only(web.leaf_as_ca),
        "trust",
        "is not a CA certificate",
        authority=web.pinned(web.leaf_as_ca),
    ),
    case("a device that issues RAs", offering(web.intermediate_without_ca), "trust", NOT_PINNED),
    case("3000 CAs", web.thousands(3000), "trust", "is malformed", BROKEN),
    case("an endless answer", raw(web.endless, CA_CERTIFICATES), "transient", "more than 2048 KiB", ADDRESS),
]

GARBLED_HTTP = "does not speak proper HTTP"
HTTP = [
    case("HTTP 500 with words", web.http(500, b"out of order\nstack trace"), "http", "HTTP 500: out of order"),
    case("HTTP 500 with a web page", web.http(500, b"<html>oops"), "http", "answered HTTP 500"),
    case("HTTP 401", web.http(401, b"\x1b[31mlog in"), "rejected", "HTTP 401: [31mlog in"),
    case("HTTP 204", web.wire(lambda _: web.head("204 No Content")), "http", "HTTP 204"),
    case("a web page with 200", web.http(200, b"<html>It works!"), "transient", "is a web page: It works!", LOG),
    case("an empty body with 200", web.http(200, b""), "transient", "is empty", LOG),
    case("a reply cut short", web.truncated(), "transient", "was cut off", TRY_AGAIN),
    case("redirect to another host", web.redirect("http://evil.example.net/scep"), "transient", "http://evil.example"),
    case("redirect to a file", web.redirect("file:///etc/shadow"), "transient", "redirects to another place: file"),
    case("redirect in circles", web.redirect("/scep?operation=PKIOperation"), "transient", "redirects in circles"),
    case("redirect to an address that is none", web.redirect("http://["), "transient", GARBLED_HTTP),
    case("10 MB", body("PKIOperation", lambda _: b"\x30" * (10 << 20)), "transient", "more than 2048 KiB", ADDRESS),
    case("no end", raw(web.endless), "transient", "more than 2048 KiB", ADDRESS),
    case("a gzip bomb", web.wire(web.bomb), "transient", "its answer with gzip"),
    case(
        "gzip that is none",
        web.wire(lambda honest: web.head("200 OK", Content_Encoding="gzip", Content_Length=len(honest)) + honest),
        "transient",
        "its answer with gzip",
    ),
    case(
        "Content-Length too large",
        web.wire(lambda honest: web.head("200 OK", Content_Length=len(honest) + 9) + honest),
        "transient",
        "cut its answer off",
        TRY_AGAIN,
    ),
    case(
        "Content-Length too small",
        web.wire(lambda honest: web.head("200 OK", Content_Length=len(honest) - 9) + honest),
        "transient",
        "was cut off",
        TRY_AGAIN,
    ),
    case("chunks that are none", web.wire(lambda _: web.chunked(b"zz\r\nhello")), "transient", "cut its answer off"),
    case(
        "a chunk cut short", web.wire(lambda honest: web.chunked(b"ffff\r\n" + honest)), "transient", "cut its answer"
    ),
    case("a chunk of negative size", web.wire(lambda _: web.chunked(b"-5\r\nhello")), "transient", ""),
    case("connection reset in the middle", raw(web.reset), "transient", "cut its answer off", TRY_AGAIN),
    case("the end before anything", web.wire(lambda _: b""), "transient", "cannot be reached"),
    case("another protocol", web.wire(lambda _: b"SSH-2.0-OpenSSH_9.2\r\n"), "transient", ""),
    case("an endless line", web.wire(lambda _: b"HTTP/1.1 200 " + b"x" * 200_000), "transient", ""),
    case("headers without end", web.wire(lambda _: b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 9999), "transient", ""),
    case("a slow drip", raw(web.drip), "transient", "did not answer within 1 seconds", authority=soon),
    case("silence", raw(web.silence), "transient", "did not answer within 1 seconds", authority=soon),
]


@pytest.mark.parametrize("wanted", [*AUTHORITIES, *HTTP])
def test_refused(enrolled: Enrolled, wanted: Case) -> None:
    assert_refused(enrolled, wanted)
