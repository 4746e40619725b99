"""GetCACert: one certificate or a bundle, whatever the Content-Type said."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from asn1crypto import pem
from cryptography.hazmat.primitives.serialization import pkcs7

from certagent.certificate import to_der, to_pem
from certagent.errors import CertagentError, TransientError, TrustError
from certagent.scep import degenerate, read_ca_certificates
from certagent.scep.asn1 import tlv

from .parts import World, indefinite, parts


def _streamed(world: World) -> bytes:
    """A bundle in BER of indefinite length, as Java servers send it."""
    oid, explicit = parts(degenerate([world.ca.certificate, world.ra.certificate]))
    (body,) = parts(explicit)
    return indefinite(b"\x30", oid, indefinite(explicit, indefinite(body, *parts(body))))


@pytest.mark.parametrize(
    ("make", "count"),
    [
        pytest.param(lambda w: to_der(w.ca.certificate), 1, id="one certificate"),
        pytest.param(lambda w: degenerate([w.ca.certificate, w.ra.certificate]), 2, id="CA and RA"),
        pytest.param(lambda w: degenerate([w.ca.certificate]), 1, id="a bundle of one"),
        pytest.param(_streamed, 2, id="BER"),
        pytest.param(lambda w: to_pem([w.ca.certificate, w.ra.certificate]), 2, id="PEM certificates"),
        pytest.param(lambda w: pem.armor("PKCS7", degenerate([w.ca.certificate])), 1, id="PEM PKCS#7"),
        pytest.param(lambda w: w.reply(), 1, id="signed, though it need not be"),
        pytest.param(lambda w: to_der(w.ca.certificate) + b"\r\n", 1, id="a certificate and the end of a line"),
        pytest.param(lambda w: degenerate([w.ca.certificate]) + b"\n", 1, id="a bundle and the end of a line"),
        pytest.param(lambda w: to_der(w.ca.certificate) + to_der(w.ra.certificate), 2, id="two in a row"),
        pytest.param(lambda w: b"\n".join(map(to_der, [w.ca.certificate, w.ra.certificate])), 2, id="in two lines"),
        pytest.param(
            lambda w: degenerate([w.ca.certificate]) + degenerate([w.ra.certificate]), 2, id="two bundles in a row"
        ),
        pytest.param(lambda w: base64.b64encode(to_der(w.ca.certificate)), 1, id="bare base64"),
        pytest.param(lambda w: base64.encodebytes(degenerate([w.ca.certificate])), 1, id="bare base64 in lines"),
        pytest.param(
            lambda w: base64.b64encode(to_der(w.ca.certificate) + to_der(w.ra.certificate)) + b"\r\n",
            2,
            id="bare base64 of two",
        ),
        pytest.param(
            lambda w: b"subject=CN = Test CA\n" + to_pem([w.ca.certificate]), 1, id="PEM below what openssl says of it"
        ),
    ],
)
def test_read(world: World, make: Callable[[World], bytes], count: int) -> None:
    found = read_ca_certificates(make(world))
    assert len(found) == count
    assert found[0] == world.ca.certificate


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        pytest.param(lambda _: b"", TransientError, "is empty", id="nothing"),
        pytest.param(lambda _: b"<html>login</html>", TransientError, "a web page", id="a web page"),
        pytest.param(lambda _: b"CA not found\n", TransientError, "not SCEP", id="text"),
        pytest.param(lambda w: to_der(w.ca.certificate)[:-9], TransientError, "cut off", id="truncated certificate"),
        pytest.param(lambda w: degenerate([w.issued])[:99], TransientError, "cut off", id="truncated bundle"),
        pytest.param(lambda _: degenerate([]), TransientError, "no certificate", id="an empty bundle"),
        pytest.param(World.content, TrustError, "CMS enveloped_data", id="an envelope"),
        pytest.param(lambda w: to_der(w.ca.certificate) + b"\0", TrustError, "after its end", id="trailing byte"),
        pytest.param(lambda _: tlv(tlv(b"", 0x30), 0x30), TrustError, "malformed", id="no certificate at all"),
        pytest.param(lambda _: b"-----BEGIN CERTIFICATE-----\nMII", TrustError, "malformed", id="half a PEM block"),
        pytest.param(lambda w: to_der(w.ca.certificate) + b"\n\0", TrustError, "after its end", id="more than a line"),
        pytest.param(lambda w: to_der(w.ca.certificate) * 2 + b"x", TrustError, "after its end", id="a byte after two"),
        pytest.param(lambda w: to_der(w.ca.certificate) * 2 + b"\x30", TransientError, "cut off", id="half a third"),
        pytest.param(lambda w: to_der(w.ca.certificate) * 101, TrustError, "of many", id="a hundred and one in a row"),
        pytest.param(lambda w: degenerate([w.ca.certificate] * 90) * 9, TrustError, "of many", id="much in a row"),
        pytest.param(lambda _: base64.b64encode(b"not DER"), TransientError, "not SCEP", id="base64 of something else"),
    ],
)
def test_refused(world: World, make: Callable[[World], bytes], error: type[CertagentError], says: str) -> None:
    with pytest.raises(error, match=says) as caught:
        read_ca_certificates(make(world))
    assert type(caught.value) is error
    assert caught.value.hint


def test_cryptography_reads_our_bundle(world: World) -> None:
    bundle = degenerate([world.ca.certificate, world.ra.certificate])
    assert set(pkcs7.load_der_pkcs7_certificates(bundle)) == {world.ca.certificate, world.ra.certificate}
