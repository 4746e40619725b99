"""Who reads an authority's CRLs: the configured files, their keystores and their hooks. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import msgspec

from certagent.config.authority import Authority
from certagent.config.configuration import Configuration
from certagent.config.keystores import KeystoreDefinition
from certagent.config.parts import HookCommand, commands
from certagent.config.values import Mode

EVENT = "crl_changed"


class CrlFile(msgspec.Struct, frozen=True):
    """A file with an authority's CRLs, or a directory (`apart`) with a file for each CRL. `keystore`: the one it
    belongs to; empty for the authority's own.

    `in_place`: the new content is written into the existing file.
    """

    path: str
    authority: str
    keystore: str = ""
    apart: bool = False
    owner: str | None = None
    group: str | None = None
    mode: Mode | None = None
    in_place: bool = False
    hooks: tuple[HookCommand, ...] = ()


def crl_files(configuration: Configuration) -> dict[str, tuple[CrlFile, ...]]:
    """The files of each authority that has any, in one pass over all keystores."""
    found: dict[str, list[CrlFile]] = {}
    for name, authority in configuration.authorities.items():
        if authority.crl_file or authority.crl_directory:
            found.setdefault(name, []).extend(_of_authority(name, authority))
    for name, each in configuration.keystores.items():
        if each.crl_file or each.crl_directory:
            found.setdefault(each.authority, []).extend(_of_keystore(name, each))
    return {name: tuple(files) for name, files in found.items()}


def _of_authority(name: str, it: Authority) -> Iterator[CrlFile]:
    hooks = commands(it.hooks.crl_changed)
    for path, apart in ((it.crl_file, False), (it.crl_directory, True)):
        if path is not None:
            yield CrlFile(path, name, "", apart, it.crl_owner, it.crl_group, it.crl_mode, hooks=hooks)


def _of_keystore(name: str, it: KeystoreDefinition) -> Iterator[CrlFile]:
    in_place, hooks = it.swap == "in-place", it.hooks.commands(EVENT)
    for path, apart in ((it.crl_file, False), (it.crl_directory, True)):
        if path is not None:
            yield CrlFile(path, it.authority, name, apart, it.owner, it.group, in_place=in_place, hooks=hooks)


def digest(files: Iterable[CrlFile], urls: Iterable[str]) -> str:
    """A digest of the configuration of an authority's CRLs: it changes when the configuration does."""
    what = [
        [
            (f.path, f.keystore, f.apart, f.owner, f.group, None if f.mode is None else int(f.mode), f.in_place),
            [(hook.run, hook.only_if) for hook in f.hooks],
        ]
        for f in files
    ]
    return hashlib.sha256(msgspec.json.encode([what, list(urls)])).hexdigest()
