"""The pool of a host that the disks of a VM go to: the one with most room, or the one that was named."""

from __future__ import annotations

from collections.abc import Callable

from virtfleet.actions.common import refuse
from virtfleet.decide.ledger_pools import unfit
from virtfleet.model import HostView, Pool
from virtfleet.model.plan import Reason
from virtfleet.query.display import format_value
from virtfleet.query.field import Unit

_SHOWN = 6


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
    tail = f" (not {'; '.join(why_not[:_SHOWN])})" if why_not else ""
    return best, [Reason(text=f"pool {best.name}: most room, {left}{tail}")]


def _pool_unfit(pool: Pool, room: int) -> str:
    if reason := unfit(pool):
        return reason
    if pool.available is not None and pool.available < room:
        return f"{format_value(pool.available, Unit.BYTES)} left, {format_value(room, Unit.BYTES)} needed"
    return ""
