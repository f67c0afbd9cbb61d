"""How full a storage is, told once however many hosts see it, and only where the figures make sense.

Drivers say odd things: an rbd pool without a manager reports capacity 0 and
16 EiB available, an inactive pool reports zeros. Such figures are unknown,
not small or large.
"""

from __future__ import annotations

from typing import NamedTuple

from virtfleet.model import Pool, PoolState
from virtfleet.query.rows import PoolRow

_ABSURD = 1 << 62
"""4 EiB: more than any storage has, less than what drivers say for "no idea"."""


class Capacity(NamedTuple):
    """Bytes; None where the driver doesn't tell or what it tells can't be."""

    capacity: int | None = None
    allocation: int | None = None
    available: int | None = None
    used_pct: float | None = None
    """Share that is not available, 0 to 100."""


_UNKNOWN = Capacity()
_INACTIVE = PoolState.INACTIVE


def sane(pool: Pool) -> Capacity:
    """The figures of one pool."""
    capacity = pool.capacity
    if capacity is None or not 0 < capacity < _ABSURD:
        return _UNKNOWN
    allocation = pool.allocation if pool.allocation is not None and 0 <= pool.allocation < _ABSURD else None
    available = pool.available if pool.available is not None and 0 <= pool.available <= capacity else None
    used = None
    if available is not None:
        used = 100.0 * (capacity - available) / capacity
    elif allocation is not None:
        used = min(100.0, 100.0 * allocation / capacity)
    return Capacity(capacity, allocation, available, used)


def capacity_of(row: PoolRow) -> Capacity:
    """The figures of a storage, from the host that looked last and knows; never a sum over hosts."""
    members = row.members
    if len(members) == 1:
        return sane(members[0][1])
    best, taken = _UNKNOWN, -1.0
    for host, pool in members:
        if pool.state is _INACTIVE:
            continue
        at = host.freshness.pools
        when = 0.0 if at is None else at
        if when > taken and (found := sane(pool)).capacity is not None:
            best, taken = found, when
    return best
