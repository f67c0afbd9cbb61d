"""The worker's end of the socket to the engine.

Reading is plain. Writing never blocks the worker: what does not fit waits in
an outbox in which a newer sample replaces an older one. An engine that does
not read (stopped with Ctrl-Z, or the machine asleep) makes the port
`congested`; the worker then stops sampling, and resyncs when it is read again.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import msgspec

from virtfleet.hypervisor import wire

_CONGESTED = 256 * 1024
_KERNEL_BUFFER = 128 * 1024


class Port:
    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_BUFFER)
        self._end = end
        self._loop = asyncio.get_running_loop()
        self._outbox: list[tuple[type, bytes]] = []
        self._partial = b""
        self._waiting = False
        self._drained = asyncio.Event()
        self._drained.set()

    @property
    def congested(self) -> bool:
        return self._waiting and sum(len(frame) for _, frame in self._outbox) > _CONGESTED

    async def uncongested(self) -> None:
        """Returns when there is room again: what nobody reads must not pile up."""
        if self.congested:
            await self._drained.wait()

    async def drained(self) -> None:
        """Returns when everything was handed to the kernel."""
        await self._drained.wait()

    def send(self, message: wire.FromWorker) -> None:
        """Queues a message; only in the loop's thread."""
        kind = type(message)
        if kind is wire.Sample and self._waiting:
            self._outbox = [item for item in self._outbox if item[0] is not wire.Sample]
        self._outbox.append((kind, wire.encode(message)))
        if not self._waiting:
            self._flush()

    async def receive(self) -> AsyncIterator[wire.ToWorker]:
        """Messages from the engine until it closes the socket."""
        frames = wire.Frames()
        while data := await self._loop.sock_recv(self._end, 256 * 1024):
            for body in frames.feed(data):
                try:
                    yield wire.decode_to_worker(body)
                except msgspec.DecodeError as error:
                    raise ConnectionError(f"not a message: {error}") from error

    def _flush(self) -> None:
        while self._partial or self._outbox:
            if not self._partial:
                self._partial = self._outbox.pop(0)[1]
            try:
                sent = self._end.send(self._partial)
            except BlockingIOError:
                if not self._waiting:
                    self._waiting = True
                    self._drained.clear()
                    self._loop.add_writer(self._end, self._flush)
                return
            except OSError:
                self._partial = b""
                self._outbox.clear()  # the engine is gone; receive() ends the worker
                break
            self._partial = self._partial[sent:]
        if self._waiting:
            self._waiting = False
            self._loop.remove_writer(self._end)
            self._drained.set()
