"""Watches the host itself: load from /proc over SSH, from libvirt elsewhere, simulated in a demo."""

from __future__ import annotations

import asyncio
import contextlib
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import libvirt
from msgspec.structs import replace

from virtfleet.errors import DeadlineError, HostError, UnreachableError, UnsupportedError
from virtfleet.hypervisor import procfs, wire
from virtfleet.hypervisor.faults import optional as optional
from virtfleet.hypervisor.hoststats import HostSampler
from virtfleet.hypervisor.lanes import Meter, Runner
from virtfleet.hypervisor.laneset import Lanes
from virtfleet.hypervisor.port import Port
from virtfleet.hypervisor.reach import Reach
from virtfleet.hypervisor.ssh.facts import FactsChannel
from virtfleet.hypervisor.views import offering
from virtfleet.hypervisor.views.host import Capabilities, capabilities, host_facts
from virtfleet.hypervisor.watch_devices import DeviceWatch
from virtfleet.hypervisor.watch_marks import MarkWatch
from virtfleet.model import HostFacts, HostStats

if TYPE_CHECKING:
    from virtfleet.hypervisor.simulation import Simulation

_SLOW_EVERY = 300.0
_READ_WITHIN = 1.0
_LIBVIRT_WITHIN = 12.0
"""Where libvirt is asked it may be the first question, which takes the opening of its connection along."""
_FACTS_DEADLINE = 15.0
_DEVICES_PAUSE = 2.0
"""Seconds between two readings of devices at the least: a card that gets 64 functions is as many events."""


