"""An engine that does not read must not stop a worker, nor be drowned when it reads again."""

from __future__ import annotations

import asyncio
import socket

from virtfleet.hypervisor import wire
from virtfleet.hypervisor.port import Port
from virtfleet.model import HostStats, VmState, VmStats

BIG = [VmStats(f"{n:036}", VmState.RUNNING, "booted", 4, 12.5) for n in range(500)]


async def test_samples_replace_each_other_while_nobody_reads() -> None:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    port = Port(ours)
    for number in range(200):
        port.send(wire.Sample(float(number), HostStats(), BIG))
    port.send(wire.Pong(1))
    loop = asyncio.get_running_loop()
    frames = wire.Frames()
    found: list[wire.FromWorker] = []
    while not (found and isinstance(found[-1], wire.Pong)):
        data = await asyncio.wait_for(loop.sock_recv(theirs, 1 << 20), 5)
        found += [wire.decode_from_worker(body) for body in frames.feed(data)]
    samples = [each.taken for each in found if isinstance(each, wire.Sample)]
    assert samples[-1] == 199.0, "the newest sample arrives"
    assert len(samples) < 50, "the old ones do not pile up"
    assert samples == sorted(samples)
    ours.close()
    theirs.close()


async def test_congestion_is_seen_and_ends() -> None:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    port = Port(ours)
    for number in range(3000):
        port.send(wire.Response(number, "x" * 500))
    assert [port.congested] == [True]
    loop = asyncio.get_running_loop()

    async def read() -> int:
        frames, count = wire.Frames(), 0
        while count < 3000:
            count += len(frames.feed(await loop.sock_recv(theirs, 1 << 20)))
        return count

    assert await asyncio.wait_for(read(), 10) == 3000
    await asyncio.wait_for(port.drained(), 5)
    assert [port.congested] == [False]
    ours.close()
    theirs.close()


async def test_the_end_of_the_engine_ends_the_messages() -> None:
    ours, theirs = socket.socketpair()
    port = Port(ours)
    theirs.sendall(wire.encode(wire.Ping(4)))
    theirs.close()
    assert [message async for message in port.receive()] == [wire.Ping(4)]
    ours.close()


async def test_who_has_much_to_say_waits_until_there_is_room() -> None:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    port = Port(ours)
    await asyncio.wait_for(port.uncongested(), 1)
    for number in range(3000):
        port.send(wire.Response(number, "x" * 500))
    waiting = asyncio.ensure_future(port.uncongested())
    await asyncio.sleep(0.05)
    assert not waiting.done()
    loop = asyncio.get_running_loop()
    while not waiting.done():
        await asyncio.wait_for(loop.sock_recv(theirs, 1 << 20), 5)
        await asyncio.sleep(0)
    ours.close()
    theirs.close()
