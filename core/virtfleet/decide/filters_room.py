"""The rules about room: vCPUs, memory, disk, how many VMs and builds a host may have."""

from __future__ import annotations

import numpy as np

from virtfleet.decide.ledger import Bools, Floats
from virtfleet.decide.question import Question, Words
from virtfleet.model import Pool
from virtfleet.query.display import format_value
from virtfleet.query.field import Unit


def own_use(q: Question) -> tuple[Floats, Floats]:
    """vCPUs and memory that the VM which is moving takes where it is."""
    vcpus, memory = np.zeros(len(q.ledger)), np.zeros(len(q.ledger))
    if q.ask.moving:
        for row in q.ledger.vms.get(q.ask.moving, ()):
            info = q.ledger.info_at(row, q.ask.moving)
            if info is not None:
                vcpus[row], memory[row] = info.vcpus_max, info.memory_max
    return vcpus, memory


def _fits(capacity: Floats, used: Floats, own: Floats, wanted: float) -> Bools:
    """Unknown capacity takes nothing. What does not grow is always allowed: an over-committed host may
    shrink."""
    with np.errstate(invalid="ignore"):
        return (used - own + wanted <= capacity) | ((own > 0) & (wanted <= own))


def vcpus(q: Question) -> Bools:
    return _fits(q.ledger.vcpus, q.ledger.vcpus_used, own_use(q)[0], q.ask.vcpus)


def memory(q: Question) -> Bools:
    return _fits(q.ledger.memory, q.ledger.memory_used, own_use(q)[1], q.ask.memory)


def why_vcpus(q: Question, row: int) -> str:
    capacity, host = q.ledger.vcpus[row], q.ledger.hosts[row]
    if np.isnan(capacity):
        return "how many CPUs it has is not known"
    kept = f" and {host.reserved.cpus} reserved" if host.reserved.cpus else ""
    free = capacity - q.ledger.vcpus_used[row] + own_use(q)[0][row]
    return (
        f"needs {q.ask.vcpus} vCPUs, free {np.floor(free):.0f} of {np.floor(capacity):.0f} "
        f"after ratio {host.allocation_ratio.cpu:g}{kept}"
    )


def why_memory(q: Question, row: int) -> str:
    capacity, host = q.ledger.memory[row], q.ledger.hosts[row]
    if np.isnan(capacity):
        return "how much memory it has is not known"
    free = capacity - q.ledger.memory_used[row] + own_use(q)[1][row]
    kept = f" and {amount(host.reserved.memory)} reserved" if host.reserved.memory else ""
    return (
        f"needs {amount(q.ask.memory)}, free {amount(free)} of {amount(capacity)} "
        f"after ratio {host.allocation_ratio.memory:g}{kept}"
    )


def mend_room(what: str) -> Words:
    def mend(q: Question, row: int) -> str:
        capacity, used, own, wanted = (
            (q.ledger.vcpus, q.ledger.vcpus_used, own_use(q)[0], q.ask.vcpus)
            if what == "vCPUs"
            else (q.ledger.memory, q.ledger.memory_used, own_use(q)[1], q.ask.memory)
        )
        if np.isnan(capacity[row]):
            return ""
        lacking = used[row] - own[row] + wanted - capacity[row]
        more = f"{np.ceil(lacking):.0f} vCPUs" if what == "vCPUs" else f"{amount(lacking)} of memory"
        return f"take {more} of other VMs away"

    return mend


def disk(q: Question) -> Bools | None:
    ask = q.ask
    if not (ask.room or ask.disk or ask.images or ask.pool or ask.volume_type):
        return None
    return q.ledger.pools.hosts_with(ask.room, ask.disk, ask.images, _pools(q))


def _pools(q: Question) -> Bools | None:
    """Which pools of `PoolLedger.arrays` may hold its disks; None: any."""
    ask, arrays = q.ask, q.ledger.pools.arrays
    kind = q.ledger.settings.volume_types.get(ask.volume_type)
    if not ask.pool and kind is None:
        return None
    each = zip(arrays.rows, arrays.pools, strict=True)
    return np.array([_may(q, int(row), pool) for row, pool in each], bool)


def _may(q: Question, row: int, pool: Pool) -> bool:
    """Whether it is the pool, or of the volume type, that was asked for."""
    if q.ask.pool and pool.name != q.ask.pool:
        return False
    kind = q.ledger.settings.volume_types.get(q.ask.volume_type)
    if kind is None:
        return True
    named = not kind.pools.names or pool.name in kind.pools.names
    return named and frozenset(kind.pools.traits) <= frozenset(q.ledger.hosts[row].traits)


def why_disk(q: Question, row: int) -> str:
    ask, pools = q.ask, q.ledger.pools
    only = _pools(q)
    said = []
    for each, at in zip(pools.known[row], np.flatnonzero(pools.arrays.rows == row), strict=True):
        if only is not None and not only[at]:
            continue
        room, size = pools.taken(each.pool)
        need = ask.room + sum(length for name, length in ask.images if name not in each.images)
        if each.unfit:
            said.append(f"pool {each.pool.name} is {each.unfit}")
        elif each.free - room < need:
            said.append(f"pool {each.pool.name} has {amount(each.free - room)} left, needs {amount(need)}")
        else:
            left = each.limit - each.promised - size
            said.append(f"pool {each.pool.name} may promise {amount(left)} more, needs {amount(ask.disk)}")
    wanted = (
        f"pool {ask.pool}" if ask.pool else f"pool of type {ask.volume_type}" if ask.volume_type else "pool"
    )
    return ", ".join(said) or f"no {wanted}"


def pool_for(q: Question, row: int) -> str:
    """The pool of a host that its disks go to: of those with the room the one with most; empty: none."""
    ask, pools = q.ask, q.ledger.pools
    if not (ask.room or ask.disk or ask.images):
        return ""
    best, most = "", -np.inf
    for each in pools.known[row]:
        if each.unfit or not _may(q, row, each.pool):
            continue
        room, size = pools.taken(each.pool)
        need = ask.room + sum(length for name, length in ask.images if name not in each.images)
        free, left = each.free - room, each.limit - each.promised - size
        # Where the room is not known, only if there is no other.
        rank = free if np.isfinite(free) else -1.0
        if free >= need and left >= ask.disk and rank > most:
            best, most = each.pool.name, rank
    return best


def vm_limit(q: Question) -> Bools:
    here = np.zeros(len(q.ledger))
    if q.ask.moving:
        here[list(q.ledger.vms.get(q.ask.moving, ()))] = 1
    return q.ledger.vm_count - here < q.ledger.settings.scheduler.max_vms_per_host


def io_limit(q: Question) -> Bools:
    return q.ledger.io < q.ledger.settings.scheduler.max_io_per_host


def amount(count: float) -> str:
    return format_value(max(0.0, float(count)), Unit.BYTES) if np.isfinite(count) else "any"