class HostWatch:
    def __init__(
        self,
        settings: wire.WorkerSettings,
        lanes: Lanes,
        reach: Reach,
        meter: Meter,
        port: Port,
        marks: MarkWatch,
    ) -> None:
        self._settings = settings
        self._lanes = lanes
        self._reach = reach
        self._meter = meter
        self._port = port
        self._marks = marks
        self._sampler = HostSampler()
        self._runner = Runner("facts") if reach.transport_answers else None
        self._channel: FactsChannel | None = None
        self._deaf = False
        self.neighbours: dict[str, tuple[str, ...]] = {}
        """The host's ARP table: MAC to addresses."""
        self.mounts = ""
        """Text of its /proc/mounts."""
        self._offers: tuple[offering.Offering, tuple[str, ...]] | None = None
        """What the host offers to guests, and its CPU's features: asked once in a connection."""
        self._devices = DeviceWatch(lanes.long, meter)
        self._sooner = asyncio.Event()
        self.simulation: Simulation | None = None
        if settings.simulate is not None:
            from virtfleet.hypervisor.simulation import Simulation

            self.simulation = Simulation(settings.simulate, settings.name)

    async def read(self) -> HostStats:
        """One sample, and with it now and then what operators say of the host: both come together.

        Whatever fails leaves its figures None: the VMs' sample must not wait for it.
        """
        if self._marks.is_due and (self._runner is None or self._deaf):
            await self._marks.look()
        if self.simulation is not None:
            return HostStats()  # the sum of its VMs, known when they are
        if self._runner is None or self._deaf:
            return await self._from_libvirt()
        due = self._marks.is_due
        try:
            async with asyncio.timeout(_READ_WITHIN + 1.0):
                texts = await self._runner.submit(partial(self._read_proc, due))
        except UnsupportedError:
            self._deaf = True  # no shell over there: libvirt's figures have to do
            self._marks.has_shell = False
            await self._marks.look()
            return HostStats()
        except (HostError, TimeoutError):
            return HostStats()
        if due:
            self._marks.heard(texts.get("marks"))
        self.neighbours = procfs.neighbours(texts.get("net/arp", ""))
        return self._sampler.from_proc(texts, time.monotonic())

    async def run(self) -> None:
        """Facts, at the start and then now and again; its devices after them, since they take longer."""
        first = "devices" in self._settings.groups
        due = 0.0
        while True:
            self._sooner.clear()
            with contextlib.suppress(HostError):  # never vital: what is wrong is told by the samples
                if first:
                    with contextlib.suppress(HostError):
                        await self._devices.read()
                if time.monotonic() >= due:
                    due = time.monotonic() + _SLOW_EVERY
                    await self._tell_facts()
                if await self._read_devices():
                    await self._tell_facts()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(_DEVICES_PAUSE, due - time.monotonic())):
                    await self._sooner.wait()
            await asyncio.sleep(_DEVICES_PAUSE)

    def poke_devices(self) -> None:
        """An event spoke of a device of the host."""
        self._devices.poke()
        self._sooner.set()

    async def _read_devices(self) -> bool:
        """Whether they changed. A command that asks and leaves has no use for them unless it said so."""
        if self.simulation is not None or self._settings.groups:
            return False
        return await self._devices.read()

    async def read_mounts(self) -> None:
        """Brings `mounts` up to date."""
        await self._slow_texts()

    async def _slow_texts(self) -> dict[str, str]:
        """What seldom changes on the host, `mounts` among it; empty where it has no shell or fails."""
        texts: dict[str, str] = {}
        if self._runner is not None and not self._deaf:
            with contextlib.suppress(HostError):
                texts = await self._runner.submit(self._read_slow)
                self.mounts = texts.get("mounts", "")
        return texts

    def close(self) -> None:
        """Ends the shell on the host, too: hosts allow ten sessions per connection."""
        if self._runner is not None:
            self._runner.submit(self._hang_up)
            self._runner.close()

    def _read_proc(self, marks: bool) -> dict[str, str]:
        more = ("marks",) if marks else ()
        return self._ask("fast", "arp", "hugepages", *more, timeout=_READ_WITHIN)

    def _read_slow(self) -> dict[str, str]:
        return self._ask("slow", "hugepages", timeout=_FACTS_DEADLINE)

    def _ask(self, *kinds: str, timeout: float) -> dict[str, str]:
        try:
            return self._facts().read(*kinds, timeout=timeout)
        except UnreachableError:
            self._hang_up()  # the shell may have ended alone: the next question starts another
            raise

    def _hang_up(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def _facts(self) -> FactsChannel:
        """In the runner's thread."""
        if self._channel is None:
            self._channel = self._reach.facts()
        if self._channel is None:
            raise UnsupportedError("no shell on this host")
        return self._channel

    async def _from_libvirt(self) -> HostStats:
        def ask(conn: libvirt.virConnect) -> HostStats:
            self._meter.calls += 2
            cpu: Any = optional(lambda: conn.getCPUStats(libvirt.VIR_NODE_CPU_STATS_ALL_CPUS), None)
            memory: Any = optional(lambda: conn.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS), None)
            return self._sampler.from_libvirt(cpu, memory)

        try:
            return await self._lanes.monitor.call(ask, _LIBVIRT_WITHIN)
        except HostError:
            return HostStats()

    async def _tell_facts(self) -> None:
        texts = await self._slow_texts()
        lane = self._lanes.long
        caps = await lane.call(self._capabilities, _FACTS_DEADLINE)
        if self._offers is None:
            with contextlib.suppress(DeadlineError):  # a libvirtd that has just begun looks at its emulators
                self._offers = await lane.call(lambda conn: self._ask_offers(conn, caps), _FACTS_DEADLINE)
        facts = await lane.call(lambda conn: self._facts_of(conn, caps, texts), _FACTS_DEADLINE)
        if self.simulation is not None:
            facts = self.simulation.facts(facts)
        self._port.send(wire.Facts(facts, simulated=self.simulation is not None))

    def _capabilities(self, conn: libvirt.virConnect) -> Capabilities:
        self._meter.calls += 1
        return capabilities(optional(conn.getCapabilities, ""))

    def _facts_of(self, conn: libvirt.virConnect, caps: Capabilities, texts: dict[str, str]) -> HostFacts:
        """In the lane's thread; each question that the driver can't answer leaves its own facts empty."""
        self._meter.calls += 6
        offers, features = self._offers or (offering.Offering(), ())
        return host_facts(
            caps=caps,
            node_info=optional(conn.getInfo, None),
            sysinfo_xml=optional(lambda: conn.getSysinfo(0), ""),
            hostname=optional(conn.getHostname, ""),
            hypervisor=optional(conn.getType, ""),
            hypervisor_version=optional(conn.getVersion, None),
            libvirt_version=optional(conn.getLibVersion, None),
            hugepages=procfs.hugepages(texts.get("hugepages", "")),
            kernel=" ".join(texts.get("uname", "").split()[1:2]),
            os=procfs.os_name(texts.get("os-release", "")) or "",
            offers=offers,
            cpu_features=features,
            free_pages=self._free_pages(conn, caps),
            pci=self._devices.devices,
        )

    def _ask_offers(
        self, conn: libvirt.virConnect, caps: Capabilities
    ) -> tuple[offering.Offering, tuple[str, ...]]:
        self._meter.calls += 2
        offers = offering.offering(
            optional(lambda: conn.getDomainCapabilities(None, None, None, None, 0), "")
        )
        offers = replace(
            offers, pool_types=offering.pool_types(optional(lambda: conn.getStoragePoolCapabilities(0), ""))
        )
        features: tuple[str, ...] = ()
        if caps.cpu_model:
            self._meter.calls += 1
            spelled_out = libvirt.VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES
            features = offering.features(optional(lambda: conn.baselineCPU([caps.cpu_xml], spelled_out), ""))
        return offers, features

    def _free_pages(self, conn: libvirt.virConnect, caps: Capabilities) -> dict[int, dict[int, int]]:
        """Of the huge pages alone, and only where there are some."""
        sizes: Any = sorted(
            {page.size // 1024 for cell in caps.numa for page in cell.pages[1:] if page.total}
        )
        cells = [cell.id for cell in caps.numa]
        if not sizes:
            return {}
        self._meter.calls += 1
        first, count = min(cells), max(cells) - min(cells) + 1
        found: Any = optional(lambda: conn.getFreePages(sizes, first, count), {})
        return dict(found)
