"""What identifies a host: facts that tell this machine from a copy of its disk. Root's rights are not needed.

No single fact is enough. The machine ID is copied with an image until somebody resets it; an image is started on other
hardware; a network card, a firmware, a host name may change on the same host. So the majority of the facts seen both
times decides (docs/decisions/0033). Only digests are kept, not the facts.
"""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

_IN_CONTAINER = ("run/systemd/container", "run/.containerenv", ".dockerenv")
_PRODUCT = ("sys/class/dmi/id/product_uuid", "sys/firmware/devicetree/base/serial-number")
_PERMANENT = "0"  # addr_assign_type of an address that is built into the hardware


def identifier() -> str:
    """Spreads the renewals of similar hosts: the machine ID, else the host name. A copy may have the same."""
    try:
        return Path("/etc/machine-id").read_text().strip() or os.uname().nodename
    except OSError:
        return os.uname().nodename


class Host(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One host, as far as we could see it.

    `product`: the serial number of the board or the virtual machine, which some systems show to root alone;
    `addresses`: of its network cards; `machine_id`: of the installed system. All are digests; empty if not visible.
    """

    product: str = ""
    addresses: tuple[str, ...] = ()
    machine_id: str = ""

    def may_be(self, other: "Host") -> bool:
        """Whether both may be the same host. In a draw, the hardware decides."""
        votes = [vote for vote in self._votes(other) if vote is not None]
        agreed = votes.count(True)
        if 2 * agreed == len(votes):
            return not votes or votes[0]
        return 2 * agreed > len(votes)

    def _votes(self, other: "Host") -> Iterable[bool | None]:
        """Fact by fact, hardware first: True if equal, False if not, None if either was not visible."""
        yield self.product == other.product if self.product and other.product else None
        mine, theirs = set(self.addresses), set(other.addresses)
        yield not mine.isdisjoint(theirs) if mine and theirs else None
        yield self.machine_id == other.machine_id if self.machine_id and other.machine_id else None


def this_host(root: Path = Path("/")) -> Host:
    """What we can see of this host. In a container the hardware is shared by all containers, so it does not count."""
    machine_id = _digest(_text(root / "etc/machine-id"))
    if any((root / each).exists() for each in _IN_CONTAINER):
        return Host(machine_id=machine_id)
    product = next(filter(None, map(_text, (root / each for each in _PRODUCT))), "")
    return Host(product=_digest(product), addresses=tuple(_addresses(root)), machine_id=machine_id)


def _addresses(root: Path) -> list[str]:
    """Of real network cards: bridges, tunnels and addresses that change at each start say nothing."""
    found = set()
    for file in root.glob("sys/class/net/*/address"):
        real = (file.parent / "device").exists() and _text(file.parent / "addr_assign_type") == _PERMANENT
        found.add(_digest(_text(file)) if real else "")
    return sorted(found - {""})


def _text(path: Path) -> str:
    """The file's text; empty if it cannot be read or is not a real serial number: zeros, or nothing."""
    try:
        text = path.read_text("ascii").strip("\0 \n").lower()
    except (OSError, UnicodeDecodeError):
        return ""
    return text if path.name == "addr_assign_type" or len(set(text) - set(":-")) > 1 else ""


def _digest(text: str) -> str:
    return hashlib.sha256(f"certagent host {text}".encode()).hexdigest()[:16] if text else ""
