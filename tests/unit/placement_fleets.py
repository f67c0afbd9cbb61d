"""Random fleets and questions for placement; small numbers, so that ties and full hosts are frequent."""

from __future__ import annotations

import random
from types import MappingProxyType

from virtfleet.config.extra_specs import parse
from virtfleet.config.settings import (
    AllocationRatio,
    FleetSettings,
    GroupSettings,
    HostSettings,
    Metrics,
    PoolSelector,
    Project,
    Reserved,
    Scheduler,
    VolumeType,
    Weights,
    WeightsOfZone,
    Zone,
)
from virtfleet.decide.ask import Ask
from virtfleet.decide.ledger import Promise
from virtfleet.model import (
    FleetSnapshot,
    Freshness,
    GuestKind,
    HostFacts,
    HostState,
    HostStats,
    HostView,
    Maintenance,
    Mark,
    Network,
    Pool,
    PoolState,
    Vm,
    VmInfo,
    VmState,
    VmStats,
    Volume,
)

GIB = 1024**3
NOW = 1000.0
GROUPS = ("together", "apart", "two", "wish-together", "wish-apart", "nobody-knows")
ZONES = ("", "a", "b")
PROJECTS = ("", "default", "web", "db")
NETWORKS = ("default", "lan", "dmz")
TRAITS = ("ssd", "gpu", "old")
GUESTS = (
    GuestKind("x86_64", "hvm", machines=("q35", "pc")),
    GuestKind("aarch64", "hvm", machines=("virt",)),
)
IMAGES = (("virtfleet-debian", GIB), ("virtfleet-alma", 2 * GIB))


def some(rng: random.Random, of: tuple[str, ...], chance: float = 0.4) -> tuple[str, ...]:
    return tuple(each for each in of if rng.random() < chance)


def make_settings(rng: random.Random) -> FleetSettings:
    names = [f"hv{number}" for number in range(rng.randint(1, 7))]
    hosts = {
        name: HostSettings(
            name=name,
            uri=f"qemu+ssh://{name}/system",
            zone=rng.choice(ZONES),
            traits=some(rng, TRAITS),
            allocation_ratio=AllocationRatio(
                cpu=rng.choice([1.0, 1.5, 4.0]),
                memory=rng.choice([1.0, 1.0, 1.3]),
                disk=rng.choice([1.0, 2.0, 20.0]),
            ),
            reserved=Reserved(
                cpus=rng.choice([0, 0, 1]), memory=rng.choice([0, GIB]), disk=rng.choice([0, GIB])
            ),
            projects=some(rng, ("default", "web"), 0.6) if rng.random() < 0.2 else (),
        )
        for name in names
    }
    return FleetSettings(
        hosts=hosts,
        volume_types={"fast": VolumeType(pools=PoolSelector(names=("fast",), traits=some(rng, ("ssd",))))},
        projects={
            "web": Project(zones=some(rng, ("a", "b"), 0.3), hosts=some(rng, tuple(names), 0.2)),
            "db": Project(),
        },
        groups={
            "together": GroupSettings(policy="affinity"),
            "apart": GroupSettings(policy="anti-affinity"),
            "two": GroupSettings(policy="anti-affinity", max_per_host=2),
            "wish-together": GroupSettings(policy="soft-affinity"),
            "wish-apart": GroupSettings(policy="soft-anti-affinity"),
        },
        zones={"a": Zone(weights=make_zone_weights(rng))} if rng.random() < 0.5 else {},
        scheduler=Scheduler(
            weights=make_weights(rng) if rng.random() < 0.6 else Weights(),
            metrics=Metrics(cpu=rng.choice([-1.0, 0.0]), io=rng.choice([0.0, -0.001])),
            max_vms_per_host=rng.choice([3, 6, 50]),
            max_io_per_host=rng.choice([1, 2, 8]),
            fresh_within=rng.choice([10.0, 60.0]),
        ),
    )


def make_weights(rng: random.Random) -> Weights:
    names = Weights.__struct_fields__
    return Weights(**{name: rng.choice([-1.0, 0.0, 0.5, 1.0, 2.0]) for name in names})


def make_zone_weights(rng: random.Random) -> WeightsOfZone:
    names = WeightsOfZone.__struct_fields__
    return WeightsOfZone(**{name: rng.choice([-2.0, 0.0, 3.0]) for name in names if rng.random() < 0.3})


def make_vm(rng: random.Random, uuid: str) -> Vm:
    info = VmInfo(
        uuid=uuid,
        name=f"vm{uuid}",
        vcpus_max=rng.randint(1, 4),
        memory_max=rng.randint(1, 4) * GIB,
        group=rng.choice(GROUPS) if rng.random() < 0.5 else "",
    )
    return Vm(info, VmStats(uuid, rng.choice([VmState.RUNNING, VmState.SHUTOFF])))


