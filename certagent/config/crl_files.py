"""Who reads an authority's CRLs: the files that are configured, whose they are, and their hooks. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from certagent.config.authority import Authority
from certagent.config.configuration import Configuration
from certagent.config.parts import HookCommand, commands
from certagent.config.values import Mode

EVENT = "crl_changed"


@dataclass(frozen=True)
class CrlFile:
    """A file that holds an authority's CRLs. `keystore`: whose it is; empty for the authority's own.

    `in_place`: the new content is written into the file itself.
    """

    path: str
    keystore: str = ""
    owner: str | None = None
    group: str | None = None
    mode: Mode | None = None
    in_place: bool = False
    hooks: tuple[HookCommand, ...] = ()


def crl_files(configuration: Configuration) -> dict[str, tuple[CrlFile, ...]]:
    """The files of each authority that has any, in one pass over all keystores."""
    found: dict[str, list[CrlFile]] = {}
    for name, authority in configuration.authorities.items():
        if authority.crl_file is not None:
            found.setdefault(name, []).append(_of_authority(authority, authority.crl_file))
    for name, each in configuration.keystores.items():
        if each.crl_file is not None:
            file = CrlFile(
                each.crl_file,
                name,
                each.owner,
                each.group,
                in_place=each.swap == "in-place",
                hooks=each.hooks.commands(EVENT),
            )
            found.setdefault(each.authority, []).append(file)
    return {name: tuple(files) for name, files in found.items()}


def _of_authority(authority: Authority, path: str) -> CrlFile:
    hooks = commands(authority.hooks.crl_changed)
    return CrlFile(path, "", authority.crl_owner, authority.crl_group, authority.crl_mode, hooks=hooks)


def digest(files: Iterable[CrlFile], urls: Iterable[str]) -> str:
    """Of what is configured of an authority's CRLs: it changes when that does."""
    what = [
        [
            (f.path, f.keystore, f.owner, f.group, None if f.mode is None else int(f.mode), f.in_place),
            [(hook.run, hook.only_if) for hook in f.hooks],
        ]
        for f in files
    ]
    return hashlib.sha256(msgspec.json.encode([what, list(urls)])).hexdigest()


def hook_keys(file: CrlFile) -> list[tuple[str, HookCommand]]:
    """Each hook with what stays the same wherever in its list it stands."""
    found: list[tuple[str, HookCommand]] = []
    for command in file.hooks:
        key = hashlib.sha256(msgspec.json.encode(command.run)).hexdigest()[:16]
        same = sum(each.startswith(key) for each, _ in found)
        found.append((f"{key} {same + 1}" if same else key, command))
    return found
