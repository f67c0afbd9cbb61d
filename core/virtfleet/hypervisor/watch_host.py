"""Watches the host itself: load from /proc over SSH, from libvirt elsewhere, simulated in a demo."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import libvirt

from virtfleet.errors import HostError, UnreachableError, UnsupportedError
from virtfleet.hypervisor import procfs, wire
from virtfleet.hypervisor.faults import translate
from virtfleet.hypervisor.hoststats import HostSampler
from virtfleet.hypervisor.lanes import Meter, Runner
from virtfleet.hypervisor.laneset import Lanes
from virtfleet.hypervisor.port import Port
from virtfleet.hypervisor.reach import Reach
from virtfleet.hypervisor.ssh.facts import FactsChannel
from virtfleet.hypervisor.views.host import host_facts
from virtfleet.model import HostFacts, HostStats

if TYPE_CHECKING:
    from virtfleet.hypervisor.simulation import Simulation

T = TypeVar("T")
D = TypeVar("D")

_SLOW_EVERY = 300.0
_READ_WITHIN = 1.0
_LIBVIRT_WITHIN = 12.0
"""Where libvirt is asked it may be the first question, which takes the opening of its connection along."""
_FACTS_DEADLINE = 15.0


class HostWatch:
    def __init__(
        self, settings: wire.WorkerSettings, lanes: Lanes, reach: Reach, meter: Meter, port: Port
    ) -> None:
        self._settings = settings
        self._lanes = lanes
        self._reach = reach
        self._meter = meter
        self._port = port
        self._sampler = HostSampler()
        self._runner = Runner("facts") if reach.transport_answers else None
        self._channel: FactsChannel | None = None
        self._deaf = False
        self.neighbours: dict[str, tuple[str, ...]] = {}
        """The host's ARP table: MAC to addresses."""
        self.mounts = ""
        """Text of its /proc/mounts."""
        self.simulation: Simulation | None = None
        if settings.simulate is not None:
            from virtfleet.hypervisor.simulation import Simulation

            self.simulation = Simulation(settings.simulate, settings.name)

    async def read(self) -> HostStats:
        """One sample. Whatever fails leaves its figures None: the VMs' sample must not wait for it."""
        if self.simulation is not None:
            return HostStats()  # the sum of its VMs, known when they are
        if self._runner is None or self._deaf:
            return await self._from_libvirt()
        try:
            async with asyncio.timeout(_READ_WITHIN + 1.0):
                texts = await self._runner.submit(self._read_proc)
        except UnsupportedError:
            self._deaf = True  # no shell over there: libvirt's figures have to do
            return HostStats()
        except (HostError, TimeoutError):
            return HostStats()
        self.neighbours = procfs.neighbours(texts.get("net/arp", ""))
        return self._sampler.from_proc(texts, time.monotonic())

    async def run(self) -> None:
        """Facts, at the start and then now and again."""
        while True:
            with contextlib.suppress(HostError):  # never vital: what is wrong is told by the samples
                await self._tell_facts()
            await asyncio.sleep(_SLOW_EVERY)

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

    def _read_proc(self) -> dict[str, str]:
        return self._ask("fast", "arp", "hugepages", timeout=_READ_WITHIN)

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
        facts = await self._lanes.long.call(lambda conn: self._facts_of(conn, texts), _FACTS_DEADLINE)
        if self.simulation is not None:
            facts = self.simulation.facts(facts)
        self._port.send(wire.Facts(facts, simulated=self.simulation is not None))

    def _facts_of(self, conn: libvirt.virConnect, texts: dict[str, str]) -> HostFacts:
        """In the lane's thread; each question that the driver can't answer leaves its own facts empty."""
        self._meter.calls += 7
        return host_facts(
            capabilities_xml=optional(conn.getCapabilities, ""),
            node_info=optional(conn.getInfo, None),
            sysinfo_xml=optional(lambda: conn.getSysinfo(0), ""),
            hostname=optional(conn.getHostname, ""),
            hypervisor=optional(conn.getType, ""),
            hypervisor_version=optional(conn.getVersion, None),
            libvirt_version=optional(conn.getLibVersion, None),
            hugepages=procfs.hugepages(texts.get("hugepages", "")),
            kernel=" ".join(texts.get("uname", "").split()[1:2]),
            os=procfs.os_name(texts.get("os-release", "")) or "",
        )


def optional(ask: Callable[[], T], default: D) -> T | D:
    """What libvirt says, or `default` where this driver can't; a lost connection still raises."""
    try:
        return ask()
    except libvirt.libvirtError as error:
        if isinstance(translate(error), UnreachableError):
            raise
        return default
