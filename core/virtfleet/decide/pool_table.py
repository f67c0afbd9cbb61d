"""The pools of all hosts as arrays, one row for each host's pool: size, room, what was promised of it.

A storage that several hosts see has a row for each; free is the least that one of them says, provisioned the
most, for each may have looked at another moment. NaN: not told.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from virtfleet.config.settings import FleetSettings, HostSettings, PoolSelector
from virtfleet.model import FleetSnapshot, HostView, Pool, PoolState
from virtfleet.query.capacity import sane

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

CREATES = frozenset({"dir", "fs", "netfs", "logical", "disk", "rbd", "zfs", "sheepdog", "vstorage"})
"""Types of pools in which libvirt makes volumes; a SAN's LUNs and Gluster's files it only finds."""
THIN = frozenset({"dir", "fs", "netfs", "gluster", "rbd", "zfs", "sheepdog", "vstorage"})
"""Those whose volumes take no more than what is written to them."""


class Row(NamedTuple):
    host: str
    pool: Pool
    traits: frozenset[str]
    projects: tuple[str, ...]
    """That its host takes alone; empty: all."""
    down: str
    """Why it can't be used now; empty: it can."""
    total: float
    free: float
    provisioned: float
    """Sum of what its volumes may grow to, or what is written in it if that is more."""
    volumes: int


class PoolTable:
    """Of a fleet. `follow` takes over what changed since the last time."""

    def __init__(self, settings: FleetSettings) -> None:
        self._settings = settings
        self._parts: dict[str, tuple[HostView, tuple[Row, ...]]] = {}
        self.rows: list[Row] = []
        self._fill()

    def __len__(self) -> int:
        return len(self.rows)

    def follow(self, snapshot: FleetSnapshot) -> None:
        parts: dict[str, tuple[HostView, tuple[Row, ...]]] = {}
        changed = list(self._parts) != list(snapshot.hosts)
        for name, view in snapshot.hosts.items():
            before, rows = self._parts.get(name, (None, ()))
            if before is None or not _same(before, view):
                new = self._rows(name, view)
                changed |= new != rows
                rows = new
            parts[name] = (view, rows)
        self._parts = parts
        if changed:
            self.rows = [row for _, rows in parts.values() for row in rows]
            self._fill()

    def selected(self, selector: PoolSelector) -> Bools:
        """Rows that a volume type may use."""
        key = (selector.names, selector.traits)
        if key not in self._selected:
            names, traits = frozenset(selector.names), frozenset(selector.traits)
            self._selected[key] = np.array(
                [(not names or row.pool.name in names) and traits <= row.traits for row in self.rows], bool
            )
        return self._selected[key]

    def open_to(self, project: str) -> Bools:
        """Rows whose host takes a project."""
        if project not in self._open:
            self._open[project] = np.array(
                [not row.projects or project in row.projects for row in self.rows], bool
            )
        return self._open[project]

    def _rows(self, name: str, view: HostView) -> tuple[Row, ...]:
        host = self._settings.hosts.get(name) or HostSettings(name=name, uri=view.uri)
        sizes: dict[str, int] = {}
        for volume in view.volumes:
            sizes[volume.pool] = sizes.get(volume.pool, 0) + (volume.capacity or 0)
        counts = Counter(volume.pool for volume in view.volumes)
        found = []
        for pool in view.pools:
            figures = sane(pool)
            down = "" if view.state.answers else f"{name} is {view.state.value}"
            if not down and pool.state is not PoolState.RUNNING:
                down = f"it is {pool.state.value}"
            found.append(
                Row(
                    host=name,
                    pool=pool,
                    traits=frozenset(view.traits),
                    projects=host.projects,
                    down=down,
                    total=np.nan if figures.capacity is None else float(figures.capacity),
                    free=np.nan if figures.available is None else float(figures.available),
                    provisioned=float(max(sizes.get(pool.name, 0), figures.allocation or 0)),
                    volumes=counts[pool.name],
                )
            )
        return tuple(found)

    def _fill(self) -> None:
        rows = self.rows
        self._selected: dict[tuple[tuple[str, ...], tuple[str, ...]], Bools] = {}
        self._open: dict[str, Bools] = {}
        self.host_names = np.array([row.host for row in rows], dtype=np.str_)
        self.pool_names = np.array([row.pool.name for row in rows], dtype=np.str_)
        self.up: Bools = np.array([not row.down for row in rows], bool)
        self.creates: Bools = np.array([row.pool.type in CREATES for row in rows], bool)
        self.thin: Bools = np.array([row.pool.type in THIN for row in rows], bool)
        self.total: Floats = np.array([row.total for row in rows], float)
        self.count: Floats = np.array([row.volumes for row in rows], float)
        self.of_identity: dict[str, list[int]] = {}
        for at, row in enumerate(rows):
            self.of_identity.setdefault(row.pool.identity, []).append(at)
        numbers = {identity: number for number, identity in enumerate(self.of_identity)}
        self.numbers: NDArray[np.int64] = np.array([numbers[row.pool.identity] for row in rows], np.int64)
        """Of the storage behind each."""
        least, most = np.full(len(numbers), np.inf), np.zeros(len(numbers))
        free = np.array([row.free for row in rows], float)
        np.fmin.at(least, self.numbers, free)
        np.maximum.at(most, self.numbers, np.array([row.provisioned for row in rows], float))
        self.free: Floats = np.where(np.isinf(least), np.nan, least)[self.numbers]
        self.provisioned: Floats = most[self.numbers]


def _same(before: HostView, view: HostView) -> bool:
    return (
        view.pools is before.pools
        and view.volumes is before.volumes
        and view.state is before.state
        and view.traits == before.traits
    )
