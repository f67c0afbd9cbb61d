"""The fields of a storage: one row however many hosts have a pool on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from virtfleet.model import Pool
from virtfleet.query.capacity import capacity_of
from virtfleet.query.field import Field, Unit
from virtfleet.query.health import pool_fault, pool_look
from virtfleet.query.naming import natural_key
from virtfleet.query.rows import PoolRow

T = TypeVar("T")


def _first(get: Callable[[Pool], T]) -> Callable[[PoolRow], T | None]:
    """A getter over the first host's pool; None where it is empty."""
    return lambda row: get(row.members[0][1]) or None


def _state(row: PoolRow) -> str:
    """The most urgent state among its hosts, those that answer before those that do not."""
    return pool_look(row).word


def _volumes(row: PoolRow) -> int | None:
    """Hosts that see one storage refresh at different moments: the one that looked last decides."""
    known = [
        (host.freshness.pools or 0.0, pool.volumes) for host, pool in row.members if pool.volumes is not None
    ]
    return max(known)[1] if known else None


def _fault(row: PoolRow) -> str | None:
    fault = pool_fault(row)
    return fault.kind if fault else None


def _names(row: PoolRow) -> tuple[str, ...]:
    return tuple(dict.fromkeys(pool.name for _, pool in row.members))


FIELDS: tuple[Field[PoolRow], ...] = (
    Field(
        "name",
        "NAME",
        Unit.TEXT,
        "Name of the pool; of the first host's, where they differ.",
        lambda row: row.members[0][1].name,
        sort_key=lambda row: natural_key(row.members[0][1].name),
        width=16,
        priority=0,
    ),
    Field(
        "hosts",
        "HOSTS",
        Unit.LIST,
        "Hosts that see it.",
        lambda row: tuple(host.name for host, _ in row.members),
        sort_key=lambda row: len(row.members),
        width=12,
        glance=lambda row: row.members[0][0].name if len(row.members) == 1 else str(len(row.members)),
        priority=2,
    ),
    Field(
        "state",
        "STATE",
        Unit.TEXT,
        "running, inactive, building, degraded or inaccessible; the worst among the hosts that answer.",
        _state,
        sort_key=lambda row: pool_look(row).urgency,
        width=14,
        glance=lambda row: pool_look(row).text,
        priority=0,
    ),
    Field(
        "used_pct",
        "FULL",
        Unit.PERCENT,
        "Share of it that is not available.",
        lambda row: capacity_of(row).used_pct,
        width=14,
        priority=1,
    ),
    Field(
        "available",
        "FREE",
        Unit.BYTES,
        "Bytes still free.",
        lambda row: capacity_of(row).available,
        width=6,
        priority=2,
    ),
    Field(
        "capacity",
        "SIZE",
        Unit.BYTES,
        "Bytes it has, once for all hosts.",
        lambda row: capacity_of(row).capacity,
        width=6,
        priority=3,
    ),
    Field(
        "allocation",
        "ALLOC",
        Unit.BYTES,
        "Bytes in use.",
        lambda row: capacity_of(row).allocation,
        width=6,
        priority=5,
    ),
    Field(
        "type",
        "TYPE",
        Unit.TEXT,
        "dir, fs, netfs, logical, rbd ...",
        _first(lambda p: p.type),
        width=8,
        priority=3,
    ),
    Field("volumes", "VOLUMES", Unit.COUNT, "Volumes in it.", _volumes, width=7, priority=4),
    Field(
        "shared",
        "SHARED",
        Unit.BOOL,
        "Whether several hosts see it.",
        lambda row: len(row.members) > 1,
        width=6,
        priority=6,
    ),
    Field(
        "fault",
        "FAULT",
        Unit.TEXT,
        "Stable word for what is wrong with it; unknown is nothing.",
        _fault,
        width=12,
        priority=9,
    ),
    Field(
        "target",
        "TARGET",
        Unit.TEXT,
        "Where it is mounted.",
        _first(lambda p: p.target),
        width=30,
        priority=7,
    ),
    Field(
        "source",
        "SOURCE",
        Unit.TEXT,
        "Where it comes from.",
        _first(lambda p: p.source),
        width=30,
        priority=7,
    ),
    Field(
        "autostart",
        "AUTO",
        Unit.BOOL,
        "Whether it starts with every one of its hosts.",
        lambda row: all(pool.autostart for _, pool in row.members),
        width=4,
        priority=8,
    ),
    Field(
        "persistent",
        "PERSISTENT",
        Unit.BOOL,
        "Whether it is still defined when it is inactive, on every one of its hosts.",
        lambda row: all(pool.persistent for _, pool in row.members),
        width=10,
        priority=9,
    ),
    Field("names", "NAMES", Unit.LIST, "All names that hosts have for it.", _names, width=16, priority=9),
    Field(
        "uuids",
        "UUIDS",
        Unit.LIST,
        "UUIDs of its pools, in the order of `hosts`.",
        lambda row: tuple(pool.uuid for _, pool in row.members),
        width=36,
        priority=9,
    ),
    Field(
        "states",
        "STATES",
        Unit.LIST,
        "States of its pools, in the order of `hosts`.",
        lambda row: tuple(pool.state.value for _, pool in row.members),
        width=16,
        priority=9,
    ),
    Field(
        "identity",
        "IDENTITY",
        Unit.TEXT,
        "Equal exactly where the storage is the same.",
        lambda row: row.identity,
        width=30,
        priority=9,
    ),
)
