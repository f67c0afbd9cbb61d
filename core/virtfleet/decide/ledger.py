"""What each host of a fleet can give and has given, as numpy arrays that follow the fleet.

    ledger = Ledger(settings)
    ledger.follow(snapshot)            # looks only at hosts that changed
    with ledger.beside(promises):      # what plans and jobs will take and no host shows yet
        place(ledger, ask, now)

Capacity is (total − reserved) × allocation ratio, as in Nova. What counts
against it is what is defined, whether it runs or not, whoever made it. Rows
are hosts in the order of the snapshot.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from virtfleet.config.extra_specs import Specs
from virtfleet.config.settings import FleetSettings, HostSettings
from virtfleet.decide.ledger_pools import PoolLedger
from virtfleet.model import FleetSnapshot, HostView, VmInfo

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

_UNKNOWN = float("nan")
T = TypeVar("T")


class Promise(NamedTuple):
    """What a VM will take that a host may not show yet. Sizes in bytes."""

    host: str
    uuid: str
    name: str
    vcpus: int
    memory: int
    disk: int = 0
    """What its volumes may grow to."""
    room: int = 0
    """What they take at once."""
    pool: str = ""
    group: str = ""
    specs: Specs = Specs()
    """CPUs, pages and devices that it has for itself."""
    shown: VmInfo | None = None
    """What its host will show of these, where it is decided; else they are found from `specs`."""
    io: int = 1
    """Builds and moves that it counts as; 0: those of a plan that sees to it that few run at once."""


class Ledger:
    """To be used from one thread. `follow` before each question."""

    def __init__(self, settings: FleetSettings) -> None:
        self.settings = settings
        self.names: list[str] = []
        self.rows: dict[str, int] = {}
        self.views: list[HostView] = []
        self.hosts: list[HostSettings] = []
        self.pools = PoolLedger()
        self.vms: dict[str, set[int]] = {}
        """Rows of the hosts that a UUID is defined on."""
        self.vm_names: dict[str, set[int]] = {}
        self.groups: dict[str, NDArray[np.int64]] = {}
        """Members of each group on each host."""
        self.networks: dict[str, Bools] = {}
        """Hosts on which a network is active."""
        self.failures: dict[str, int] = {}
        """Builds that failed lately, by host; told by whoever knows."""
        self._infos: list[tuple[VmInfo, ...]] = []
        self._network_names: list[frozenset[str]] = []
        self._promises: dict[str, tuple[Promise, str]] = {}
        self._of_row: dict[int, tuple[Promise, ...]] = {}
        """With the identity of its pool."""
        self._cache: dict[Hashable, Any] = {}
        self._reset(0)

    def __len__(self) -> int:
        return len(self.names)

    def _reset(self, count: int) -> None:
        def floats(value: float = 0.0) -> Floats:
            return np.full(count, value)

        self.vcpus, self.vcpus_used = floats(_UNKNOWN), floats()
        self.memory, self.memory_used = floats(_UNKNOWN), floats()
        """Capacity after reserve and ratio; NaN: unknown. And what of it is given."""
        self.vm_count, self.io = floats(), floats()
        """Defined VMs; builds that are running."""
        self.version, self.cpu_pct, self.disk_io = floats(_UNKNOWN), floats(_UNKNOWN), floats(_UNKNOWN)
        self.taken = floats(-np.inf)
        """When the last sample was taken, CLOCK_MONOTONIC."""
        self.up = np.zeros(count, bool)
        self.open = np.ones(count, bool)
        """Hosts that no operator has disabled for new VMs."""
        self.container = np.zeros(count, bool)
        """Hosts that run containers, and no machines."""

    def cached(self, key: Hashable, make: Callable[[], T]) -> T:
        """What only the fleet file decides, made once until hosts come or go."""
        if key not in self._cache:
            self._cache[key] = make()
        return self._cache[key]  # type: ignore[no-any-return] # it is of the same key

    # ---- following the fleet

    def follow(self, snapshot: FleetSnapshot) -> None:
        """Takes over what changed since the last time."""
        if len(snapshot.hosts) != len(self.names) or list(snapshot.hosts) != self.names:
            self._rebuild(snapshot)
            return
        views = self.views
        for row, view in enumerate(snapshot.hosts.values()):
            if view is not views[row]:
                self.update(row, view)

    def _rebuild(self, snapshot: FleetSnapshot) -> None:
        self.names = list(snapshot.hosts)
        self.rows = {name: row for row, name in enumerate(self.names)}
        self.hosts = [
            self.settings.hosts.get(name) or HostSettings(name=name, uri=view.uri)
            for name, view in snapshot.hosts.items()
        ]
        promises = [promise for promise, _ in self._promises.values()]
        self._promises.clear()
        self._of_row.clear()
        self._cache.clear()
        self._reset(len(self.names))
        self.pools.reset(self.hosts)
        for known in (self.vms, self.vm_names, self.groups, self.networks):
            known.clear()
        blank = HostView(name="", uri="")
        self.views = [blank] * len(self.names)
        self._infos = [()] * len(self.names)
        self._network_names = [frozenset()] * len(self.names)
        for row, view in enumerate(snapshot.hosts.values()):
            self.update(row, view)
        for promise in promises:
            self.promise(promise)

    def update(self, row: int, view: HostView) -> None:
        """A host changed; looks only at what did."""
        before, self.views[row] = self.views[row], view
        self.up[row] = view.state.answers
        self.open[row] = not view.closed
        fresh = view.freshness.stats
        self.taken[row] = -np.inf if fresh is None else fresh
        stats = view.stats
        if stats is not before.stats:
            cpu = stats.cpu_pct if stats is not None else None
            self.cpu_pct[row] = _UNKNOWN if cpu is None else cpu
            rates = (stats.disk_read, stats.disk_write) if stats is not None else ()
            known = [each for each in rates if each is not None]
            self.disk_io[row] = sum(known) if known else _UNKNOWN
        total = _memory(view)
        if view.facts is not before.facts or total != _memory(before):
            self._capacity(row, view, total)
        if view.vms is not before.vms:
            infos = tuple([vm.info for vm in view.vms])
            old = self._infos[row]
            if len(infos) != len(old) or any(a is not b for a, b in zip(infos, old, strict=True)):
                self._recount(row, infos)
        if view.networks is not before.networks:
            self._follow_networks(row, frozenset(each.name for each in view.networks if each.active))
        if view.pools is not before.pools or view.volumes is not before.volumes:
            self.pools.update(row, view)

    def _capacity(self, row: int, view: HostView, memory: int | None) -> None:
        settings, facts = self.hosts[row], view.facts
        ratio, kept = settings.allocation_ratio, settings.reserved
        cpus = facts.cpus if facts is not None else 0
        self.vcpus[row] = max(0, cpus - kept.cpus) * ratio.cpu if cpus else _UNKNOWN
        self.memory[row] = _UNKNOWN if memory is None else max(0, memory - kept.memory) * ratio.memory
        self.container[row] = facts is not None and facts.hypervisor == "LXC"
        self.version[row] = _number(facts.hypervisor_version) if facts is not None else _UNKNOWN

    def _recount(self, row: int, infos: tuple[VmInfo, ...]) -> None:
        old, self._infos[row] = self._infos[row], infos
        gone = {id(info) for info in old}
        kept = gone & {id(info) for info in infos}
        for info in old:
            if id(info) not in kept:
                self._count(row, info, -1)
        for info in infos:
            if id(info) not in kept:
                # What was promised and is here now counts once.
                if (found := self._promises.get(info.uuid)) is not None and found[0].host == self.names[row]:
                    self.release(info.uuid)
                self._count(row, info, 1)
        # A sum of differences would drift only with fractions: these are whole numbers below 2^53.

    def _count(self, row: int, info: VmInfo, sign: int) -> None:
        self.vcpus_used[row] += sign * info.vcpus_max
        self.memory_used[row] += sign * info.memory_max
        self.vm_count[row] += sign
        for index, key in ((self.vms, info.uuid), (self.vm_names, info.name)):
            if sign > 0:
                index.setdefault(key, set()).add(row)
            elif key in index:
                index[key].discard(row)
                if not index[key]:
                    del index[key]
        if info.group:
            if info.group not in self.groups:
                self.groups[info.group] = np.zeros(len(self.names), np.int64)
            self.groups[info.group][row] += sign

    def _follow_networks(self, row: int, names: frozenset[str]) -> None:
        before, self._network_names[row] = self._network_names[row], names
        for name in before - names:
            self.networks[name][row] = False
        for name in names - before:
            if name not in self.networks:
                self.networks[name] = np.zeros(len(self.names), bool)
            self.networks[name][row] = True

    # ---- what is not seen yet

    @contextlib.contextmanager
    def beside(self, promises: Iterable[Promise]) -> Iterator[None]:
        """While it lasts these count, too; those whose VM a host shows already count once."""
        made = [promise for promise in promises if self.promise(promise)]
        try:
            yield
        finally:
            for promise in made:
                self.release(promise.uuid)

    def promise(self, promise: Promise) -> bool:
        """Counts it until it is released. False: it counts already, or its host is not known."""
        row = self.rows.get(promise.host)
        if row is None or promise.uuid in self._promises or row in self.vms.get(promise.uuid, ()):
            return False
        identity = self.pools.identity(row, promise.pool)
        self._promises[promise.uuid] = (promise, identity)
        self._promised(row, promise, identity, 1)
        return True

    def release(self, uuid: str) -> None:
        found = self._promises.pop(uuid, None)
        if found is not None:
            promise, identity = found
            self._promised(self.rows[promise.host], promise, identity, -1)

    def _promised(self, row: int, promise: Promise, identity: str, sign: int) -> None:
        info = VmInfo(
            uuid=promise.uuid,
            name=promise.name,
            vcpus_max=promise.vcpus,
            memory_max=promise.memory,
            group=promise.group,
        )
        self._count(row, info, sign)
        self.io[row] += sign * promise.io
        others = tuple(each for each in self._of_row.get(row, ()) if each.uuid != promise.uuid)
        self._of_row[row] = (*others, promise) if sign > 0 else others
        self.pools.promise(identity, sign * promise.room, sign * promise.disk)

    def infos(self, row: int) -> tuple[VmInfo, ...]:
        """The VMs that a host shows."""
        return self._infos[row]

    def limits(self, host: str, group: str) -> dict[str, Any]:
        """What may be defined on a host in all, for the claim that is made there: vCPUs, memory, VMs, and
        members of a group that keeps apart. What is not known is not limited."""
        row = self.rows.get(host)
        if row is None:
            return {}
        found: dict[str, Any] = {"vms": self.settings.scheduler.max_vms_per_host}
        for name, capacity in (("vcpus", self.vcpus[row]), ("memory", self.memory[row])):
            if not np.isnan(capacity):
                found[name] = int(capacity)
        rule = self.settings.groups.get(group)
        if rule is not None and rule.policy == "anti-affinity":
            found["group"] = {"name": group, "most": rule.max_per_host}
        return found

    def infos_at(self, row: int) -> tuple[VmInfo, ...]:
        """The VMs that a host shows; the same object until one of them changes."""
        return self._infos[row]

    def promises_at(self, row: int) -> tuple[Promise, ...]:
        """What is promised of a host and not seen; the same object until that changes."""
        return self._of_row.get(row, ())

    def info_at(self, row: int, uuid: str) -> VmInfo | None:
        """The description of a VM that a host shows; None: it does not."""
        return next((info for info in self._infos[row] if info.uuid == uuid), None)


def _memory(view: HostView) -> int | None:
    if view.stats is not None and view.stats.memory_total:
        return view.stats.memory_total
    return view.facts.memory or None if view.facts is not None else None


def _number(version: str) -> float:
    """8.2.0 as libvirt counts: 8002000."""
    parts = version.split(".")[:3]
    if not parts[0].isdecimal():
        return _UNKNOWN
    numbers = [int(part) if part.isdecimal() else 0 for part in (*parts, "0", "0")[:3]]
    return numbers[0] * 1e6 + numbers[1] * 1e3 + numbers[2]
