"""The disks of a VM that is to be moved: which the other host sees, by evidence, and which must be copied.

Pure. Evidence is a pool of equal identity on both hosts (a file seen from both, or
the same network source), never an equal path. A disk that both see must not
be copied: that would write it over itself.
"""

from __future__ import annotations

from typing import NamedTuple

from virtfleet.decide.filters_room import amount
from virtfleet.decide.ledger import Ledger
from virtfleet.decide.ledger_pools import FILES
from virtfleet.model import HostView, Pool, PoolState, VmDisk, VmInfo, Volume

_LOCAL = "local:"


class Copy(NamedTuple):
    """A disk that is to be copied, into a pool and a path of the same names."""

    target: str
    """vda."""
    pool: str
    volume: str
    path: str
    format: str
    capacity: int
    """Bytes that the guest sees."""
    written: int
    """Bytes that it takes now, about."""


Lacking = tuple[str, str]
"""Why not, and what would mend it."""


def disks(
    ledger: Ledger, here: HostView, there: HostView, info: VmInfo
) -> tuple[tuple[Copy, ...], list[Lacking]]:
    """What must be copied, and why it can't go there."""
    copies: list[Copy] = []
    lacking: list[Lacking] = []
    for disk in info.disks:
        found = _one(disk, here, there)
        if isinstance(found, Copy):
            copies.append(found)
        elif found is not None:
            lacking.append(found)
    return tuple(copies), lacking or _room(ledger, there, copies)


def _one(disk: VmDisk, here: HostView, there: HostView) -> Copy | Lacking | None:
    """None: it is seen from there, too."""
    if not disk.source or disk.type == "network":  # no medium; or reached by the same name from everywhere
        return None
    if disk.device == "filesystem":
        return f"the folder {disk.source} is handed through to it", ""
    volume = volume_at(disk, here)
    pool = _pool_of(disk, volume, here)
    if pool is None:
        return f"{disk.target} ({disk.source}) is in no pool: nothing shows that {there.name} sees it", ""
    same = [each for each in there.pools if each.identity == pool.identity]
    if same and pool.identity and not pool.identity.startswith(_LOCAL):
        return _shared(disk, pool, same, there)
    if disk.device != "disk" or disk.readonly:
        name = f"its {disk.device} {disk.target}" if disk.device != "disk" else disk.target
        return (
            f"{name} has {disk.source}, which {there.name} does not see",
            "eject it, or have it on shared storage",
        )
    if disk.shareable:
        return f"{disk.target} is shared with other VMs and can't be copied", ""
    if volume is None or volume.capacity is None:
        return f"the size of {disk.target} ({disk.source}) is not known", "refresh its pool"
    return _copy(disk, volume, pool, there)


def volume_at(disk: VmDisk, host: HostView) -> Volume | None:
    """The volume that a disk is."""
    for volume in host.volumes:
        named = disk.type == "volume" and disk.source == f"{volume.pool}/{volume.name}"
        if named or (volume.path and volume.path == disk.source):
            return volume
    return None


def _pool_of(disk: VmDisk, volume: Volume | None, host: HostView) -> Pool | None:
    if volume is not None:
        return next((pool for pool in host.pools if pool.name == volume.pool), None)
    if disk.type == "volume":
        return next((pool for pool in host.pools if pool.name == disk.source.partition("/")[0]), None)
    inside = [pool for pool in host.pools if pool.target and disk.source.startswith(f"{pool.target}/")]
    return max(inside, key=lambda pool: len(pool.target), default=None)


def _shared(disk: VmDisk, pool: Pool, same: list[Pool], there: HostView) -> Lacking | None:
    running = [each for each in same if each.state is PoolState.RUNNING]
    if not running:
        return f"pool {same[0].name}, where {disk.target} is, is {same[0].state.value}", "start it"
    if disk.type == "volume":
        if any(each.name == pool.name for each in running):
            return None
        return f"pool {pool.name} is called {running[0].name} on {there.name}", ""
    if any(each.target == pool.target for each in running):
        return None
    return f"{there.name} has {disk.target} at {running[0].target}, not at {pool.target}", ""


def _copy(disk: VmDisk, volume: Volume, pool: Pool, there: HostView) -> Copy | Lacking:
    into = next((each for each in there.pools if each.name == pool.name), None)
    if into is None:
        return f"no pool {pool.name} for {disk.target}", f"define a pool {pool.name} there"
    if into.state is not PoolState.RUNNING:
        return f"pool {into.name} is {into.state.value}", "start it"
    if into.type not in FILES or pool.type not in FILES:
        return f"pool {into.name} is of type {into.type}: {disk.target} can't be copied there", ""
    if into.target != pool.target:
        return f"pool {into.name} is at {into.target}, not at {pool.target}", ""
    if any((each.pool, each.name) == (into.name, volume.name) for each in there.volumes):
        return f"a volume {volume.name} is in pool {into.name} already", "rename or delete it there"
    capacity = volume.capacity or 0
    written = min(capacity, volume.allocation if volume.allocation is not None else capacity)
    form = disk.format or volume.format or "raw"
    return Copy(disk.target, into.name, volume.name, volume.path, form, capacity, written)


def _room(ledger: Ledger, there: HostView, copies: list[Copy]) -> list[Lacking]:
    """Pools that have no room for all that would come: a copy may be written in full."""
    lacking: list[Lacking] = []
    for known in ledger.pools.known[ledger.rows[there.name]]:
        need = sum(each.capacity for each in copies if each.pool == known.pool.name)
        if not need:
            continue
        taken, size = ledger.pools.taken(known.pool)
        if known.free - taken < need:
            left = amount(known.free - taken)
            lacking.append(
                (f"pool {known.pool.name} has {left} left, needs {amount(need)}", "make room there")
            )
        elif known.limit - known.promised - size < need:
            left = amount(known.limit - known.promised - size)
            lacking.append((f"pool {known.pool.name} may promise {left} more, needs {amount(need)}", ""))
    return lacking
