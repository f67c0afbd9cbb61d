"""Volumes: make, copy, delete. What is deleted must be shown to be ours, or to be what was meant."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import libvirt
from lxml import etree

from virtfleet.errors import NotFoundError, RefusedError, UnsupportedError, VirtfleetError
from virtfleet.hypervisor.acts.power import with_progress
from virtfleet.hypervisor.call import Call, Operation
from virtfleet.hypervisor.views.safexml import Element, parse
from virtfleet.model.text import clean

_FULL = ("no space left", "disk quota exceeded", "not enough free space", "cannot allocate")


def pool_named(conn: libvirt.virConnect, name: str) -> libvirt.virStoragePool:
    """The pool, which must be active. NotFoundError, RefusedError."""
    try:
        pool = conn.storagePoolLookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_STORAGE_POOL:
            raise NotFoundError(f"there is no pool {name} on this host") from None
        raise
    if not pool.isActive():
        raise RefusedError(f"pool {name} is not active", cure=f"start pool {name}")
    return pool


def volume_named(pool: libvirt.virStoragePool, name: str) -> libvirt.virStorageVol | None:
    """The volume; None: there is none, also after libvirt has looked anew."""
    for attempt in range(2):
        try:
            return pool.storageVolLookupByName(name)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
                raise
        if attempt == 0:
            with contextlib.suppress(libvirt.libvirtError):  # another host may have made it
                pool.refresh(0)
    return None


def path_of(conn: libvirt.virConnect, pool: str, name: str) -> str:
    """Path of a volume on its host. NotFoundError."""
    found = volume_named(pool_named(conn, pool), name)
    if found is None:
        raise NotFoundError(f"there is no volume {name} in pool {pool}")
    return str(found.path())


def user_of(conn: libvirt.virConnect, path: str, but: str = "") -> str:
    """Name of a VM of this host, other than that of UUID `but`, with `path` among its disks; or empty."""
    for domain in conn.listAllDomains(0):
        with contextlib.suppress(libvirt.libvirtError, ValueError):  # it may vanish meanwhile
            if domain.UUIDString() == but:
                continue
            for xml in {domain.XMLDesc(0), domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)}:
                if any(path in source.attrib.values() for source in parse(xml).iter("source")):
                    return clean(domain.name(), 200)
    return ""


def overlay_of(pool: libvirt.virStoragePool, path: str) -> str:
    """Name of a volume of the pool that stands on the one at `path`; or empty."""
    for volume in pool.listAllVolumes(0):
        with contextlib.suppress(libvirt.libvirtError, ValueError):  # it may vanish meanwhile
            if _text(parse(volume.XMLDesc(0)), "backingStore/path") == path:
                return clean(volume.name(), 200)
    return ""


def volume_xml(
    name: str,
    capacity: int,
    form: str,
    *,
    allocation: int | None = None,
    backing: tuple[str, str] | None = None,
) -> str:
    """`backing`: path and format of what it stands on."""
    root = etree.Element("volume")
    etree.SubElement(root, "name").text = name
    etree.SubElement(root, "capacity", unit="bytes").text = str(capacity)
    if allocation is not None:
        etree.SubElement(root, "allocation", unit="bytes").text = str(allocation)
    target = etree.SubElement(root, "target")
    etree.SubElement(target, "format", type=form)
    if backing is not None:
        store = etree.SubElement(root, "backingStore")
        etree.SubElement(store, "path").text = backing[0]
        etree.SubElement(store, "format", type=backing[1])
    return str(etree.tostring(root, encoding="unicode"))


def full(error: libvirt.libvirtError) -> bool:
    """Whether a pool had no room for it."""
    return any(word in str(error).lower() for word in _FULL)


def no_room(pool: libvirt.virStoragePool, wanted: int) -> VirtfleetError:
    """What to say of a full pool."""
    if pool.connect().getType().upper() == "TEST":  # type: ignore[no-untyped-call]  # libvirt's stub has none
        return UnsupportedError(
            f"libvirt's test driver can't make a volume of {wanted >> 20} MiB in {clean(pool.name(), 100)}",
            cure="its pools hold 100 GiB, whatever is simulated on top of it; on a real host this works",
        )
    available = ""
    with contextlib.suppress(libvirt.libvirtError):
        pool.refresh(0)
        available = f", {int(pool.info()[3]) >> 20} MiB are left"
    return RefusedError(
        f"pool {clean(pool.name(), 100)} is full: {wanted >> 20} MiB are needed{available}",
        cure="make room, or choose another pool",
    )


async def _create(call: Call) -> dict[str, Any]:
    """Makes it; `backing` {pool, volume, format} as an overlay. Existing: only `again`, if it is the same.

    `allocation`: bytes that are taken at once; `preallocate`: that a qcow2 takes all of them.
    """
    args = call.args
    wanted = int(args["capacity"])

    def work(conn: libvirt.virConnect) -> str:
        pool = pool_named(conn, args["pool"])
        backing = None
        if base := args.get("backing"):
            backing = (path_of(conn, base["pool"], base["volume"]), str(base["format"]))
        existing = volume_named(pool, args["name"])
        if existing is not None:
            if call.again and _is_made(existing, args, backing[0] if backing else ""):
                return str(existing.path())
            raise RefusedError(f"there is a volume {args['name']} in pool {args['pool']} already")
        xml = volume_xml(
            args["name"], wanted, args["format"], allocation=args.get("allocation"), backing=backing
        )
        try:
            flags = libvirt.VIR_STORAGE_VOL_CREATE_PREALLOC_METADATA if args.get("preallocate") else 0
            return str(pool.createXML(xml, flags).path())
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_STORAGE_VOL_EXIST:
                raise RefusedError(
                    f"there is a volume {args['name']} in pool {args['pool']} already"
                ) from None
            if full(error):
                raise no_room(pool, wanted) from None
            raise

    async with call.lanes.extra() as lane:
        return {"path": await lane.call(work, call.deadline)}


def _is_made(volume: libvirt.virStorageVol, args: Mapping[str, Any], backing: str) -> bool:
    """Whether a volume is what `args` would have made."""
    root = parse(volume.XMLDesc(0))
    return (
        _text(root, "capacity") == str(args["capacity"])
        and (_format(root) or "raw") == args["format"]
        and _text(root, "backingStore/path") == backing
    )


def _text(root: Element, path: str) -> str:
    found = root.find(path)
    return (found.text or "") if found is not None else ""


def _format(root: Element) -> str:
    found = root.find("target/format")
    return str(found.get("type", "")) if found is not None else ""


async def _delete(call: Call) -> dict[str, Any]:
    """Deletes what was meant and nothing else: gone already is well, used by another VM is refused.

    `path`: it must still be there. `made` {capacity, format, backing: {pool, volume}?}: of an undo that is
    not certain, it must look like what we would have made, else it is left alone and `left` says why.
    `overlays`: refused also while another volume of its pool stands on it.
    """
    args = call.args

    def work(conn: libvirt.virConnect) -> dict[str, Any]:
        try:
            pool = pool_named(conn, args["pool"])
        except NotFoundError:
            return {"left": "its pool is gone"}
        volume = volume_named(pool, args["name"])
        if volume is None:
            return {}
        path = str(volume.path())
        if args.get("path") and path != args["path"]:
            raise RefusedError(f"{args['name']} is at {clean(path, 300)} now, not at {args['path']}")
        if other := user_of(conn, path, str(args.get("uuid", ""))):
            if call.uncertain:
                return {"left": f"{other} uses it"}
            raise RefusedError(f"volume {args['name']} is used by {other}: not deleted")
        if args.get("overlays") and (overlay := overlay_of(pool, path)):
            raise RefusedError(f"{overlay} stands on volume {args['name']}: not deleted")
        made = args.get("made")
        if call.uncertain and made is not None:
            base = made.get("backing")
            backing = path_of(conn, base["pool"], base["volume"]) if base else ""
            if not _is_made(volume, made, backing):
                return {"left": "it is not what was to be made"}
        if size := args.get("if_size"):
            physical = int(volume.infoFlags(libvirt.VIR_STORAGE_VOL_GET_PHYSICAL)[2])
            if physical >= size:
                return {"left": "it is complete"}
        volume.delete(0)
        return {"deleted": True}

    return dict(await call.lanes.storage.call(work, call.deadline))


async def _clone(call: Call) -> dict[str, Any]:
    """A full copy, by the host itself."""
    args = call.args

    def work(conn: libvirt.virConnect) -> str:
        pool = pool_named(conn, args["pool"])
        source = volume_named(pool_named(conn, args["from_pool"]), args["from_volume"])
        if source is None:
            raise NotFoundError(f"there is no volume {args['from_volume']} in pool {args['from_pool']}")
        existing = volume_named(pool, args["name"])
        if existing is not None:
            if not call.again:
                raise RefusedError(f"there is a volume {args['name']} in pool {args['pool']} already")
            if other := user_of(conn, str(existing.path())):
                raise RefusedError(f"volume {args['name']} is used by {other}")
            existing.delete(0)  # half a copy, of the time before
        capacity = max(int(args.get("capacity") or 0), int(source.info()[1]))
        xml = volume_xml(args["name"], capacity, args["format"])
        try:
            made = pool.createXMLFrom(xml, source, 0)
        except libvirt.libvirtError as error:
            if full(error):
                raise no_room(pool, int(source.info()[2])) from None
            raise
        if int(made.info()[1]) < capacity:
            made.resize(capacity, 0)
        return str(made.path())

    return {"path": await with_progress(call, work, "copying")}


ACTS: Mapping[str, Operation] = {
    "volume.create": _create,
    "volume.delete": _delete,
    "volume.clone": _clone,
}
