"""What a hurried engineer writes, and what is said about it: each message names the fault and what to write instead."""

from __future__ import annotations

import pytest

from certagent.config.meant import one_of
from certagent.config.values import Duration, Subject, Threshold

HINTS = [
    # Subjects, as other programs print them.
    pytest.param(Subject, "web.example.net", "did you mean CN=web.example.net?", id="a bare name"),
    pytest.param(Subject, "CN = web.example.net", "did you mean CN=web.example.net?", id="spaces around ="),
    pytest.param(Subject, "C = DE, O = Ex, CN = web", "did you mean CN=web,O=Ex,C=DE?", id="openssl's oneline form"),
    pytest.param(Subject, "/C=DE/O=Ex/CN=web", "did you mean CN=web,O=Ex,C=DE?", id="openssl's -subj form"),
    pytest.param(Subject, "CN=web;O=Ex", "did you mean CN=web,O=Ex?", id="semicolons"),
    pytest.param(Subject, "CN=", "write e.g. CN=web.example.net,O=Example", id="nothing after ="),
    pytest.param(Subject, "the web server", "write e.g. CN=web.example.net,O=Example", id="not a name at all"),
    # Lengths of time.
    pytest.param(Duration, "30 days", "did you mean 30d?", id="days in words"),
    pytest.param(Duration, "5 min", "did you mean 5m?", id="minutes in words"),
    pytest.param(Duration, "2 hours", "did you mean 2h?", id="hours in words"),
    pytest.param(Duration, "10sec", "did you mean 10s?", id="seconds in words"),
    pytest.param(Duration, "5", "add a unit: 5s, 5m, 5h or 5d", id="no unit"),
    pytest.param(Duration, "soon", "write e.g. 90s, 15m, 6h or 30d", id="no length of time at all"),
    pytest.param(Threshold, "30", "write 30% or 30d", id="a threshold without a unit"),
    pytest.param(Threshold, "30 days", "did you mean 30d?", id="a threshold in words"),
    pytest.param(Threshold, "0.66", "write e.g. 66% or 30d", id="a threshold as a fraction"),
]


@pytest.mark.parametrize(("kind", "text", "hint"), HINTS)
def test_the_message_says_what_to_write(
    kind: type[Subject] | type[Duration] | type[Threshold], text: str, hint: str
) -> None:
    with pytest.raises(ValueError, match=r".+") as refused:
        kind.parse(text)
    what, _, said = str(refused.value).partition("; ")
    assert repr(text) in what
    assert said == hint


@pytest.mark.parametrize("text", ["CN=web, O=Example Ltd", "CN=web,  O=Example Ltd", "cn=web, o=Example Ltd"])
def test_spaces_after_the_commas_of_a_subject_are_not_part_of_it(text: str) -> None:
    assert Subject.parse(text) == "CN=web,O=Example Ltd"


def test_an_escaped_comma_keeps_its_space() -> None:
    assert Subject.parse(r"CN=web,O=Example\, Ltd") == r"CN=web,O=Example\, Ltd"


WORDS = [
    pytest.param("AES-128", "aes", id="a cipher with its key size"),
    pytest.param("SHA-256", "sha256", id="a dash"),
    pytest.param("Renewal", "renewal", id="upper case"),
    pytest.param("POSTPKIOperation", "post", id="as GetCACaps prints it"),
]


@pytest.mark.parametrize(("written", "meant"), WORDS)
def test_a_word_is_known_in_other_spellings(written: str, meant: str) -> None:
    assert one_of(written, ("aes", "3des", "sha256", "sha512", "post", "renewal")) == f"did you mean {meant}?"
