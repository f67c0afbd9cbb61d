"""Media and network interfaces: now and at the next boot, as the VM is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import libvirt
from lxml import etree

from virtfleet.errors import NotFoundError, RefusedError
from virtfleet.hypervisor.acts.domains import affected, lookup, name_of
from virtfleet.hypervisor.acts.hostlock import host_lock
from virtfleet.hypervisor.acts.metadata import lock_name
from virtfleet.hypervisor.acts.volumes import path_of
from virtfleet.hypervisor.call import Call, Operation
from virtfleet.hypervisor.views.safexml import Element, parse


async def _insert(call: Call) -> dict[str, Any]:
    args = call.args

    def work(conn: libvirt.virConnect) -> dict[str, Any]:
        path = path_of(conn, args["pool"], args["volume"])
        domain = lookup(conn, args["uuid"])
        drive = _drive(domain, args["target"])
        if _source(drive) == path:
            return {}
        _change(domain, drive, path)
        return {}

    async with host_lock(call, lock_name(args["uuid"])):
        return dict(await call.lanes.long.call(work, call.deadline))


async def _eject(call: Call) -> dict[str, Any]:
    def work(conn: libvirt.virConnect) -> dict[str, Any]:
        domain = lookup(conn, call.args["uuid"])
        drive = _drive(domain, call.args["target"])
        if _source(drive):
            _change(domain, drive, "")
        return {}

    async with host_lock(call, lock_name(call.args["uuid"])):
        return dict(await call.lanes.long.call(work, call.deadline))


def _drive(domain: libvirt.virDomain, target: str) -> Element:
    for disk in parse(domain.XMLDesc(0)).iterfind("devices/disk"):
        named = disk.find("target")
        if disk.get("device") == "cdrom" and named is not None and named.get("dev") == target:
            return disk
    raise RefusedError(f"{name_of(domain)} has no CD-ROM drive {target}")


def _source(drive: Element) -> str:
    source = drive.find("source")
    return str(source.get("file") or source.get("dev") or "") if source is not None else ""


def _change(domain: libvirt.virDomain, drive: Element, path: str) -> None:
    for old in (*drive.findall("source"), *drive.findall("backingStore"), *drive.findall("alias")):
        drive.remove(old)
    drive.set("type", "file")
    if path:
        drive.insert(0, etree.Element("source", file=path))
    domain.updateDeviceFlags(etree.tostring(drive, encoding="unicode"), affected(domain))


async def _attach(call: Call) -> dict[str, Any]:
    args = call.args

    def work(conn: libvirt.virConnect) -> dict[str, Any]:
        domain = lookup(conn, args["uuid"])
        if _nic(domain, args["mac"], 0) is not None:
            return {}
        nic = etree.Element("interface", type="network" if args.get("network") else "bridge")
        etree.SubElement(nic, "mac", address=args["mac"])
        if args.get("network"):
            etree.SubElement(nic, "source", network=args["network"])
        else:
            etree.SubElement(nic, "source", bridge=args["bridge"])
        if args.get("model"):
            etree.SubElement(nic, "model", type=args["model"])
        domain.attachDeviceFlags(etree.tostring(nic, encoding="unicode"), affected(domain))
        return {}

    async with host_lock(call, lock_name(args["uuid"])):
        return dict(await call.lanes.long.call(work, call.deadline))


async def _detach(call: Call) -> dict[str, Any]:
    mac = str(call.args["mac"])

    def work(conn: libvirt.virConnect) -> dict[str, Any]:
        try:
            domain = lookup(conn, call.args["uuid"])
        except NotFoundError:
            return {}
        # The definition and what runs may differ, so each loses what it has.
        for flag, view in (
            (libvirt.VIR_DOMAIN_AFFECT_LIVE, 0),
            (libvirt.VIR_DOMAIN_AFFECT_CONFIG, libvirt.VIR_DOMAIN_XML_INACTIVE),
        ):
            nic = _nic(domain, mac, view) if affected(domain) & flag else None
            if nic is not None:
                domain.detachDeviceFlags(etree.tostring(nic, encoding="unicode"), flag)
        return {}

    async with host_lock(call, lock_name(call.args["uuid"])):
        return dict(await call.lanes.long.call(work, call.deadline))


def _nic(domain: libvirt.virDomain, mac: str, view: int) -> Element | None:
    for nic in parse(domain.XMLDesc(view)).iterfind("devices/interface"):
        address = nic.find("mac")
        if address is not None and address.get("address", "").lower() == mac.lower():
            return nic
    return None


ACTS: Mapping[str, Operation] = {
    "vm.media.insert": _insert,
    "vm.media.eject": _eject,
    "vm.nic.attach": _attach,
    "vm.nic.detach": _detach,
}
