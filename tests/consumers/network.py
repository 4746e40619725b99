"""The machine's network as the peers of its consumer see it: they are in a network namespace, at the end of a cable."""

from __future__ import annotations

from pathlib import Path

CONSUMER, PEERS = "10.9.0.1", "10.9.0.2"
HOME = Path("/root/peers")
PREPARE = f"""\
ip netns add peer
ip link add eth0 type veth peer name eth0 netns peer
ip addr add {CONSUMER}/24 dev eth0
ip link set eth0 up
ip -n peer addr add {PEERS}/24 dev eth0
ip -n peer link set eth0 up
ip -n peer link set lo up
mkdir -p {HOME}
"""
INSIDE = ("ip", "netns", "exec", "peer")
