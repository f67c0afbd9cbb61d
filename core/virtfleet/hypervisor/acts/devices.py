"""Media and network interfaces: now and at the next boot, as the VM is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import libvirt
from lxml import etree

from virtfleet.errors import HostError, NotFoundError, RefusedError
from virtfleet.hypervisor.acts.domains import affected, lookup, name_of, on_domain
from virtfleet.hypervisor.acts.hostlock import host_lock
from virtfleet.hypervisor.acts.metadata import lock_name
from virtfleet.hypervisor.acts.volumes import path_of
from virtfleet.hypervisor.call import Call, Operation
from virtfleet.hypervisor.views.safexml import Element, parse
from virtfleet.model.text import clean

_ASKED = 2
"""Times that a guest is asked anew to let go of a device."""
_ASK_EVERY = 1.0
"""Seconds before that, besides the 5 that libvirt waits each time."""


async def _insert(call: Call) -> dict[str, Any]:
    """`expect` {pool, volume}, empty for an empty drive: of an undo, what must be in there."""
    args = call.args

    def work(conn: libvirt.virConnect) -> dict[str, Any]:
        path = path_of(conn, args["pool"], args["volume"])
        domain = lookup(conn, args["uuid"])
        drive = _drive(domain, args["target"])
        if _source(drive) == path:
            return {}
        if left := _others(call, conn, _source(drive)):
            return {"left": left}
        _change(domain, drive, path)
        return {}

    async with host_lock(call, lock_name(args["uuid"])):
        return dict(await call.lanes.long.call(work, call.deadline))


async def _eject(call: Call) -> dict[str, Any]:
    """`expect` as in `vm.media.insert`."""

    def work(conn: libvirt.virConnect) -> dict[str, Any]:
        domain = lookup(conn, call.args["uuid"])
        drive = _drive(domain, call.args["target"])
        if _source(drive):
            if left := _others(call, conn, _source(drive)):
                return {"left": left}
            _change(domain, drive, "")
        return {}

    async with host_lock(call, lock_name(call.args["uuid"])):
        return dict(await call.lanes.long.call(work, call.deadline))


def _others(call: Call, conn: libvirt.virConnect, present: str) -> str:
    """What somebody else has put in since; empty: it is as expected. RefusedError: the job is over."""
    expect = call.args.get("expect")
    if expect is None:
        return ""
    ours = ""
    if expect:
        with contextlib.suppress(NotFoundError):
            ours = path_of(conn, expect["pool"], expect["volume"])
    if present == ours:
        return ""
    words = f"{clean(present, 300) or 'nothing'} is in {call.args['target']} now"
    if call.args.get("of_done"):
        raise RefusedError(
            f"{words}: somebody else has changed it since", cure="look, and change it yourself"
        )
    return words


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


VIEWS = (
    (libvirt.VIR_DOMAIN_AFFECT_LIVE, 0),
    (libvirt.VIR_DOMAIN_AFFECT_CONFIG, libvirt.VIR_DOMAIN_XML_INACTIVE),
)
"""What runs and the definition may differ, so each gets or loses what it lacks or has."""


async def _attach(call: Call) -> dict[str, Any]:
    args = call.args

    def work(conn: libvirt.virConnect) -> dict[str, Any]:
        domain = lookup(conn, args["uuid"])
        nic = etree.Element("interface", type="network" if args.get("network") else "bridge")
        etree.SubElement(nic, "mac", address=args["mac"])
        if args.get("network"):
            etree.SubElement(nic, "source", network=args["network"])
        else:
            etree.SubElement(nic, "source", bridge=args["bridge"])
        if args.get("model"):
            etree.SubElement(nic, "model", type=args["model"])
        wanted = affected(domain)
        lacks = [flag for flag, view in VIEWS if wanted & flag and _nic(domain, args["mac"], view) is None]
        if lacks:
            domain.attachDeviceFlags(etree.tostring(nic, encoding="unicode"), sum(lacks))
        return {}

    async with host_lock(call, lock_name(args["uuid"])):
        return dict(await call.lanes.long.call(work, call.deadline))


async def _detach(call: Call) -> dict[str, Any]:
    """HostError: its guest does not let go of it; then the definition still has it, too."""
    mac = str(call.args["mac"])
    return await let_go(call, lambda domain, view: _nic(domain, mac, view), mac)


async def let_go(
    call: Call, find: Callable[[libvirt.virDomain, int], Element | None], what: str
) -> dict[str, Any]:
    """Takes the device that `find(domain, view)` finds out of a VM, now and at its next boot.

    HostError: its guest does not let go of it; then the definition still has it, too.
    """

    def detach(domain: libvirt.virDomain, flag: int, view: int) -> bool:
        """Whether it was there."""
        device = find(domain, view) if affected(domain) & flag else None
        if device is not None:
            domain.detachDeviceFlags(etree.tostring(device, encoding="unicode"), flag)
        return device is not None

    def ask(domain: libvirt.virDomain) -> bool:
        with contextlib.suppress(libvirt.libvirtError):  # it was asked already
            return detach(domain, *VIEWS[0])
        return True

    def is_in(domain: libvirt.virDomain) -> bool:
        return bool(domain.isActive()) and find(domain, 0) is not None

    async with host_lock(call, lock_name(call.args["uuid"])):
        try:
            await on_domain(call, lambda domain: detach(domain, *VIEWS[0]))
            # libvirt waits 5 s for the guest and says yes in any case. One that boots does not hear it.
            for _ in range(_ASKED):
                if not await on_domain(call, is_in):
                    break
                call.report(0, 0, "waiting for its guest to let go of it")
                await asyncio.sleep(_ASK_EVERY)
                if await on_domain(call, is_in):
                    await on_domain(call, ask)
            else:
                raise HostError(
                    f"its guest does not let go of {what}",
                    cure="try again when it has booted, or when it is shut off",
                )
            await on_domain(call, lambda domain: detach(domain, *VIEWS[1]))
        except NotFoundError:
            return {"left": "the VM is gone"}
    return {}


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
