"""What makes a host: facts that tell this machine from a copy of its disk. No rights of root are needed.

No single fact does. The machine ID is copied with an image until somebody resets it; an image is started on other
hardware; a network card, a firmware, a host name may change on a host that stays itself. So the majority of what both
looks saw decides (docs/decisions/0033). Digests are kept, not the facts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

_IN_CONTAINER = ("run/systemd/container", "run/.containerenv", ".dockerenv")
_PRODUCT = ("sys/class/dmi/id/product_uuid", "sys/firmware/devicetree/base/serial-number")
_PERMANENT = "0"  # addr_assign_type of an address that the hardware brings along


class Host(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One host, as far as it could be seen.

    `product`: the board's or the virtual machine's own number, which some systems show to root alone; `addresses`: of
    its network cards; `machine_id`: of the installed system. Digests all of them; empty: could not be seen.
    """

    product: str = ""
    addresses: tuple[str, ...] = ()
    machine_id: str = ""

    def may_be(self, other: Host) -> bool:
        """Whether both may be one host. Where as much speaks for it as against, hardware has the word."""
        votes = [vote for vote in self._votes(other) if vote is not None]
        agreed = votes.count(True)
        if 2 * agreed == len(votes):
            return not votes or votes[0]
        return 2 * agreed > len(votes)

    def _votes(self, other: Host) -> Iterable[bool | None]:
        """Fact by fact, hardware first: the same, not the same, None where one of the two could not be seen."""
        yield self.product == other.product if self.product and other.product else None
        mine, theirs = set(self.addresses), set(other.addresses)
        yield not mine.isdisjoint(theirs) if mine and theirs else None
        yield self.machine_id == other.machine_id if self.machine_id and other.machine_id else None


def this_host(root: Path = Path("/")) -> Host:
    """What can be seen of this one. In a container the hardware is that of all containers, so it does not count."""
    machine_id = _digest(_text(root / "etc/machine-id"))
    if any((root / each).exists() for each in _IN_CONTAINER):
        return Host(machine_id=machine_id)
    product = next(filter(None, map(_text, (root / each for each in _PRODUCT))), "")
    return Host(product=_digest(product), addresses=tuple(_addresses(root)), machine_id=machine_id)


def _addresses(root: Path) -> list[str]:
    """Of real network cards: bridges, tunnels and what is given anew at each start tell nothing."""
    found = set()
    for file in root.glob("sys/class/net/*/address"):
        real = (file.parent / "device").exists() and _text(file.parent / "addr_assign_type") == _PERMANENT
        found.add(_digest(_text(file)) if real else "")
    return sorted(found - {""})


def _text(path: Path) -> str:
    """Empty where it cannot be read, or holds what is no number of its own: zeros, or nothing."""
    try:
        text = path.read_text("ascii").strip("\0 \n").lower()
    except (OSError, UnicodeDecodeError):
        return ""
    return text if path.name == "addr_assign_type" or len(set(text) - set(":-")) > 1 else ""


def _digest(text: str) -> str:
    return hashlib.sha256(f"certagent host {text}".encode()).hexdigest()[:16] if text else ""
