"""An image in a pool, once: kept under a name made of its content's hash, whole or not there."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any

import libvirt

from virtfleet.errors import RefusedError, VirtfleetError
from virtfleet.hypervisor.acts.transfer import bulk_lane, open_file, upload
from virtfleet.hypervisor.acts.volumes import (
    full,
    no_room,
    path_of,
    pool_named,
    user_of,
    volume_named,
    volume_xml,
)
from virtfleet.hypervisor.call import Call, Operation
from virtfleet.hypervisor.views.safexml import parse
from virtfleet.model.text import clean

_LOOK_EVERY = 1.0
_ABANDONED = 12.0
"""Seconds without growth after which a half uploaded image counts as left behind."""


async def _ensure(call: Call) -> dict[str, Any]:
    """Uploads the image unless it is there: {path, sent}. Somebody else's upload of the same is awaited."""
    args = call.args
    size = int(args["size"])
    fd = open_file(args["path"], size)
    made = False
    try:
        if path := await _wait_for_other(call, size):
            return {"path": path, "sent": 0}
        async with bulk_lane(call) as lane:
            await lane.call(lambda conn: _make_room(conn, args, size), call.deadline)
            made = True
            await upload(
                call,
                lane,
                lambda conn: _found(conn, args),
                fd,
                size,
                f"uploading {args.get('title') or args['volume']}",
                args["sha256"],
            )
            path = await lane.call(lambda conn: _finished(conn, args, size), call.deadline)
            return {"path": path, "sent": size}
    except (asyncio.CancelledError, VirtfleetError):
        if made:
            await asyncio.shield(_drop_half(call, size))
        raise
    finally:
        os.close(fd)


async def _wait_for_other(call: Call, size: int) -> str:
    """Path of the image if it is whole; empty when it is ours to upload."""
    loop = asyncio.get_running_loop()
    before, since = -1, loop.time()
    while True:
        path, have = await call.lanes.storage.call(lambda conn: _look(conn, call.args), call.deadline)
        if not path or have == size:
            return str(path)
        now = loop.time()
        if have != before:
            before, since = have, now
        elif now - since > (0.0 if call.again else _ABANDONED):
            await call.lanes.storage.call(lambda conn: _remove(conn, call.args, size), call.deadline)
            return ""
        call.report(have, size, "waiting for another upload of the same image")
        await asyncio.sleep(_LOOK_EVERY)


def _look(conn: libvirt.virConnect, args: Mapping[str, Any]) -> tuple[str, int]:
    """Path and physical size; an empty path: not there."""
    volume = volume_named(pool_named(conn, args["pool"]), args["volume"])
    if volume is None:
        return "", 0
    return str(volume.path()), int(volume.infoFlags(libvirt.VIR_STORAGE_VOL_GET_PHYSICAL)[2])


def _found(conn: libvirt.virConnect, args: Mapping[str, Any]) -> libvirt.virStorageVol:
    volume = volume_named(pool_named(conn, args["pool"]), args["volume"])
    if volume is None:
        raise RefusedError(f"the volume {args['volume']} was deleted meanwhile")
    return volume


def _make_room(conn: libvirt.virConnect, args: Mapping[str, Any], size: int) -> None:
    """An empty volume, which grows with what is uploaded: so its size tells whether it is whole."""
    pool = pool_named(conn, args["pool"])
    pool.refresh(0)
    if int(pool.info()[3]) < size:
        raise no_room(pool, size)
    try:
        pool.createXML(volume_xml(args["volume"], 0, "raw", allocation=0), 0)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_STORAGE_VOL_EXIST:
            raise RefusedError(
                "somebody else has just begun to upload the same image", cure="try again"
            ) from None
        if full(error):
            raise no_room(pool, size) from None
        raise


def _finished(conn: libvirt.virConnect, args: Mapping[str, Any], size: int) -> str:
    pool_named(conn, args["pool"]).refresh(0)  # now its format is known
    path, have = _look(conn, args)
    if have != size:
        raise RefusedError(f"only {have} of {size} bytes of the image arrived")
    return path


def _remove(conn: libvirt.virConnect, args: Mapping[str, Any], size: int) -> None:
    """Takes half an image away; never a whole one, nor one that is used."""
    volume = volume_named(pool_named(conn, args["pool"]), args["volume"])
    if volume is None or int(volume.infoFlags(libvirt.VIR_STORAGE_VOL_GET_PHYSICAL)[2]) == size:
        return
    if other := user_of(conn, str(volume.path())):
        raise RefusedError(f"the half image {args['volume']} is used by {other}")
    volume.delete(0)


async def _drop_half(call: Call, size: int) -> None:
    await call.lanes.storage.call(lambda conn: _remove(conn, call.args, size), call.deadline)


async def _forget(call: Call) -> dict[str, Any]:
    """The undo of `image.ensure`: a whole image stays, for it is a cache; half a one goes, unless somebody is
    still uploading it."""
    size = int(call.args["size"])
    try:
        before = await call.lanes.storage.call(lambda conn: _look(conn, call.args), call.deadline)
        if before[0] and before[1] < size:
            await asyncio.sleep(2 * _LOOK_EVERY)
            if await call.lanes.storage.call(lambda conn: _look(conn, call.args), call.deadline) != before:
                return {"left": "somebody is uploading it"}
        await _drop_half(call, size)
    except RefusedError as error:
        return {"left": error.message}
    return {}


async def check(call: Call) -> dict[str, Any]:
    """What a volume is that shall serve as an image: {path, format, capacity, physical, backing}."""
    args = call.args

    def work(conn: libvirt.virConnect) -> dict[str, Any]:
        path = path_of(conn, args["pool"], args["volume"])
        volume = _found(conn, args)
        root = parse(volume.XMLDesc(0))
        form = root.find("target/format")
        backing = root.find("backingStore/path")
        return {
            "path": path,
            "format": form.get("type", "raw") if form is not None else "raw",
            "capacity": int(volume.info()[1]),
            "physical": int(volume.infoFlags(libvirt.VIR_STORAGE_VOL_GET_PHYSICAL)[2]),
            "backing": clean(backing.text or "", 300) if backing is not None else "",
        }

    return dict(await call.lanes.storage.call(work, call.deadline))


ACTS: Mapping[str, Operation] = {"image.ensure": _ensure, "image.forget": _forget}
