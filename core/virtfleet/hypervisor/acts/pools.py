"""Storage pools: define, build, start, stop, forget. Each finds its pool by UUID: names may be given anew.

What a dead server makes hang is asked on a lane of its own, so that neither
the panels nor other jobs wait for it.
"""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import libvirt
import msgspec

from virtfleet.errors import HostError, NotFoundError, RefusedError
from virtfleet.hypervisor.call import Call, Operation
from virtfleet.hypervisor.faults import translate
from virtfleet.hypervisor.views.pool import pool_parts
from virtfleet.model.text import clean

T = TypeVar("T")


async def on_pool(call: Call, work: Callable[[libvirt.virStoragePool], T]) -> T:
    """`work(pool)`, the pool being that of `uuid`, on a lane of its own. NotFoundError: it is gone."""
    async with call.lanes.extra() as lane:
        return await lane.call(lambda conn: work(lookup(conn, call.args)), call.deadline)


def lookup(conn: libvirt.virConnect, args: Mapping[str, Any]) -> libvirt.virStoragePool:
    try:
        return conn.storagePoolLookupByUUIDString(args["uuid"])
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_STORAGE_POOL:
            raise NotFoundError(
                f"pool {args.get('name') or args['uuid']} is no longer on this host"
            ) from None
        raise


def _found(conn: libvirt.virConnect, args: Mapping[str, Any]) -> libvirt.virStoragePool | None:
    try:
        return lookup(conn, args)
    except NotFoundError:
        return None


# ---------------------------------------------------------------- define


async def _define(call: Call) -> dict[str, Any]:
    """Defines what `spec` (arguments of builders.pool.pool_xml) or `xml` says. Refuses to take another's
    name, folder or source."""
    from virtfleet.hypervisor.builders.pool import pool_xml
    from virtfleet.model.action_storage import PoolSource

    given = call.args.get("xml")
    if given is None:
        spec = dict(call.args["spec"])
        source = msgspec.convert(spec.pop("source"), PoolSource)
        given = pool_xml(**spec, source=source)
    wanted = pool_parts(given)

    def work(conn: libvirt.virConnect) -> None:
        for pool in conn.listAllStoragePools():
            if pool.UUIDString() != wanted.uuid:
                _differs(pool, wanted)
            elif not call.again and call.args.get("xml") is None:
                raise RefusedError(f"there is a pool of UUID {wanted.uuid} already")
        made = conn.storagePoolDefineXML(given, 0)
        if (on := call.args.get("autostart")) is not None:
            made.setAutostart(int(on))

    await call.lanes.long.call(work, call.deadline)
    return {"uuid": wanted.uuid}


def _differs(pool: libvirt.virStoragePool, wanted: Any) -> None:
    """RefusedError: the two would be in each other's way."""
    try:
        other = pool_parts(pool.XMLDesc())
    except (libvirt.libvirtError, ValueError):  # it vanishes, or is odd
        return
    if other.name == wanted.name:
        raise RefusedError(f"there is a pool {clean(wanted.name, 200)} already")
    if (other.identity or other.local) == (wanted.identity or wanted.local):
        raise RefusedError(f"pool {other.name} is there already")
    if wanted.target and not wanted.target.startswith("/dev") and _same(other.target, wanted.target):
        raise RefusedError(f"pool {other.name} is at {clean(wanted.target, 200)} already")


def _same(one: str, other: str) -> bool:
    return bool(one) and posixpath.normpath(one) == posixpath.normpath(other)


async def _undefine(call: Call) -> dict[str, Any]:
    """Takes the definition away; gone already is well. Stopped first if `stop`."""

    def work(conn: libvirt.virConnect) -> dict[str, Any]:
        pool = _found(conn, call.args)
        if pool is None:
            return {}
        if pool.isActive():
            if not call.args.get("stop"):
                raise RefusedError(f"pool {clean(pool.name(), 200)} is running")
            pool.destroy()
        if _found(conn, call.args) is not None:  # one without a definition is gone when it stops
            pool.undefine()
        return {"undefined": True}

    async with call.lanes.extra() as lane:
        return await lane.call(work, call.deadline)


async def _remember(call: Call) -> dict[str, Any]:
    """Its definition goes into the journal, so that it can be defined again."""

    def work(pool: libvirt.virStoragePool) -> dict[str, Any]:
        flag = libvirt.VIR_STORAGE_XML_INACTIVE if pool.isPersistent() else 0
        xml = pool.XMLDesc(flag)
        return {"xml": xml, "autostart": bool(pool.autostart()), "name": clean(pool.name(), 200)}

    return await on_pool(call, work)


# ---------------------------------------------------------------- start, stop, look


async def _start(call: Call) -> dict[str, Any]:
    def work(pool: libvirt.virStoragePool) -> dict[str, Any]:
        if pool.isActive():
            return {"started": False}
        pool.create(0)
        return {"started": True}

    return await on_pool(call, work)


