"""What each VM of a host was promised, read from libvirt at once."""

from __future__ import annotations

from typing import Any

import libvirt

from virtfleet.hypervisor.acts import room
from virtfleet.hypervisor.acts.room import Promise

_STATS = libvirt.VIR_DOMAIN_STATS_VCPU | libvirt.VIR_DOMAIN_STATS_BALLOON
_REFUSED = (libvirt.VIR_ERR_NO_SUPPORT, libvirt.VIR_ERR_INVALID_ARG, libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED)


def promised(conn: libvirt.virConnect, *, marks: bool) -> list[Promise]:
    """Of all VMs, running or not. `marks`: with what only their descriptions tell, groups and marks.

    Of those that are off the sizes come in one call; of those that run from their descriptions, since the
    bulk call asks each QEMU and so waits for one that is stuck.
    """
    domains: list[Any] = conn.listAllDomains()
    sizes = {} if marks else _sizes_of_the_rest(conn)
    found: dict[str, Promise] = {}
    for domain in domains:
        name = domain.UUIDString()
        if (size := sizes.pop(name, None)) is not None:
            found[name] = size
            continue
        try:
            found[name] = described(domain)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
    return [*found.values(), *sizes.values()]  # the last were defined in between


def _sizes_of_the_rest(conn: libvirt.virConnect) -> dict[str, Promise]:
    """Those that are off, where the driver tells it of all at once."""
    try:
        records: list[tuple[libvirt.virDomain, dict[str, Any]]] = conn.getAllDomainStats(
            _STATS, libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_INACTIVE
        )
    except libvirt.libvirtError as error:
        if error.get_error_code() in _REFUSED:
            return {}
        raise
    return {
        name: Promise(uuid=name, vcpus=record["vcpu.maximum"], memory=record["balloon.maximum"] * 1024)
        for domain, record in records
        if {"vcpu.maximum", "balloon.maximum"} <= record.keys() and (name := domain.UUIDString())
    }


def described(domain: libvirt.virDomain) -> Promise:
    """As it runs and as it will be at its next boot, whichever is more."""
    try:
        now = room.promise_of(domain.XMLDesc(0))
        if not domain.isActive() or not domain.isPersistent():
            return now
        return room.larger(room.promise_of(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)), now)
    except ValueError:  # a description that nobody can read; the sizes are told otherwise, too
        info: Any = domain.info()
        return Promise(uuid=domain.UUIDString(), vcpus=int(info[3]), memory=int(info[1]) * 1024)
