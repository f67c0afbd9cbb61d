"""Snapshots: inside the disks with memory, or as overlay files without."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import libvirt
from lxml import etree

from virtfleet.errors import NotFoundError, RefusedError, UnsupportedError
from virtfleet.hypervisor.acts import metadata
from virtfleet.hypervisor.acts.domains import lookup, name_of, on_domain
from virtfleet.hypervisor.acts.hostlock import host_lock
from virtfleet.hypervisor.acts.power import with_progress
from virtfleet.hypervisor.call import Call, Operation
from virtfleet.hypervisor.views import vmdata
from virtfleet.hypervisor.views.safexml import parse
from virtfleet.model.text import clean


def _described(snapshot: libvirt.virDomainSnapshot, current: str) -> dict[str, Any]:
    root = parse(snapshot.getXMLDesc(0))

    def text(path: str) -> str:
        found = root.find(path)
        return clean(found.text or "", 500) if found is not None else ""

    memory = root.find("memory")
    state = text("state")
    external = any(disk.get("snapshot") == "external" for disk in root.iterfind("disks/disk"))
    created = text("creationTime")
    return {
        "name": clean(snapshot.getName(), 200),
        "parent": text("parent/name"),
        "created": float(created) if created.isdecimal() else None,
        "state": state,
        "current": snapshot.getName() == current,
        "description": text("description"),
        "kind": "external" if external or state == "disk-snapshot" else "internal",
        "memory": memory is not None and memory.get("snapshot", "no") != "no",
    }


async def listed(call: Call) -> list[dict[str, Any]]:
    """All of a VM: name, parent, created (Unix time), state, current, description, kind, memory."""

    def work(domain: libvirt.virDomain) -> list[dict[str, Any]]:
        current = domain.snapshotCurrent(0).getName() if domain.hasCurrentSnapshot(0) else ""
        return [_described(each, current) for each in domain.listAllSnapshots(0)]

    return await on_domain(call, work)


def _named(domain: libvirt.virDomain, name: str) -> libvirt.virDomainSnapshot:
    try:
        return domain.snapshotLookupByName(name, 0)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_SNAPSHOT:
            raise NotFoundError(f"{name_of(domain)} has no snapshot {name}") from None
        raise


def _is_ours(snapshot: libvirt.virDomainSnapshot, job: str) -> bool:
    """Whether this job made it: the definition that libvirt keeps with it has the claim of that moment."""
    claims = parse(snapshot.getXMLDesc(0)).iterfind(f"domain/metadata/{{{vmdata.JOB}}}job")
    return bool(job) and any(claim.get("id") == job for claim in claims)


async def _create(call: Call) -> dict[str, Any]:
    args = call.args
    disk_only = bool(args.get("disk_only"))

    def work(conn: libvirt.virConnect) -> dict[str, Any]:
        domain = lookup(conn, args["uuid"])
        existing = {each.getName(): each for each in domain.listAllSnapshots(0)}
        if args["name"] in existing:
            if call.again and _is_ours(existing[args["name"]], call.job):
                return {"name": args["name"]}
            raise RefusedError(f"{name_of(domain)} has a snapshot {args['name']} already")
        root = etree.Element("domainsnapshot")
        etree.SubElement(root, "name").text = args["name"]
        if args.get("description"):
            etree.SubElement(root, "description").text = args["description"]
        flags = 0
        if disk_only:
            flags = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC
            if args.get("quiesce"):
                flags |= libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_QUIESCE
        domain.snapshotCreateXML(etree.tostring(root, encoding="unicode"), flags)
        return {"name": args["name"]}

    return dict(await with_progress(call, work, "writing the snapshot"))


async def _revert(call: Call) -> dict[str, Any]:
    """Disks, memory and definition as they were. What we know of the VM ourselves (project, tags, protection)
    is as in the definition `keep`; the claims that stood there at that time are void."""

    def work(conn: libvirt.virConnect) -> str | None:
        domain = lookup(conn, call.args["uuid"])
        snapshot = _named(domain, call.args["name"])
        if _described(snapshot, "")["kind"] == "external":
            raise UnsupportedError(
                f"libvirt {_version(conn)} can't revert to {call.args['name']}: it is in files of its own"
            )
        claim = metadata.read(domain, vmdata.JOB)
        try:
            domain.revertToSnapshot(snapshot, 0)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_SNAPSHOT_REVERT_RISKY:
                raise
            domain.revertToSnapshot(snapshot, libvirt.VIR_DOMAIN_SNAPSHOT_REVERT_FORCE)
        # The second time it may be one of those that came with the snapshot.
        ours = vmdata.claim_of(claim)
        return claim if ours is not None and (ours.id == call.job or not call.again) else None

    claim = await with_progress(call, work, "reverting")
    keep = str(call.args.get("keep") or "")

    def restore(domain: libvirt.virDomain) -> None:
        metadata.write(domain, vmdata.JOB, vmdata.JOB_PREFIX, claim)
        if keep:
            metadata.write(domain, vmdata.VM, vmdata.PREFIX, vmdata.plain(keep))

    async with host_lock(call, metadata.lock_name(call.args["uuid"])):
        await on_domain(call, restore)
    return {}


def _version(conn: libvirt.virConnect) -> str:
    number = conn.getLibVersion()
    return f"{number // 1_000_000}.{number // 1000 % 1000}"


async def _delete(call: Call) -> dict[str, Any]:
    """External ones are refused before anything happens: their files are in use.

    `ours`: only if this job made it. NotFoundError: there is none, unless it was begun before.
    """
    args = call.args

    def work(conn: libvirt.virConnect) -> dict[str, Any]:
        domain = lookup(conn, args["uuid"])
        try:
            snapshot = _named(domain, args["name"])
        except NotFoundError:
            if call.again or call.uncertain:
                return {}
            raise
        if args.get("ours") and not _is_ours(snapshot, call.job):
            return {"left": f"snapshot {clean(args['name'], 200)} is not of this job"}
        doomed = [snapshot]
        if args.get("children"):
            doomed += snapshot.listAllChildren(libvirt.VIR_DOMAIN_SNAPSHOT_LIST_DESCENDANTS)
        external = [
            clean(each.getName(), 100) for each in doomed if _described(each, "")["kind"] == "external"
        ]
        if external and conn.getLibVersion() < 9_009_000:
            raise UnsupportedError(
                f"{', '.join(external)} keeps its disks in files of its own; this libvirt can't merge them",
                cure="merge them on the host with `virsh blockcommit --active --pivot`",
            )
        flags = libvirt.VIR_DOMAIN_SNAPSHOT_DELETE_CHILDREN if args.get("children") else 0
        snapshot.delete(flags)
        return {"deleted": len(doomed)}

    return dict(await with_progress(call, work, "deleting the snapshot"))


ACTS: Mapping[str, Operation] = {
    "vm.snapshot.create": _create,
    "vm.snapshot.revert": _revert,
    "vm.snapshot.delete": _delete,
}
