"""Volumes become files: sparse, hashed on the way, under a name of the job's own until they are whole."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import libvirt

from virtfleet.errors import NotFoundError, RefusedError
from virtfleet.hypervisor.acts.transfer import FOREVER, abort, bulk_lane
from virtfleet.hypervisor.acts.volume_bytes import BUFFER, UNSUPPORTED, Teller, hash_zeros
from virtfleet.hypervisor.acts.volumes import pool_named, volume_named
from virtfleet.hypervisor.call import Call, Operation
from virtfleet.hypervisor.lanes import Lane


def _part(call: Call) -> Path:
    """The file that a job downloads into."""
    path = Path(call.args["file"])
    return path.with_name(f".{path.name[:180]}.{call.job}.part")


async def _download(call: Call) -> dict[str, Any]:
    """Into a file of the job's own, beside the one that is wanted: {size, sha256, inode}."""
    args, part = call.args, _part(call)
    try:
        part.unlink(missing_ok=True)  # of an attempt before
        fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise RefusedError(f"{part} can't be written: {error.strerror}") from None
    whole = False
    try:
        async with bulk_lane(call) as lane:
            size, digest = await _receive(call, lane, fd)
        os.ftruncate(fd, size)  # a hole at the end
        await asyncio.to_thread(os.fsync, fd)
        whole = True
        return {"size": size, "sha256": digest, "inode": os.fstat(fd).st_ino, "file": args["file"]}
    except OSError as error:
        raise RefusedError(f"{part} can't be written: {error.strerror}") from None
    finally:
        os.close(fd)
        if not whole:
            part.unlink(missing_ok=True)


async def _receive(call: Call, lane: Lane, fd: int) -> tuple[int, str]:
    args = call.args
    tell = Teller(call, int(args.get("size") or 0), f"downloading {args['name']}")

    def work(conn: libvirt.virConnect) -> tuple[int, str]:
        volume = volume_named(pool_named(conn, args["pool"]), args["name"])
        if volume is None:
            raise NotFoundError(f"there is no volume {args['name']} in pool {args['pool']}")
        stream, sparse = conn.newStream(0), True
        try:
            volume.download(stream, 0, 0, libvirt.VIR_STORAGE_VOL_DOWNLOAD_SPARSE_STREAM)
        except libvirt.libvirtError as error:
            if error.get_error_code() not in UNSUPPORTED:
                raise
            stream, sparse = conn.newStream(0), False
            volume.download(stream, 0, 0, 0)
        digest, done = hashlib.sha256(), 0
        try:
            while True:
                got: Any = (
                    stream.recvFlags(BUFFER, libvirt.VIR_STREAM_RECV_STOP_AT_HOLE)
                    if sparse
                    else stream.recv(BUFFER)
                )
                if got == -3:
                    length = int(stream.recvHole(0))
                    hash_zeros(digest, length)
                    done += length
                    os.lseek(fd, done, os.SEEK_SET)
                elif not got:
                    break
                else:
                    digest.update(got)
                    done += len(got)
                    _write(fd, got)
                tell(done)
            stream.finish()
            return done, digest.hexdigest()
        except BaseException:
            abort(stream)
            raise

    try:
        size, digest = await lane.call(work, FOREVER, linger=0.0)
        return int(size), str(digest)
    except asyncio.CancelledError:
        tell.stop = True
        raise


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


async def _publish(call: Call) -> dict[str, Any]:
    """The job's own file gets the name that is wanted, unless something has it."""
    path, part, inode = Path(call.args["file"]), _part(call), int(call.args["inode"])
    if _is(path, inode) and not part.exists():
        return {}
    if not _is(part, inode):
        raise RefusedError(f"{part} is no longer what was downloaded")
    try:
        if not _is(path, inode):
            os.link(part, path)
        part.unlink()
    except FileExistsError:
        raise RefusedError(f"{path} is there already", cure="choose another name, or move it away") from None
    except OSError as error:
        raise RefusedError(f"{path} can't be written: {error.strerror}") from None
    return {}


async def _unpublish(call: Call) -> dict[str, Any]:
    """The undo of both: what the job has written goes, and nothing else."""
    part, inode = _part(call), call.args.get("inode")

    def work() -> None:
        part.unlink(missing_ok=True)
        path = Path(call.args["file"])
        if inode is not None and _is(path, int(inode)):
            path.unlink()

    await asyncio.to_thread(work)
    return {}


def _is(path: Path, inode: int) -> bool:
    try:
        return path.lstat().st_ino == inode
    except OSError:
        return False


ACTS: Mapping[str, Operation] = {
    "volume.download": _download,
    "volume.publish": _publish,
    "volume.unpublish": _unpublish,
}
