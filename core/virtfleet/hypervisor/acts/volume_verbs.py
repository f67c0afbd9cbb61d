"""A volume grows: by libvirt's storage driver, or through the VM that runs on it, whose guest is told."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import libvirt

from virtfleet.errors import NotFoundError, RefusedError
from virtfleet.hypervisor.acts.domains import name_of
from virtfleet.hypervisor.acts.hostlock import host_lock
from virtfleet.hypervisor.acts.volumes import full, no_room, pool_named, volume_named
from virtfleet.hypervisor.call import Call, Operation
from virtfleet.hypervisor.views.safexml import Element, parse
from virtfleet.model.text import clean


def volume_lock(pool: str, name: str) -> str:
    """The lock under which a volume of a host is changed."""
    return f"volume-{hashlib.sha256(f'{pool}/{name}'.encode()).hexdigest()[:32]}"


def runs_on(conn: libvirt.virConnect, path: str) -> list[tuple[libvirt.virDomain, str]]:
    """The VMs of this host that run and have the volume at `path`, each with the disk's target."""
    found = []
    for domain in conn.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
        try:
            root = parse(domain.XMLDesc(0))
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                continue  # gone meanwhile
            raise
        if target := next((_target(disk) for disk in root.iterfind("devices/disk") if has(disk, path)), ""):
            found.append((domain, target))
    return found


def has(disk: Element, path: str) -> bool:
    source = disk.find("source")
    return source is not None and path in (source.get("file"), source.get("dev"))


def _target(disk: Element) -> str:
    target = disk.find("target")
    return target.get("dev", "") if target is not None else ""


async def _extend(call: Call) -> dict[str, Any]:
    """From `old` to `new` bytes, under the volume's lock: who comes second is refused."""
    args = call.args
    old, new = int(args["old"]), int(args["new"])

    def work(conn: libvirt.virConnect) -> dict[str, Any]:
        pool = pool_named(conn, args["pool"])
        volume = _found(pool, args)
        path = str(volume.path())
        if path != args["path"]:
            raise RefusedError(f"{args['name']} is at {clean(path, 300)} now, not at {args['path']}")
        running = runs_on(conn, path)
        if len(running) > 1:
            names = ", ".join(name_of(domain) for domain, _ in running)
            raise RefusedError(f"{names} run on it together, and only one of them could be told")
        have = _size(volume, running)
        if have == new and call.again:
            return {"size": have}
        if have != old:
            raise RefusedError(
                f"volume {args['name']} has {have} bytes now, not {old}: somebody else has changed it",
                cure="plan it again",
            )
        try:
            if running:
                domain, target = running[0]
                domain.blockResize(target, new, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
            else:
                volume.resize(new, 0)
        except libvirt.libvirtError as error:
            if full(error):
                raise no_room(pool, new - old) from None
            raise
        pool.refresh(0)
        have = _size(volume, running)
        if have < new:
            raise RefusedError(f"volume {args['name']} has {have} bytes, {new} were asked for")
        return {"size": have, "through": name_of(running[0][0]) if running else ""}

    async with host_lock(call, volume_lock(args["pool"], args["name"])):
        return dict(await call.lanes.storage.call(work, call.deadline))


def _found(pool: libvirt.virStoragePool, args: Mapping[str, Any]) -> libvirt.virStorageVol:
    volume = volume_named(pool, args["name"])
    if volume is None:
        raise NotFoundError(f"there is no volume {args['name']} in pool {args['pool']}")
    return volume


def _size(volume: libvirt.virStorageVol, running: list[tuple[libvirt.virDomain, str]]) -> int:
    """As the VM that runs on it has it; its file may not say so yet."""
    if running:
        domain, target = running[0]
        return int(domain.blockInfo(target)[0])
    return int(volume.info()[1])


async def _leave(call: Call) -> dict[str, Any]:
    """The undo of `volume.extend`: what has grown stays, for a guest may have written there already."""

    def work(conn: libvirt.virConnect) -> dict[str, Any]:
        volume = _found(pool_named(conn, call.args["pool"]), call.args)
        have = _size(volume, runs_on(conn, str(volume.path())))
        if have == int(call.args["old"]):
            return {}
        return {"left": f"it has {have} bytes now and keeps them: to take them back could lose data"}

    return dict(await call.lanes.storage.call(work, call.deadline))


ACTS: Mapping[str, Operation] = {"volume.extend": _extend, "volume.extend.leave": _leave}
