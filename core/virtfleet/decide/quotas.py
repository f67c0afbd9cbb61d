"""What each project uses, and whether it may use more: pure, over a snapshot and the fleet file's projects.

A VM that is defined twice (it is being moved) counts once. Disks count as
volumes where their pool is known; a VM on a host that does not answer counts
as it was last seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from virtfleet.config.settings import FleetSettings, PoolSelector, Quota
from virtfleet.model import FleetSnapshot, HostView, Vm, Volume
from virtfleet.model.project import DEFAULT, Claim, Use, VolumeUse, volume_id
from virtfleet.query.display import format_value
from virtfleet.query.field import Unit

NOTHING = Use()


class Limit(NamedTuple):
    """One figure of a project beside what it may be."""

    what: str
    """vms, vcpus, memory, volumes, capacity; with a volume type "volumes of type fast"."""
    unit: Unit
    used: int
    limit: int | None
    """None: no limit."""


class Room(msgspec.Struct, frozen=True):
    """What a project may have, and what is seen of it."""

    project: str
    quota: Quota
    have: Mapping[str, Use]
    """What each of its VMs takes, by UUID."""
    attached: frozenset[str] = frozenset()
    """Volumes that a VM has, which count with it, by their ids."""
    loose: frozenset[str] = frozenset()
    """Volumes that are there and that no VM has: each counts for the project that it was made for."""


def project_of(vm: Vm) -> str:
    return vm.info.project or DEFAULT


def type_of(host: HostView, pool: str, settings: FleetSettings) -> str:
    """The volume type whose pools this one is among, the first of the fleet file; empty: none."""
    for name, kind in settings.volume_types.items():
        if _selects(kind.pools, host, pool):
            return name
    return ""


def _selects(selector: PoolSelector, host: HostView, pool: str) -> bool:
    if selector.names and pool not in selector.names:
        return False
    return set(selector.traits) <= set(host.traits)


class _Volumes:
    """The volumes of hosts by how disks name them, looked up when a host is asked about."""

    def __init__(self, settings: FleetSettings) -> None:
        self._settings = settings
        self._types: dict[tuple[str, str], str] = {}
        self._found: dict[str, dict[str, Volume]] = {}

    def use(self, host: HostView, vm: Vm) -> Use:
        info = vm.info
        sources = [disk.source for disk in info.disks if disk.device == "disk" and disk.source]
        volumes = [each for source in sources if (each := self._by_source(host).get(source)) is not None]
        types: dict[str, VolumeUse] = {}
        for each in volumes if self._settings.volume_types else ():
            key = (host.name, each.pool)
            if key not in self._types:
                self._types[key] = type_of(host, each.pool, self._settings)
            if kind := self._types[key]:
                had = types.get(kind, VolumeUse())
                types[kind] = VolumeUse(had.volumes + 1, had.capacity + (each.capacity or 0))
        return Use(
            vms=1,
            vcpus=info.vcpus_max,
            memory=info.memory_max,
            volumes=len(volumes),
            capacity=sum(each.capacity or 0 for each in volumes),
            types=types,
        )

    def _by_source(self, host: HostView) -> dict[str, Volume]:
        if host.name not in self._found:
            self._found[host.name] = {
                key: each for each in host.volumes for key in (each.path, f"{each.pool}/{each.name}") if key
            }
        return self._found[host.name]


def use_of(host: HostView, vm: Vm, settings: FleetSettings) -> Use:
    """What one VM takes."""
    return _Volumes(settings).use(host, vm)


def uses(snapshot: FleetSnapshot, settings: FleetSettings, project: str) -> dict[str, Use]:
    """What each VM of one project takes, by UUID."""
    volumes = _Volumes(settings)
    found: dict[str, Use] = {}
    for host, vm in _vms(snapshot):
        if project_of(vm) == project:
            _add(found, vm.uuid, volumes.use(host, vm))
    return found


def volumes_seen(snapshot: FleetSnapshot) -> tuple[frozenset[str], frozenset[str]]:
    """The ids of volumes that VMs have, and of those that none has."""
    known: set[str] = set()
    attached: set[str] = set()
    for host in snapshot.hosts.values():
        identities = {pool.name: pool.identity for pool in host.pools}
        used = {disk.source for vm in host.vms for disk in vm.info.disks if disk.source}
        for volume in host.volumes:
            name = volume_id(identities.get(volume.pool, f"local:{host.name}:{volume.pool}"), volume.name)
            known.add(name)
            if volume.path in used or f"{volume.pool}/{volume.name}" in used:
                attached.add(name)
    return frozenset(attached), frozenset(known - attached)


def usage(snapshot: FleetSnapshot, settings: FleetSettings) -> dict[str, Use]:
    """What each project takes: those of the fleet file, then those that VMs name, then `default`."""
    volumes = _Volumes(settings)
    found: dict[str, dict[str, Use]] = {name: {} for name in settings.projects}
    for host, vm in _vms(snapshot):
        _add(found.setdefault(project_of(vm), {}), vm.uuid, volumes.use(host, vm))
    return {name: total(each.values()) for name, each in found.items()}


def _vms(snapshot: FleetSnapshot) -> Iterator[tuple[HostView, Vm]]:
    return ((host, vm) for host in snapshot.hosts.values() for vm in host.vms)


def _add(found: dict[str, Use], uuid: str, use: Use) -> None:
    found[uuid] = found[uuid].at_least(use) if uuid in found else use


def total(each: Iterable[Use]) -> Use:
    result = NOTHING
    for use in each:
        result = result.plus(use)
    return result


def with_claims(have: Mapping[str, Use], claims: Iterable[Claim]) -> dict[str, Use]:
    """What VMs take once these are met; one that is there already has taken what it shows."""
    found = dict(have)
    for claim in claims:
        _add(found, claim.uuid, claim.use)
    return found


def limits(use: Use, quota: Quota) -> list[Limit]:
    """Each figure beside its limit; volume types only where they are limited."""
    found = [
        Limit("vms", Unit.COUNT, use.vms, quota.vms),
        Limit("vcpus", Unit.COUNT, use.vcpus, quota.vcpus),
        Limit("memory", Unit.BYTES, use.memory, quota.memory),
        Limit("volumes", Unit.COUNT, use.volumes, quota.volumes),
        Limit("capacity", Unit.BYTES, use.capacity, quota.capacity),
    ]
    for name, kind in quota.volume_types.items():
        of_type = use.types.get(name, VolumeUse())
        found.append(Limit(f"volumes of type {name}", Unit.COUNT, of_type.volumes, kind.volumes))
        found.append(Limit(f"capacity of type {name}", Unit.BYTES, of_type.capacity, kind.capacity))
    return found


def excess(project: str, have: Mapping[str, Use], claims: Iterable[Claim], quota: Quota) -> list[str]:
    """Why these claims can't be met, with the figures; empty: they can.

    What is over its limit already and does not grow is no reason: who is over may still shrink.
    """
    before = {each.what: each for each in limits(total(have.values()), quota)}
    after = limits(total(with_claims(have, claims).values()), quota)
    return [
        f"project {project} may have {_shown(each.limit, each.unit)} {_words(each)}, "
        f"has {_shown(before[each.what].used, each.unit)}, "
        f"{_shown(each.used - before[each.what].used, each.unit)} more are asked for"
        for each in after
        if each.limit is not None and each.used > max(each.limit, before[each.what].used)
    ]


def _words(limit: Limit) -> str:
    return {
        "vms": "VMs",
        "vcpus": "vCPUs",
        "memory": "of memory",
        "capacity": "of volumes",
    }.get(limit.what, limit.what if limit.unit is Unit.COUNT else f"of {limit.what}")


def _shown(value: int | None, unit: Unit) -> str:
    return format_value(value, unit)
