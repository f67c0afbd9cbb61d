"""A virtual network's XML and its DHCP leases as `Network`."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

from virtfleet.hypervisor.views.reading import attribute, child, children, content, integer
from virtfleet.hypervisor.views.safexml import Element, parse
from virtfleet.model import Lease, Network
from virtfleet.model.text import clean


def network(
    xml: str,
    *,
    active: bool,
    autostart: bool = False,
    persistent: bool = True,
    leases: tuple[Lease, ...] = (),
) -> Network:
    """A network of a host. ValueError: `xml` is no network's XML; oddities give defaults."""
    root = parse(xml)
    if root.tag != "network":
        raise ValueError(f"not a network's XML: <{clean(str(root.tag), 60)}>")
    uuid = content(child(root, "uuid"), 64)
    forward = child(root, "forward")
    ips = list(children(root, "ip"))
    return Network(
        uuid=uuid,
        name=content(child(root, "name")) or uuid,
        active=active,
        autostart=autostart,
        persistent=persistent,
        bridge=attribute(child(root, "bridge"), "name"),
        # An empty <forward/> means NAT.
        forward="" if forward is None else attribute(forward, "mode") or "nat",
        addresses=tuple(found for ip in ips if (found := _address(ip))),
        dhcp=any(child(ip, "dhcp") is not None for ip in ips),
        leases=leases,
    )


def leases(records: Iterable[Mapping[str, object]]) -> tuple[Lease, ...]:
    """Leases from libvirt-python's `DHCPLeases`; what has no address or no MAC is left out."""
    found = []
    for record in records:
        mac, address = record.get("mac"), record.get("ipaddr")
        expires = record.get("expirytime")
        if not (isinstance(mac, str) and isinstance(address, str) and mac and address):
            continue
        found.append(
            Lease(
                mac=clean(mac.lower(), 64),
                address=clean(address, 64),
                hostname=clean(str(record.get("hostname") or ""), 255),
                expires=float(expires) if isinstance(expires, int | float) else 0.0,
            )
        )
    return tuple(found)


def _address(ip: Element) -> str:
    """`192.168.122.1/24`; without a prefix where neither that nor a netmask makes sense."""
    address = attribute(ip, "address")
    if not address:
        return ""
    netmask = attribute(ip, "netmask")
    prefix = integer(attribute(ip, "prefix"))
    if prefix is None and netmask:
        try:
            prefix = ipaddress.ip_network(f"0.0.0.0/{netmask}").prefixlen
        except ValueError:
            prefix = None
    return address if prefix is None or not 0 <= prefix <= 128 else f"{address}/{prefix}"
