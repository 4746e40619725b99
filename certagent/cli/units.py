"""`certagent units`: systemd's units, with what this configuration needs from them."""

from __future__ import annotations

import argparse
import pwd
import shutil
import sys
from pathlib import Path

from certagent import durable, shipped
from certagent.cli import unit_needs
from certagent.config.configuration import Configuration
from certagent.config.load import load_configuration
from certagent.errors import ConfigError

_ETC, _PACKAGED = "etc/systemd/system", ("usr/lib/systemd/system", "lib/systemd/system")
_DROP_IN = "10-configuration.conf"
_OURS = "# Written by `certagent units --install`; its next run replaces this file."
_SHIPPED_PROGRAM, _SHIPPED_CONFIG = "/usr/bin/certagent", "/etc/certagent/agent.yaml"
_SHIPPED_DOCUMENTS = "file:/usr/share/doc/certagent"


def units(arguments: argparse.Namespace) -> int:
    """Raises ConfigError for a user that does not exist, or if somebody else's file is in the way."""
    configuration = load_configuration(arguments.config)
    if arguments.user:
        _check_user(arguments.user)
    wanted = _wanted(configuration, arguments.config, arguments.root, arguments.user)
    if not arguments.install:
        for path, text in wanted.items():
            print(f"# {path}\n{text}")
        return 0
    for path in wanted:
        _check_ours(path)
    try:
        for path, text in wanted.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            durable.write(path, text.encode(), durable.Ownership(0o644))
            print(f"written: {path}")
        for path in _superseded(arguments.root):
            path.unlink()
            print(f"removed: {path}, which came before the package's")
    except OSError as error:
        raise ConfigError(f"{error.filename} cannot be written: {error.strerror}", "run it as root") from None
    print("next: systemctl daemon-reload && systemctl enable certagent-recover && systemctl enable certagent")
    print("      systemctl restart certagent")
    return 0


def _check_user(name: str) -> None:
    try:
        pwd.getpwnam(name)
    except KeyError:
        raise ConfigError(f"there is no user {name!r} on this host", f"run useradd --system {name}") from None


def _wanted(configuration: Configuration, config: Path, root: Path, user: str) -> dict[Path, str]:
    """What to write, by path: a drop-in for each service; and the units themselves if no package installed them."""
    found: dict[Path, str] = {}
    text = f"{_OURS}\n{unit_needs.drop_in(configuration, unit_needs.Host.look(configuration), user)}"
    packaged = _packaged(root)
    for unit in sorted(shipped.directory("systemd").iterdir()):
        if unit.name not in packaged:
            found[root / _ETC / unit.name] = f"{_OURS}\n{_here(unit.read_text(), config)}"
        if unit.suffix == ".service":
            mounts = f"[Unit]\nRequiresMountsFor={configuration.state_dir}\n" if "recover" in unit.name else ""
            found[root / _ETC / f"{unit.name}.d" / _DROP_IN] = text + mounts
    return found


def _superseded(root: Path) -> list[Path]:
    """Units that certagent wrote before a package brought its own: systemd would take these."""
    units = [root / _ETC / name for name in _packaged(root)]
    return [path for path in units if path.is_file() and path.read_text(errors="replace").startswith(_OURS)]


def _packaged(root: Path) -> list[str]:
    names = sorted(unit.name for unit in shipped.directory("systemd").iterdir())
    return [name for name in names if any((root / place / name).exists() for place in _PACKAGED)]


def _here(text: str, config: Path) -> str:
    """A shipped unit with the actual paths of the program, the configuration and the pages."""
    here = {
        _SHIPPED_PROGRAM: _program(),
        _SHIPPED_CONFIG: str(config.absolute()),
        _SHIPPED_DOCUMENTS: f"file:{shipped.documents()}",
    }
    for shipped_as, is_here in here.items():
        text = text.replace(shipped_as, is_here)
    return text


def _program() -> str:
    """How this certagent is started. A link on PATH is kept: an update may change where it leads."""
    started = shutil.which(sys.argv[0]) if Path(sys.argv[0]).name == "certagent" else None
    return str(Path(started).absolute()) if started else f"{sys.executable} -m certagent"


def _check_ours(path: Path) -> None:
    """Check that nothing written by somebody else is overwritten; files as shipped may be."""
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", "run it as root") from None
    as_shipped = shipped.directory("systemd") / path.name
    if not text.startswith(_OURS) and not (as_shipped.is_file() and text == as_shipped.read_text()):
        raise ConfigError(f"{path} was not written by certagent, and is left as it is", "move it away, then try again")
