"""What a file has besides content, owner and mode: its access list (POSIX ACL) and other extended attributes.

A new file gets those of the file it replaces, as far as certagent may set them, and no others: nobody asked for the
access list that the directory would pass on to a new key file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from msgspec.structs import replace

from certagent.directories import Look
from certagent.durable import ACCESS_LIST, Ownership

# An access list as the kernel stores it (linux/posix_acl_xattr.h): a version, then entries of tag, rights and id.
_HEAD, _ENTRY = struct.Struct("<I"), struct.Struct("<HHI")
_NAMED = (0x02, 0x08)  # a named user, a named group
_GROUP = 0x04  # the file's own group
_KERNELS = ("security.ima", "security.evm")  # the kernel makes these for each file


def with_attributes(found: Look, new: Ownership, *, configured: bool) -> Ownership:
    """The ownership of the new file, with the attributes that it gets.

    `configured`: `mode` is configured, and its group bits say what the file's group may do. Otherwise the group bits
    are the access list's mask. The access list never allows anybody more than before.
    """
    rules = found.attributes.get(ACCESS_LIST)
    others = tuple((name, value) for name, value in found.attributes.items() if _is_carried(name))
    if rules is None:
        return replace(new, attributes=others)
    mask, group = found.status.st_mode >> 3 & 7, new.mode >> 3 & 7
    entries = [
        (tag, group if tag == _GROUP and configured else rights & mask if tag in (*_NAMED, _GROUP) else rights, number)
        for tag, rights, number in _entries(rules)
    ]
    if not _gets_list(found, new):
        own = next((rights for tag, rights, _ in entries if tag == _GROUP), 0)
        return replace(new, mode=new.mode & ~0o070 | own << 3 if not configured else new.mode, attributes=others)
    packed = rules[: _HEAD.size] + b"".join(_ENTRY.pack(*entry) for entry in entries)
    return replace(new, attributes=((ACCESS_LIST, packed), *others))


def lost(found: Look, new: Ownership) -> list[str]:
    """What the file in place has and the new one will not have, in words."""
    names = [name for name in found.attributes if name not in (ACCESS_LIST, *_KERNELS) and not _is_carried(name)]
    if ACCESS_LIST in found.attributes and not _gets_list(found, new):
        names.insert(0, "access list")
    return names


def _gets_list(found: Look, new: Ownership) -> bool:
    """False if somebody else may have made the list: the file was theirs, and the new one is not."""
    return found.closed or new.uid == found.status.st_uid


def _is_carried(name: str) -> bool:
    return name.startswith("user.") or name in ("security.selinux", "security.SMACK64")


def _entries(rules: bytes) -> Iterator[tuple[int, int, int]]:
    body = rules[_HEAD.size :]
    return _ENTRY.iter_unpack(body[: len(body) // _ENTRY.size * _ENTRY.size])
