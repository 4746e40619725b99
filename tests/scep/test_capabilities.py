"""GetCACaps: read with tolerance, chosen from with care, and watched for words that disappear."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certagent.config.values import Capability
from certagent.scep import Algorithms, Capabilities


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        pytest.param(b"AES\nSHA-256\n", {"AES", "SHA-256"}, id="lines"),
        pytest.param(b"AES\r\nSHA-256\r\n", {"AES", "SHA-256"}, id="CRLF"),
        pytest.param(b"Renewal\nSHA-1\nSHA-256", {"Renewal", "SHA-1", "SHA-256"}, id="no newline at the end"),
        pytest.param(b"aes\nscepstandard", {"AES", "SCEPStandard"}, id="any case"),
        pytest.param(b"  AES \n\n\tDES3\n", {"AES", "DES3"}, id="blanks"),
        pytest.param(b"AES\nTELEPATHY\n", {"AES"}, id="unknown words"),
        pytest.param(b"no AES here\nSHA-2560\n", set(), id="only whole lines"),
        pytest.param(b"", set(), id="empty"),
        pytest.param(b"AES DES3 SHA-1 Renewal", {"AES", "DES3", "SHA-1", "Renewal"}, id="parted by blanks"),
        pytest.param(b"AES,SHA-256, Renewal", {"AES", "SHA-256", "Renewal"}, id="parted by commas"),
        pytest.param(b"AES TELEPATHY SHA-256", {"AES", "SHA-256"}, id="an unknown word between"),
        pytest.param(b"Renewal is not supported", set(), id="a sentence"),
        pytest.param(b"SHA256\nSHA512\nSHA1", {"SHA-256", "SHA-512", "SHA-1"}, id="digests without a dash"),
        pytest.param(b"AES128\nAES-256-CBC", {"AES"}, id="AES with its size"),
        pytest.param(b"3DES\nPOST\nHTTP-POST", {"DES3", "POSTPKIOperation"}, id="other names"),
        pytest.param(b"\xef\xbb\xbfAES\nSHA-256", {"AES", "SHA-256"}, id="UTF-8 with a byte order mark"),
        pytest.param("AES\r\nSHA-256".encode("utf-16"), {"AES", "SHA-256"}, id="UTF-16"),
        pytest.param("AES\nSHA-256".encode("utf-16-le"), {"AES", "SHA-256"}, id="UTF-16 without a mark"),
        pytest.param(b"<html>\nAES\n</html>", {"AES"}, id="a web page"),
        pytest.param(b"<html><body>AES<br>SHA-256<br>Renewal</body>", {"AES", "SHA-256", "Renewal"}, id="breaks"),
        pytest.param(b"<pre>AES\nSHA-256</pre>", {"AES", "SHA-256"}, id="preformatted"),
        pytest.param(b"<h1>Renewal of your subscription</h1>", set(), id="another web page"),
        pytest.param(b"\xff\xfe\x00A\x00", set(), id="garbage"),
    ],
)
def test_words(answer: bytes, names: set[str]) -> None:
    assert Capabilities.parse(answer).names == names


@pytest.mark.parametrize(
    ("words", "chosen"),
    [
        pytest.param("", Algorithms("3des", "sha1"), id="nothing claimed: the floor, never DES or MD5"),
        pytest.param("DES3 SHA-1", Algorithms("3des", "sha1"), id="old"),
        pytest.param("DES3 SHA-256", Algorithms("3des", "sha256"), id="mixed"),
        pytest.param("AES SHA-1", Algorithms("aes128-cbc", "sha1"), id="AES first"),
        pytest.param("AES DES3 SHA-1 SHA-256 SHA-512", Algorithms("aes128-cbc", "sha256"), id="everything"),
        pytest.param("AES SHA-512", Algorithms("aes128-cbc", "sha512"), id="SHA-512 alone"),
        pytest.param("SCEPStandard", Algorithms("aes128-cbc", "sha256"), id="SCEPStandard means AES and SHA-256"),
    ],
)
def test_best_algorithms_both_sides_have(words: str, chosen: Algorithms) -> None:
    assert Capabilities(frozenset(words.split())).algorithms() == chosen


@pytest.mark.parametrize(
    ("said", "chosen", "post", "renewal", "next_ca"),
    [
        pytest.param(
            ["aes", "sha256", "post", "renewal"], Algorithms("aes128-cbc", "sha256"), True, True, False, id="a good one"
        ),
        pytest.param(["aes", "sha512", "next_ca"], Algorithms("aes128-cbc", "sha512"), False, False, True, id="by GET"),
        pytest.param(["3des", "sha1"], Algorithms("3des", "sha1"), False, False, False, id="an old one"),
    ],
)
def test_what_a_person_says(
    said: list[Capability], chosen: Algorithms, post: bool, renewal: bool, next_ca: bool
) -> None:
    told = Capabilities.configured(said)
    assert (told.algorithms(), told.post, told.renewal, told.next_ca) == (chosen, post, renewal, next_ca)


def test_every_word_that_may_be_configured_means_something() -> None:
    assert all(Capabilities.configured([word]).names for word in get_args(Capability))


def test_standard_means_post() -> None:
    assert Capabilities(frozenset({"SCEPStandard"})).post
    assert not Capabilities(frozenset({"Renewal"})).post


@pytest.mark.parametrize(
    ("before", "now", "lost"),
    [
        pytest.param("AES SHA-256", "AES SHA-256 Renewal", "", id="more is no loss"),
        pytest.param("AES SHA-256 Renewal POSTPKIOperation", "AES SHA-256", "", id="words that protect nothing"),
        pytest.param("AES SHA-256", "DES3 SHA-1", "AES SHA-256", id="all that is strong"),
        pytest.param("SCEPStandard", "", "AES SHA-256", id="what SCEPStandard means"),
        pytest.param("AES SHA-256", "SCEPStandard", "", id="said in another word"),
        pytest.param("AES SHA-256 SHA-512", "AES SHA-512", "", id="one strong digest of two"),
    ],
)
def test_downgrade(before: str, now: str, lost: str) -> None:
    then = Capabilities(frozenset(before.split()))
    assert Capabilities(frozenset(now.split())).lost(then) == set(lost.split())


@given(st.binary(max_size=300))
def test_any_answer_can_be_read(answer: bytes) -> None:
    Capabilities.parse(answer).algorithms()
