"""The life of one connection to a host: open it, serve, lose it, try again.

Everything here runs in the worker's asyncio loop; what blocks is in lanes. The
states that the engine sees are told from here, and from here alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import time
from collections.abc import Awaitable, Callable

from virtfleet.errors import AccessError, ConfigError, UnreachableError, VirtfleetError
from virtfleet.hypervisor import happenings, wire
from virtfleet.hypervisor.asking import Asker
from virtfleet.hypervisor.lanes import Meter, Runner
from virtfleet.hypervisor.laneset import Lanes
from virtfleet.hypervisor.port import Port
from virtfleet.hypervisor.reach import Reach, reach_for
from virtfleet.hypervisor.vitals import Vitals
from virtfleet.hypervisor.watch_host import HostWatch
from virtfleet.hypervisor.watch_marks import MarkWatch
from virtfleet.hypervisor.watch_networks import NetworkWatch
from virtfleet.hypervisor.watch_storage import StorageWatch
from virtfleet.hypervisor.watch_vms import VmWatch
from virtfleet.model import Event, HostState, Severity
from virtfleet.model.text import clean

_SEVERITY = {
    HostState.UP: Severity.INFO,
    HostState.HUNG: Severity.ERROR,
    HostState.UNREACHABLE: Severity.ERROR,
    HostState.REFUSED: Severity.ERROR,
}
_FIRST_BACKOFF = 1.0
_WORST_BACKOFF = 30.0
_LIBVIRTD_BACKOFF = 3.0
"""Asking again on a connection that stands costs next to nothing."""


class Session:
    """Connects, and keeps connected, until the worker ends."""

    def __init__(self, settings: wire.WorkerSettings, port: Port, on_stuck: Callable[[], None]) -> None:
        self.settings = settings
        self._port = port
        self._on_stuck = on_stuck
        self.asker = Asker(settings.name, port.send, self._asked)
        self._retry = asyncio.Event()
        self._state = wire.Status(HostState.CONNECTING)
        self._loop = asyncio.get_running_loop()
        self.lanes: Lanes | None = None
        self.reach: Reach | None = None
        self._vms: VmWatch | None = None
        self.marks: MarkWatch | None = None
        self._backoff = _FIRST_BACKOFF
        self._tried = 0.0
        self._announced: tuple[HostState, str] = (HostState.CONNECTING, "")

    @property
    def state(self) -> HostState:
        """As told last."""
        return self._state.state

    def reconnect(self) -> None:
        """The operator wants it tried again now."""
        self._retry.set()

    async def run(self) -> None:
        """Never returns by itself."""
        while True:
            self._retry.clear()
            self._tell(HostState.CONNECTING)
            try:
                await self._connected()
            except VirtfleetError as error:
                if not self._retry.is_set():
                    await self._pause(error)

    async def _pause(self, error: VirtfleetError, worst: float = _WORST_BACKOFF) -> None:
        """Says what is wrong, and waits until it is time to try again."""
        if isinstance(error, AccessError | ConfigError):
            self._tell(HostState.REFUSED, error.message, error.cure)
            await self._retry.wait()
            return
        if time.monotonic() - self._tried > _WORST_BACKOFF + 10:
            self._backoff = _FIRST_BACKOFF
        self._tell(HostState.UNREACHABLE, error.message, error.cure)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(worst, self._backoff) * random.uniform(0.5, 1.0)):  # noqa: S311 - jitter
                await self._retry.wait()
        self._backoff = min(worst, self._backoff * 2)
        self._tried = time.monotonic()

    async def _connected(self) -> None:
        """One connection from its opening to its loss, which is always an error.

        A libvirtd that went away is waited for on the connection that there
        is: logging in anew may cost a person the touch of a hardware key.
        """
        lost: asyncio.Future[None] = self._loop.create_future()

        def on_lost(reason: str) -> None:
            def settle() -> None:
                if not lost.done():
                    lost.set_exception(UnreachableError(reason or "the connection was lost"))

            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(settle)

        reach = reach_for(self.settings, self.asker, on_lost)
        opening = Runner("open")
        try:
            await opening.submit(reach.open)
            while True:
                self._retry.clear()
                try:
                    await self._serve(reach, lost)
                except (AccessError, ConfigError):
                    raise
                except VirtfleetError as error:
                    stands = reach.transport_answers or reach.is_local
                    if lost.done() or self._retry.is_set() or not stands:
                        raise
                    await self._pause(error, _LIBVIRTD_BACKOFF)
                    if self._retry.is_set():
                        raise
                if lost.done():
                    lost.result()
        finally:
            closing = opening.submit(reach.close)
            await asyncio.wait({closing}, timeout=1.0)
            opening.close()
            self.asker.abandon()
            if lost.done():
                lost.exception()
            self._loop.call_later(2.0, gc.collect)  # what went is a net of cycles that hold descriptors

    async def _serve(self, reach: Reach, lost: asyncio.Future[None]) -> None:
        """Watches the host until libvirtd or the connection is gone."""
        meter = Meter()
        groups = set(self.settings.groups)
        lanes = Lanes(reach, self._on_stuck, lambda: self.asker.asking, few=bool(groups))
        self.lanes, self.reach = lanes, reach
        vitals = Vitals(
            reach, (lanes.long, lanes.storage, lanes.detail), self._tell, lambda: self.asker.asking
        )
        if self.marks is None:
            self.marks = MarkWatch(self.settings, reach, self._port)
        else:
            self.marks.anew(reach)
        host = HostWatch(self.settings, lanes, reach, meter, self._port, self.marks)
        vms = VmWatch(self.settings, lanes, vitals, host, meter, self._port)
        networks = NetworkWatch(self.settings, lanes, vitals, vms, host, meter, self._port)
        storage = StorageWatch(self.settings, lanes, vitals, host, meter, self._port, reach)
        coalescer = happenings.Coalescer()

        def heard(raw: happenings.Raw) -> None:
            """In libvirt's thread."""
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._happened, raw, coalescer, vms, networks, storage, host)

        later = []
        if not groups:
            vms.listen(heard)
            later.append(vms.run_detail)
        if not groups or "facts" in groups:
            later.append(host.run)
        if not groups or "networks" in groups:
            later.append(networks.run)
        if not groups or groups & {"pools", "volumes"}:
            later.append(storage.run)
        if not groups or "volumes" in groups:
            later.append(storage.volumes.run)
        self._vms = vms
        tasks = [asyncio.ensure_future(vms.run())]
        tasks += [asyncio.ensure_future(self._later(loop)) for loop in later]
        tasks.append(asyncio.ensure_future(_guard(lost)))
        tasks.append(asyncio.ensure_future(self._asked_to_reconnect()))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            self.lanes = self.reach = self._vms = None
            reach.cut()  # frees every lane at once: cancelled calls come back now
            await asyncio.gather(*tasks, return_exceptions=True)
            await lanes.close()
            for each in (vitals, host, storage):
                each.close()

    def acted(self, op: str, uuid: str) -> None:
        """An operation of ours changed something, of the VM `uuid` if that is given."""
        if self._vms is not None:
            self._vms.acted(op, uuid)

    async def _later(self, loop: Callable[[], Awaitable[None]]) -> None:
        """In a large fleet not all hosts shall read everything in their first second."""
        jitter = self.settings.settle * random.random()  # noqa: S311 - no secret
        await asyncio.sleep(self.settings.rows_first + jitter)
        await loop()

    async def _asked_to_reconnect(self) -> None:
        await self._retry.wait()
        raise UnreachableError("connecting anew, as asked")

    def _happened(
        self,
        raw: happenings.Raw,
        coalescer: happenings.Coalescer,
        vms: VmWatch,
        networks: NetworkWatch,
        storage: StorageWatch,
        host: HostWatch,
    ) -> None:
        if raw.kind == "vm":
            vms.poke(raw.uuid, raw.what)
        elif raw.kind == "network":
            networks.poke()
        elif raw.kind == "device":
            host.poke_devices()
        else:
            storage.poke(raw.name)
        if raw.what == "refreshed":
            return
        now = self._loop.time()
        for each in coalescer.feed(raw, now):
            self._publish(each)
        if coalescer.next_due is not None:
            self._loop.call_at(coalescer.next_due + 0.01, self._publish_due, coalescer)

    def _publish_due(self, coalescer: happenings.Coalescer) -> None:
        for raw in coalescer.due(self._loop.time()):
            self._publish(raw)

    def _publish(self, raw: happenings.Raw) -> None:
        if self._port.congested:
            return
        event = Event(
            time.time(), self.settings.name, raw.kind, raw.name, raw.what, raw.detail, raw.uuid, raw.severity
        )
        self._port.send(wire.Happened(event))

    def _tell(self, state: HostState, reason: str = "", cure: str = "") -> None:
        status = wire.Status(state, clean(reason, 500), clean(cure, 500))
        if status == self._state:
            return
        if (state, status.reason) != self._announced and state is not HostState.CONNECTING:
            self._announced = (state, status.reason)
            severity = _SEVERITY.get(state, Severity.WARNING)
            event = Event(
                time.time(),
                self.settings.name,
                "host",
                self.settings.name,
                state.value,
                status.reason,
                "",
                severity,
            )
            self._port.send(wire.Happened(event))
        self._state = status
        self._port.send(status)

    def _asked(self, question: str) -> None:
        if self.state is HostState.UP:
            return  # it is asked on behalf of a job; the host itself wants nothing
        if question:
            self._tell(HostState.ASKING, question, "answer the question")
        elif self.state is HostState.ASKING:
            self._tell(HostState.CONNECTING)


async def _guard(lost: asyncio.Future[None]) -> None:
    await asyncio.shield(lost)
