"""The engine's side of one worker process: its socket, its requests, its pulse.

A link lives as long as its worker. It knows nothing of states and respawning;
it hands over what comes and says when the worker is gone.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import time
from collections.abc import Callable
from typing import Any, cast

import msgspec

from virtfleet.errors import DeadlineError, UnreachableError, from_code
from virtfleet.hypervisor import wire

Report = Callable[[int, int, str], None]
"""done, total (0: unknown), what it does now."""

_GRACE = 2.0
"""Seconds the worker may take beyond a request's deadline to report that it missed it."""


_INBOX = 64 * 1024
"""Bytes read at once: a sample has 3 kB for 20 VMs, and the kernel gives no more than its buffer holds."""


def inbox() -> memoryview:
    """What links read into. Those of one loop may share one, since nothing stays in it between two reads."""
    return memoryview(bytearray(_INBOX))


class Link(asyncio.BufferedProtocol):
    """One connected worker. `on_message` and `on_gone` are called in the loop.

    Reads into `inbox`: asyncio's other way makes a buffer of 256 KiB for each read, which at 350 messages a
    second was a tenth of the engine's time.
    """

    def __init__(
        self,
        on_message: Callable[[wire.FromWorker], None],
        on_gone: Callable[[str], None],
        inbox: memoryview,
    ) -> None:
        self._inbox = inbox
        self._on_message = on_message
        self._on_gone = on_gone
        self._frames = wire.Frames()
        self._transport: asyncio.Transport | None = None
        self._ids = itertools.count(1)
        self._requests: dict[int, asyncio.Future[Any]] = {}
        self._progress: dict[int, Callable[[wire.Progress], None]] = {}
        self.heard = time.monotonic()
        """When anything last came from the worker."""
        self.pinged: float | None = None
        self.pid: int | None = None
        self._closed = False

    @classmethod
    async def open(
        cls,
        end: socket.socket,
        on_message: Callable[[wire.FromWorker], None],
        on_gone: Callable[[str], None],
        buffer: memoryview | None = None,
    ) -> Link:
        """`buffer`: an `inbox` to share with other links."""
        loop = asyncio.get_running_loop()
        space = inbox() if buffer is None else buffer
        _, link = await loop.create_unix_connection(lambda: cls(on_message, on_gone, space), sock=end)
        return link

    def send(self, message: wire.ToWorker) -> None:
        if self._transport is not None and not self._closed:
            self._transport.write(wire.encode(message))

    async def request(
        self, op: str, args: dict[str, Any], timeout: float, on_progress: Report | None = None
    ) -> Any:
        """The result of an operation. Raises what the worker raised, DeadlineError, UnreachableError.

        `timeout` counts anew with each progress, which `on_progress(done, total, text)` is told.
        """
        number = next(self._ids)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._requests[number] = future

        def progressed(message: wire.Progress) -> None:
            limit.reschedule(loop.time() + timeout + _GRACE)
            if on_progress is not None:
                on_progress(message.done, message.total, message.text)

        self._progress[number] = progressed
        self.send(wire.Request(number, op, args, timeout))
        try:
            async with asyncio.timeout(timeout + _GRACE) as limit:
                return await future
        except TimeoutError:
            raise DeadlineError(f"no answer to {op} within {timeout:g} s") from None
        finally:
            del self._progress[number]
            if self._requests.pop(number, None) is not None:  # no answer came, and none is waited for
                self.send(wire.CancelRequest(number))

    def ping(self, now: float) -> None:
        self.pinged = now
        self.send(wire.Ping(0))

    def close(self) -> None:
        """Closes the socket, which ends the worker. `on_gone` is not called for our own closing."""
        self._closed = True
        if self._transport is not None:
            self._transport.abort()

    # ---- asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._inbox

    def buffer_updated(self, nbytes: int) -> None:
        self.heard = time.monotonic()
        self.pinged = None
        try:
            messages = [wire.decode_from_worker(body) for body in self._frames.feed(self._inbox[:nbytes])]
        except (ValueError, msgspec.DecodeError) as error:
            self._lose(f"its worker sent nonsense: {error}")
            return
        for message in messages:
            self._take(message)

    def connection_lost(self, error: Exception | None) -> None:
        self._lose("its worker ended")

    def _take(self, message: wire.FromWorker) -> None:
        if isinstance(message, wire.Response):
            future = self._requests.pop(message.id, None)
            if future is None or future.done():
                return
            if message.code:
                future.set_exception(from_code(message.code, message.message, message.cure))
            else:
                future.set_result(message.result)
        elif isinstance(message, wire.Progress):
            if (progressed := self._progress.get(message.id)) is not None:
                progressed(message)
        elif not self._closed:
            self._on_message(message)

    def _lose(self, why: str) -> None:
        for future in self._requests.values():
            if not future.done():
                future.set_exception(UnreachableError(f"{why} before it answered"))
        self._requests.clear()
        if not self._closed:
            self.close()
            self._on_gone(why)
