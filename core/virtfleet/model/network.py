"""Virtual networks as one host sees them."""

from __future__ import annotations

import msgspec


class Lease(msgspec.Struct, frozen=True, gc=False):
    mac: str
    address: str
    hostname: str = ""
    expires: float = 0.0
    """Unix time."""


class Network(msgspec.Struct, frozen=True, gc=False):
    uuid: str
    name: str
    active: bool
    autostart: bool = False
    persistent: bool = True
    bridge: str = ""
    forward: str = ""
    """nat, route, open, bridge, private, vepa, passthrough, hostdev; empty: isolated."""
    addresses: tuple[str, ...] = ()
    """Address with prefix of each <ip>: 192.168.122.1/24."""
    dhcp: bool = False
    leases: tuple[Lease, ...] = ()
