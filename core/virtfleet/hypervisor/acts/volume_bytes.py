"""Files become volumes: sparse, hashed on the way, whole or not there.

Holes are not sent where the host's libvirt can tell them (since 3.4). The hash
is of the whole content, holes as zeros, and is made beside the sending, in a
thread of its own. What arrives grows from nothing, so its size tells whether
it is whole; a step that is repeated begins anew, for of a host that lost its
power nobody knows which of the bytes had reached the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

import libvirt

from virtfleet.errors import NotFoundError, RefusedError, VirtfleetError
from virtfleet.hypervisor.acts.transfer import FOREVER, abort, bulk_lane, is_full, open_file
from virtfleet.hypervisor.acts.volumes import full, no_room, pool_named, user_of, volume_named, volume_xml
from virtfleet.hypervisor.call import Call, Operation
from virtfleet.hypervisor.lanes import Lane

BUFFER = (256 << 10) - 24
"""Bytes that fit into one packet of libvirt's protocol."""
_CHUNK = 1 << 20
_HEAD = 1 << 20
"""Bytes by which an upload is known again."""
_ZEROS = bytes(_CHUNK)
_TELL_EVERY = 0.1
UNSUPPORTED = (libvirt.VIR_ERR_NO_SUPPORT, libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED, libvirt.VIR_ERR_INVALID_ARG)


class Teller:
    """Tells progress now and then, from a lane's thread. `stop` makes the next chunk the last."""

    def __init__(self, call: Call, total: int, text: str) -> None:
        self._call, self._total, self._text = call, total, text
        self._loop = asyncio.get_running_loop()
        self._told = 0.0
        self.stop = False

    def __call__(self, done: int) -> None:
        if self.stop:
            raise RefusedError("cancelled")
        now = time.monotonic()
        if now - self._told > _TELL_EVERY or done == self._total:
            self._told = now
            self._loop.call_soon_threadsafe(self._report, done)

    def _report(self, done: int) -> None:
        if not self.stop:
            self._call.report(done, self._total, self._text)


async def _upload(call: Call) -> dict[str, Any]:
    """{path, size, sha256, sent}. RefusedError: no room; another file; there is a volume of that name."""
    args = call.args
    size = int(args["size"])
    fd = open_file(args["file"], size)
    made = False
    hashing: asyncio.Task[str] | None = None
    try:
        before = os.fstat(fd)
        hashing = asyncio.create_task(asyncio.to_thread(_hash, args["file"], size))
        async with bulk_lane(call) as lane:
            await lane.call(
                lambda conn: _make(conn, args, size, _data(before), again=call.again), call.deadline
            )
            made = True
            sent = await _send(call, lane, fd, size)
            digest = await hashing
            after = os.fstat(fd)
            if (after.st_size, after.st_mtime_ns) != (size, before.st_mtime_ns):
                raise RefusedError(f"{args['file']} was changed while it was uploaded", cure="plan it again")
            if args.get("sha256") not in (None, "", digest):
                raise RefusedError(
                    f"{args['file']} has the checksum sha256:{digest}, not the one that was asked for"
                )
            path = await lane.call(lambda conn: _whole(conn, args, size), call.deadline)
        return {"path": path, "size": size, "sha256": digest, "sent": sent}
    except (asyncio.CancelledError, VirtfleetError):
        if made:
            with contextlib.suppress(VirtfleetError):  # the undo of the step tries again, and tells
                await asyncio.shield(
                    call.lanes.storage.call(lambda conn: _drop(conn, args, certain=True), call.deadline)
                )
        raise
    finally:
        if hashing is not None and not hashing.done():
            hashing.cancel()
        os.close(fd)


def _data(status: os.stat_result) -> int:
    """Bytes of a local file that are no hole."""
    return min(status.st_size, status.st_blocks * 512)


def _make(conn: libvirt.virConnect, args: Mapping[str, Any], size: int, data: int, *, again: bool) -> None:
    """An empty volume, which grows with what is uploaded: so its size tells whether it is whole."""
    pool = pool_named(conn, args["pool"])
    pool.refresh(0)
    if volume_named(pool, args["name"]) is not None:
        if not again:
            raise RefusedError(f"there is a volume {args['name']} in pool {args['pool']} already")
        if left := _drop(conn, args, certain=False):  # what a first attempt left
            raise RefusedError(f"there is a volume {args['name']} in pool {args['pool']} already: {left}")
    if int(pool.info()[3]) < data:
        raise no_room(pool, data)
    try:
        pool.createXML(volume_xml(args["name"], 0, "raw", allocation=0), 0)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_STORAGE_VOL_EXIST:
            raise RefusedError(f"there is a volume {args['name']} in pool {args['pool']} already") from None
        if full(error):
            raise no_room(pool, data) from None
        raise


