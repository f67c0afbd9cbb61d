"""The made-up contents of a demo host: its hardware, its VMs and their addresses, its shared volumes.

Everything follows from a seed and the host's place in the fleet, so that a
host looks the same tomorrow, two hosts of a cluster show the same Ceph pool,
and no host must know of another. Only the simulation uses this.
"""

from __future__ import annotations

import random
import uuid
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from virtfleet.model import CellPages, GuestKind, HugePages, NumaCell

GIB = 1024**3

CLUSTER = 4
"""Hosts that share one Ceph pool."""


class HostPlan(NamedTuple):
    """A simulated host's place in its fleet."""

    name: str
    number: int = 0
    """Among all hosts, from 0."""
    hosts: int = 1
    """How many there are: names of VMs are unique in the whole fleet."""
    place: int = 0
    """Among the hosts of its zone, from 0."""
    zone: str = "a"
    vms: int = 15
    ssd: bool = False

    @property
    def cluster(self) -> str:
        """Name of the Ceph pool that it shares: `ceph-a`, `ceph-a2` ..."""
        number = self.place // CLUSTER
        return f"ceph-{self.zone}{number + 1 if number else ''}"


class Machine(NamedTuple):
    """The hardware of a simulated host. Memory in bytes."""

    cpu_model: str
    cpu_vendor: str
    sockets: int
    cores: int
    threads: int
    mhz: int
    memory: int

    @property
    def cpus(self) -> int:
        return self.sockets * self.cores * self.threads


_MACHINES = (
    Machine("EPYC-Rome", "AMD", 1, 32, 2, 2500, 256 * GIB),
    Machine("Icelake-Server", "Intel", 2, 16, 2, 2900, 256 * GIB),
    Machine("Cascadelake-Server", "Intel", 2, 12, 2, 2400, 192 * GIB),
    Machine("EPYC-Milan", "AMD", 1, 24, 2, 2850, 384 * GIB),
)


class Flavor(NamedTuple):
    name: str
    vcpus: int
    memory: int
    disk: int


SMALL = Flavor("small", 1, 2 * GIB, 10 * GIB)
MEDIUM = Flavor("medium", 2, 4 * GIB, 20 * GIB)
LARGE = Flavor("large", 4, 8 * GIB, 40 * GIB)
XLARGE = Flavor("xlarge", 8, 16 * GIB, 80 * GIB)
MEMORY = Flavor("memory", 4, 32 * GIB, 60 * GIB)


class Role(NamedTuple):
    name: str
    project: str
    flavors: tuple[Flavor, ...]
    tags: tuple[str, ...] = ()
    group: str = ""
    off: float = 0.05
    """Part of them that is shut off."""
    priority: int | None = None
    protected: bool = False
    description: str = ""


_WEB = Role(
    "web", "web", (MEDIUM, LARGE), ("prod", "frontend"), "web-front", 0.03, 2, description="nginx, shop front"
)
_API = Role("api", "web", (MEDIUM, LARGE), ("prod",), "api", 0.03, 2, description="REST backend")
_DB = Role("db", "web", (XLARGE, MEMORY), ("prod", "critical"), "db", 0.0, 1, True, "PostgreSQL 15")
_CACHE = Role("cache", "web", (LARGE, MEMORY), ("prod",), "cache", 0.0, 2, description="Redis")
_QUEUE = Role("queue", "data", (MEDIUM,), ("prod",), "queue", 0.0, 2, description="RabbitMQ")
_WORKER = Role("worker", "data", (LARGE,), ("prod",), off=0.05, description="background jobs")
_SEARCH = Role("search", "data", (MEMORY,), ("prod",), "search", 0.05, 3, description="OpenSearch node")
_BATCH = Role("batch", "data", (XLARGE,), ("nightly",), off=0.4, description="reports, runs at night")
_BUILD = Role("build", "ci", (XLARGE, LARGE), ("ci",), description="build machine")
_RUNNER = Role("runner", "ci", (MEDIUM, LARGE), ("ci",), off=0.15, description="CI runner")
_K8S = Role(
    "k8s", "platform", (LARGE, XLARGE), ("prod",), "k8s-nodes", 0.0, 2, description="Kubernetes worker"
)
_PROXY = Role("proxy", "platform", (SMALL, MEDIUM), ("prod", "edge"), "proxy", 0.0, 1, description="HAProxy")
_DEV = Role("dev", "dev", (SMALL, MEDIUM), ("dev",), off=0.4, description="developer's machine")
_INFRA = Role("infra", "infra", (SMALL, MEDIUM), ("prod", "infra"), "", 0.0, 1, True, "shared service")
_ROLES = (
    *(_WEB, _API, _DB, _INFRA, _RUNNER, _CACHE, _WEB, _BUILD, _WORKER, _DEV),
    *(_K8S, _QUEUE, _WEB, _API, _RUNNER, _PROXY, _BATCH, _K8S, _SEARCH, _DEV),
)
_SERVICES = (
    *("mail", "dns", "git", "vpn", "ldap", "grafana"),
    *("prometheus", "bastion", "registry", "backup", "wiki", "ntp"),
)


