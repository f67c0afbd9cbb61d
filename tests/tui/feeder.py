"""A fleet for console tests that the demo can't show: hung hosts, 10,000 rows, hostile names.

`Feeder` has the shape of the engine (virtfleet_tui.bridge.Fleet) and pushes
real `FleetSnapshot` values, when the test says so and not before.
"""

from __future__ import annotations

import asyncio
import atexit
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import numpy as np

from virtfleet.actions import planner
from virtfleet.actions.desk import Desk
from virtfleet.actions.world import World
from virtfleet.config.settings import FleetSettings
from virtfleet.errors import HostError, UnreachableError, VirtfleetError
from virtfleet.jobs.book import JobBook
from virtfleet.model import (
    Delta,
    Event,
    FleetSnapshot,
    Freshness,
    HostFacts,
    HostState,
    HostStats,
    HostView,
    Network,
    Pool,
    PoolState,
    Prompt,
    Severity,
    Vm,
    VmDisk,
    VmInfo,
    VmNic,
    VmState,
    VmStats,
    Volume,
)
from virtfleet.model.action import Action
from virtfleet.model.job import Job
from virtfleet.model.plan import Plan

GIB = 1 << 30
ALL_GROUPS = frozenset({"state", "facts", "stats", "vms", "pools", "volumes", "networks"})


def vm(
    number: int, *, name: str = "", state: VmState = VmState.RUNNING, cpu: float = 10.0, **info: Any
) -> Vm:
    """A plausible VM with the UUID that its number gives."""
    uuid = f"00000000-0000-4000-8000-{number:012d}"
    active = state.active
    nic = VmNic(
        mac=f"52:54:00:00:{number // 256 % 256:02x}:{number % 256:02x}",
        type="network",
        source="default",
        model="virtio",
        target=f"vnet{number}",
        addresses=(f"10.0.{number // 250 % 250}.{number % 250 + 1}",) if active else (),
        address_source="lease",
    )
    described: dict[str, Any] = {
        "vcpus_max": 4,
        "memory_max": 4 * GIB,
        "project": ("web", "ci", "db")[number % 3],
        "disks": (VmDisk("vda", source=f"/var/lib/vm/{number}.qcow2", format="qcow2", bus="virtio"),),
        "nics": (nic,),
    }
    return Vm(
        VmInfo(uuid=uuid, name=name or f"vm-{number:05d}", **(described | info)),
        VmStats(
            uuid=uuid,
            state=state,
            reason="booted" if active else "shutdown",
            vcpus=4,
            cpu_pct=cpu if active else None,
            memory=4 * GIB,
            memory_used=2 * GIB if active else None,
            memory_rss=3 * GIB if active else None,
            disk_read=1.5e6 if active else None,
            disk_write=3.2e6 if active else None,
            net_rx=120e3 if active else None,
            net_tx=44e3 if active else None,
        ),
    )


def host(
    name: str,
    vms: Iterable[Vm] = (),
    *,
    state: HostState = HostState.UP,
    reason: str = "",
    cure: str = "",
    cpu: float = 30.0,
    age: float = 0.0,
    seen: bool = True,
    pools: tuple[Pool, ...] | None = None,
) -> HostView:
    """A host as the engine would describe it; `age` seconds old, or never `seen`."""
    taken = time.monotonic() - age
    if not seen:
        return HostView(
            name=name,
            uri=f"qemu+ssh://root@{name}/system",
            state=state,
            reason=reason,
            cure=cure,
            since=time.time(),
        )
    return HostView(
        name=name,
        uri=f"qemu+ssh://root@{name}/system",
        zone="a",
        state=state,
        reason=reason,
        cure=cure,
        since=time.time() - age,
        facts=HostFacts(
            hostname=name,
            hypervisor="QEMU",
            hypervisor_version="8.2.0",
            libvirt_version="10.0.0",
            arch="x86_64",
            cpu_model="EPYC-Rome",
            cpus=16,
            sockets=1,
            cores=8,
            threads=2,
            memory=64 * GIB,
        ),
        stats=HostStats(
            cpu_pct=cpu,
            iowait_pct=1.0,
            memory_used=40 * GIB,
            memory_total=64 * GIB,
            load1=2.5,
            uptime_s=86400.0 * 3,
            disk_read=5e6,
            disk_write=9e6,
            net_rx=2e6,
            net_tx=1e6,
        ),
        vms=tuple(vms),
        pools=pools if pools is not None else (pool(name),),
        volumes=tuple(
            Volume("default", f"disk-{n}.qcow2", capacity=20 * GIB, allocation=5 * GIB) for n in range(3)
        ),
        networks=(
            Network(
                f"net-{name}",
                "default",
                True,
                bridge="virbr0",
                forward="nat",
                addresses=("192.168.122.1/24",),
            ),
        ),
        freshness=Freshness(stats=taken, pools=taken, volumes=taken, networks=taken),
        latency_p95=0.01,
        calls_per_s=1.4,
    )


