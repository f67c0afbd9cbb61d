"""Believable figures for a demo host, beside libvirt's test driver and never mixed into a real one.

The test driver keeps domains, pools and networks, and sends events; it has no
rates, no memory in use and one capacity for all pools. For a host whose
settings carry a seed (`WorkerSettings.simulate`), and for no other, the worker
takes these figures from here instead. They follow from the seed, the object
and the time alone, so that two looks agree; smooth, as figures of machines are.
Pure; `open_uri` and `furnish`, which are not, come from `simulated_demo`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from msgspec.structs import replace

from virtfleet.hypervisor.simulated_demo import furnish, open_uri
from virtfleet.hypervisor.simulated_world import (
    GIB,
    GUESTS,
    HostPlan,
    address,
    digest,
    machine,
    numa_cells,
)
from virtfleet.model import HostFacts, HostStats, HugePages, Pool, PoolState, VmState, VmStats

__all__ = ["Action", "Simulation", "furnish", "open_uri"]

CHURN_PERIOD = 240.0
"""Seconds between two changes of state on one host: eight hosts of a demo show one every half minute."""

_DAY = 86_400.0
_HUGE = HugePages(2 * 1024**2, 4096, 4096)
_TURN = 2 * math.pi


class Profile(NamedTuple):
    """How a kind of VM behaves; figures at full activity."""

    cpu: float
    """Percent in the middle of the day."""
    swing: float
    """Percent that it wanders up and down within minutes."""
    burst: float
    """Percent on top while a job runs."""
    memory: float
    """Part of its memory in use."""
    disk: float
    """Bytes per second."""
    reads: float
    """Part of the disk's bytes that is read."""
    net: float
    """Bytes per second."""
    sends: float
    """Part of the network's bytes that is sent."""


_PLAIN = Profile(6, 4, 0, 0.45, 0.5e6, 0.3, 0.2e6, 0.4)
_PROFILES = {
    "web": Profile(26, 12, 0, 0.55, 1.5e6, 0.5, 14e6, 0.8),
    "api": Profile(34, 16, 0, 0.62, 2e6, 0.3, 9e6, 0.55),
    "db": Profile(44, 16, 18, 0.86, 90e6, 0.55, 16e6, 0.6),
    "cache": Profile(18, 8, 0, 0.88, 0.6e6, 0.1, 24e6, 0.6),
    "queue": Profile(14, 8, 0, 0.5, 8e6, 0.3, 6e6, 0.5),
    "worker": Profile(48, 22, 25, 0.7, 12e6, 0.5, 5e6, 0.4),
    "search": Profile(36, 18, 20, 0.9, 50e6, 0.7, 8e6, 0.6),
    "batch": Profile(20, 10, 75, 0.75, 70e6, 0.6, 4e6, 0.3),
    "build": Profile(8, 5, 88, 0.6, 60e6, 0.4, 10e6, 0.2),
    "runner": Profile(5, 4, 80, 0.5, 30e6, 0.4, 8e6, 0.3),
    "k8s": Profile(38, 14, 12, 0.78, 14e6, 0.4, 18e6, 0.5),
    "proxy": Profile(16, 8, 0, 0.4, 0.2e6, 0.2, 40e6, 0.5),
    "dev": Profile(4, 4, 40, 0.4, 4e6, 0.5, 0.8e6, 0.3),
}


class Action(NamedTuple):
    """A change of state that the demo asks for."""

    verb: str
    """start, shutdown, suspend or resume: what to call on the domain."""
    uuid: str
    name: str


class _Character(NamedTuple):
    """What is its own to one VM: its profile, and where in their waves it stands."""

    profile: Profile
    scale: float
    phases: tuple[float, float, float, float]
    busy: bool