async def _stop(call: Call) -> dict[str, Any]:
    """`if`: not unless that is true (or unknown)."""
    if not call.args.get("if", True):
        return {"left": "it ran before"}

    def work(conn: libvirt.virConnect) -> dict[str, Any]:
        pool = _found(conn, call.args)
        if pool is None or not pool.isActive():
            return {"stopped": False}
        if not call.args.get("gone") and not pool.isPersistent():
            raise RefusedError(
                f"pool {clean(pool.name(), 200)} has no definition: stopped, it would be gone for good"
            )
        pool.destroy()
        return {"stopped": True}

    async with call.lanes.extra() as lane:
        return await lane.call(work, call.deadline)


async def _restart(call: Call) -> dict[str, Any]:
    """The undo of stopping."""
    if not call.args.get("if", True):
        return {"left": "it was stopped before"}
    return await _start(call)


async def _refresh(call: Call) -> dict[str, Any]:
    def work(pool: libvirt.virStoragePool) -> dict[str, Any]:
        if not pool.isActive():
            raise RefusedError(f"pool {clean(pool.name(), 200)} is not active")
        pool.refresh(0)
        return {"volumes": pool.numOfVolumes()}

    return await on_pool(call, work)


async def _autostart(call: Call) -> dict[str, Any]:
    on = bool(call.args["on"])

    def work(pool: libvirt.virStoragePool) -> dict[str, Any]:
        pool.setAutostart(int(on))
        return {"on": on}

    return await on_pool(call, work)


# ---------------------------------------------------------------- what it stands on


async def _look(call: Call) -> dict[str, Any]:
    """The nearest folder above (or at) `target` that is there; empty: the host has no shell to ask with."""
    if not call.reach.transport_answers:
        return {"there": ""}
    path = posixpath.normpath(str(call.args["target"]))
    while path != "/":
        done = await _shell(call, ["test", "-e", path])
        if done == 0:
            break
        path = posixpath.dirname(path)
    return {"there": path}


async def _shell(call: Call, argv: list[str]) -> int:
    return int((await asyncio.to_thread(call.reach.run, argv, call.deadline)).rc)


async def _build(call: Call) -> dict[str, Any]:
    """`how`: folder, new or overwrite. Built `again`, what is there counts as built by us: it has no data."""
    how = str(call.args["how"])
    flags = {
        "folder": 0,
        "new": libvirt.VIR_STORAGE_POOL_BUILD_NO_OVERWRITE,
        "overwrite": libvirt.VIR_STORAGE_POOL_BUILD_OVERWRITE,
    }[how]

    def work(pool: libvirt.virStoragePool) -> dict[str, Any]:
        if pool.isActive():
            raise RefusedError(f"pool {clean(pool.name(), 200)} is running: what it stands on can't be made")
        try:
            pool.build(flags)
        except libvirt.libvirtError as error:
            if how == "new" and "flags" in str(error):  # this type knows no such care: it looks by itself
                pool.build(0)
            elif how == "new" and call.again and error.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID:
                return {"built": "already"}
            else:
                raise
        return {"built": "now"}

    return await on_pool(call, work)


async def _unbuild(call: Call) -> dict[str, Any]:
    """Takes away the empty folders that were not there before: `there` is the one that was."""
    there = call.args.get("there")
    target = posixpath.normpath(str(call.args["target"]))
    if not there:
        return {"left": "whether its folder was there before is not known"}
    while target not in (there, "/"):
        if await _shell(call, ["test", "-e", target]) == 0 and await _shell(call, ["rmdir", target]) != 0:
            return {"left": f"{clean(target, 200)} is not empty"}
        target = posixpath.dirname(target)
    return {}


async def _end(call: Call) -> dict[str, Any]:
    """Takes away what the stopped pool stood on, an empty folder or a volume group: its volumes are gone."""

    def work(conn: libvirt.virConnect) -> dict[str, Any]:
        pool = _found(conn, call.args)
        if pool is None:
            return {}
        try:
            pool.delete(0)
        except libvirt.libvirtError as error:
            translated = translate(error)
            if call.args.get("folder") and isinstance(translated, HostError):
                return {"left": translated.message}  # other things are in it, or it is gone
            raise
        return {"deleted": True}

    async with call.lanes.extra() as lane:
        return await lane.call(work, call.deadline)


ACTS: Mapping[str, Operation] = {
    "pool.define": _define,
    "pool.undefine": _undefine,
    "pool.remember": _remember,
    "pool.start": _start,
    "pool.stop": _stop,
    "pool.restart": _restart,
    "pool.refresh": _refresh,
    "pool.autostart": _autostart,
    "pool.look": _look,
    "pool.build": _build,
    "pool.unbuild": _unbuild,
    "pool.end": _end,
}