def make_pools(rng: random.Random, host: str) -> tuple[tuple[Pool, ...], tuple[Volume, ...]]:
    pools, volumes = [], []
    states = [PoolState.RUNNING] * 5 + [PoolState.INACTIVE]
    for name in some(rng, ("default", "fast", "nfs"), 0.6):
        capacity = rng.choice([8, 16, 32]) * GIB
        allocation = rng.choice([0, 4, 8]) * GIB
        # What all hosts see alike is told alike by all.
        shared = name == "nfs"
        told = shared or rng.random() < 0.9
        if shared:
            capacity, allocation = 32 * GIB, 8 * GIB
        pools.append(
            Pool(
                uuid=name,
                name=name,
                type="netfs" if shared else rng.choice(["dir", "dir", "dir", "rbd"]),
                state=PoolState.RUNNING if shared else rng.choice(states),
                identity="netfs:server:/vms" if shared else f"local:{host}:{name}",
                capacity=capacity if told else None,
                allocation=allocation if told else None,
                available=capacity - allocation if told else None,
            )
        )
        sizes = [rng.choice([4, 16]) * GIB for _ in range(0 if shared else rng.randint(0, 2))]
        volumes += [Volume(name, f"disk{number}", capacity=size) for number, size in enumerate(sizes)]
        volumes += [Volume(name, image, capacity=size) for image, size in IMAGES if rng.random() < 0.4]
    return tuple(pools), tuple(volumes)


def make_view(rng: random.Random, host: HostSettings, first: int) -> HostView:
    """A host whose VMs are called by numbers from `first`."""
    pools, volumes = make_pools(rng, host.name)
    facts = HostFacts(
        hypervisor=rng.choice(["QEMU", "QEMU", "QEMU", "Xen", "LXC", ""]),
        hypervisor_version=rng.choice(["8.2.0", "9.0.1", ""]),
        arch=rng.choice(["x86_64", "x86_64", "aarch64", ""]),
        cpu_vendor=rng.choice(["Intel", "AMD", ""]),
        cpu_model=rng.choice(["EPYC", "Xeon", ""]),
        cpus=rng.choice([4, 8, 8, 16, 0]),
        memory=rng.choice([8, 16, 16, 32, 0]) * GIB,
        guests=rng.choice([(), GUESTS]),
        cpu_models=rng.choice([(), ("EPYC",)]),
        firmwares=rng.choice([(), ("bios",), ("bios", "efi")]),
    )
    stats = HostStats(
        cpu_pct=rng.choice([None, 0.0, 25.0, 80.0]),
        memory_total=rng.choice([None, None, 16 * GIB]),
        disk_read=rng.choice([None, 100.0]),
        disk_write=rng.choice([None, 50.0]),
    )
    return HostView(
        name=host.name,
        uri=host.uri,
        zone=host.zone,
        traits=host.traits,
        state=rng.choice([HostState.UP] * 8 + [HostState.SLOW, HostState.UNREACHABLE]),
        facts=facts if rng.random() < 0.95 else None,
        stats=stats if rng.random() < 0.95 else None,
        vms=tuple(make_vm(rng, str(first + number)) for number in range(rng.randint(0, 4))),
        pools=pools,
        volumes=volumes,
        maintenance=make_maintenance(rng),
        networks=tuple(Network(name, name, rng.random() < 0.8) for name in some(rng, NETWORKS, 0.7)),
        freshness=Freshness(stats=rng.choice([NOW, NOW - 1, NOW - 10, NOW - 30, NOW - 61, None])),
    )


def make_maintenance(rng: random.Random) -> Maintenance | None:
    """Mostly nothing is said of a host."""
    mark = Mark("ann@desk", 1.0, "new kernel")
    return rng.choice(
        [None] * 6
        + [Maintenance()] * 6
        + [
            Maintenance(disabled=mark),
            Maintenance(draining=mark),
            Maintenance(problem="host.json is no JSON"),
        ]
    )


def easy(view: HostView) -> HostView:
    """The same host, up and heard of."""
    return HostView(
        **{name: getattr(view, name) for name in HostView.__struct_fields__}
        | {"state": HostState.UP, "freshness": Freshness(stats=NOW), "maintenance": None}
    )


def make_snapshot(rng: random.Random, settings: FleetSettings) -> FleetSnapshot:
    always_up = rng.random() < 0.6
    hosts = {}
    for number, host in enumerate(settings.hosts.values()):
        view = make_view(rng, host, number * 10)
        hosts[host.name] = easy(view) if always_up else view
    return snapshot_of(hosts)


