"""The fields that need a clock: how old a row's figures are, and whether they may no longer be true.

A field's `get` has no clock, so these are made for one. A listing gives a
constant and gets one consistent answer; a grid gives the clock itself and
gets ages that go on. Everything else (columns, filters, sorting, JSON) treats
them like any other field.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from virtfleet.model import Event
from virtfleet.model.job import Job
from virtfleet.query.field import Field, Unit
from virtfleet.query.hosts import state_glance
from virtfleet.query.rows import HostRow, NetworkRow, PoolRow, Row, VmRow, VolumeRow


@dataclass(frozen=True, slots=True)
class Clock:
    """Two clocks, because samples carry CLOCK_MONOTONIC and events Unix time."""

    monotonic: Callable[[], float]
    wall: Callable[[], float]

    @classmethod
    def at(cls, monotonic: float, wall: float) -> Clock:
        """A clock that stands."""
        return cls(lambda: monotonic, lambda: wall)


def age_of(row: Row, now: float) -> float | None:
    """Seconds since the row's figures were taken; `now` is CLOCK_MONOTONIC. None: they never were."""
    match row:
        case HostRow(host) | VmRow(host, _):
            taken = host.freshness.stats
        case PoolRow(_, members):
            # The figures shown are those of the host that looked last.
            taken = max((t for host, _ in members if (t := host.freshness.pools) is not None), default=None)
        case VolumeRow(host):
            taken = host.freshness.volumes
        case NetworkRow(host, _):
            taken = host.freshness.networks
    return None if taken is None else max(0.0, now - taken)


def is_stale(row: Row, now: float) -> bool:
    """Whether the row may no longer be true: its host does not answer, or what the row shows was not read
    for too long. A shared storage is stale when it is on all its hosts."""
    match row:
        case PoolRow(_, members):
            return all(host.is_group_stale("pools", now) for host, _ in members)
        case VolumeRow(host):
            return host.is_group_stale("volumes", now)
        case NetworkRow(host, _):
            return host.is_group_stale("networks", now)
    return row.host.is_stale(now)


def clocked(name: str, fields: Sequence[Field[Any]], clock: Clock) -> tuple[Field[Any], ...]:
    """`fields` of the noun `name`, and those that need a clock. A host's state then shows its age."""
    monotonic, wall = clock.monotonic, clock.wall
    if name == "event":
        return (*fields, _event_age(wall))
    if name == "job":
        return (*fields, _job_age(wall))
    extra: list[Field[Any]] = [
        Field(
            "age_s",
            "AGE",
            Unit.SECONDS,
            "Seconds since its figures were taken.",
            lambda row: age_of(row, monotonic()),
            width=5,
            priority=8,
        ),
        Field(
            "stale",
            "STALE",
            Unit.BOOL,
            "Whether its figures may no longer be true.",
            lambda row: is_stale(row, monotonic()),
            width=5,
            priority=9,
        ),
    ]
    if name == "host":
        extra.append(_state_age(wall))
        fields = [
            replace(field, glance=lambda row: state_glance(row, monotonic()))
            if field.name == "state"
            else field
            for field in fields
        ]
    return (*fields, *extra)


def _event_age(wall: Callable[[], float]) -> Field[Event]:
    return Field(
        "age_s",
        "AGE",
        Unit.SECONDS,
        "Seconds since it happened.",
        lambda event: max(0.0, wall() - event.time),
        width=5,
        priority=8,
    )


def _job_age(wall: Callable[[], float]) -> Field[Job]:
    return Field(
        "age_s",
        "AGE",
        Unit.SECONDS,
        "Seconds since it was asked for.",
        lambda job: max(0.0, wall() - job.created),
        width=5,
        priority=8,
    )


def _state_age(wall: Callable[[], float]) -> Field[HostRow]:
    return Field(
        "state_s",
        "FOR",
        Unit.SECONDS,
        "Seconds that it has been in its state.",
        lambda row: max(0.0, wall() - row.host.since) if row.host.since else None,
        width=6,
        priority=8,
    )
