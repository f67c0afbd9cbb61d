"""Volumes as disks of VMs, now and at the next boot: attached with a serial by which the guest finds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import libvirt
from lxml import etree

from virtfleet.errors import RefusedError
from virtfleet.hypervisor.acts.devices import VIEWS, let_go
from virtfleet.hypervisor.acts.domains import affected, lookup, name_of
from virtfleet.hypervisor.acts.hostlock import host_lock
from virtfleet.hypervisor.acts.metadata import lock_name
from virtfleet.hypervisor.acts.volume_verbs import has
from virtfleet.hypervisor.acts.volumes import path_of
from virtfleet.hypervisor.call import Call, Operation
from virtfleet.hypervisor.views.safexml import Element, parse
from virtfleet.model.text import clean

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_PREFIXES = {"virtio": "vd"}


async def _attach(call: Call) -> dict[str, Any]:
    """{target}: where it is now. Refused: another VM of the host has it, and not all of them share it."""
    args = call.args

    def work(conn: libvirt.virConnect) -> dict[str, Any]:
        path = path_of(conn, args["pool"], args["name"])
        if path != args["path"]:
            raise RefusedError(f"{args['name']} is at {clean(path, 300)} now, not at {args['path']}")
        domain = lookup(conn, args["uuid"])
        for other, disk in _others(conn, path, args["uuid"]):
            shared = disk.find("shareable") is not None and args.get("shareable")
            read = disk.find("readonly") is not None and args.get("readonly")
            if not shared and not read:
                raise RefusedError(f"{other} has {args['name']} already")
        there = [flag for flag, view in VIEWS if _disk(domain, path, view) is not None]
        lacks = [flag for flag in _flags(domain) if flag not in there]
        target = _target(domain, path, str(args["bus"]))
        if lacks:
            xml = etree.tostring(_xml(args, path, target), encoding="unicode")
            domain.attachDeviceFlags(xml, sum(lacks))
        return {"target": target}

    async with host_lock(call, lock_name(args["uuid"])):
        return dict(await call.lanes.long.call(work, call.deadline))


def _flags(domain: libvirt.virDomain) -> list[int]:
    wanted = affected(domain)
    return [flag for flag, _ in VIEWS if wanted & flag]


def _disks(domain: libvirt.virDomain, view: int) -> Iterator[Element]:
    return parse(domain.XMLDesc(view)).iterfind("devices/disk")


def _disk(domain: libvirt.virDomain, path: str, view: int) -> Element | None:
    return next((disk for disk in _disks(domain, view) if has(disk, path)), None)


def _others(conn: libvirt.virConnect, path: str, but: str) -> Iterator[tuple[str, Element]]:
    """Other VMs of the host that have the volume at `path`, with the disk that it is there."""
    for domain in conn.listAllDomains(0):
        try:
            if domain.UUIDString() == but:
                continue
            for _, view in VIEWS:
                if (disk := _disk(domain, path, view)) is not None:
                    yield name_of(domain), disk
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:  # it may vanish meanwhile
                raise


def _target(domain: libvirt.virDomain, path: str, bus: str) -> str:
    """Where it is already, else the first name that is free now and at the next boot."""
    taken = set()
    for _, view in VIEWS:
        for disk in _disks(domain, view):
            named = disk.find("target")
            name = str(named.get("dev", "")) if named is not None else ""
            if has(disk, path):
                return str(name)
            taken.add(name)
    prefix = str(_PREFIXES.get(bus, "sd"))
    for name in (*_LETTERS, *(f"{a}{b}" for a in _LETTERS for b in _LETTERS)):
        if prefix + name not in taken:
            return f"{prefix}{name}"
    raise RefusedError(f"{name_of(domain)} has no name left for a disk on {bus}")


def _xml(args: Mapping[str, Any], path: str, target: str) -> Element:
    kind = "block" if args.get("block") else "file"
    disk = etree.Element("disk", type=kind, device="disk")
    etree.SubElement(disk, "driver", name="qemu", type=args["format"])
    etree.SubElement(disk, "source", {"dev" if kind == "block" else "file": path})
    etree.SubElement(disk, "target", dev=target, bus=args["bus"])
    etree.SubElement(disk, "serial").text = args["serial"]
    if args.get("readonly"):
        etree.SubElement(disk, "readonly")
    if args.get("shareable"):
        etree.SubElement(disk, "shareable")
    return disk


async def _detach(call: Call) -> dict[str, Any]:
    """`path`: of the volume, whatever the disk is called."""
    path = str(call.args["path"])
    return await let_go(call, lambda domain, view: _disk(domain, path, view), str(call.args["name"]))


async def _reattach(call: Call) -> dict[str, Any]:
    """The undo of a detach: the disk as `xml`, the definition of before, has it."""
    args = call.args

    def work(conn: libvirt.virConnect) -> dict[str, Any]:
        if not args.get("xml"):
            return {"left": "its definition was not remembered"}
        before = next(
            (disk for disk in parse(args["xml"]).iterfind("devices/disk") if has(disk, args["path"])), None
        )
        if before is None:
            return {"left": "it was not in the definition"}
        domain = lookup(conn, args["uuid"])
        for each in (*before.findall("alias"), *before.findall("backingStore")):
            before.remove(each)
        there = [flag for flag, view in VIEWS if _disk(domain, args["path"], view) is not None]
        if lacks := [flag for flag in _flags(domain) if flag not in there]:
            domain.attachDeviceFlags(etree.tostring(before, encoding="unicode"), sum(lacks))
        return {}

    async with host_lock(call, lock_name(args["uuid"])):
        return dict(await call.lanes.long.call(work, call.deadline))


ACTS: Mapping[str, Operation] = {
    "volume.attach": _attach,
    "volume.detach": _detach,
    "volume.reattach": _reattach,
}
