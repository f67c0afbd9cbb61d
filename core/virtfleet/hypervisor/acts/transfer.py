"""Bytes from this machine into a volume, on a connection of their own.

The worker opens the local file itself, so that only progress crosses to the
engine. While bytes move there is a second SSH connection, for on the first
every call would wait behind them (measured at 80 Mbit/s: 121 ms against 8 ms).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import libvirt

from virtfleet.errors import RefusedError
from virtfleet.hypervisor.acts.volumes import full, no_room
from virtfleet.hypervisor.call import Call
from virtfleet.hypervisor.lanes import Lane
from virtfleet.hypervisor.reach import reach_for

FOREVER = 7 * 86400.0
"""The call itself has no deadline: progress has."""
_numbers = itertools.count(1)


@contextlib.asynccontextmanager
async def bulk_lane(call: Call) -> AsyncIterator[Lane]:
    """A lane on a connection of its own, which lives as long as the bytes move."""
    if call.reach.one_connection:
        yield call.lanes.long
        return
    reach = reach_for(call.settings, call.session.asker, lambda reason: None)
    lane: Lane | None = None
    try:
        await asyncio.to_thread(reach.open)
        opener, door = reach.opener(f"bulk{next(_numbers)}")
        lane = Lane("bulk", opener, door=door, on_stuck=lambda: None)
        yield lane
    finally:
        if lane is not None:
            await lane.close()
        await asyncio.to_thread(reach.close)


async def upload(
    call: Call,
    lane: Lane,
    find: Callable[[libvirt.virConnect], libvirt.virStorageVol],
    fd: int,
    size: int,
    text: str,
    sha256: str = "",
) -> None:
    """`size` bytes of `fd` into the volume that `find` gives. RefusedError: no room; or, with `sha256` given,
    other content: then the last bytes are not sent, so that what arrived can't be taken for whole.
    """
    loop = asyncio.get_running_loop()
    stop = False
    digest = hashlib.sha256()

    def report(done: int) -> None:
        if not stop:
            call.report(done, size, text)

    def read(_stream: Any, count: int, state: list[int]) -> bytes:
        if stop:
            raise RefusedError("cancelled")
        data = os.read(fd, min(count, size - state[0]))
        if not data and state[0] < size:
            raise RefusedError("the local file became shorter meanwhile")
        state[0] += len(data)
        if sha256:
            digest.update(data)
            if state[0] == size and digest.hexdigest() != sha256:
                raise RefusedError("the local file has changed since it was planned", cure="plan it again")
        loop.call_soon_threadsafe(report, state[0])
        return data

    def work(conn: libvirt.virConnect) -> None:
        volume = find(conn)
        stream = conn.newStream(0)
        os.lseek(fd, 0, os.SEEK_SET)
        try:
            volume.upload(stream, 0, size, 0)
            stream.sendAll(read, [0])
            stream.finish()
        except libvirt.libvirtError as error:
            abort(stream)
            if full(error) or is_full(volume, size):
                raise no_room(volume.storagePoolLookupByVolume(), size) from None
            raise
        except BaseException:
            abort(stream)
            raise

    try:
        await lane.call(work, FOREVER, linger=0.0)  # bytes that come late harm nobody
    except asyncio.CancelledError:
        stop = True
        raise


def abort(stream: libvirt.virStream) -> None:
    with contextlib.suppress(libvirt.libvirtError):
        stream.abort()


def is_full(volume: libvirt.virStorageVol, wanted: int) -> bool:
    """Whether its pool has no room left: some drivers only say that the stream broke."""
    try:
        pool = volume.storagePoolLookupByVolume()
        pool.refresh(0)
        return int(pool.info()[3]) < min(wanted, 1 << 20)
    except libvirt.libvirtError:
        return False


def open_file(path: str, size: int) -> int:
    """A descriptor of a local file that still has its size. RefusedError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise RefusedError(f"{path} can't be read: {error.strerror}") from None
    if size and os.fstat(fd).st_size != size:
        os.close(fd)
        raise RefusedError(f"{path} has changed since it was planned", cure="plan it again")
    return fd
