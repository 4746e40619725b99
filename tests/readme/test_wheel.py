"""What `pip install certagent` brings, and what an sdist holds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BESIDE = ("systemd", "keystores")
SHARED = [each for each in (ROOT / "share").rglob("*") if each.is_file()]
WHERE = """
from certagent import shipped
names = [each.name for name in ("systemd", "keystores") for each in shipped.directory(name).iterdir()]
print(*sorted(names), shipped.example())
"""


def make(place: Path) -> tuple[Path, Path]:
    """A wheel and an sdist of this tree, as committed or not."""
    source = place / "source"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    builder = place / "builder"
    _run(sys.executable, "-m", "venv", str(builder))
    _run(f"{builder}/bin/python", "-m", "pip", "install", "--quiet", "setuptools>=69", "wheel")
    for what in ("wheel", "sdist"):
        build = f"import sys, setuptools.build_meta as backend; backend.build_{what}(sys.argv[1])"
        _run(f"{builder}/bin/python", "-c", build, str(place), cwd=source)
    [wheel], [sdist] = place.glob("*.whl"), place.glob("*.tar.gz")
    return wheel, sdist


def _run(*argv: str, cwd: Path | None = None, more: Mapping[str, str] | None = None) -> str:
    environment = {**os.environ, **(more or {})}
    done = subprocess.run(argv, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow  # it builds
@pytest.mark.needs("git")
def test_a_venv_has_units_definitions_the_example_and_the_pages(tmp_path: Path) -> None:
    wheel, sdist = make(tmp_path)
    venv = tmp_path / "venv"
    _run(sys.executable, "-m", "venv", "--without-pip", str(venv))
    _run(sys.executable, "-m", "pip", f"--python={venv}/bin/python", "install", "--quiet", "--no-deps", str(wheel))
    *names, example = _run(f"{venv}/bin/python", "-c", WHERE, cwd=tmp_path).split()
    assert names == sorted(each.name for name in BESIDE for each in (ROOT / name).iterdir())
    assert Path(example).read_text() == (ROOT / "agent.yaml.example").read_text()

    pages = {each.name for each in (ROOT / "docs").glob("*.md")}
    with zipfile.ZipFile(wheel) as archive:
        assert pages <= {Path(each).name for each in archive.namelist() if "share/doc/certagent/" in each}
        assert "certagent/py.typed" in archive.namelist()
        # Where man and the shells look, below the prefix of whatever installs the wheel.
        placed = {each.partition(".data/data/")[2] for each in archive.namelist()}
        assert {f"share/{each.relative_to(ROOT / 'share')}" for each in SHARED} <= placed
    with tarfile.open(sdist) as tar:
        inside = {"/".join(Path(each).parts[1:]) for each in tar.getnames()}
    assert {f"docs/{page}" for page in pages} <= inside
    assert {str(each.relative_to(ROOT)) for each in SHARED} <= inside
    assert {f"{name}/{each.name}" for name in BESIDE for each in (ROOT / name).iterdir()} <= inside


CONFIGURATION = """\
authorities: {corp: {url: "http://scep.example.net/scep", trust_anchor: /etc/corp.pem}}
keystores: {web: {type: pem, authority: corp, subject: CN=web, key_file: /etc/w.key, certificate_file: /etc/w.pem}}
"""


@pytest.mark.slow
@pytest.mark.needs("git")
def test_units_start_the_program_that_pip_or_pipx_put_there(tmp_path: Path) -> None:
    wheel, _ = make(tmp_path)
    for name in ("pip", "pipx"):
        _run(sys.executable, "-m", "venv", str(tmp_path / name))
    _run(f"{tmp_path}/pip/bin/python", "-m", "pip", "install", "--quiet", str(wheel))
    _run(f"{tmp_path}/pipx/bin/python", "-m", "pip", "install", "--quiet", "pipx")
    pipx = {"PIPX_HOME": str(tmp_path / "home"), "PIPX_BIN_DIR": str(tmp_path / "programs")}
    _run(f"{tmp_path}/pipx/bin/pipx", "install", "--python", sys.executable, str(wheel), more=pipx)
    (tmp_path / "agent.yaml").write_text(CONFIGURATION)
    for program in (tmp_path / "pip/bin/certagent", tmp_path / "programs/certagent"):
        image = tmp_path / f"image of {program.parent.name}"
        _run(str(program), "-c", f"{tmp_path}/agent.yaml", "units", "--install", "--root", str(image))
        unit = (image / "etc/systemd/system/certagent.service").read_text()
        assert f"ExecStart={program} -c {tmp_path}/agent.yaml run\n" in unit
        [page] = re.findall(r"^Documentation=file:(.*)$", unit, re.MULTILINE)
        assert Path(page).is_file()
        assert _run(str(program), "--version").startswith("certagent ")