async def _send(call: Call, lane: Lane, fd: int, size: int) -> int:
    """Bytes that were sent: those that are no hole."""
    tell = Teller(call, size, f"uploading {call.args['name']}")

    def work(conn: libvirt.virConnect) -> int:
        volume = volume_named(pool_named(conn, call.args["pool"]), call.args["name"])
        if volume is None:
            raise NotFoundError(f"the volume {call.args['name']} was deleted meanwhile")
        stream, sparse = _open(conn, volume, size)
        try:
            sent = 0
            for data, start, length in _sections(fd, size) if sparse else [(True, 0, size)]:
                if not data:
                    stream.sendHole(length)
                    continue
                os.lseek(fd, start, os.SEEK_SET)
                end = start + length
                while start < end:
                    piece = os.read(fd, min(BUFFER, end - start))
                    if not piece:
                        raise RefusedError("the local file became shorter meanwhile")
                    stream.send(piece)
                    start += len(piece)
                    sent += len(piece)
                    tell(start)
            tell(size)
            stream.finish()
            return sent
        except libvirt.libvirtError as error:
            abort(stream)
            if full(error) or is_full(volume, size):
                raise no_room(volume.storagePoolLookupByVolume(), size) from None
            raise
        except BaseException:
            abort(stream)
            raise

    try:
        return int(await lane.call(work, FOREVER, linger=0.0))  # bytes that come late harm nobody
    except asyncio.CancelledError:
        tell.stop = True
        raise


def _open(
    conn: libvirt.virConnect, volume: libvirt.virStorageVol, size: int
) -> tuple[libvirt.virStream, bool]:
    """A stream into the volume, and whether it takes holes."""
    stream = conn.newStream(0)
    try:
        volume.upload(stream, 0, size, libvirt.VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM)
        return stream, True
    except libvirt.libvirtError as error:
        if error.get_error_code() not in UNSUPPORTED:
            raise
    stream = conn.newStream(0)
    volume.upload(stream, 0, size, 0)
    return stream, False


def _sections(fd: int, size: int) -> Iterator[tuple[bool, int, int]]:
    """(whether it is data, start, length) of the whole file; all data where the filesystem tells no holes."""
    at = 0
    while at < size:
        try:
            start = min(size, os.lseek(fd, at, os.SEEK_DATA))
        except OSError as error:
            if error.errno != errno.ENXIO:  # no data until the end
                yield True, at, size - at
                return
            start = size
        if start > at:
            yield False, at, start - at
        if start < size:
            end = min(size, os.lseek(fd, start, os.SEEK_HOLE))
            yield True, start, end - start
            at = end
        else:
            at = size


def _hash(path: str, size: int) -> str:
    """Of the content, with holes as zeros, which are not read."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        for data, start, length in _sections(file.fileno(), size):
            if not data:
                hash_zeros(digest, length)
                continue
            file.seek(start)
            while length > 0 and (piece := file.read(min(_CHUNK, length))):
                digest.update(piece)
                length -= len(piece)
    return digest.hexdigest()


def hash_zeros(digest: Any, length: int) -> None:
    while length > 0:
        digest.update(_ZEROS if length >= _CHUNK else _ZEROS[:length])
        length -= _CHUNK


def _whole(conn: libvirt.virConnect, args: Mapping[str, Any], size: int) -> str:
    """The volume's path. RefusedError: it is not what was sent."""
    pool = pool_named(conn, args["pool"])
    pool.refresh(0)  # now its format is known
    volume = volume_named(pool, args["name"])
    have = _physical(volume) if volume is not None else 0
    if volume is None or have != size:
        raise RefusedError(f"only {have} of {size} bytes of {args['name']} arrived")
    return str(volume.path())


def _physical(volume: libvirt.virStorageVol) -> int:
    return int(volume.infoFlags(libvirt.VIR_STORAGE_VOL_GET_PHYSICAL)[2])


def _drop(conn: libvirt.virConnect, args: Mapping[str, Any], *, certain: bool) -> str:
    """Takes an upload away, half or whole; else why it is left alone.

    Unless it is certain that it is ours, it must begin as the file does.
    """
    volume = volume_named(pool_named(conn, args["pool"]), args["name"])
    if volume is None:
        return ""
    have = _physical(volume)
    if have > int(args["size"]):
        return "it is larger than what was to be uploaded"
    if not certain and have and not _begins_alike(conn, volume, str(args["file"]), have):
        return "it is not what was to be uploaded"
    if other := user_of(conn, str(volume.path())):
        return f"{other} uses it"
    volume.delete(0)
    return ""


def _begins_alike(conn: libvirt.virConnect, volume: libvirt.virStorageVol, path: str, have: int) -> bool:
    """Whether a volume and a local file have the same first bytes."""
    length = min(have, _HEAD)
    try:
        with open(path, "rb") as file:
            ours = file.read(length)
    except OSError:
        return False
    stream = conn.newStream(0)
    theirs = b""
    try:
        volume.download(stream, 0, length, 0)
        while len(theirs) < length and (piece := stream.recv(length)):
            theirs += piece
    finally:
        abort(stream)
    return theirs == ours


async def _forget(call: Call) -> dict[str, Any]:
    """The undo of `volume.upload`."""
    left = await call.lanes.storage.call(
        lambda conn: _drop(conn, call.args, certain=not call.uncertain), call.deadline
    )
    return {"left": left} if left else {}


ACTS: Mapping[str, Operation] = {"volume.upload": _upload, "volume.forget": _forget}
