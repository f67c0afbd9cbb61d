"""A move as its destination does it: room kept for the VM until it is there, and what is left to do then.

Room is kept by a definition of our own, with no disk and no network, under
another name and UUID: whoever counts what is promised counts it, and if
somebody starts it no harm is done. A definition of the VM itself would not do:
it could be started while the VM runs elsewhere.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import libvirt
from lxml import etree

from virtfleet.errors import HostError, RefusedError
from virtfleet.hypervisor.acts import metadata
from virtfleet.hypervisor.acts.capacity import Define, defined
from virtfleet.hypervisor.acts.domains import name_of
from virtfleet.hypervisor.call import Call, Operation
from virtfleet.hypervisor.states import vm_state
from virtfleet.hypervisor.views import vmdata
from virtfleet.model.text import clean

_WORSE = (libvirt.VIR_CPU_COMPARE_INCOMPATIBLE, libvirt.VIR_CPU_COMPARE_ERROR)


async def _room(call: Call) -> dict[str, Any]:
    """Keeps room for a VM that comes. RefusedError: another is in its way, or its CPU is not to be had here.
    NoRoomError: `limits`."""
    args = call.args

    def work(conn: libvirt.virConnect, define: Define) -> None:
        _no_stranger(conn, str(args["uuid"]), str(args["name"]))
        _cpu_is_there(conn, dict(args.get("look") or {}))
        define(_keeper(args, call.job))

    await defined(call, work)
    return {}


def _no_stranger(conn: libvirt.virConnect, uuid: str, name: str) -> None:
    for find, what in ((conn.lookupByUUIDString, uuid), (conn.lookupByName, name)):
        try:
            found = find(what)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
        else:
            kind = "of its UUID" if find == conn.lookupByUUIDString else "of its name"
            raise RefusedError(f"there is a VM {kind} already: {name_of(found)}, {found.UUIDString()}")


def _cpu_is_there(conn: libvirt.virConnect, look: Mapping[str, Any]) -> None:
    """RefusedError: the hypervisor here can't give the guest the CPU that it has. What can't be asked is no
    obstacle: the hypervisor asks itself, too."""
    if not look.get("cpu"):
        return
    try:
        compare: Any = conn.compareHypervisorCPU
        found = compare(None, *(look[key] or None for key in ("arch", "machine", "kind")), look["cpu"])
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_CPU_INCOMPATIBLE:
            found = libvirt.VIR_CPU_COMPARE_INCOMPATIBLE
        else:
            return
    if found in _WORSE:
        raise RefusedError(
            "its guest's CPU is not to be had on this host", cure="another host, or a lesser CPU model"
        )


def _keeper(args: Mapping[str, Any], job: str) -> str:
    """What keeps the room."""
    root = etree.Element("domain", type=str(dict(args.get("look") or {}).get("kind") or "qemu"))
    etree.SubElement(root, "name").text = keeper_name(str(args["keeper"]))
    etree.SubElement(root, "uuid").text = str(args["keeper"])
    etree.SubElement(root, "title").text = clean(f"room for {args['name']}, which job {job} moves here", 300)
    etree.SubElement(root, "memory", unit="bytes").text = str(int(args["memory"]))
    etree.SubElement(root, "vcpu").text = str(int(args["vcpus"]))
    os_type = etree.SubElement(etree.SubElement(root, "os"), "type")
    os_type.text = "hvm"
    if args.get("arch"):
        os_type.set("arch", str(args["arch"]))
    values = {key: str(args.get(key) or "") for key in ("project", "group")}
    if data := vmdata.made(values, (), protected=False):
        vmdata.metadata_of(root).append(vmdata.namespaced(data, vmdata.VM, vmdata.PREFIX))
    return str(etree.tostring(root, encoding="unicode"))


def keeper_name(uuid: str) -> str:
    return f"virtfleet-room-{uuid}"


def _leave(conn: libvirt.virConnect, keeper: str) -> str:
    """Gives the room back. What is left of it and why, or empty."""
    try:
        domain = conn.lookupByUUIDString(keeper)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return ""
        raise
    if domain.name() != keeper_name(keeper):
        return f"{name_of(domain)} has its UUID now"
    if domain.isActive():
        domain.destroy()
    with contextlib.suppress(libvirt.libvirtError):  # somebody else has just done it
        domain.undefine()
    return ""


async def _room_back(call: Call) -> dict[str, Any]:
    left = await call.lanes.long.call(lambda conn: _leave(conn, str(call.args["keeper"])), call.deadline)
    return {"left": left} if left else {}


async def _arrive(call: Call) -> dict[str, Any]:
    """It is here: started with its host as it was, our claim on it ended, the kept room given back."""
    args = call.args

    def work(conn: libvirt.virConnect) -> dict[str, Any]:
        try:
            domain = conn.lookupByUUIDString(args["uuid"])
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:  # a host that had said it is here
                raise HostError(f"{args['name']} is not here any more") from None
            raise
        if domain.isPersistent() and bool(domain.autostart()) != bool(args.get("autostart")):
            domain.setAutostart(int(bool(args.get("autostart"))))
        # Nobody else writes a claim while ours stands: no lock is needed to take it away.
        claim = vmdata.claim_of(metadata.read(domain, vmdata.JOB))
        if claim is not None and claim.id == call.job:
            metadata.write(domain, vmdata.JOB, vmdata.JOB_PREFIX, None)
        _leave(conn, str(args["keeper"]))
        return {"state": vm_state(domain.state()[0]).value}

    return dict(await call.lanes.long.call(work, call.deadline))


ACTS: Mapping[str, Operation] = {"vm.room": _room, "vm.room.back": _room_back, "vm.arrive": _arrive}
