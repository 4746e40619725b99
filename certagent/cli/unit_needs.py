"""What this configuration needs from certagent's confined units beyond how they are shipped. Pure, except for
`Host.look`."""

from __future__ import annotations

import grp
import os
from collections.abc import Iterable
from pathlib import PurePath

from msgspec import Struct, field

from certagent.config.authority import Authority
from certagent.config.checks import is_within
from certagent.config.configuration import Configuration
from certagent.config.introduction import Introduction
from certagent.config.keystores import KeystoreDefinition

# Writable in the shipped units: hooks write there too (`nginx -t` its log and its PID file).
_HOOKS_WRITE = ("/var", "/run", "/srv", "/opt", "/mnt")
_PRIVATE = ("/tmp", "/var/tmp")  # noqa: S108 -- the directories that PrivateTmp= replaces
_TPM = ("/dev/tpmrm0", "/dev/tpm0")


class Host(Struct, frozen=True):
    """Facts about this host: where links lead, and the groups of devices."""

    real: dict[str, str] = field(default_factory=dict)
    device_groups: tuple[str, ...] = ()
    groups: frozenset[str] = frozenset()

    @classmethod
    def look(cls, configuration: Configuration) -> Host:
        paths = (*files_of(configuration), *directories_of(configuration), *modules_of(configuration))
        found = [grp.getgrgid(os.stat(device).st_gid).gr_name for device in _TPM if os.path.exists(device)]  # noqa: PTH110
        return cls(
            {path: os.path.realpath(path) for path in paths},
            tuple(dict.fromkeys(found)),
            frozenset(each.gr_name for each in grp.getgrall()),
        )


def files_of(configuration: Configuration) -> list[str]:
    """Every file that certagent replaces."""
    keystores = [path for each in configuration.keystores.values() for path in each.paths.values()]
    lists = [each.crl_file for each in _both(configuration)]
    return _given(*keystores, *lists, configuration.metrics_file)


def directories_of(configuration: Configuration) -> list[str]:
    """Every directory whose files are certagent's own."""
    trusted = [each.ca_directory for each in configuration.keystores.values()]
    lists = [each.crl_directory for each in _both(configuration)]
    return _given(configuration.state_dir, configuration.live_dir, *trusted, *lists)


def _both(configuration: Configuration) -> list[Authority | KeystoreDefinition]:
    return [*configuration.authorities.values(), *configuration.keystores.values()]


def _given(*paths: str | PurePath | None) -> list[str]:
    return list(dict.fromkeys(str(path) for path in paths if path))


def modules_of(configuration: Configuration) -> list[str]:
    every = _both(configuration)
    using = [*configuration.keystores.values(), *(each.introduce_with for each in every if each.introduce_with)]
    return list(dict.fromkeys(module for each in using if (module := _module(each))))


def _module(definition: KeystoreDefinition | Introduction) -> str:
    return str(getattr(definition, "module", "") or "")


def drop_in(configuration: Configuration, host: Host, user: str = "") -> str:
    """The lines of a drop-in for each of the units."""
    writable = _writable(configuration, host)
    # Reset first: then nothing else below /etc is writable.
    lines = ["[Service]", "ReadWritePaths=", *(f'ReadWritePaths="-{_escaped(path)}"' for path in writable)]
    if any(is_within(path, root) for path in writable for root in _PRIVATE):
        lines.append("PrivateTmp=no")
    uses_tpm = any("tpm" in PurePath(path).name for path in _all(modules_of(configuration), host))
    if uses_tpm:
        lines += ["PrivateDevices=no", "DevicePolicy=closed", *(f"DeviceAllow={device} rw" for device in _TPM)]
    if user:
        lines += [f"User={user}", "CapabilityBoundingSet=", *_groups(configuration, host, uses_tpm=uses_tpm)]
    return "\n".join(lines) + "\n"


def _groups(configuration: Configuration, host: Host, *, uses_tpm: bool) -> list[str]:
    """A user may give files only to their own groups, and needs a device's group to open it, or a token."""
    wanted = [each.group for each in configuration.keystores.values() if each.group]
    wanted += host.device_groups if uses_tpm else ()
    if any("softhsm" in PurePath(module).name for module in modules_of(configuration)):
        wanted.append("softhsm")
    found = sorted({group for group in wanted if group in host.groups})
    return [f"SupplementaryGroups={' '.join(found)}"] if found else []


def _writable(configuration: Configuration, host: Host) -> list[str]:
    """The directories that files are replaced in, without those that are inside another of them."""
    directories = {str(PurePath(path).parent) for path in _all(files_of(configuration), host)}
    directories.update(_all(directories_of(configuration), host))
    if modules_of(configuration):
        directories.add("/etc/tpm2_pkcs11")  # where tpm2-pkcs11 keeps its store by default
    every = {*directories, *_HOOKS_WRITE}
    return sorted(each for each in every if not any(other != each and is_within(each, other) for other in every))


def _all(paths: Iterable[str], host: Host) -> list[str]:
    """The paths as configured, and where links lead."""
    return [each for path in paths if path for each in dict.fromkeys((str(path), host.real.get(str(path), str(path))))]


def _escaped(path: str) -> str:
    """A quoted word of a unit: systemd.unit(5) has specifiers after %, systemd.syntax(7) says what ends a quote."""
    return path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
