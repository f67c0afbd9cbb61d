"""Is it the VM, libvirtd, the link, or ourselves? Judging a call that is late.

A call on the monitor lane that takes longer than `SOFT` is no proof of
anything. So a second lane is asked something trivial, and the SSH transport
for a sign of life, at the same time. Their answers tell the states apart:

    second lane answers                  the host is well, the call is slow
    only the transport answers           libvirtd is hung
    nothing answers                      the link is silent: unreachable

The late call is left waiting: if libvirtd thaws or the link is mended it
simply completes. It is freed at its hard deadline.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Any, TypeVar

import libvirt

from virtfleet.errors import DeadlineError, UnreachableError
from virtfleet.hypervisor import wire
from virtfleet.hypervisor.lanes import Lane, Meter, Runner
from virtfleet.hypervisor.reach import Reach
from virtfleet.model import HostState

T = TypeVar("T")

SOFT = 1.0
"""Seconds after which a call is late enough to ask around."""
FIRST = 3.0
"""The same for the first answer of a connection, which takes its opening along."""
PROBE = 1.3
"""Seconds that those asked around have."""
RECHECK = 2.0
_LATE = 0.3
"""Seconds by which our own clock must not be late, or the delay may be ours."""
HARD = 12.0
"""Seconds after which a call is freed."""

SILENT_CURE = "is the host powered on, and the network between here and there?"


class Verdict(StrEnum):
    WELL = "well"
    HUNG = "hung"
    SILENT = "silent"


class Vitals:
    """`tell(state, reason, cure)` is called on every change of mind. `well` is set while the host answers."""

    def __init__(
        self,
        reach: Reach,
        probes: Sequence[Lane],
        tell: Callable[[HostState, str, str], None],
        patience: Callable[[], bool],
    ) -> None:
        self._reach = reach
        self._probes = probes
        self._tell = tell
        self._patience = patience
        self._pinger = Runner("ping")
        self._answered = False
        self.well = asyncio.Event()

    async def call(
        self,
        lane: Lane,
        work: Callable[[libvirt.virConnect], T],
        meter: Meter | None = None,
        in_vain: Callable[[float], Awaitable[bool]] | None = None,
    ) -> T:
        """Runs `work` on the monitor lane, and judges the host by it.

        How long it took goes to `meter`, unless the host was in trouble
        meanwhile: being hung for a while does not make it slow afterwards.
        `in_vain(age)` says of a late call on a host that is well whether it
        shall be given up; that is a DeadlineError.

        Raises DeadlineError when the lane had to be freed though the host is
        well, UnreachableError when the link stayed silent, HostError else.
        While libvirtd is hung it tries again for as long as it takes.
        """
        while True:
            task = asyncio.ensure_future(lane.call(work, HARD))
            started = time.monotonic()
            verdict = Verdict.WELL
            try:
                verdict = await self._watch(task, in_vain)
                result = task.result()
            except DeadlineError:
                if verdict is Verdict.SILENT:
                    raise UnreachableError("the link is silent", cure=SILENT_CURE) from None
                if verdict is Verdict.HUNG:
                    await asyncio.sleep(0.5)
                    continue
                raise
            finally:
                if not task.done():
                    task.cancel()
            if meter is not None and verdict is Verdict.WELL:
                meter.latencies.append(time.monotonic() - started)
            self._answered = True
            self._tell(HostState.UP, "", "")
            self.well.set()
            return result

    def close(self) -> None:
        self._pinger.close()

    async def _watch(
        self, task: asyncio.Future[T], in_vain: Callable[[float], Awaitable[bool]] | None
    ) -> Verdict:
        """Waits for the call; tells of trouble as soon as it is known."""
        verdict = Verdict.WELL
        wait = SOFT if self._answered else FIRST
        begun = time.monotonic()
        while True:
            started = time.monotonic()
            await asyncio.wait({task}, timeout=wait)
            if task.done():
                return verdict
            if time.monotonic() - started > wait + _LATE or self._patience():
                continue  # we slept or are starved, or a person is being asked: that proves nothing
            found = await self._ask_around(task)
            if task.done():
                return verdict
            verdict = found
            wait = RECHECK
            if verdict is not Verdict.WELL:
                self._report(verdict)
            elif in_vain is not None:
                if await in_vain(time.monotonic() - begun):
                    raise DeadlineError("given up")
                wait = SOFT

    async def _ask_around(self, task: asyncio.Future[Any]) -> Verdict:
        # Where a lane can't be freed, a missed deadline ends the worker: not for a question in passing.
        deadline = PROBE if self._reach.can_cut else HARD
        libvirtd: asyncio.Future[Any] = asyncio.ensure_future(
            self._probe_lane().call(lambda conn: conn.getLibVersion(), deadline)
        )
        transport: asyncio.Future[Any] = asyncio.ensure_future(self._ping())
        try:
            await asyncio.wait({task, libvirtd}, timeout=PROBE + 0.1, return_when=asyncio.FIRST_COMPLETED)
            if task.done() or (libvirtd.done() and _succeeded(libvirtd)):
                return Verdict.WELL
            await asyncio.wait({task, transport}, timeout=0.2, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return Verdict.WELL
            answered = transport.done() and _succeeded(transport)
            if not answered:
                return Verdict.SILENT
            # a port that is open proves little of a far host, as long as libvirtd never said a word there
            proven = self._reach.transport_answers or self._answered or self._reach.is_local
            return Verdict.HUNG if proven else Verdict.SILENT
        finally:
            for each in (libvirtd, transport):
                each.add_done_callback(_seen)

    def _probe_lane(self) -> Lane:
        """One that is free: behind a long call of somebody's, the question would say nothing of libvirtd."""
        return next((lane for lane in self._probes if not lane.busy), self._probes[0])

    async def _ping(self) -> None:
        await self._pinger.submit(lambda: self._reach.ping(PROBE))

    def _report(self, verdict: Verdict) -> None:
        self.well.clear()
        if verdict is Verdict.HUNG:
            self._tell(HostState.HUNG, "libvirtd does not answer, the host does", wire.HUNG_CURE)
        else:
            self._tell(HostState.UNREACHABLE, "nothing answers on the link", SILENT_CURE)


def _succeeded(future: asyncio.Future[Any]) -> bool:
    return not future.cancelled() and future.exception() is None


def _seen(future: asyncio.Future[Any]) -> None:
    """Takes note of a result nobody waits for, so that asyncio does not complain."""
    if not future.cancelled():
        future.exception()
