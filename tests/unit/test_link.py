"""The engine's end of a worker's socket: whoever stops waiting says so, and mistakes stay where they are."""

from __future__ import annotations

import asyncio
import socket

import pytest

from virtfleet.errors import DeadlineError, UnreachableError
from virtfleet.fleet import link as link_module
from virtfleet.fleet.link import Link
from virtfleet.hypervisor import wire
from virtfleet.model import HostState


async def joined() -> tuple[Link, socket.socket, list[str]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    gone: list[str] = []
    return await Link.open(ours, lambda _: None, gone.append), theirs, gone


async def told(theirs: socket.socket) -> list[wire.ToWorker]:
    await asyncio.sleep(0.05)
    return [wire.decode_to_worker(body) for body in wire.Frames().feed(theirs.recv(1 << 16))]


async def test_a_cancelled_request_is_cancelled_in_the_worker() -> None:
    link, theirs, _ = await joined()
    request = asyncio.ensure_future(link.request("vm.xml", {}, 5))
    await asyncio.sleep(0.05)
    request.cancel()
    await asyncio.wait({request})
    assert await told(theirs) == [wire.Request(1, "vm.xml", {}, 5), wire.CancelRequest(1)]
    link.close()
    theirs.close()


async def test_a_request_that_is_answered_too_late_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "_GRACE", 0.0)
    link, theirs, _ = await joined()
    with pytest.raises(DeadlineError):
        await link.request("vm.xml", {}, 0.05)
    assert wire.CancelRequest(1) in await told(theirs)
    link.close()
    theirs.close()


async def test_an_answered_request_is_not_cancelled() -> None:
    link, theirs, _ = await joined()
    request = asyncio.ensure_future(link.request("vm.xml", {}, 5))
    await asyncio.sleep(0.05)
    theirs.send(wire.encode(wire.Response(1, "<domain/>")))
    assert await request == "<domain/>"
    assert await told(theirs) == [wire.Request(1, "vm.xml", {}, 5)]
    link.close()
    theirs.close()


async def test_messages_longer_than_what_is_read_at_once_and_messages_cut_in_two_arrive_whole() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    seen: list[wire.FromWorker] = []
    link = await Link.open(ours, seen.append, lambda _: None, link_module.inbox())
    sent = [wire.Status(HostState.UP, str(size) * size) for size in (1, 300_000, 2, 70_000)]
    stream = b"".join(map(wire.encode, sent))
    await asyncio.to_thread(theirs.sendall, stream[:10])
    await asyncio.sleep(0.05)
    await asyncio.to_thread(theirs.sendall, stream[10:])
    for _ in range(200):
        if len(seen) == len(sent):
            break
        await asyncio.sleep(0.02)
    assert seen == sent
    link.close()
    theirs.close()


async def test_nonsense_loses_the_worker_and_its_requests() -> None:
    link, theirs, gone = await joined()
    request = asyncio.ensure_future(link.request("vm.xml", {}, 5))
    await asyncio.sleep(0.05)
    theirs.send(b"\xff\xff\xff\xff")
    with pytest.raises(UnreachableError, match="nonsense"):
        await request
    assert len(gone) == 1
    theirs.close()
