"""What a server's answer says to people, out of whatever it is wrapped in; always one bounded, printable line."""

from __future__ import annotations

import codecs
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certagent.scep import words

NDES = """<HTML><Head><Meta HTTP-Equiv="Content-Type" Content="text/html; charset=UTF-8">
<Title>Network Device Enrollment Service</Title></Head>
<Style>P { color: black } </Style>
<Body BgColor=#FFFFFF><Font ID=locPageFont Face="Arial">
<Table Border=0 Width=100%><TR><TD ID=locMSCertSrv>Network Device Enrollment Service</TD></TR></Table>
<P ID=locPageTitle> <B> The password cache is full. </B><P> You must clear the <I>cache</I> and try again.</P>
</Font></Body></HTML>"""

IIS = """<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN">
<html><head><title>IIS 10.0 Detailed Error - 404.15 - Not Found</title>
<style type="text/css"><!-- body{margin:0} a:link{color:#007EFF;} --></style></head>
<body><div id="header"><h3>HTTP Error 404.15 - Not Found</h3>
<h4>The request filtering module is configured to deny a request where the query string is too long.</h4></div>
<script>alert("never shown < here")</script></body></html>"""


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param(b"no profile matches\n", "no profile matches", id="text"),
        pytest.param(b"\nout of order\nat frame 1\n", "out of order", id="the first line of a text"),
        pytest.param(codecs.BOM_UTF8 + "gef\u00fcllt".encode(), "gef\u00fcllt", id="UTF-8 with a mark"),
        pytest.param(codecs.BOM_UTF16_LE + "full".encode("utf-16-le"), "full", id="UTF-16"),
        pytest.param(codecs.BOM_UTF16_BE + "full".encode("utf-16-be"), "full", id="UTF-16, the big end first"),
        pytest.param("full".encode("utf-16-le"), "full", id="UTF-16 without a mark"),
        pytest.param(
            NDES.encode("utf-16-le"),
            "Network Device Enrollment Service · The password cache is full. · You must clear the cache and try again.",
            id="NDES",
        ),
        pytest.param(
            IIS.encode(),
            "IIS 10.0 Detailed Error - 404.15 - Not Found · HTTP Error 404.15 - Not Found · The request filtering "
            "module is configured to deny a request where the query string is too long.",
            id="IIS",
        ),
        pytest.param(b"<html><h1>Caf&eacute; &lt;closed&gt;", "Caf\u00e9 <closed>", id="letters by name"),
        pytest.param(b"<p>a<!-- > hidden <b> -->b</p>", "ab", id="comments"),
        pytest.param(b"<html></html>", "", id="a page that says nothing"),
        pytest.param(b"<p>\x1b[31mred&#27;[0m</p>", "[31mred[0m", id="escape sequences"),
        pytest.param(b"", "", id="nothing"),
        pytest.param(bytes(range(256)), "", id="no text"),
        pytest.param(b"\x30\x82\x05\x10" + bytes(range(128, 255)), "", id="DER"),
    ],
)
def test_said(body: bytes, said: str) -> None:
    assert words.told(body) == said


def test_a_long_page_is_cut() -> None:
    page = b"".join(b"<p>%d bottles</p>" % number for number in range(10_000))
    assert len(words.told(page)) == 300


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(b"<", id="tags"),
        pytest.param(b"<script", id="scripts"),
        pytest.param(b"<!--", id="comments"),
        pytest.param(b"&", id="entities"),
        pytest.param(b"<p>a", id="lines"),
        pytest.param(b"<p>" + b"0123456789", id="different lines"),
    ],
)
def test_a_page_of_nothing_else_costs_little(part: bytes) -> None:
    page = b"<html>" + b"".join(part + b"%d" % at for at in range(300_000))
    began = time.process_time()
    words.told(page)
    assert time.process_time() - began < 1


@given(st.binary(max_size=300) | st.text(alphabet="<>!-/ab &;#1\n", max_size=300).map(str.encode))
def test_anything_is_one_printable_line(body: bytes) -> None:
    assert words.told(body).isprintable()
    assert all(line.strip() for line in words.lines(body))
