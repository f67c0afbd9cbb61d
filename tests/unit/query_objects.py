"""Fleets to ask questions of: small ones with every kind of trouble, empty ones, and large ones."""

from __future__ import annotations

from types import MappingProxyType

from virtfleet.model import (
    FleetSnapshot,
    Freshness,
    HostFacts,
    HostState,
    HostStats,
    HostView,
    Network,
    Pool,
    PoolState,
    Vm,
    VmInfo,
    VmNic,
    VmState,
    VmStats,
    Volume,
)
from virtfleet.query.rows import VmRow

NOW = 1000.0
"""CLOCK_MONOTONIC in these fleets; samples are one second old."""
FRESH = Freshness(stats=NOW - 1, pools=NOW - 1, volumes=NOW - 1, networks=NOW - 1)
GIB = 1024**3


def host(name: str = "hv1", state: HostState = HostState.UP, **more: object) -> HostView:
    values: dict[str, object] = {"freshness": FRESH, "uri": f"qemu+ssh://{name}/system", **more}
    return HostView(name=name, state=state, **values)  # type: ignore[arg-type]


def vm(
    name: str = "web-1",
    state: VmState = VmState.RUNNING,
    *,
    uuid: str = "",
    reason: str = "",
    cpu: float | None = None,
    memory: int = GIB,
    addresses: tuple[str, ...] = (),
    tags: tuple[str, ...] = (),
    project: str = "",
    agent: bool | None = None,
    stuck: bool = False,
) -> Vm:
    uuid = uuid or f"uuid-of-{name}"
    nics = (VmNic(mac="52:54:00:00:00:01", source="default", addresses=addresses),)
    info = VmInfo(uuid=uuid, name=name, nics=nics, tags=tags, project=project, agent=agent)
    stats = VmStats(
        uuid=uuid, state=state, reason=reason, vcpus=2, cpu_pct=cpu, memory=memory, monitor_stuck=stuck
    )
    return Vm(info, stats)


def row(made: Vm, on: HostView | None = None) -> VmRow:
    return VmRow(on or host(), made)


def pool(
    name: str = "default",
    state: PoolState = PoolState.RUNNING,
    *,
    identity: str = "",
    used: float | None = 50.0,
    **more: object,
) -> Pool:
    values: dict[str, object] = {"uuid": f"uuid-of-{name}", "type": "dir", **more}
    if used is not None:
        allocation = int(1000 * GIB * used / 100)
        values = {
            "capacity": 1000 * GIB,
            "allocation": allocation,
            "available": 1000 * GIB - allocation,
            **values,
        }
    return Pool(name=name, state=state, identity=identity or f"local:hv1:/{name}", **values)  # type: ignore[arg-type]


def fleet(*hosts: HostView) -> FleetSnapshot:
    return FleetSnapshot(1, MappingProxyType({each.name: each for each in hosts}))


def large_fleet(hosts: int = 500, vms: int = 20) -> FleetSnapshot:
    """A healthy fleet: names, addresses and loads that differ; three pools a host, one of them shared."""
    made: list[HostView] = []
    for h in range(hosts):
        guests = tuple(
            vm(
                f"{('web', 'db', 'ci', 'cache')[v % 4]}-{h * vms + v}",
                VmState.RUNNING if v % 10 else VmState.SHUTOFF,
                uuid=f"00000000-0000-0000-0000-{h * vms + v:012d}",
                cpu=float((h * 7 + v * 13) % 100),
                memory=(1 + v % 16) * GIB,
                addresses=(f"10.{h // 250}.{h % 250}.{v + 2}",),
                tags=("prod", "web") if v % 3 == 0 else (),
                project=("web", "ci", "")[v % 3],
            )
            for v in range(vms)
        )
        pools = (
            pool("default", identity=f"local:hv{h}:/default"),
            pool("ssd", identity=f"local:hv{h}:/ssd"),
            pool("nfs", identity="netfs:server:/export", type="netfs"),
        )
        made.append(
            host(
                f"hv{h}",
                vms=guests,
                pools=pools,
                volumes=(Volume(pool="default", name="disk-1", capacity=GIB),),
                networks=(Network(uuid=f"net-{h}", name="default", active=True, autostart=True),),
                facts=HostFacts(hostname=f"hv{h}.example", memory=64 * GIB),
                stats=HostStats(cpu_pct=float(h % 100), memory_used=32 * GIB, memory_total=64 * GIB),
            )
        )
    return fleet(*made)