class Simulation:
    """The figures of one simulated host. Times are seconds of one clock that never goes back."""

    def __init__(self, seed: int, host_name: str) -> None:
        self._seed = seed
        self._host = host_name
        self._machine = machine(seed, HostPlan(host_name))
        self._scale = 0.55 + digest(seed, "scale", host_name) % 100 / 100 * 0.75
        self._characters: dict[str, _Character] = {}
        self._now = -math.inf
        self._asked = -math.inf
        self._sums = [0.0] * 6
        self._states: dict[str, tuple[str, VmState]] = {}
        self._seen: dict[str, tuple[str, VmState]] = {}
        self._slot: int | None = None

    # ------------------------------------------------------------ figures

    def vm_stats(
        self, uuid: str, name: str, state: VmState, vcpus: int, memory: int, now: float, reason: str = ""
    ) -> VmStats:
        """A sample of a VM with `memory` bytes. Its state is the driver's; one that is off has no figures."""
        if now != self._now:
            self._begin(now)
        self._states[uuid] = (name, state)
        if not state.active:
            return VmStats(uuid, state, reason, vcpus)
        character = self._characters.get(uuid)
        if character is None:
            character = self._characters[uuid] = self._character(uuid, name)
        profile, scale, (first, second, third, fourth), busy = character
        slow = math.sin(now / 97.0 + first) * 0.6 + math.sin(now / 41.0 + second) * 0.4
        used = profile.memory + 0.05 * math.sin(now / 301.0 + third)
        if state is VmState.PAUSED or state is VmState.SUSPENDED:
            cpu = disk = net = 0.0
        else:
            quick = math.sin(now / 7.3 + third) * 0.5 + math.sin(now / 3.1 + fourth) * 0.3
            day = 1.0 + 0.35 * math.sin(now * (_TURN / _DAY) + first)
            job = math.sin(now / 53.0 + fourth)
            burst = min(1.0, (job - 0.4) * 4.0) if profile.burst and job > 0.4 else 0.0
            cpu = scale * (profile.cpu * day + profile.swing * slow) + profile.burst * burst
            cpu += (1.0 + 0.06 * cpu) * quick
            if busy:
                cpu = 93.0 + 6.0 * slow + quick
            cpu = 100.0 if cpu > 100.0 else max(0.2, cpu)
            activity = cpu * 0.01 * (1.0 + 0.3 * quick)
            disk = profile.disk * scale * activity * (1.2 + slow) * 0.5
            net = profile.net * scale * activity * (1.1 - 0.4 * slow)
        read = disk * profile.reads
        sent = net * profile.sends
        written, received = disk - read, net - sent
        in_use = int(memory * min(0.97, used))
        held = int(memory * min(1.0, used + 0.12))
        sums = self._sums
        sums[0] += cpu * vcpus * 0.01
        sums[1] += held
        sums[2] += read
        sums[3] += written
        sums[4] += received
        sums[5] += sent
        return VmStats(
            uuid,
            state,
            reason,
            vcpus,
            round(cpu, 1),
            memory,
            in_use,
            held,
            round(read),
            round(written),
            round(read / 24_000, 1),
            round(written / 12_000, 1),
            round(received),
            round(sent),
        )

    def host_stats(self, now: float) -> HostStats:
        """A sample of the host: the sum of its VMs' last samples, and its own share.

        As on a real host, there is no load before there was a first look at the VMs.
        """
        known = max(self._now, self._asked) > -math.inf
        fresh = self._now >= self._asked
        self._asked = now
        cores, memory, disk_read, disk_write, net_rx, net_tx = self._sums if fresh else [0.0] * 6
        box = self._machine
        uptime = float(digest(self._seed, "uptime", self._host) % 200 * _DAY + 3 * _DAY + max(0.0, now))
        if not known:
            return HostStats(memory_total=box.memory, uptime_s=uptime)
        wave = math.sin(now / 61.0 + self._phase("host"))
        busy = min(0.985, (cores + 0.5 + 0.2 * wave) / box.cpus)
        return HostStats(
            cpu_pct=round(100.0 * busy, 1),
            iowait_pct=round(min(30.0, (disk_read + disk_write) / 60e6 * (1.2 + wave)), 1),
            memory_used=int(min(0.975 * box.memory, memory + 3.5 * GIB + 0.2 * GIB * wave)),
            memory_total=box.memory,
            load1=round(busy * box.cpus * (1.05 + 0.1 * wave), 2),
            uptime_s=uptime,
            disk_read=round(disk_read),
            disk_write=round(disk_write * 1.1),
            net_rx=round(net_rx * 1.02),
            net_tx=round(net_tx * 1.02),
            hugepages_free=_HUGE.size * _HUGE.free,
        )

    def pool(self, pool: Pool, now: float) -> Pool:
        """The pool with a capacity and a filling of its own; the same on all hosts that share it."""
        if pool.state is PoolState.INACTIVE:
            return replace(pool, capacity=None, allocation=None, available=None)
        number = digest(self._seed, "pool", pool.identity)
        size = {"rbd": 24, "netfs": 8, "logical": 2}.get(pool.type, 3) * 1024 * GIB
        capacity = size * (1, 2, 4)[number % 3] // 2
        full = 0.42 + (number >> 8 & 0xFF) / 255 * 0.46
        if (number >> 16) % 8 == 0:
            full = 0.93
        full += 0.01 * math.sin(now / 613.0 + number % 7)
        # Rounded, for what is written to a pool comes in whole megabytes and not a little with every look.
        allocation = int(capacity * full) >> 22 << 22
        return replace(pool, capacity=capacity, allocation=allocation, available=capacity - allocation)

    def facts(self, facts: HostFacts) -> HostFacts:
        """The facts that the driver tells, with the host's own name and hardware. The driver stays named."""
        box = self._machine
        return replace(
            facts,
            hostname=f"{self._host}.demo",
            arch="x86_64",
            cpu_model=box.cpu_model,
            cpu_vendor=box.cpu_vendor,
            cpus=box.cpus,
            sockets=box.sockets,
            cores=box.cores,
            threads=box.threads,
            mhz=box.mhz,
            memory=box.memory,
            numa=numa_cells(box, _HUGE),
            iommu=True,
            hugepages=(_HUGE,),
            kernel="6.1.0-22-amd64",
            os="Debian GNU/Linux 12 (bookworm)",
            guests=GUESTS,
            cpu_modes=("host-passthrough", "host-model", "custom"),
            host_model=box.cpu_model,
            cpu_models=(box.cpu_model, "qemu64"),
            firmwares=("bios", "efi"),
            pci=(),
        )

    def addresses(self, mac: str) -> tuple[str, ...]:
        """IP addresses of a running VM's network card, as its leases would tell."""
        found = address(mac)
        return (found,) if found else ()

    # ------------------------------------------------------------ liveliness

    def churn(self, now: float) -> Action | None:
        """What should change now, if anything: every `CHURN_PERIOD` one VM is started or stopped.

        Chooses among the VMs of the last sample, and only those of
        developers and CI. Gives each action once; whoever asks carries it out.
        """
        slot = int((now + self._phase("churn") / _TURN * CHURN_PERIOD) // CHURN_PERIOD)
        before, self._slot = self._slot, slot
        if before is None or slot <= before:
            return None
        vms = self._states or self._seen
        choice = [
            (uuid, name, state)
            for uuid, (name, state) in vms.items()
            if _role(name) in ("dev", "runner", "build", "batch")
        ]
        off = [each for each in choice if each[2] is VmState.SHUTOFF]
        paused = [each for each in choice if each[2] is VmState.PAUSED]
        running = [each for each in choice if each[2] is VmState.RUNNING]
        dice = digest(self._seed, "churn", self._host, str(slot))
        if off and (len(off) > len(choice) // 3 or dice % 2 or not running):
            verb, among = "start", off
        elif paused and dice % 3 == 0:
            verb, among = "resume", paused
        elif running:
            verb, among = "suspend" if dice % 8 == 1 else "shutdown", running
        else:
            return None
        uuid, name, _ = among[(dice >> 8) % len(among)]
        return Action(verb, uuid, name)

    # ------------------------------------------------------------ inside

    def _begin(self, now: float) -> None:
        """A new sample begins: sums start again; VMs that are gone are forgotten."""
        self._now = now
        self._sums = [0.0] * 6
        if self._states:
            self._seen = self._states
            self._states = {}
            if len(self._characters) > 2 * len(self._seen) + 16:
                self._characters = {
                    uuid: self._characters[uuid] for uuid in self._seen if uuid in self._characters
                }

    def _phase(self, *words: str) -> float:
        return digest(self._seed, "phase", self._host, *words) % 10_000 / 10_000 * _TURN

    def _character(self, uuid: str, name: str) -> _Character:
        number = digest(self._seed, "character", uuid)
        first, second, third, fourth = ((number >> shift & 0x3FF) / 1024 * _TURN for shift in (0, 10, 20, 30))
        return _Character(
            profile=_PROFILES.get(_role(name), _PLAIN),
            scale=self._scale * (0.5 + (number >> 40 & 0xFF) / 255),
            phases=(first, second, third, fourth),
            busy=(number >> 48) % 29 == 0,
        )


def _role(name: str) -> str:
    return name.partition("-")[0]
