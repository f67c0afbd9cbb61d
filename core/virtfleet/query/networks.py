"""The fields of a virtual network, one row per host."""

from __future__ import annotations

from virtfleet.query.field import Field, Unit
from virtfleet.query.health import network_fault
from virtfleet.query.looks import network_look
from virtfleet.query.naming import natural_key
from virtfleet.query.rows import NetworkRow


def _fault(row: NetworkRow) -> str | None:
    fault = network_fault(row.network)
    return fault.kind if fault else None


FIELDS: tuple[Field[NetworkRow], ...] = (
    Field(
        "name",
        "NAME",
        Unit.TEXT,
        "Name of the network on its host.",
        lambda row: row.network.name,
        sort_key=lambda row: natural_key(row.network.name),
        width=18,
        priority=0,
    ),
    Field(
        "host",
        "HOST",
        Unit.TEXT,
        "Host it is on.",
        lambda row: row.host.name,
        sort_key=lambda row: natural_key(row.host.name),
        width=12,
        priority=1,
    ),
    Field(
        "state",
        "STATE",
        Unit.TEXT,
        "active or inactive.",
        lambda row: network_look(row.network).word,
        sort_key=lambda row: 0 if network_fault(row.network) else network_look(row.network).urgency,
        width=10,
        glance=lambda row: network_look(row.network).text,
        priority=0,
    ),
    Field(
        "forward",
        "FORWARD",
        Unit.TEXT,
        "nat, route, open, bridge, private, vepa, passthrough, hostdev or isolated.",
        lambda row: row.network.forward or "isolated",
        width=11,
        priority=2,
    ),
    Field(
        "bridge",
        "BRIDGE",
        Unit.TEXT,
        "Its bridge.",
        lambda row: row.network.bridge or None,
        width=12,
        priority=2,
    ),
    Field(
        "addresses",
        "ADDRESSES",
        Unit.LIST,
        "Its own addresses with prefix: 192.168.122.1/24.",
        lambda row: row.network.addresses,
        width=20,
        priority=2,
    ),
    Field(
        "dhcp",
        "DHCP",
        Unit.BOOL,
        "Whether it hands out addresses.",
        lambda row: row.network.dhcp,
        width=4,
        priority=3,
    ),
    Field(
        "leases",
        "LEASES",
        Unit.COUNT,
        "Addresses that it has handed out.",
        lambda row: len(row.network.leases),
        width=6,
        priority=3,
    ),
    Field(
        "lease_list",
        "LEASED",
        Unit.LIST,
        "Leases as address=mac.",
        lambda row: tuple(f"{lease.address}={lease.mac}" for lease in row.network.leases),
        width=34,
        priority=9,
    ),
    Field(
        "autostart",
        "AUTO",
        Unit.BOOL,
        "Whether it starts with its host.",
        lambda row: row.network.autostart,
        width=4,
        priority=4,
    ),
    Field(
        "persistent",
        "PERSISTENT",
        Unit.BOOL,
        "Whether it is still defined when it is inactive.",
        lambda row: row.network.persistent,
        width=10,
        priority=9,
    ),
    Field(
        "fault",
        "FAULT",
        Unit.TEXT,
        "Stable word for what is wrong with it; unknown is nothing.",
        _fault,
        width=10,
        priority=9,
    ),
    Field("uuid", "UUID", Unit.TEXT, "Its UUID.", lambda row: row.network.uuid, width=36, priority=9),
)