class SimulatedVm(NamedTuple):
    name: str
    uuid: str
    role: Role
    flavor: Flavor
    state: int
    """libvirt's number: 1 running, 3 paused, 5 shut off."""
    slot: int


def machine(seed: int, plan: HostPlan) -> Machine:
    """The hardware of a host."""
    return _MACHINES[digest(seed, "machine", plan.name) % len(_MACHINES)]


GUESTS = (GuestKind("x86_64", "hvm", ("test",), ("pc", "pc-i440fx-7.2", "pc-q35-7.2", "q35")),)
"""What simulated hosts run."""


def numa_cells(box: Machine, huge: HugePages) -> tuple[NumaCell, ...]:
    """A cell for each socket. As Linux counts: first one thread of every core, then the others."""
    cores = box.sockets * box.cores
    memory = box.memory // box.sockets
    cells = []
    for number in range(box.sockets):
        first = range(number * box.cores, (number + 1) * box.cores)
        siblings = tuple(tuple(core + cores * thread for thread in range(box.threads)) for core in first)
        count = huge.total // box.sockets
        pages = (
            CellPages(4096, (memory - count * huge.size) // 4096),
            CellPages(huge.size, count, huge.free // box.sockets),
        )
        ids = tuple(sorted(cpu for core in siblings for cpu in core))
        cells.append(NumaCell(number, memory, len(ids), ids, siblings if box.threads > 1 else (), pages))
    return tuple(cells)


def digest(seed: int, *words: str) -> int:
    """64 bits that follow from the seed and the words, the same in every process."""
    text = "\0".join((str(seed), *words)).encode("utf-8", "replace")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big")


def stable_uuid(seed: int, *words: str) -> str:
    """A UUID that follows from the seed and the words."""
    high, low = digest(seed, "uuid-high", *words), digest(seed, "uuid-low", *words)
    return str(uuid.UUID(int=high << 64 | low, version=4))


@lru_cache(maxsize=2)  # asked for twice in a row: to write the node file, then to furnish the connection
def virtual_machines(seed: int, plan: HostPlan) -> tuple[SimulatedVm, ...]:
    """The VMs of a host."""
    seen: dict[str, int] = {}
    found: list[SimulatedVm] = []
    for slot in range(plan.vms):
        role = _ROLES[slot % len(_ROLES)]
        number = seen.get(role.name, 0) * plan.hosts + plan.number
        seen[role.name] = seen.get(role.name, 0) + 1
        if role is _INFRA:
            name = f"{_SERVICES[number % len(_SERVICES)]}-{number // len(_SERVICES) + 1}"
        else:
            name = f"{role.name}-{number + 1:02d}"
        dice = random.Random(digest(seed, "vm", name))  # noqa: S311 - scenery, not secrets
        state = 5 if dice.random() < role.off else 1
        if role is _RUNNER and plan.number % 3 == 1 and slot < len(_ROLES) // 2:
            state = 3
        found.append(
            SimulatedVm(name, stable_uuid(seed, "vm", name), role, dice.choice(role.flavors), state, slot)
        )
    return tuple(found)


def shared_volumes(seed: int, pool: str) -> list[tuple[str, int, int]]:
    """Name, capacity and allocation of the volumes of a Ceph pool: the same on all its hosts."""
    volumes = []
    for number in range(CLUSTER * 2):
        name = f"volume-{stable_uuid(seed, pool, str(number))[:13]}"
        capacity = (50, 100, 200, 500)[digest(seed, name) % 4] * GIB
        volumes.append((name, capacity, capacity * (20 + digest(seed, name, "full") % 70) // 100))
    return volumes


# ---------------------------------------------------------------- addresses

_PRODUCTION = (0x52, 0x54, 0x00)
_NAT = (0x52, 0x54, 0x7A)


def mac(plan: HostPlan, slot: int, nat: bool) -> str:
    """The MAC of a VM: its last three bytes are the end of its IP address, as many an operator does it."""
    high, low = divmod(slot, 200)
    last = (plan.number >> 4 & 0xFF, (plan.number & 15) << 4 | high & 15, 10 + low)
    return ":".join(f"{byte:02x}" for byte in (*(_NAT if nat else _PRODUCTION), *last))


def nat_range(plan: HostPlan) -> str:
    """The first two thirds of the addresses of a host's NAT network, a /20 in which `address` is.

    Networks of that kind are mostly the same on all hosts; here each has its own, so that an address is that
    of one VM.
    """
    return f"192.168.{(plan.number & 15) << 4}"


def address(mac_address: str) -> str:
    """The IP address that goes with a MAC of `mac`; "" for any other."""
    try:
        numbers = bytes.fromhex(mac_address.replace(":", ""))
    except ValueError:
        return ""
    if len(numbers) != 6 or tuple(numbers[:3]) not in (_PRODUCTION, _NAT):
        return ""
    if tuple(numbers[:3]) == _NAT:
        return f"192.168.{numbers[4]}.{numbers[5]}"
    return "10.{}.{}.{}".format(*numbers[3:])
