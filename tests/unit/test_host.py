"""Which two looks may have been at one host, and what is looked at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from certagent.host import Host, this_host

UUID, SERIAL = "sys/class/dmi/id/product_uuid", "sys/firmware/devicetree/base/serial-number"
SERVER = {
    UUID: "4C4C4544-0042-3510-8052-B4C04F4D3732\n",
    "etc/machine-id": "3d1219c7c4c5404aaa1f6d2a48adfda4\n",
    "net/eth0": "3c:ec:ef:00:00:01",
    "net/eth1": "3c:ec:ef:00:00:02",
}
OTHER_UUID, OTHER_ID = "11111111-2222-3333-4444-555555555555\n", "aaaabbbbccccddddeeeeffff00001111\n"
OTHER_HARDWARE = {UUID: OTHER_UUID, "net/eth0": "3c:ec:ef:99:99:01", "net/eth1": None}
ROUTER = {SERIAL: "10000000a3b2c1d0\0", "etc/machine-id": None, "net/eth0": "b8:27:eb:00:00:01"}
USER = {UUID: None}  # who may not read it
CONTAINER = {"run/systemd/container": "lxc\n"}

Files = Mapping[str, str | None]


def lay(root: Path, files: Files) -> Host:
    """The host that has these files; `net/NAME` stands for a network card and its address."""
    for name, content in files.items():
        if content is None:
            continue
        if name.startswith("net/"):
            card = root / "sys/class" / name
            (card / "device").mkdir(parents=True)
            (card / "address").write_text(content)
            (card / "addr_assign_type").write_text("0\n")
            continue
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return this_host(root)


SAME: dict[str, tuple[Files, Files]] = {
    "nothing changed": (SERVER, SERVER),
    "another network card": (SERVER, {**SERVER, "net/eth0": "00:11:22:33:44:55", "net/eth1": None}),
    "one card more": (SERVER, {**SERVER, "net/eth9": "00:11:22:33:44:55"}),
    "a card taken out": (SERVER, {**SERVER, "net/eth0": None}),
    "cards named otherwise": (SERVER, {**SERVER, "net/eth0": None, "net/enp3s0": "3c:ec:ef:00:00:01"}),
    "the machine ID was reset": (SERVER, {**SERVER, "etc/machine-id": OTHER_ID}),
    "the machine ID was lost": (SERVER, {**SERVER, "etc/machine-id": None}),
    "the firmware has another number": (SERVER, {**SERVER, UUID: OTHER_UUID}),
    "a look by root, then one by a user": (SERVER, {**SERVER, **USER}),
    "a look by a user, then one by root": ({**SERVER, **USER}, SERVER),
    "a router": (ROUTER, ROUTER),
    "a router with another card": (ROUTER, {**ROUTER, "net/eth0": None, "net/usb0": "00:11:22:33:44:55"}),
    "a container on other hardware": ({**SERVER, **CONTAINER}, {**SERVER, **OTHER_HARDWARE, **CONTAINER}),
    "nothing can be seen": ({}, {}),
    "nothing could be seen before": ({}, SERVER),
}
OTHER: dict[str, tuple[Files, Files]] = {
    "a clone of a machine": (SERVER, {**SERVER, **OTHER_HARDWARE}),
    "a clone, its machine ID reset": (SERVER, {**SERVER, **OTHER_HARDWARE, "etc/machine-id": OTHER_ID}),
    "a clone, seen by a user": ({**SERVER, **USER}, {**SERVER, **OTHER_HARDWARE, **USER}),
    "a clone of a board whose number all have": (
        {**SERVER, UUID: "00000000-0000-0000-0000-000000000000"},
        {**SERVER, **OTHER_HARDWARE, UUID: "00000000-0000-0000-0000-000000000000"},
    ),
    "a clone of a router": (ROUTER, {**ROUTER, SERIAL: "10000000deadbeef\0", "net/eth0": "b8:27:eb:00:00:02"}),
    "a container, its machine ID reset": ({**SERVER, **CONTAINER}, {**SERVER, **CONTAINER, "etc/machine-id": OTHER_ID}),
}


@pytest.mark.parametrize(("before", "now"), SAME.values(), ids=SAME)
def test_it_may_be_the_same(tmp_path: Path, before: Files, now: Files) -> None:
    assert lay(tmp_path / "before", before).may_be(lay(tmp_path / "now", now))


@pytest.mark.parametrize(("before", "now"), OTHER.values(), ids=OTHER)
def test_it_is_another(tmp_path: Path, before: Files, now: Files) -> None:
    assert not lay(tmp_path / "before", before).may_be(lay(tmp_path / "now", now))


@pytest.mark.parametrize(("assigned", "real"), [("3\n", True), ("0\n", False)], ids=["a bond", "a bridge"])
def test_only_what_the_hardware_brings_along_counts(tmp_path: Path, assigned: str, real: bool) -> None:
    lay(tmp_path, {"net/virtual": "3c:ec:ef:00:00:01"})
    card = tmp_path / "sys/class/net/virtual"
    (card / "addr_assign_type").write_text(assigned)
    if not real:
        (card / "device").rmdir()
    assert this_host(tmp_path).addresses == ()


def test_no_fact_is_kept_as_it_is(tmp_path: Path) -> None:
    kept = repr(lay(tmp_path, SERVER))
    assert "3c:ec" not in kept
    assert "4c4c" not in kept
    assert "3d1219" not in kept


def test_this_host_is_itself() -> None:
    assert this_host().may_be(this_host())