def pool(
    host_name: str, name: str = "default", identity: str = "", state: PoolState = PoolState.RUNNING
) -> Pool:
    return Pool(
        f"{host_name}-{name}",
        name,
        "dir",
        state,
        identity or f"local:{host_name}:/var/lib/libvirt/images",
        target="/var/lib/libvirt/images",
        capacity=500 * GIB,
        allocation=200 * GIB,
        available=300 * GIB,
        volumes=3,
    )


def event(host_name: str, what: str = "started", name: str = "vm-00001", number: int = 1) -> Event:
    return Event(
        time.time(),
        host_name,
        "vm",
        name,
        what,
        uuid=f"00000000-0000-4000-8000-{number:012d}",
        severity=Severity.ERROR if what == "crashed" else Severity.INFO,
    )


class FeederEvents:
    def __init__(self) -> None:
        self.all: list[Event] = []

    def recent(
        self,
        limit: int = 100,
        *,
        host: str | None = None,
        kind: str | None = None,
        name: str | None = None,
        uuid: str | None = None,
    ) -> list[Event]:
        wanted = {"host": host, "kind": kind, "name": name, "uuid": uuid}
        found = [e for e in self.all if all(v is None or getattr(e, k) == v for k, v in wanted.items())]
        return found[-limit:]


class FeederHistory:
    """A still wave for whatever is asked."""

    def series(
        self, kind: str, host: str, uuid: str, metric: str, now: float, span: float = 900
    ) -> tuple[np.ndarray, np.ndarray]:
        ages = np.linspace(min(span, 600.0), 0.0, 200, dtype=np.float32)
        height = 50.0 if metric == "cpu_pct" else 2.0 * GIB if "memory" in metric else 4e6
        return ages, (height * (1 + 0.6 * np.sin(ages / 25.0))).astype(np.float32)

    def sparkline(self, kind: str, host: str, uuid: str, metric: str, n: int = 8) -> list[float]:
        return [50.0 + 40.0 * float(np.sin(at / 2.0 + len(uuid))) for at in range(n)]


class FeederPrompts:
    def __init__(self) -> None:
        self.waiting: list[Prompt] = []
        self.answers: list[tuple[int, str | None]] = []
        self.changed: list[Callable[[], None]] = []

    @property
    def pending(self) -> tuple[Prompt, ...]:
        return tuple(self.waiting)

    def ask(self, prompt: Prompt) -> None:
        self.waiting.append(prompt)
        self._tell()

    def sharing(self, prompt_id: int) -> tuple[str, ...]:
        identity = next((p.identity for p in self.waiting if p.id == prompt_id), "")
        return tuple(
            p.host for p in self.waiting if p.id == prompt_id or (identity and p.identity == identity)
        )

    def answer(self, prompt_id: int, text: str | None) -> bool:
        hosts = self.sharing(prompt_id)
        self.answers.append((prompt_id, text))
        self.waiting = [prompt for prompt in self.waiting if prompt.host not in hosts]
        self._tell()
        return bool(hosts)

    def gone(self, prompt_id: int) -> None:
        self.waiting = [prompt for prompt in self.waiting if prompt.id != prompt_id]
        self._tell()

    def _tell(self) -> None:
        for callback in list(self.changed):
            callback()


