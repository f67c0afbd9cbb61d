"""Small worlds to plan in: hosts with one directory pool and one network, VMs, images."""

from __future__ import annotations

import itertools
from types import MappingProxyType
from typing import Any

from msgspec.structs import replace

from virtfleet.actions.world import World
from virtfleet.config.settings import Flavor, FleetSettings, HostSettings
from virtfleet.images.facts import ImageFacts
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
    VmDisk,
    VmInfo,
    VmNic,
    VmState,
    VmStats,
    Volume,
)
from virtfleet.model.action import VmRef

NOW = 1000.0
GIB = 1 << 30
FRESH = Freshness(NOW, NOW, NOW, NOW)
IMAGE = ImageFacts(format="qcow2", size=GIB, virtual_size=8 * GIB, path="/i", sha256="ab" * 32, name="i")


def vm(name: str, state: VmState = VmState.RUNNING, disks: tuple[VmDisk, ...] = (), **info: Any) -> Vm:
    made = VmInfo(
        uuid=f"u-{name}",
        name=name,
        vcpus_max=2,
        memory_max=GIB,
        disks=disks,
        nics=(VmNic(mac=f"52:54:00:00:00:{len(name):02x}", type="network", source="default"),),
    )
    return Vm(replace(made, **info), VmStats(f"u-{name}", state))


def disk(path: str, **more: Any) -> VmDisk:
    return VmDisk(target="vda", source=path, format="qcow2", **more)


def host(name: str, *vms: Vm, volumes: tuple[Volume, ...] = (), **more: Any) -> HostView:
    values: dict[str, Any] = {
        "uri": "",
        "state": HostState.UP,
        "freshness": FRESH,
        "facts": HostFacts(cpus=16, hypervisor="QEMU", arch="x86_64"),
        "stats": HostStats(memory_used=8 * GIB, memory_total=32 * GIB),
        "pools": (
            Pool(uuid="p", name="default", type="dir", state=PoolState.RUNNING, identity=f"local:{name}",
                 capacity=100 * GIB, available=50 * GIB),
        ),
        "networks": (Network(uuid="n", name="default", active=True),),
        "volumes": volumes,
        **more,
    }  # fmt: skip
    return HostView(name=name, vms=vms, **values)


def world(*hosts: HostView, **more: Any) -> World:
    """UUIDs new-N and MACs that count up: the same each time."""
    settings = FleetSettings(
        hosts={each.name: HostSettings(name=each.name, uri="") for each in hosts},
        flavors={"small": Flavor(vcpus=1, memory=GIB, disk=10 * GIB)},
    )
    numbers = itertools.count(1)
    values: dict[str, Any] = {
        "snapshot": fleet(*hosts),
        "settings": settings,
        "monotonic": NOW,
        "now": 5.0,
        "who": "me@here",
        "images": {"i": IMAGE},
        "new_uuid": lambda: f"new-{next(numbers)}",
        "new_mac": lambda: f"52:54:00:11:22:{next(numbers):02x}",
        **more,
    }
    return World(**values)


def fleet(*hosts: HostView) -> FleetSnapshot:
    return FleetSnapshot(1, MappingProxyType({each.name: each for each in hosts}))


def ref(view: HostView, name: str) -> VmRef:
    return VmRef(view.name, f"u-{name}", name)


def pool(name: str = "default", left: int = 50 * GIB, *, type_: str = "dir", **more: Any) -> Pool:
    values: dict[str, Any] = {
        "uuid": f"p-{name}",
        "state": PoolState.RUNNING,
        "identity": f"local:{name}",
        "capacity": 100 * GIB,
        "available": left,
        **more,
    }
    return Pool(name=name, type=type_, **values)


def volume(name: str, pool: str = "default", *, backing: str = "", **more: Any) -> Volume:
    """In the pool of that name, under /POOL/NAME; `backing`: POOL/NAME of what it stands on."""
    return Volume(
        pool=pool,
        name=name,
        path=f"/{pool}/{name}",
        backing=f"/{backing}" if backing else "",
        **{"format": "qcow2", "capacity": 10 * GIB, "allocation": GIB, **more},
    )
