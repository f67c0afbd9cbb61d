"""The consoles of guests that this operator has open: they go on while other views are in front.

Each reads its socket a little at a time and leaves as long as it took to the
rest of the screen, so that a guest that writes without end costs at most half
of the time, and then waits itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from enum import Enum
from typing import TYPE_CHECKING

from virtfleet.errors import RefusedError, VirtfleetError
from virtfleet_tui.bridge import Fleet

if TYPE_CHECKING:
    from virtfleet_tui.console import Subject
    from virtfleet_tui.widgets.emulator import Emulator

OPEN_WITHIN = 10.0
_STATUS_WITHIN = 6.0
_READ = 4096
_PIECE = 128
"""Bytes that are interpreted in one go: some milliseconds, of the worst kind 20."""
_TURN = 0.012
"""Seconds after which it is others' turn."""
_UNSENT = 64 * 1024
"""Typed or pasted bytes that wait for a guest; of more, the newest are dropped."""
_BELL_EVERY = 1.0


class Phase(Enum):
    OPENING = "opening"
    OPEN = "open"
    ENDED = "ended"


class GuestConsole:
    """One guest's console. `changed` is called in the loop when it has written, or is in another phase."""

    def __init__(self, fleet: Fleet, subject: Subject, ring: Callable[[], None]) -> None:
        from virtfleet_tui.widgets.emulator import Emulator  # pyte, which nobody needs before

        self.subject = subject
        self.emulator: Emulator = Emulator(bell=self._bell)
        self.phase = Phase.ENDED
        self.reason = ""
        """Why it ended."""
        self.cure = ""
        self.in_use = False
        """Somebody else has it open: it can be taken over."""
        self.lost = 0
        """Typed bytes that the guest did not take."""
        self.changed: Callable[[], None] = lambda: None
        self._fleet = fleet
        self._ring = ring
        self._task: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._quiet_until = 0.0

    def open(self, *, force: bool = False) -> None:
        """Begins to open it, unless it is. What it showed stays. `force`: take it from whoever has it."""
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._live(force))

    def type(self, data: bytes) -> None:
        """For the guest, if there is one."""
        writer = self._writer
        if writer is None:
            return
        if writer.transport.get_write_buffer_size() > _UNSENT:
            self.lost += len(data)
            self.changed()
        else:
            writer.write(data)

    async def close(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _live(self, force: bool) -> None:
        self._say(Phase.OPENING)
        host, fleet = self.subject.host, self._fleet
        try:
            args = {"uuid": self.subject.uuid, "force": force}
            opened = await fleet.request(host, "console.open", args, timeout=OPEN_WITHIN)
            reader, self._writer = await asyncio.open_unix_connection(opened["path"], limit=_READ)
        except VirtfleetError as error:
            self.in_use = isinstance(error, RefusedError) and "in use" in error.message
            self._say(Phase.ENDED, error.message, "" if self.in_use else error.cure)
            return
        except OSError as error:
            self._say(Phase.ENDED, f"its socket can't be opened: {error.strerror or error}")
            return
        self._say(Phase.OPEN)
        try:
            await self._read(reader)
        finally:
            self._writer.close()
            self._writer = None
        reason = "the connection was lost"
        with contextlib.suppress(VirtfleetError):
            status = await fleet.request(host, "console.status", {"id": opened["id"]}, timeout=_STATUS_WITHIN)
            reason = str(status["reason"])
        self._say(Phase.ENDED, reason)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(_READ):
                started = time.perf_counter()
                for at in range(0, len(data), _PIECE):
                    self.emulator.feed(data[at : at + _PIECE])
                    took = time.perf_counter() - started
                    if took > _TURN or at + _PIECE >= len(data):
                        self.changed()
                        await asyncio.sleep(took)
                        started = time.perf_counter()

    def _say(self, phase: Phase, reason: str = "", cure: str = "") -> None:
        self.phase, self.reason, self.cure = phase, reason, cure
        if phase is not Phase.ENDED:
            self.in_use = False
        self.changed()

    def _bell(self) -> None:
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + _BELL_EVERY
            self._ring()


class GuestConsoles:
    """Those that are open, or were and are still looked at; in the order in which they were opened."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._consoles: list[GuestConsole] = []
        self.ring: Callable[[], None] = lambda: None
        """Rings the operator's bell."""

    def __iter__(self) -> Iterator[GuestConsole]:
        return iter(self._consoles)

    def __len__(self) -> int:
        return len(self._consoles)

    def of(self, subject: Subject) -> GuestConsole:
        """That VM's console; opened if it is not. A VM is its UUID at its host."""
        key = (subject.host, subject.uuid)
        for console in self._consoles:
            if (console.subject.host, console.subject.uuid) == key:
                return console
        console = GuestConsole(self._fleet, subject, lambda: self.ring())
        self._consoles.append(console)
        console.open()
        return console

    def beside(self, console: GuestConsole, by: int) -> GuestConsole:
        """The next one (1) or the one before (-1), round the end."""
        return self._consoles[(self._consoles.index(console) + by) % len(self._consoles)]

    async def close(self, console: GuestConsole) -> None:
        """Gives it back to others, and forgets what it showed."""
        if console in self._consoles:
            self._consoles.remove(console)
        await console.close()

    async def close_all(self) -> None:
        consoles, self._consoles = self._consoles, []
        await asyncio.gather(*(each.close() for each in consoles))
