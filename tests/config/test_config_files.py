"""Files that are no configuration, or not to be believed, and what is wrong in or between included ones."""

from __future__ import annotations

import os

import pytest
import yaml

from certagent.config import load

from .conftest import Site

TEXTS = [
    pytest.param(b"", "agent.yaml: is empty; have `certagent init` write one", id="empty"),
    pytest.param(b"# nothing\n", "agent.yaml: is empty; have `certagent init` write one", id="only a comment"),
    pytest.param(
        b"- a\n", "agent.yaml:1: is not a table of keys; have `certagent init` write one", id="a list at the top"
    ),
    pytest.param(b"certagent\n", "agent.yaml:1: is not a table of keys; have `certagent init` write one", id="a word"),
    pytest.param(b"a: 1\nb: \xff\n", "agent.yaml:2: is not UTF-8 text; save the file as UTF-8", id="Latin-1"),
    pytest.param(
        "state_dir: /x\n".encode("utf-16"), "agent.yaml:1: is not UTF-8 text; save the file as UTF-8", id="UTF-16"
    ),
    pytest.param(
        b"\x7fELF\x02\x01\x01",
        "agent.yaml:1: holds the control character U+007F; remove it; is this a text file?",
        id="a program",
    ),
    pytest.param(
        b"a: &x [*x]\n",
        "agent.yaml: is nested too deeply, or its aliases expand too far; write it without so many levels or aliases",
        id="an alias inside itself",
    ),
    pytest.param(
        b"[" * 500_000,
        "agent.yaml: is nested too deeply, or its aliases expand too far; write it without so many levels or aliases",
        id="half a million brackets",
    ),
    pytest.param(
        b"a: &a [x,x,x,x,x,x,x,x,x]\n"
        + b"".join(b"%c: &%c [%s]\n" % (i, i, b",".join([b"*%c" % (i - 1)] * 9)) for i in range(ord("b"), ord("j"))),
        "agent.yaml: is nested too deeply, or its aliases expand too far; write it without so many levels or aliases",
        id="a billion laughs",
    ),
    pytest.param(
        b"#" * (1 << 20) + b"\n",
        "agent.yaml: is larger than 1 MiB; split it into several files, see `include`",
        id="too large",
    ),
]


@pytest.mark.parametrize(("content", "expected"), TEXTS)
def test_what_is_no_configuration_is_told_in_one_line(site: Site, content: bytes, expected: str) -> None:
    site.main.write_bytes(content)
    assert site.problems() == [expected]


@pytest.fixture(params=["libyaml", "pure Python"])
def either_loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "pure Python":
        monkeypatch.setattr(load, "_Loader", yaml.SafeLoader)


@pytest.mark.usefixtures("either_loader")
@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        pytest.param("a: {b: 1\nc: 2\n", 2, "check this line and the one above it", id="brace not closed"),
        pytest.param("a: b: c\n", 1, "check this line and the one above it", id="two colons"),
        pytest.param("a: *hunter2\n", 1, "check this line and the one above it", id="alias of nothing"),
        pytest.param("a: 1\n---\nb: 2\n", 2, "check this line and the one above it", id="two documents"),
    ],
)
def test_broken_yaml_is_told_with_its_line(site: Site, text: str, line: int, hint: str) -> None:
    site.main.write_text(text)
    [problem] = site.problems()
    assert problem.startswith(f"agent.yaml:{line}: is not valid YAML: ")
    assert problem.endswith(f"; {hint}")
    assert "hunter2" not in problem


@pytest.mark.usefixtures("either_loader")
def test_a_tab_is_called_a_tab(site: Site) -> None:
    site.main.write_text("a:\n\tb: 1\n")
    assert site.problems() == ["agent.yaml:2: is indented with a tab; indent with spaces"]


FILES = [
    pytest.param(0o664, "agent.yaml: is writable by its group or by everybody; run chmod go-w agent.yaml", id="group"),
    pytest.param(0o646, "agent.yaml: is writable by its group or by everybody; run chmod go-w agent.yaml", id="all"),
]


