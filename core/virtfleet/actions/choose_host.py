"""Where a new VM goes when nobody said: the host with most free memory that fits; the pool with most room.

A simple choice with its reasons; what was not chosen is told with why not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from virtfleet.actions.common import refuse
from virtfleet.actions.room import room_in
from virtfleet.actions.world import World
from virtfleet.errors import RefusedError
from virtfleet.model import HostView, Pool, PoolState
from virtfleet.model.action import CreateVm
from virtfleet.model.plan import Reason
from virtfleet.query.display import format_value
from virtfleet.query.field import Unit

_FILES = ("dir", "fs", "netfs")
"""Pools of files, which can hold overlays."""
_SHOWN = 6


class Need(NamedTuple):
    vcpus: int
    memory: int
    container: bool
    networks: tuple[str, ...]


class Choice(NamedTuple):
    host: HostView
    reasons: list[Reason]


def choose_host(action: CreateVm, world: World, need: Need) -> Choice:
    """RefusedError: no host fits, with the reason for each."""
    fits: list[tuple[int, HostView]] = []
    why_not: list[str] = []
    for host in world.snapshot.hosts.values():
        reason = _unfit(action, world, host, need)
        if reason:
            why_not.append(f"{host.name}: {reason}")
        else:
            fits.append((free_memory(host) - world.promised(host.name).memory, host))
    if not fits:
        raise RefusedError(
            f"create {action.name}: no host fits: {'; '.join(why_not) or 'the fleet is empty'}"
        )
    free, best = max(fits, key=lambda each: each[0])
    text = f"{best.name}: most free memory of {len(fits)} that fit, {format_value(free, Unit.BYTES)}"
    reasons = [Reason(text=text)]
    if why_not:
        more = f" and {len(why_not) - _SHOWN} more" if len(why_not) > _SHOWN else ""
        reasons.append(Reason(text=f"not {'; '.join(why_not[:_SHOWN])}{more}"))
    return Choice(best, reasons)


def free_memory(host: HostView) -> int:
    """What is free now, or less if VMs that are off may claim it; 0: unknown."""
    stats = host.stats
    if stats is None or stats.memory_total is None or stats.memory_used is None:
        return 0
    return max(0, stats.memory_total - stats.memory_used)


def _unfit(action: CreateVm, world: World, host: HostView, need: Need) -> str:
    """Why not on this host; empty: it fits."""
    if action.zone and host.zone != action.zone:
        return f"in zone {host.zone or '—'}"
    if not host.state.answers:
        return host.state.value
    if host.is_stale(world.monotonic) and not world.stale_ok:
        return "its data is old"
    if any(vm.name == action.name for vm in host.vms):
        return f"has a VM called {action.name}"
    kind = host.facts.hypervisor if host.facts is not None else ""
    if need.container and kind not in ("", "LXC"):
        return f"runs {kind}, not LXC"
    if not need.container and kind == "LXC":
        return "runs containers alone"
    reserved = world.settings.hosts[host.name].reserved.memory if host.name in world.settings.hosts else 0
    if (free := free_memory(host) - reserved - world.promised(host.name).memory) < need.memory:
        return f"{format_value(max(0, free), Unit.BYTES)} of memory free"
    for name in need.networks:
        if not name.startswith("bridge:") and not any(
            each.name == name and each.active for each in host.networks
        ):
            return f"no active network {name}"
    if action.pool and not any(pool.name == action.pool for pool in host.pools):
        return f"no pool {action.pool}"
    for image in (action.image, action.iso):
        facts = world.images.get(image)
        if facts is None:
            continue
        if facts.host and facts.host != host.name:
            return f"{facts.name} is on {facts.host}"
        if facts.arch and host.facts is not None and host.facts.arch not in ("", facts.arch):
            return f"is of {host.facts.arch}, {facts.name} of {facts.arch}"
    return _no_pool(action, world, host)


def _no_pool(action: CreateVm, world: World, host: HostView) -> str:
    """Why no pool of the host can take its disks; empty: one can."""
    image, iso = (world.images.get(each) for each in (action.image, action.iso))
    if image is None and iso is None:
        return ""
    why_not = []
    for pool in host.pools:
        if not action.pool or pool.name == action.pool:
            reason = _pool_unfit(pool, room_in(action, image, iso, host, pool))
            if not reason:
                return ""
            why_not.append(f"pool {pool.name}: {reason}")
    return ", ".join(why_not) or "no pool"


def choose_pool(host: HostView, wanted: str, room: Callable[[Pool], int]) -> tuple[Pool, list[Reason]]:
    """The pool for disks that take `room` bytes of it. RefusedError: none has it, and why each has not."""
    usable: list[Pool] = []
    why_not: list[str] = []
    for pool in host.pools:
        if wanted and pool.name != wanted:
            continue
        reason = _pool_unfit(pool, room(pool))
        if reason:
            why_not.append(f"{pool.name}: {reason}")
        else:
            usable.append(pool)
    if not usable:
        known = ", ".join(pool.name for pool in host.pools) or "none"
        refuse(
            why_not or [f"{host.name} has no pool {wanted}".rstrip() + f" (there: {known})"],
            f"no pool on {host.name} for its disks",
            "make room, or choose another pool",
        )
    best = max(usable, key=lambda pool: pool.available or 0)
    if wanted:
        return best, []
    left = format_value(best.available, Unit.BYTES)
    others: Sequence[str] = [*why_not]
    tail = f" (not {'; '.join(others[:_SHOWN])})" if others else ""
    return best, [Reason(text=f"pool {best.name}: most room, {left}{tail}")]


def _pool_unfit(pool: Pool, room: int) -> str:
    if pool.state is not PoolState.RUNNING:
        return pool.state.value
    if pool.type not in _FILES:
        return f"of type {pool.type}, whose volumes are no files of the host"
    if pool.available is not None and pool.available < room:
        return f"{format_value(pool.available, Unit.BYTES)} left, {format_value(room, Unit.BYTES)} needed"
    return ""
