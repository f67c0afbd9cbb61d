"""The fields of a volume: one row per storage, however many hosts see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from virtfleet.model import Volume
from virtfleet.query.field import Field, Unit
from virtfleet.query.naming import natural_key
from virtfleet.query.rows import VolumeRow

T = TypeVar("T")


def _word(get: Callable[[Volume], T]) -> Callable[[VolumeRow], T | None]:
    """A getter over the volume; None where it is empty."""
    return lambda row: get(row.volume) or None


def _allocated_pct(row: VolumeRow) -> float | None:
    volume = row.volume
    if volume.allocation is None or not volume.capacity:
        return None
    return 100.0 * volume.allocation / volume.capacity


def _users(row: VolumeRow) -> tuple[str, ...] | None:
    return (row.users.of(row.pool_identity, row.volume.name) or None) if row.users is not None else None


def _orphan(row: VolumeRow) -> bool | None:
    if row.users is None or _users(row):
        return None if row.users is None else False
    return None if row.users.unseen(row.pool_identity) else True


FIELDS: tuple[Field[VolumeRow], ...] = (
    Field(
        "name",
        "NAME",
        Unit.TEXT,
        "Name of the volume in its pool.",
        lambda row: row.volume.name,
        sort_key=lambda row: natural_key(row.volume.name),
        width=28,
        priority=0,
    ),
    Field(
        "pool",
        "POOL",
        Unit.TEXT,
        "Its pool.",
        lambda row: row.volume.pool,
        sort_key=lambda row: natural_key(row.volume.pool),
        width=14,
        priority=1,
    ),
    Field(
        "host",
        "HOST",
        Unit.TEXT,
        "Host it is seen from; the first one, for a shared storage.",
        lambda row: row.host.name,
        sort_key=lambda row: natural_key(row.host.name),
        width=12,
        priority=2,
    ),
    Field(
        "capacity",
        "SIZE",
        Unit.BYTES,
        "Bytes that a VM sees.",
        lambda row: row.volume.capacity,
        width=6,
        priority=1,
    ),
    Field(
        "allocation",
        "ALLOC",
        Unit.BYTES,
        "Bytes that it takes now.",
        lambda row: row.volume.allocation,
        width=6,
        priority=2,
    ),
    Field(
        "allocated_pct",
        "ALLOC %",
        Unit.PERCENT,
        "Share of its size that it takes now; above 100 with snapshots inside.",
        _allocated_pct,
        width=7,
        priority=5,
    ),
    Field(
        "users",
        "USERS",
        Unit.LIST,
        "VMs that have it, on any host, and volumes that stand on it.",
        _users,
        width=20,
        priority=3,
    ),
    Field(
        "orphan",
        "ORPHAN",
        Unit.BOOL,
        "Whether nobody uses it; unknown while a host that sees its storage does not answer.",
        _orphan,
        width=6,
        priority=6,
    ),
    Field("format", "FORMAT", Unit.TEXT, "raw, qcow2 ...", _word(lambda v: v.format), width=7, priority=3),
    Field(
        "type",
        "TYPE",
        Unit.TEXT,
        "file, block, dir, network, ploop.",
        _word(lambda v: v.type),
        width=7,
        priority=5,
    ),
    Field(
        "backing",
        "BACKING",
        Unit.TEXT,
        "Path of its backing file.",
        _word(lambda v: v.backing),
        width=30,
        priority=6,
    ),
    Field("path", "PATH", Unit.TEXT, "Path on its host.", _word(lambda v: v.path), width=40, priority=7),
    Field("key", "KEY", Unit.TEXT, "libvirt's key for it.", _word(lambda v: v.key), width=40, priority=9),
    Field(
        "physical",
        "PHYSICAL",
        Unit.BYTES,
        "Bytes on the device or in the file.",
        lambda row: row.volume.physical,
        width=8,
        priority=8,
    ),
    Field(
        "pool_identity",
        "STORAGE",
        Unit.TEXT,
        "Identity of its storage: equal exactly where the storage is the same.",
        lambda row: row.pool_identity,
        width=30,
        priority=9,
    ),
)
