"""Joins a guest's console with one client on a Unix socket of ours, and knows why it ended.

The socket carries the console's bytes and nothing else, so that any program
can be the client. What the client does not read piles up here to a limit, then
the guest's side is held; so a guest that writes more than anybody reads waits,
as it would on a real line.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable

from virtfleet.errors import VirtfleetError
from virtfleet.hypervisor.doors import is_ours, listen

FULL = 128 * 1024
"""Bytes unread from which the guest is held back."""
EMPTY = 32 * 1024
"""Bytes unread under which it goes on."""
MOST = 2 * 1024 * 1024
"""Bytes kept where the guest's side can't be held back: of more, the oldest are lost."""
_CHUNK = 16 * 1024
_FLUSH = 5.0
"""Seconds in which a client has to take the guest's last words."""

CLOSED = "closed"
"""Why it ended when the client left."""
NOBODY = "nobody connected to it"


class Bridge:
    """One console. To be used in one asyncio loop.

    `send(data)` gives bytes to the guest and returns when they are taken; `hold(on)`
    stops and continues the guest's side.
    """

    def __init__(
        self, path: str, send: Callable[[bytes], Awaitable[None]], hold: Callable[[bool], None]
    ) -> None:
        """Listens at once. Raises as `doors.Door`."""
        self.path = path
        self.lost = 0
        """Bytes that nobody read in time, where the guest could not be held."""
        self._send = send
        self._hold = hold
        self._listener = listen(path)
        self._listener.setblocking(False)
        self._unread = bytearray()
        self._held = False
        self._more = asyncio.Event()
        self._over = asyncio.Event()
        self._reason = ""

    def arrived(self, data: bytes) -> None:
        """The guest wrote this."""
        self._unread += data
        if len(self._unread) > MOST:
            self.lost += len(self._unread) - MOST
            del self._unread[:-MOST]
        if not self._held and len(self._unread) > FULL:
            self._held = True
            self._hold(True)
        self._more.set()

    def end(self, reason: str) -> None:
        """The guest's side is over; the first reason counts. What it wrote before is still delivered."""
        if not self._over.is_set():
            self._reason = reason
            self._over.set()
            self._more.set()

    @property
    def ended(self) -> bool:
        return self._over.is_set()

    async def run(self, wait: float) -> str:
        """Carries both ways for the first client that comes, within `wait` seconds; returns why it ended."""
        try:
            client = await self._client(wait)
            if client is not None:
                with contextlib.closing(client):
                    await self._carry(client)
        finally:
            self.close()
            self._hold(False)
        return self._reason

    def close(self) -> None:
        """Nobody can come in any more."""
        with contextlib.suppress(OSError):
            os.unlink(self.path)
        self._listener.close()

    async def _client(self, wait: float) -> socket.socket | None:
        """Who came; None: nobody in time, or the guest's side ended first."""
        loop = asyncio.get_running_loop()
        over = asyncio.ensure_future(self._over.wait())
        try:
            async with asyncio.timeout(wait):
                while True:
                    accepting = asyncio.ensure_future(loop.sock_accept(self._listener))
                    try:
                        await asyncio.wait({accepting, over}, return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        accepting.cancel()
                    if not accepting.done():
                        return None
                    client, _ = accepting.result()
                    if is_ours(client):
                        client.setblocking(False)
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _CHUNK)
                        return client
                    client.close()
        except TimeoutError:
            self.end(NOBODY)
            return None
        finally:
            over.cancel()

    async def _carry(self, client: socket.socket) -> None:
        tasks = [
            asyncio.ensure_future(self._to_client(client)),
            asyncio.ensure_future(self._from_client(client)),
        ]
        over = asyncio.ensure_future(self._over.wait())
        try:
            await asyncio.wait({*tasks, over}, return_when=asyncio.FIRST_COMPLETED)
            if self._unread and not tasks[1].done():
                await asyncio.wait({tasks[0]}, timeout=_FLUSH)
        finally:
            for task in (*tasks, over):
                task.cancel()
            await asyncio.gather(*tasks, over, return_exceptions=True)

    async def _to_client(self, client: socket.socket) -> None:
        """Until the guest's side is over and all was delivered."""
        loop = asyncio.get_running_loop()
        while self._unread or not self.ended:
            if not self._unread:
                self._more.clear()
                await self._more.wait()
                continue
            piece = bytes(self._unread[:_CHUNK])
            try:
                await loop.sock_sendall(client, piece)
            except OSError:
                self.end(CLOSED)
                return
            del self._unread[: len(piece)]
            if self._held and len(self._unread) < EMPTY:
                self._held = False
                self._hold(False)

    async def _from_client(self, client: socket.socket) -> None:
        """Until the client leaves, or the guest takes no more."""
        loop = asyncio.get_running_loop()
        try:
            while data := await loop.sock_recv(client, _CHUNK):
                await self._send(data)
        except VirtfleetError as error:
            self.end(error.message)
        except OSError:
            self.end(CLOSED)
        else:
            self.end(CLOSED)
