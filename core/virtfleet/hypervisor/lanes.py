"""Lanes: threads that make blocking libvirt calls, one connection each, and can be freed.

libvirt's calls block in C and cannot be interrupted. So every lane has a
thread of its own, and where the connection runs through a `Door` (a local
socket that we proxy), a call that misses its deadline is freed by closing that
socket: the call returns with an error at once and only this lane reconnects.
Where there is no door the call can't be freed; the worker must die for it
(`on_stuck`) and the engine starts another.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import libvirt

from virtfleet.errors import (
    DeadlineError,
    HostError,
    NotFoundError,
    RefusedError,
    UnreachableError,
    VirtfleetError,
)
from virtfleet.hypervisor.faults import translate

T = TypeVar("T")

LINGER = 5.0
"""Seconds that a cancelled call may take to end by itself: the host carries out what it was told anyway."""
FREE_WITHIN = 1.0
"""Seconds a call may take to come back after its socket was closed (measured: 1 ms)."""
_NEARLY = 0.5
"""So close to its deadline a call is cancelled because of it."""


class Cuttable(Protocol):
    """What a lane needs of a door."""

    def cut(self) -> object: ...


@dataclass(slots=True)
class Meter:
    """libvirt calls since the last sample: how many, and how long those took that a host is judged by."""

    calls: int = 0
    latencies: list[float] = field(default_factory=list)

    def take(self) -> tuple[int, tuple[float, ...]]:
        calls, latencies = self.calls, tuple(self.latencies[-32:])
        self.calls = 0
        self.latencies = []
        return calls, latencies


class Runner:
    """One thread that runs blocking functions one after another; asyncio awaits them."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = (
            queue.SimpleQueue()
        )
        self._name = name
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, job: Callable[[], T]) -> asyncio.Future[T]:
        """The future is an UnreachableError after `close`: nobody would ever run the job."""
        future: asyncio.Future[T] = self._loop.create_future()
        if self._closed:
            future.set_exception(UnreachableError("the connection was closed"))
            return future
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self._jobs.put((job, future))
        return future

    def close(self) -> None:
        """Ends the thread after the jobs it has; does not wait."""
        self._closed = True
        self._jobs.put(None)

    def _run(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, future = item
            try:
                result = job()
            except BaseException as error:
                self._deliver(future, None, error)
            else:
                self._deliver(future, result, None)
            del item, job, future

    def _deliver(self, future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        def settle() -> None:
            if future.done():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(settle)


class Lane:
    """One libvirt connection with its thread. Calls queue up; each has a deadline of its own.

    `opener` runs in the thread and returns a connection; it is called again
    after the connection was cut or lost. `patience` says whether a missed
    deadline shall be forgiven just now (a person is being asked, or the whole
    process slept).
    """

    def __init__(
        self,
        name: str,
        opener: Callable[[], libvirt.virConnect],
        *,
        door: Cuttable | None,
        on_stuck: Callable[[], None],
        patience: Callable[[], bool] = lambda: False,
    ) -> None:
        self.name = name
        self._opener = opener
        self._door = door
        self._on_stuck = on_stuck
        self._patience = patience
        self._runner = Runner(f"lane-{name}")
        self._turn = asyncio.Lock()
        self._connection: libvirt.virConnect | None = None
        self._before_drop: list[Callable[[], None]] = []
        self._left: tuple[asyncio.Future[Any], float] | None = None
        """A call that nobody waits for any more and that can't be freed, and when its time is up."""
        self.generation = 0
        """Grows with every new connection: libvirt objects of an older one are dead."""

    @property
    def busy(self) -> bool:
        """Whether a call is under way, so that another one would have to wait."""
        return self._turn.locked() or self._left is not None

    async def call(
        self, work: Callable[[libvirt.virConnect], T], deadline: float, *, linger: float = LINGER
    ) -> T:
        """Runs `work(connection)` in the thread.

        The deadline counts from when the lane takes it up. Raises DeadlineError
        after freeing the lane, HostError for what libvirt reports.

        Cancelled, it waits `linger` seconds for the call, within its deadline:
        who takes back what was done must not be overtaken by it. Then it frees
        the lane; a call that can't be freed is left to its deadline, for a
        person who changed his mind is no reason to die.
        """
        async with self._turn:
            await self._see_off()
            until = time.monotonic() + deadline
            future = self._runner.submit(lambda: self._work(work))
            try:
                await self._wait(future, deadline)
            except asyncio.CancelledError:
                try:
                    # Without a door the next call waits for it anyway.
                    if self._door is not None and (left := until - _NEARLY - time.monotonic()) > 0:
                        await asyncio.wait({future}, timeout=min(linger, left))
                finally:  # also when it is cancelled a second time
                    if self._door is None and not future.done():
                        self._left = future, until
                    else:
                        await self._free(future)
                raise
            if not future.done():
                await self._free(future)
                raise DeadlineError(f"no answer on lane {self.name} within {deadline:g} s")
            return future.result()

    async def _wait(self, future: asyncio.Future[T], deadline: float) -> None:
        while True:
            started = time.monotonic()
            await asyncio.wait({future}, timeout=deadline)
            overslept = time.monotonic() - started > deadline + 1.0
            if future.done() or not (overslept or self._patience()):
                return

    async def _see_off(self) -> None:
        """Waits for the call that was left behind, if there is one, as long as it had."""
        if self._left is None:
            return
        future, until = self._left
        await asyncio.wait({future}, timeout=max(0.0, until - time.monotonic()))
        self._left = None
        await self._free(future)

    async def _free(self, future: asyncio.Future[T]) -> None:
        """Closes the socket under a blocked call and waits for the call to come back."""
        if not future.done():
            self.cut()
            await asyncio.wait({future}, timeout=FREE_WITHIN)
        if not future.done():
            self._on_stuck()
        elif not future.cancelled():
            future.exception()  # seen: nobody else will look at it

    def cut(self) -> None:
        """Drops the connection's socket, if it is ours to drop; the next call opens another."""
        if self._door is not None:
            self._door.cut()

    def before_drop(self, undo: Callable[[], None]) -> None:
        """`undo` runs once before the present connection is closed. To be called in the lane's thread."""
        self._before_drop.append(undo)

    async def close(self) -> None:
        """Frees the thread and drops the connection without waiting for the other side."""
        self.cut()
        if self._left is not None:
            left, self._left = self._left[0], None
            await self._free(left)
        self._runner.submit(self._drop)
        self._runner.close()

    def _work(self, work: Callable[[libvirt.virConnect], T]) -> T:
        try:
            return work(self._connected())
        except libvirt.libvirtError as error:
            failure = translate(error)
            if not self._alive():
                self._drop()
            raise failure from error
        except (NotFoundError, RefusedError):
            raise  # what was looked at is at fault, not the connection
        except VirtfleetError:
            self._drop()
            raise
        except UnicodeError as error:  # libvirt-python decodes whatever a host says
            raise HostError("the host sent text that is not UTF-8") from error

    def _connected(self) -> libvirt.virConnect:
        if self._connection is None:
            self._connection = self._opener()
            self.generation += 1
        return self._connection

    def _alive(self) -> bool:
        try:
            return self._connection is None or bool(self._connection.isAlive())
        except libvirt.libvirtError:
            return False

    def _drop(self) -> None:
        """Forgets the connection. In the lane's thread, since closing may ask the other side."""
        connection, self._connection = self._connection, None
        undoing, self._before_drop = self._before_drop, []
        if connection is not None:
            for undo in undoing:
                undo()
            with contextlib.suppress(libvirt.libvirtError):
                connection.close()