def snapshot_of(hosts: dict[str, HostView]) -> FleetSnapshot:
    return FleetSnapshot(1, MappingProxyType(hosts))


def make_promises(rng: random.Random, snapshot: FleetSnapshot) -> list[Promise]:
    """Some of VMs that their host shows already."""
    found: list[Promise] = []
    for number in range(rng.choice([0, 0, 1, 2, 4])):
        view = rng.choice(list(snapshot.hosts.values()))
        shown = [vm.uuid for vm in view.vms]
        known = shown and rng.random() < 0.2
        pool = rng.choice(view.pools).name if view.pools and rng.random() < 0.7 else ""
        uuid = rng.choice(shown) if known else f"p{number}"
        if uuid in [each.uuid for each in found]:
            continue
        found.append(
            Promise(
                host=view.name,
                uuid=uuid,
                name=f"new{number}",
                vcpus=rng.randint(1, 3),
                memory=rng.randint(1, 3) * GIB,
                disk=rng.choice([0, 4]) * GIB if pool else 0,
                room=rng.choice([0, 2]) * GIB if pool else 0,
                pool=pool,
                group=rng.choice(("", *GROUPS)),
            )
        )
    return found


def make_specs(rng: random.Random) -> dict[str, str | int | float | bool]:
    found: dict[str, str | int | float | bool] = {}
    for trait in TRAITS:
        if rng.random() < 0.15:
            found[f"trait:{trait}"] = rng.choice(["required", "forbidden"])
    wishes = {
        "capabilities:vcpus": ["= 8", "== 8", "!= 4", ">= 8", "<= 8", "8", "s== 8", "s< 8"],
        "capabilities:memory_mb": [">= 16384", "<= 16384"],
        "capabilities:hypervisor_type": [
            "QEMU",
            "s!= Xen",
            "s>= Q",
            "s> QEMU",
            "s<= QEMU",
            "<or> Xen <or> QEMU",
        ],
        "capabilities:cpu_info:vendor": ["<in> Int", "<all-in> A D", "<or> AMD", "!= 1"],
        "capabilities:host": ["s!= hv0", "<in> hv", "hv1"],
    }
    for key, texts in wishes.items():
        if rng.random() < 0.08:
            found[key] = rng.choice(texts)
    return found


def make_ask(rng: random.Random, snapshot: FleetSnapshot) -> Ask:
    """Mostly of size alone; each further wish is rare, so that some hosts are left."""
    vms = [vm for view in snapshot.hosts.values() for vm in view.vms]
    uuids, names = [vm.uuid for vm in vms], tuple(snapshot.hosts)

    def rarely(chance: float = 0.12) -> bool:
        return rng.random() < chance

    moving = rng.choice(vms) if vms and rarely(0.25) else None
    vcpus, memory = rng.randint(1, 4), rng.randint(1, 4) * GIB
    if moving is not None and rng.random() < 0.7:
        vcpus, memory = moving.info.vcpus_max, moving.info.memory_max
    return Ask(
        vcpus=vcpus,
        memory=memory,
        disk=rng.choice([4, 16, 64]) * GIB if rarely(0.4) else 0,
        room=rng.choice([1, 4, 8]) * GIB if rarely(0.4) else 0,
        images=(rng.choice(IMAGES),) if rarely() else (),
        pool=rng.choice(["default", "nfs"]) if rarely() else "",
        volume_type="fast" if rarely(0.2) else "",
        name=rng.choice([moving.name if moving else "free", "vm0", "new0"]) if rarely(0.3) else "",
        kind="container" if rarely(0.05) else "machine",
        hypervisor=rng.choice(["qemu", "Xen"]) if rarely(0.06) else "",
        arch="x86_64" if rarely() else "",
        firmware="efi" if rarely() else "",
        machine="q35" if rarely() else "",
        cpu_model=rng.choice(["EPYC", "Skylake"]) if rarely() else "",
        zone=rng.choice(ZONES) if rarely() else "",
        hosts=some(rng, names, 0.5) if rarely() else (),
        avoid=some(rng, names, 0.3) if rarely() else (),
        same_host=(rng.choice(uuids),) if uuids and rarely(0.08) else (),
        different_host=tuple(rng.sample(uuids, min(2, len(uuids)))) if rarely() else (),
        project=rng.choice(PROJECTS),
        group=moving.info.group if moving is not None else (rng.choice(GROUPS) if rarely(0.5) else ""),
        networks=some(rng, NETWORKS, 0.3) if rarely(0.2) else (),
        specs=parse(make_specs(rng), vcpus, memory),
        moving=moving.uuid if moving is not None else "",
        stale_ok=rarely(),
    )