@pytest.mark.parametrize(("mode", "expected"), FILES)
def test_a_file_others_can_write_is_refused(site: Site, mode: int, expected: str) -> None:
    site.main.chmod(mode)
    assert site.problems() == [expected]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_somebody_else_is_refused(site: Site) -> None:
    os.chown(site.main, 12345, -1)
    assert site.problems() == [
        "agent.yaml: belongs neither to root nor to the user certagent runs as; run chown root agent.yaml"
    ]


def test_a_missing_configuration_is_told(site: Site) -> None:
    site.main.unlink()
    hint = "name the right file with -c, or have `certagent init` write one"
    assert site.problems() == [f"agent.yaml: cannot be read: No such file or directory; {hint}"]


def test_a_pipe_is_refused_without_waiting_for_it(site: Site) -> None:
    site.main.unlink()
    os.mkfifo(site.main)
    assert site.problems() == ["agent.yaml: is not a file; name a YAML file"]


INCLUDES = [
    pytest.param(
        "include: keystores/web.yaml",
        {},
        ["agent.yaml:2: include: keystores/web.yaml does not exist; create it, correct the path, or write a glob"],
        id="a plain name that does not exist",
    ),
    pytest.param(
        "include: keystores/*.yaml",
        {"keystores/a.yaml": "defaults: {rekey: never}\nkeystroes: {}\n"},
        [
            "keystores/a.yaml:1: defaults: is not allowed in an included file; move it to agent.yaml",
            "keystores/a.yaml:2: keystroes: is not a known key; did you mean keystores?",
        ],
        id="keys of the main file",
    ),
    pytest.param(
        "include: keystores/*.yaml",
        {"keystores/a.yaml": "keystores:\n  web: {type: pem, key_file: /a, certificate_file: /b}\n"},
        ["keystores/a.yaml:2: keystores.web: is also defined at agent.yaml:11; rename one of them"],
        id="a keystore in two files",
    ),
    pytest.param(
        "include: keystores/*.yaml",
        {
            "keystores/a.yaml": "keystores:\n  a: {type: pem, key_file: DIR/web.key, certificate_file: DIR/a}\n",
            "keystores/b.yaml": "keystores:\n\n  b: {type: pem, key_file: DIR/b, certificate_file: DIR/a, mode: 1}\n",
        },
        [
            (
                "keystores/a.yaml:2: keystores.a.key_file: is the same file as keystores.web.key_file (agent.yaml:15); "
                "give each its own path"
            ),
            (
                "keystores/b.yaml:3: keystores.b.mode: '1' is not a file mode; "
                'write three or four octal digits in quotes, e.g. "0640"'
            ),
            (
                "keystores/b.yaml:3: keystores.b.certificate_file: is the same file as keystores.a.certificate_file "
                "(keystores/a.yaml:2); give each its own path"
            ),
        ],
        id="files of two keystores over files",
    ),
    pytest.param(
        "include: [a.yaml, b.yaml]",
        {"a.yaml": "- keystores\n", "b.yaml": "x: y\n"},
        [
            "a.yaml:1: is not a table of keys; have `certagent init` write one",
            "b.yaml:1: x: is not a known key; known here: authorities, keystores",
        ],
        id="a broken file does not hide the next",
    ),
]


@pytest.mark.parametrize(("include", "files", "expected"), INCLUDES)
def test_a_fault_in_an_included_file_is_told_there(
    site: Site, include: str, files: dict[str, str], expected: list[str]
) -> None:
    for name, text in files.items():
        site.write(name, text)
    site.change({2: include})
    assert site.problems() == expected


def test_an_included_file_others_can_write_is_refused(site: Site) -> None:
    site.write("keystores/a.yaml", "keystores: {}\n", 0o666)
    site.change({2: "include: keystores/*"})
    assert site.problems() == [
        "keystores/a.yaml: is writable by its group or by everybody; run chmod go-w keystores/a.yaml"
    ]
