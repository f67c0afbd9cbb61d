"""Watches the VMs of a host: cheap statistics every tick, the rest staggered, descriptions when they change.

In the steady state a tick costs one call on the monitor lane and at most one
on the detail lane, however many VMs there are: every second tick the groups
that ask QEMU, in between one small question of a rotation (who has snapshots,
who starts by itself, one guest agent's addresses).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import libvirt

from virtfleet.errors import DeadlineError, HostError, NotFoundError, RefusedError
from virtfleet.hypervisor import domains, happenings, rates, stuck, wire
from virtfleet.hypervisor.catalogue import Catalogue
from virtfleet.hypervisor.lanes import Meter
from virtfleet.hypervisor.laneset import Lanes
from virtfleet.hypervisor.port import Port
from virtfleet.hypervisor.states import vm_reason, vm_state
from virtfleet.hypervisor.turns import Turns
from virtfleet.hypervisor.vitals import Vitals
from virtfleet.hypervisor.watch_host import HostWatch
from virtfleet.model import HostStats, VmInfo, VmStats
from virtfleet.model.text import clean

_CHUNK = 25
"""Descriptions fetched in one go, so that a host of 500 VMs shows its first ones early."""
_SOONEST = 0.3
"""Seconds between two samples even when events pour in."""
_DETAIL_EVERY = 2
"""Ticks between two looks at what only QEMU knows, and so the time in which a stuck one is noticed."""
_DETAIL_DEADLINE = 6.0
_RARELY = 10
"""Simulated VMs have no QEMU to ask, and nobody else changes them: ticks between two small questions."""
_AGENT_DEADLINE = 8.0
"""libvirtd itself waits 5 s for an agent that does not answer; cutting the lane before that gains nothing."""
_MOST_ADDRESSES = 32
"""Addresses of one NIC that are kept; a guest may claim any number."""
_DESCRIBES_ANEW = frozenset(
    {
        "defined",
        "device added",
        "device removed",
        "metadata changed",
        "medium changed",
        "refreshed",
        "started",
        "stopped",
        "tuned",
        "undefined",
    }
)


Question = Callable[[], Awaitable[None]]


class VmWatch:
    def __init__(
        self,
        settings: wire.WorkerSettings,
        lanes: Lanes,
        vitals: Vitals,
        host: HostWatch,
        meter: Meter,
        port: Port,
    ) -> None:
        self._settings = settings
        self._lanes = lanes
        self._vitals = vitals
        self._host = host
        self._meter = meter
        self._port = port
        self._reader = domains.DomainReader(meter)
        self._detail_reader = domains.DomainReader(meter)
        self.catalogue = Catalogue()
        self._rates = rates.Rates()
        self._stats: dict[str, VmStats] = {}
        self._dirty: set[str] = set()
        self._questions: list[Question] = []
        """Small questions that can't wait for their turn."""
        self._curious = asyncio.Event()
        self._stuck = stuck.StuckVms(meter, self.catalogue.get, self._tell_stuck)
        self._sooner = asyncio.Event()
        self._sampled = asyncio.Event()
        self._listener: Callable[[happenings.Raw], None] | None = None
        self._heard_by = 0
        self._turns = Turns()
        self.told_of = frozenset({"vm", "network", "pool"})
        """What this driver has events of; the rest is described anew in turn."""
        self._sent_full = False

    def listen(self, listener: Callable[[happenings.Raw], None]) -> None:
        """Who is told of libvirt's events; called in libvirt's thread."""
        self._listener = listener

    def poke(self, uuid: str, what: str) -> None:
        """An event spoke of this VM: look soon."""
        if what in _DESCRIBES_ANEW:
            self._dirty.add(uuid)
        if what in ("stopped", "crashed", "agent disconnected") and self._host.simulation is None:
            self.catalogue.forget_agent(uuid)
        self._sooner.set()

    def acted(self, op: str, uuid: str) -> None:
        """We have changed something that perhaps no event tells of: look soon, for the next plan does."""
        if uuid:
            self.poke(uuid, "refreshed")
        question: Question
        if op.startswith("vm.snapshot."):
            question = self._ask_snapshots
        elif op == "vm.autostart":
            question = self._ask_autostart
        elif op in ("vm.save", "vm.start"):
            question = self._ask_managed_save
        else:
            return
        if question not in self._questions:
            self._questions.append(question)
        self._curious.set()

    # ---- monitor lane

    async def run(self) -> None:
        """Samples for ever. Ends by what makes the connection useless."""
        interval = self._settings.interval
        due = time.monotonic()
        while True:
            if self._port.congested:
                await self._port.drained()
                self._sent_full = False
                due = time.monotonic()
            await self._tick()
            await self._churn()
            now = time.monotonic()
            due = max(due + interval, now + _SOONEST) if due + interval > now else now + _SOONEST
            try:
                async with asyncio.timeout(due - now):
                    await self._sooner.wait()
                await asyncio.sleep(_SOONEST)
                due = time.monotonic()
            except TimeoutError:
                pass
            self._sooner.clear()

    async def _tick(self) -> None:
        monitor = self._lanes.monitor
        host = asyncio.ensure_future(self._host.read())
        try:
            try:
                records = await self._vitals.call(monitor, self._read, self._meter, self._waits_in_vain)
            except DeadlineError:
                return  # slow, though well, or behind a stuck VM: the next tick tries again
            now = time.monotonic()
            await self._describe([uuid for uuid, _ in records])
            self._publish(records, now, await host)
        finally:
            host.cancel()

    def _read(self, conn: libvirt.virConnect) -> domains.Records:
        """In the lane's thread. A new connection is listened to before it is read: nothing is missed."""
        if self._lanes.monitor.generation != self._heard_by:
            self._heard_by = self._lanes.monitor.generation
            self._sent_full = False
            if self._listener is not None:
                self._meter.calls += 1
                registration = happenings.Registration(conn, self._listener)
                self.told_of = registration.kinds

                def let_go() -> None:
                    registration.undo()
                    self._reader.domains = {}  # they hold the connection, too

                self._lanes.monitor.before_drop(let_go)
        return self._reader.read(conn, domains.CHEAP)

    async def _describe(self, present: list[str]) -> None:
        """Fetches what is new or said to have changed, and tells the engine what differs."""
        catalogue = self.catalogue
        if not self._sent_full:
            self._dirty.update(catalogue.uuids)
        still = set(present)
        gone = [uuid for uuid in catalogue.uuids if uuid not in still]
        wanted = [uuid for uuid in present if uuid not in catalogue or uuid in self._dirty]
        if "vm" not in self.told_of and self._sent_full:
            known = [uuid for uuid in present if uuid in catalogue and uuid not in self._dirty]
            wanted += self._turns.take(known, self._settings.interval)
        self._dirty.clear()
        catalogue.forget(gone)
        for uuid in gone:
            self._stats.pop(uuid, None)
            self._stuck.forget(uuid)
        for start in range(0, len(wanted), _CHUNK):
            part = wanted[start : start + _CHUNK]
            found, vanished = await self._vitals.call(
                self._lanes.monitor,
                partial(domains.describe, uuids=part, known=self._reader.domains, meter=self._meter),
            )
            catalogue.described(found)
            catalogue.forget(vanished)
            self._simulate_leases(found)
            gone.extend(vanished)
            if self._sent_full or start + _CHUNK < len(wanted):
                self._port.send(wire.Vms(catalogue.changed()))
        if not self._sent_full:
            self._sent_full = True
            self._port.send(wire.Vms(catalogue.everything(), full=True))
        else:
            self.tell_changes(tuple(gone))

    def _simulate_leases(self, infos: list[VmInfo]) -> None:
        simulation = self._host.simulation
        if simulation is not None:
            macs = [nic.mac.lower() for info in infos for nic in info.nics]
            self.catalogue.addresses("agent", {mac: simulation.addresses(mac) for mac in macs})

    async def _churn(self) -> None:
        """The demo's liveliness: now and then one of its VMs is started or stopped, through libvirt."""
        simulation = self._host.simulation
        action = simulation.churn(time.monotonic()) if simulation is not None else None
        if action is None:
            return
        verbs = {"start": "create", "shutdown": "shutdown", "suspend": "suspend", "resume": "resume"}

        def act(conn: libvirt.virConnect) -> None:
            getattr(conn.lookupByUUIDString(action.uuid), verbs[action.verb])()

        with contextlib.suppress(HostError, NotFoundError, RefusedError):
            await self._lanes.monitor.call(act, _DETAIL_DEADLINE)

    def tell_changes(self, gone: tuple[str, ...] = ()) -> None:
        """Sends the descriptions that differ from what was sent last."""
        if not self._sent_full:
            return
        changed = self.catalogue.changed()
        if changed or gone:
            self._port.send(wire.Vms(changed, gone))

    def _publish(self, records: domains.Records, now: float, host: HostStats) -> None:
        stats = [
            self._sample(uuid, record, info, now)
            for uuid, record in records
            if (info := self.catalogue.get(uuid)) is not None
        ]
        if self._host.simulation is not None:
            host = self._host.simulation.host_stats(now)
        self._rates.keep([uuid for uuid, _ in records])
        self._stats = {each.uuid: each for each in stats}
        calls, latencies = self._meter.take()
        self._port.send(wire.Sample(now, host, stats, latencies, calls))
        self._sampled.set()

    def _sample(self, uuid: str, record: domains.Record, info: VmInfo, now: float) -> VmStats:
        simulation = self._host.simulation
        if simulation is not None:
            state = vm_state(record.get("state.state"))
            reason = vm_reason(state, record.get("state.reason"))
            return simulation.vm_stats(uuid, info.name, state, info.vcpus_max, info.memory_max, now, reason)
        return rates.vm_stats(
            record,
            uuid,
            self._rates,
            now,
            groups=rates.STATE | rates.CPU | rates.INTERFACE,
            vcpus=info.vcpus_max,
            memory=info.memory_max,
            monitor_stuck=uuid in self._stuck,
        )

    # ---- detail lane

    async def run_detail(self) -> None:
        """What asks QEMU or guests: may get stuck on one VM without delaying the samples."""
        await self._sampled.wait()
        rotation = self._rotation()
        simulated = self._host.simulation is not None
        pause = self._settings.interval * (_RARELY if simulated else 1)
        ticks = 0
        while True:
            await self._vitals.well.wait()
            started = time.monotonic()
            try:
                if self._questions:
                    await self._questions.pop(0)()
                elif ticks % _DETAIL_EVERY == 0 and not simulated:
                    await self._look_closer()
                else:
                    await next(rotation)()
            except (HostError, NotFoundError, RefusedError):
                pass  # of one VM or one unsupported question; a lost connection is the monitor lane's to tell
            ticks += 1
            self._curious.clear()
            if not self._questions:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(0.2, pause - (time.monotonic() - started))):
                        await self._curious.wait()

    async def _look_closer(self) -> None:
        """What only QEMU knows, of all VMs."""
        started = time.monotonic()
        look = asyncio.ensure_future(
            self._lanes.detail.call(
                lambda conn: self._detail_reader.read(conn, domains.DETAIL), _DETAIL_DEADLINE
            )
        )
        try:
            await asyncio.wait({look}, timeout=stuck.LATE)
            if not look.done() and await self._waits_in_vain(time.monotonic() - started):
                return  # the next look passes the stuck one by
            records = await look
        except DeadlineError:
            if self._vitals.well.is_set() and await self._stuck.find(self._lanes.detail, self._active()):
                self._sooner.set()
            return
        finally:
            look.cancel()
        now = time.monotonic()
        silent = []
        for uuid, record in records:
            info = self.catalogue.get(uuid)
            if info is None:
                continue
            groups = rates.STATE | rates.VCPU | rates.BALLOON | rates.BLOCK
            stats = rates.vm_stats(record, uuid, self._rates, now, groups=groups, vcpus=info.vcpus_max)
            if stats.state.active and self._detail_reader.bulk and not stuck.answered(record, info):
                silent.append(uuid)
            else:
                self._stuck.answered(uuid)
        if silent and await self._stuck.find(self._lanes.detail, silent):
            self._sooner.set()

    def _active(self) -> list[str]:
        return [uuid for uuid, each in self._stats.items() if each.state.active]

    async def _waits_in_vain(self, age: float) -> bool:
        """Whether a call that began `age` seconds ago waits for a QEMU that does not answer."""
        if not self._vitals.well.is_set():
            return False
        found = await self._stuck.delays(age, (self._lanes.long, self._lanes.storage), self._active())
        if found:
            self._sooner.set()
        return found

    def _tell_stuck(self, info: VmInfo, is_stuck: bool) -> None:
        if self._listener is not None:
            self._listener(stuck.event(info, is_stuck))

    def _rotation(self) -> Iterator[Callable[[], Any]]:
        """Small questions, one a tick, for ever."""
        while True:
            yield self._ask_autostart
            yield self._ask_snapshots
            yield self._ask_managed_save
            agents = [
                info.uuid for info in map(self.catalogue.get, self.catalogue.uuids) if info and info.agent
            ]
            for uuid in agents:
                yield partial(self._ask_agent, uuid)

    async def _flagged(self, flag: int) -> list[libvirt.virDomain] | None:
        def ask(conn: libvirt.virConnect) -> list[libvirt.virDomain] | None:
            return domains.flagged(conn, flag, self._meter)

        return await self._lanes.detail.call(ask, _DETAIL_DEADLINE)

    async def _ask_autostart(self) -> None:
        found = await self._flagged(libvirt.VIR_CONNECT_LIST_DOMAINS_AUTOSTART)
        if found is not None:
            self.catalogue.autostart(each.UUIDString() for each in found)
            self.tell_changes()

    async def _ask_managed_save(self) -> None:
        found = await self._flagged(libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE)
        if found is not None:
            self.catalogue.managed_save(each.UUIDString() for each in found)
            self.tell_changes()

    async def _ask_snapshots(self) -> None:
        found = await self._flagged(libvirt.VIR_CONNECT_LIST_DOMAINS_HAS_SNAPSHOT)
        if found is None:
            return
        counts = await self._lanes.detail.call(
            lambda _: domains.snapshot_counts(found, self._meter), _DETAIL_DEADLINE
        )
        self.catalogue.snapshots(counts)
        self.tell_changes()

    async def _ask_agent(self, uuid: str) -> None:
        def ask(conn: libvirt.virConnect) -> dict[str, tuple[str, ...]]:
            self._meter.calls += 1
            source = libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT
            cards: Any = conn.lookupByUUIDString(uuid).interfaceAddresses(source)
            return {
                clean(card["hwaddr"], 32).lower(): tuple(
                    clean(a["addr"], 64) for a in (card["addrs"] or ())[:_MOST_ADDRESSES]
                )
                for card in cards.values()
                if card["hwaddr"]
            }

        try:
            found = await self._lanes.detail.call(ask, _AGENT_DEADLINE)
        except (HostError, NotFoundError, RefusedError):
            self.catalogue.forget_agent(uuid)  # what it said once is not known to be true any more
            self.tell_changes()
            raise
        self.catalogue.agent(uuid, found)
        self.tell_changes()