class FeederRunner:
    """Runs the operations of jobs by writing them down; `hold` makes them wait."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str, dict[str, Any]]] = []
        self.hold: asyncio.Event | None = None

    async def run(
        self,
        host: str,
        op: str,
        args: dict[str, Any],
        timeout: float,
        on_progress: Callable[[int, int, str], None],
    ) -> Any:
        if self.hold is not None and op != "vm.xml":
            await self.hold.wait()
        self.done.append((host, op, args))
        return "<domain/>" if op == "vm.xml" else {}

    async def answers(self, host: str, within: float) -> bool:
        return True


class Feeder:
    """The console's whole world, as the test says it is."""

    def __init__(self, *hosts: HostView, settings: FleetSettings | None = None) -> None:
        self.settings = settings or FleetSettings(hosts={}, name="test")
        self.snapshot = FleetSnapshot(1, MappingProxyType({each.name: each for each in hosts}))
        self.events = FeederEvents()
        self.history = FeederHistory()
        self.prompts = FeederPrompts()
        self.calls_per_s = 1.4 * len(hosts)
        self.reconnected: list[str] = []
        self.requests: list[tuple[str, str, dict[str, Any]]] = []
        self.answer: str | HostError = "<domain type='kvm'>\n  <name>vm-00001</name>\n</domain>"
        self.started = self.stopped = 0
        self.runner = FeederRunner()
        self._jobs: JobBook | None = None
        self.stale_ok = False
        self.desk = Desk(self)
        self._deltas: list[Callable[[Delta], None]] = []
        self._events: list[Callable[[Event], None]] = []

    @property
    def jobs(self) -> JobBook:
        if self._jobs is None:
            folder = tempfile.mkdtemp(prefix="virtfleet-feeder-")
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            self._jobs = JobBook(Path(folder), self.runner)
        return self._jobs

    async def plan(self, action: Action, *, beside: Sequence[Plan] = ()) -> Plan:
        world = World(self.snapshot, self.settings, time.monotonic(), time.time(), "me@here", stale_ok=True)
        return planner.plan(action, world)

    async def plan_all(self, actions: Sequence[Action]) -> tuple[list[Plan], list[VirtfleetError]]:
        return [await self.plan(action) for action in actions], []

    async def apply(self, plan: Plan, *, origin: str = "", batch: str = "") -> Job:
        return await self.jobs.submit(plan, origin=origin, batch=batch)

    async def start(self) -> None:
        self.started += 1

    async def stop(self) -> None:
        self.stopped += 1
        if self._jobs is not None:
            await self._jobs.close()

    def subscribe(self, callback: Callable[[Delta], None]) -> Callable[[], None]:
        self._deltas.append(callback)
        return lambda: self._deltas.remove(callback)

    def subscribe_events(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        self._events.append(callback)
        return lambda: self._events.remove(callback)

    def subscribe_prompts(self, callback: Callable[[], None]) -> Callable[[], None]:
        self.prompts.changed.append(callback)
        return lambda: self.prompts.changed.remove(callback)

    @property
    def subscribers(self) -> int:
        return len(self._deltas) + len(self._events) + len(self.prompts.changed)

    async def request(
        self, host: str, op: str, args: dict[str, Any] | None = None, timeout: float = 5.0
    ) -> Any:
        self.requests.append((host, op, args or {}))
        if host not in self.snapshot.hosts:
            raise UnreachableError(f"no host {host}")
        if isinstance(self.answer, HostError):
            raise self.answer
        return self.answer

    def reconnect(self, host: str) -> None:
        self.reconnected.append(host)

    # ---- what the test does

    def push(self, view: HostView, groups: frozenset[str] = ALL_GROUPS) -> None:
        """`view` is what is now known of its host."""
        self.snapshot = self.snapshot.with_host(view)
        for callback in list(self._deltas):
            callback(Delta(self.snapshot.generation, view.name, groups))

    def change(self, name: str, **changes: Any) -> None:
        """Some attributes of a host become `changes`."""
        self.push(msgspec.structs.replace(self.snapshot.hosts[name], **changes))

    def happen(self, happened: Event) -> None:
        self.events.all.append(happened)
        for callback in list(self._events):
            callback(happened)


def small_fleet() -> Feeder:
    """Four hosts with their troubles: one well, one slow, one hung, one that never answered."""
    return Feeder(
        host("hv01", [vm(n, cpu=5.0 * n) for n in range(1, 9)], cpu=44),
        host(
            "hv02",
            [vm(n, cpu=2.0 * n) for n in range(11, 17)],
            cpu=20,
            state=HostState.SLOW,
            reason="answers in 2.1 s",
        ),
        host(
            "hv03",
            [vm(n) for n in range(21, 26)] + [vm(26, state=VmState.SHUTOFF)],
            state=HostState.HUNG,
            reason="libvirtd has not answered for 14 s; SSH answers",
            cure="Look at the host: systemctl status libvirtd; a dead NFS mount is the usual cause",
            age=14,
        ),
        host(
            "hv04",
            state=HostState.REFUSED,
            reason="the host key changed: SHA256:abc is not SHA256:def",
            cure="Find out why, then ssh-keygen -R hv04",
            seen=False,
        ),
    )
