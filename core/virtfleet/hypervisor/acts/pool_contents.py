"""What is in a pool: emptied for good, or given more room to be in."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

import libvirt

from virtfleet.errors import HostError, NotFoundError, RefusedError, UnsupportedError
from virtfleet.hypervisor import probe
from virtfleet.hypervisor.acts.pools import lookup, on_pool
from virtfleet.hypervisor.call import Call, Operation
from virtfleet.hypervisor.views.pool import pool_parts
from virtfleet.hypervisor.views.safexml import parse
from virtfleet.model.text import clean


async def _empty(call: Call) -> dict[str, Any]:
    """Deletes all volumes of a pool, which must be those of `volumes` (names) or fewer, used by no VM here.

    All of that is seen before the first goes.
    """
    loop = asyncio.get_running_loop()
    meant = set(call.args["volumes"])

    def work(conn: libvirt.virConnect) -> dict[str, Any]:
        try:
            pool = lookup(conn, call.args)
        except NotFoundError:
            if call.again:
                return {"deleted": 0}
            raise
        name = clean(pool.name(), 200)
        if not pool.isActive():
            raise RefusedError(f"pool {name} is not active: what is in it can't be seen")
        pool.refresh(0)
        volumes = {volume.name(): volume for volume in pool.listAllVolumes(0)}
        if new := sorted(volumes.keys() - meant - {probe.FILE}):
            raise RefusedError(
                f"pool {name} has volumes that were not there when this was planned: "
                f"{', '.join(clean(each, 200) for each in new[:5])}"
            )
        names = {name, str(pool.name())}
        paths = {str(volume.path()): key for key, volume in volumes.items()}
        for user, source in _sources(conn):
            if found := _used(source, names, paths, pool_parts(pool.XMLDesc()).target):
                raise RefusedError(f"{user} uses {clean(found, 300)}: nothing was deleted")
        for done, volume in enumerate(volumes.values(), 1):
            with contextlib.suppress(NotFoundError):
                _delete(volume)
            loop.call_soon_threadsafe(call.report, done, len(volumes), f"deleting volumes of {name}")
        return {"deleted": len(volumes)}

    async with call.lanes.extra() as lane:
        return await lane.call(work, call.deadline)


def _delete(volume: libvirt.virStorageVol) -> None:
    try:
        volume.delete(0)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_STORAGE_VOL:
            raise NotFoundError("it is gone") from None
        raise


def _sources(conn: libvirt.virConnect) -> Iterable[tuple[str, Mapping[str, str]]]:
    """Name of a VM and the attributes of each of its <source>s, backing files among them."""
    for domain in conn.listAllDomains(0):
        with contextlib.suppress(libvirt.libvirtError, ValueError):  # it may vanish meanwhile
            name = clean(domain.name(), 200)
            for xml in {domain.XMLDesc(0), domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)}:
                for source in parse(xml).iter("source"):
                    yield name, {str(key): str(value) for key, value in source.attrib.items()}


def _used(source: Mapping[str, str], pools: set[str], paths: Mapping[str, str], target: str) -> str:
    """What of the pool a source is; empty: nothing."""
    if source.get("pool") in pools:
        return source.get("volume", "it")
    folder = f"{target.rstrip('/')}/" if target and not target.startswith("/dev") else ""
    for value in source.values():
        if value in paths or (folder and value.startswith(folder)):
            return value
        if source.get("protocol") and any(path.endswith(f"/{value.lstrip('/')}") for path in paths):
            return value
    return ""


# ---------------------------------------------------------------- more room

_FILESYSTEMS = {
    "ext2": ("resize2fs", "{device}"),
    "ext3": ("resize2fs", "{device}"),
    "ext4": ("resize2fs", "{device}"),
    "xfs": ("xfs_growfs", "{mount}"),
    "btrfs": ("btrfs", "filesystem", "resize", "max", "{mount}"),
}


async def _grow(call: Call) -> dict[str, Any]:
    """The filesystem below a folder to the end of its device, or a volume group by what it may have.

    UnsupportedError: no shell on the host, or a filesystem that can't. Result: `was` and `capacity`, bytes.
    """
    if not call.reach.transport_answers:
        raise UnsupportedError("this is done by the host's own tools, which need a host over SSH")

    def look(pool: libvirt.virStoragePool) -> tuple[str, int]:
        if not pool.isActive():
            raise RefusedError(f"pool {clean(pool.name(), 200)} is not active")
        return pool.XMLDesc(), int(pool.info()[1])

    def look_again(pool: libvirt.virStoragePool) -> int:
        pool.refresh(0)
        return int(pool.info()[1])

    xml, was = await on_pool(call, look)
    parts = pool_parts(xml)
    if call.args["how"] == "group":
        await _grow_group(call, parts.source, str(call.args.get("device", "")))
    else:
        await _grow_filesystem(call, parts.target)
    return {"was": was, "capacity": await on_pool(call, look_again)}


async def _grow_filesystem(call: Call, target: str) -> None:
    found = await _run(call, ["findmnt", "-n", "-r", "-o", "SOURCE,FSTYPE,TARGET", "--target", target])
    words = found.splitlines()[0].split(" ") if found else []
    if len(words) != 3:
        raise UnsupportedError(f"what {target} stands on is not to be found out")
    device, kind, mount = words
    if kind not in _FILESYSTEMS:
        raise UnsupportedError(
            f"{target} is on {clean(kind, 40)}, which can't be grown here; {', '.join(_FILESYSTEMS)} can"
        )
    if not device.startswith("/dev/") or not mount.startswith("/"):
        raise UnsupportedError(f"{target} is on {clean(device, 200)}, which is no device of this host")
    await _run(call, [word.format(device=device.split("[")[0], mount=mount) for word in _FILESYSTEMS[kind]])


async def _grow_group(call: Call, group: str, device: str) -> None:
    if device:
        have = await _run(call, ["pvs", "--noheadings", "-o", "pv_name", "-S", f"vg_name={group}"])
        if device not in have.split():
            await _run(call, ["vgextend", group, device])
        return
    found = await _run(call, ["pvs", "--noheadings", "-o", "pv_name", "-S", f"vg_name={group}"])
    for each in found.split():
        await _run(call, ["pvresize", each])


async def _run(call: Call, argv: list[str]) -> str:
    """What a program of the host says; it must end well."""
    done = await asyncio.to_thread(call.reach.run, argv, call.deadline)
    if done.rc == 127:
        raise UnsupportedError(f"the host has no {argv[0]}")
    if done.rc != 0:
        raise HostError(f"{argv[0]} on the host: {clean(done.err.decode('utf-8', 'replace'), 300)}")
    return str(done.out.decode("utf-8", "replace"))


ACTS: Mapping[str, Operation] = {"pool.empty": _empty, "pool.grow": _grow}
