"""Makes the disk that tells cloud-init in a guest who it is. What it is made of never leaves this machine's
memory but for that disk: user-data may hold passwords."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import libvirt

from virtfleet.errors import HostError, RefusedError
from virtfleet.hypervisor.acts.transfer import upload
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

_LARGEST = 16 << 20


async def _create(call: Call) -> dict[str, Any]:
    """{path, sent}. Half a seed of the time before is made anew."""
    from virtfleet.hypervisor.seed_iso import build  # pycdlib, for those who make VMs alone

    args = call.args
    seed = args["seed"]
    data = await asyncio.to_thread(
        build,
        instance_id=str(args["instance_id"]),
        hostname=str(seed.get("hostname") or args["hostname"]),
        ssh_keys=list(seed.get("ssh_keys") or ()),
        user=str(seed.get("user") or args.get("image_user") or ""),
        user_data=content(seed.get("user_data")),
        network_config=content(seed.get("network_config")),
    )
    fd = os.memfd_create("seed", os.MFD_CLOEXEC)
    try:
        os.write(fd, data)

        def make(conn: libvirt.virConnect) -> None:
            pool = pool_named(conn, args["pool"])
            existing = volume_named(pool, args["name"])
            if existing is not None:
                if not call.again:
                    raise RefusedError(f"there is a volume {args['name']} in pool {args['pool']} already")
                if other := user_of(conn, str(existing.path()), str(args["instance_id"])):
                    raise RefusedError(f"the volume {args['name']} is used by {other}")
                existing.delete(0)
            try:
                pool.createXML(volume_xml(args["name"], len(data), "raw"), 0)
            except libvirt.libvirtError as error:
                if full(error):
                    raise no_room(pool, len(data)) from None
                raise

        def found(conn: libvirt.virConnect) -> libvirt.virStorageVol:
            volume = volume_named(pool_named(conn, args["pool"]), args["name"])
            if volume is None:
                raise RefusedError(f"the volume {args['name']} was deleted meanwhile")
            return volume

        async with call.lanes.extra() as lane:
            await lane.call(make, call.deadline)
            try:
                await upload(call, lane, found, fd, len(data), "writing the seed")
            except RefusedError as error:  # the volume is there by now
                raise HostError(error.message, cure=error.cure) from None
            path = await lane.call(lambda conn: path_of(conn, args["pool"], args["name"]), call.deadline)
    finally:
        os.close(fd)
    return {"path": path, "sent": len(data)}


def content(ref: Mapping[str, Any] | None) -> bytes:
    """The file, which must be the one that was planned with. RefusedError."""
    if not ref:
        return b""
    path = Path(ref["path"])
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RefusedError(f"{path} can't be read: {error.strerror}") from None
    if len(data) > _LARGEST:
        raise RefusedError(f"{path} is larger than {_LARGEST >> 20} MiB")
    if ref.get("sha256") and hashlib.sha256(data).hexdigest() != ref["sha256"]:
        raise RefusedError(f"{path} has changed since it was planned", cure="plan it again")
    return data


ACTS: Mapping[str, Operation] = {"seed.create": _create}
