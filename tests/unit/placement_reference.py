"""Placement as the tables say it, host by host and rule by rule: slow, obvious, no code of `decide`.

Only values are shared with what it is compared with: the question, the fleet
file, the hosts, the promises. The rules have the names that people see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from virtfleet.config.extra_specs import Requirement
from virtfleet.config.settings import FleetSettings, GroupSettings, HostSettings
from virtfleet.decide.ask import Ask
from virtfleet.decide.ledger import Promise
from virtfleet.model import FleetSnapshot, HostView, Pool, PoolState

FROM_ZERO = ("memory", "cpu", "disk")


@dataclass
class Member:
    """Something that is defined on a host, or promised to it."""

    uuid: str
    name: str
    vcpus: int
    memory: int
    group: str


@dataclass
class Reference:
    snapshot: FleetSnapshot
    settings: FleetSettings
    now: float
    promises: Sequence[Promise] = ()
    failures: Mapping[str, int] = field(default_factory=dict)

    # ---- what is there

    def host(self, view: HostView) -> HostSettings:
        return self.settings.hosts[view.name]

    def pending(self, view: HostView) -> list[Promise]:
        """Promises of this host whose VM it does not show."""
        shown = [vm.uuid for vm in view.vms]
        return [each for each in self.promises if each.host == view.name and each.uuid not in shown]

    def members(self, view: HostView) -> list[Member]:
        infos = [vm.info for vm in view.vms]
        return [
            *(Member(each.uuid, each.name, each.vcpus_max, each.memory_max, each.group) for each in infos),
            *(
                Member(each.uuid, each.name, each.vcpus, each.memory, each.group)
                for each in self.pending(view)
            ),
        ]

    def capacity(self, view: HostView) -> tuple[float | None, float | None]:
        """vCPUs and memory: (total − reserved) × allocation ratio; None: not known."""
        host = self.host(view)
        cpus = view.facts.cpus if view.facts is not None else 0
        memory = view.stats.memory_total if view.stats is not None else None
        if not memory and view.facts is not None:
            memory = view.facts.memory
        return (
            max(0, cpus - host.reserved.cpus) * host.allocation_ratio.cpu if cpus else None,
            max(0, memory - host.reserved.memory) * host.allocation_ratio.memory if memory else None,
        )

    def used(self, view: HostView, without: str = "") -> tuple[int, int]:
        there = [each for each in self.members(view) if not without or each.uuid != without]
        return sum(each.vcpus for each in there), sum(each.memory for each in there)

    def in_group(self, view: HostView, ask: Ask) -> int:
        return sum(
            1
            for each in self.members(view)
            if ask.group and each.group == ask.group and not (ask.moving and each.uuid == ask.moving)
        )

    def rule(self, ask: Ask) -> GroupSettings | None:
        return self.settings.groups.get(ask.group)

    # ---- pools

    def taken(self, pool: Pool) -> tuple[int, int]:
        """Room and size that promises take of this storage, through whichever host."""
        room = size = 0
        for view in self.snapshot.hosts.values():
            for each in self.pending(view):
                for other in view.pools:
                    if other.name == each.pool and other.identity == pool.identity:
                        room += each.room
                        size += each.disk
        return room, size

    def pool_free(self, view: HostView, pool: Pool) -> float | None:
        """Bytes that may be written; None: not known."""
        if not pool.capacity or pool.available is None or pool.available > pool.capacity:
            return None
        return pool.available - self.host(view).reserved.disk - self.taken(pool)[0]

    def pool_left(self, view: HostView, pool: Pool) -> float | None:
        """Bytes that may be promised; None: not known."""
        if not pool.capacity:
            return None
        volumes = sum(each.capacity or 0 for each in view.volumes if each.pool == pool.name)
        provisioned = max(volumes, pool.allocation or 0)
        host = self.host(view)
        available = max(0, pool.capacity - host.reserved.disk)
        return available * host.allocation_ratio.disk - provisioned - self.taken(pool)[1]

    def pool_may(self, view: HostView, pool: Pool, ask: Ask) -> bool:
        """Of the kind that the question is about."""
        if pool.state is not PoolState.RUNNING or pool.type not in ("dir", "fs", "netfs"):
            return False
        if ask.pool and pool.name != ask.pool:
            return False
        kind = self.settings.volume_types.get(ask.volume_type)
        if kind is None:
            return True
        if kind.pools.names and pool.name not in kind.pools.names:
            return False
        return all(trait in self.host(view).traits for trait in kind.pools.traits)

    def pool_fits(self, view: HostView, pool: Pool, ask: Ask) -> bool:
        if not self.pool_may(view, pool, ask):
            return False
        need = ask.room
        for name, length in ask.images:
            if not any(each.pool == pool.name and each.name == name for each in view.volumes):
                need += length
        free, left = self.pool_free(view, pool), self.pool_left(view, pool)
        # As Cinder has it: an unknown capacity passes, and weighs least.
        return (free is None or free >= need) and (left is None or left >= ask.disk)

    # ---- filters

    def refusals(self, view: HostView, ask: Ask) -> list[str]:
        """The rules that refuse this host."""
        rules = {
            "up": self._up(view, ask),
            "hosts": (not ask.hosts or view.name in ask.hosts) and view.name not in ask.avoid,
            "zone": not ask.zone or self.host(view).zone == ask.zone,
            "name": not any(
                ask.name and each.name == ask.name and not (ask.moving and each.uuid == ask.moving)
                for each in self.members(view)
            ),
            "image": self._image(view, ask),
            "capabilities": all(met(said(view, name), need) for name, need in ask.specs.capabilities),
            "traits": all(each in self.host(view).traits for each in ask.specs.traits_required)
            and not any(each in self.host(view).traits for each in ask.specs.traits_forbidden),
            "isolation": self._isolation(view, ask),
            "networks": all(
                any(each.name == name and each.active for each in view.networks) for name in ask.networks
            ),
            "same-host": not ask.same_host or any(each.uuid in ask.same_host for each in self.members(view)),
            "different-host": not any(each.uuid in ask.different_host for each in self.members(view)),
            "vms": len([each for each in self.members(view) if not ask.moving or each.uuid != ask.moving])
            < self.settings.scheduler.max_vms_per_host,
            "io": len(self.pending(view)) < self.settings.scheduler.max_io_per_host,
            "group": self._group(view, ask),
            "vcpus": self._fits(view, ask, 0, ask.vcpus),
            "memory": self._fits(view, ask, 1, ask.memory),
            "disk": not (ask.room or ask.disk or ask.images or ask.pool or ask.volume_type)
            or any(self.pool_fits(view, pool, ask) for pool in view.pools),
        }
        return [name for name, passed in rules.items() if not passed]

    def survivors(self, ask: Ask) -> list[str]:
        return [view.name for view in self.snapshot.hosts.values() if not self.refusals(view, ask)]

    def _up(self, view: HostView, ask: Ask) -> bool:
        if not view.state.answers:
            return False
        said = view.maintenance
        if said is not None and (said.disabled or said.draining or said.problem):
            return False
        taken = view.freshness.stats
        return ask.stale_ok or (
            taken is not None and self.now - taken <= self.settings.scheduler.fresh_within
        )

    def _image(self, view: HostView, ask: Ask) -> bool:
        facts = view.facts
        containers = facts is not None and facts.hypervisor == "LXC"
        if containers != (ask.kind == "container"):
            return False
        if facts is None:
            return True
        if ask.hypervisor and facts.hypervisor and ask.hypervisor.lower() != facts.hypervisor.lower():
            return False
        if ask.arch and facts.arch and ask.arch != facts.arch:
            return False
        for wanted, offered in (
            (ask.firmware, facts.firmwares),
            (ask.machine, facts.machines),
            (ask.cpu_model, facts.cpu_models),
        ):
            if wanted and offered and wanted not in offered:
                return False
        return True

    def _isolation(self, view: HostView, ask: Ask) -> bool:
        project, host = ask.project or "default", self.host(view)
        if host.projects and project not in host.projects:
            return False
        confined = self.settings.projects.get(project)
        if confined is None or (not confined.zones and not confined.hosts):
            return True
        return host.zone in confined.zones or view.name in confined.hosts

    def _group(self, view: HostView, ask: Ask) -> bool:
        rule = self.rule(ask)
        if rule is None or rule.policy.startswith("soft"):
            return True
        if rule.policy == "anti-affinity":
            return self.in_group(view, ask) < rule.max_per_host
        anywhere = sum(self.in_group(each, ask) for each in self.snapshot.hosts.values())
        return anywhere == 0 or self.in_group(view, ask) > 0

    def _fits(self, view: HostView, ask: Ask, which: int, wanted: int) -> bool:
        capacity = self.capacity(view)[which]
        others = self.used(view, ask.moving)[which]
        own = self.used(view)[which] - others if ask.moving else 0
        if own and wanted <= own:
            return True
        return capacity is not None and others + wanted <= capacity

    # ---- weighers

    def raw(self, view: HostView, ask: Ask) -> dict[str, float]:
        cpus, memory = self.capacity(view)
        used_cpus, used_memory = self.used(view)
        rule = self.rule(ask)
        members = self.in_group(view, ask)
        free = [
            room
            for pool in view.pools
            if pool.state is PoolState.RUNNING
            and pool.type in ("dir", "fs", "netfs")
            and (room := self.pool_free(view, pool)) is not None
        ]
        return {
            "memory": max(0.0, memory - used_memory) if memory is not None else 0.0,
            "cpu": max(0.0, cpus - used_cpus) if cpus is not None else 0.0,
            "disk": max([0.0, *free]),
            "io": len(self.pending(view)),
            "vms": len(self.members(view)),
            "version": version(view),
            "soft_affinity": members if rule is not None and rule.policy == "soft-affinity" else 0,
            "soft_anti_affinity": -members if rule is not None and rule.policy == "soft-anti-affinity" else 0,
            "failed_builds": self.failures.get(view.name, 0),
            "metrics": self._metrics(view),
        }

    def _metrics(self, view: HostView) -> float:
        ratios, stats, total = self.settings.scheduler.metrics, view.stats, 0.0
        cpu = stats.cpu_pct if stats is not None else None
        known = [each for each in (stats.disk_read, stats.disk_write) if each is not None] if stats else []
        io = sum(known) if known else None
        for ratio, figure in ((ratios.cpu, cpu), (ratios.io, io)):
            if ratio:
                if figure is None:
                    return -10_000.0
                total += ratio * figure
        return total

    def multiplier(self, view: HostView, name: str) -> float:
        zone = self.settings.zones.get(self.host(view).zone)
        of_zone = getattr(zone.weights, name) if zone is not None else None
        plain = getattr(self.settings.scheduler.weights, name)
        return float(plain if of_zone is None else of_zone)

    def scores(self, ask: Ask) -> dict[str, float]:
        """Σ multiplier × norm(w) of the hosts that survive."""
        left = [self.snapshot.hosts[name] for name in self.survivors(ask)]
        raw = {view.name: self.raw(view, ask) for view in left}
        scores = dict.fromkeys(raw, 0.0)
        for name in next(iter(raw.values()), {}):
            values = [each[name] for each in raw.values()]
            low, high = 0.0 if name in FROM_ZERO else min(values), max(values)
            for view in left:
                norm = (raw[view.name][name] - low) / (high - low) if high > low else 0.0
                scores[view.name] += self.multiplier(view, name) * norm
        return scores

    # ---- what must hold afterwards

    def over(self, host: str) -> list[str]:
        """What this host has more of than it may."""
        view = self.snapshot.hosts[host]
        found = []
        for what, capacity, used in zip(
            ("vcpus", "memory"), self.capacity(view), self.used(view), strict=True
        ):
            if capacity is None or used > capacity:
                found.append(what)
        if len(self.members(view)) > self.settings.scheduler.max_vms_per_host:
            found.append("vms")
        if len(self.pending(view)) > self.settings.scheduler.max_io_per_host:
            found.append("io")
        return found


def said(view: HostView, name: str) -> str | int | None:
    """What a host tells of a capability; None: nothing."""
    facts = view.facts
    if name == "host":
        return view.name
    if facts is None:
        return None
    told: dict[str, str | int] = {
        "hypervisor_type": facts.hypervisor,
        "vcpus": facts.cpus,
        "memory_mb": facts.memory // 1024**2,
        "cpu_info:vendor": facts.cpu_vendor,
        "cpu_info:model": facts.cpu_model,
    }
    return told[name] or None


def met(value: str | int | None, need: Requirement) -> bool:
    """Nova's table of operators."""
    if value is None:
        return False
    kind, words, text = need.operator, need.words, str(value)
    match kind:
        case "<in>" | "<all-in>":
            return all(word in text for word in words)
        case "<or>" | "":
            return text in words
        case "s==":
            return text == words[0]
        case "s!=":
            return text != words[0]
        case "s<":
            return text < words[0]
        case "s<=":
            return text <= words[0]
        case "s>":
            return text > words[0]
        case "s>=":
            return text >= words[0]
    try:
        have, wanted = float(text), float(words[0])
    except ValueError:
        return False
    match kind:
        case "=" | ">=":
            return have >= wanted
        case "<=":
            return have <= wanted
        case "==":
            return have == wanted
        case _:
            return have != wanted


def version(view: HostView) -> float:
    """8.2.1 is 8002001; not known: 0."""
    text = view.facts.hypervisor_version if view.facts is not None else ""
    number = 0.0
    for part in (text or "0.0.0").split("."):
        number = number * 1000 + int(part)
    return number
