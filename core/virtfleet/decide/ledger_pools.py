"""The pools of all hosts as arrays: what of each is free, what was promised, which images are there.

Several hosts may see one storage (equal identity): what is taken through one
of them is taken for all. Physical room and promised size are two questions:
thin volumes take little at once and may grow. A pool's limit of promises is
(capacity − reserved) × allocation ratio.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from virtfleet.config.settings import HostSettings
from virtfleet.model import HostView, Pool, PoolState
from virtfleet.query.capacity import sane

FILES = ("dir", "fs", "netfs")
"""Pools whose volumes are files on the host: they hold images, overlays and seeds."""
_IMAGE = "virtfleet-"


class Known(NamedTuple):
    """One pool of one host."""

    pool: Pool
    free: float
    """Bytes that may still be written, less the host's reserve; infinite: it does not tell."""
    limit: float
    """Bytes that may be promised at most; infinite: it does not tell."""
    promised: float
    images: frozenset[str]
    """Names of image volumes that are in it."""

    @property
    def unfit(self) -> str:
        return unfit(self.pool)


def unfit(pool: Pool) -> str:
    """Why the disks of a VM can't be in a pool at all; empty: they can."""
    if pool.state is not PoolState.RUNNING:
        return pool.state.value
    if pool.type not in FILES:
        return f"of type {pool.type}, whose volumes are no files of the host"
    return ""


class PoolLedger:
    """By row of a host. `reset`, then `update` each."""

    def __init__(self) -> None:
        self.known: list[tuple[Known, ...]] = []
        self._hosts: Sequence[HostSettings] = ()
        self._taken: dict[str, list[int]] = {}
        """By identity: room and size that are promised and not seen."""
        self._arrays: _Arrays | None = None

    def reset(self, hosts: Sequence[HostSettings]) -> None:
        self._hosts = hosts
        self.known = [()] * len(hosts)
        self._taken.clear()
        self._arrays = None

    def update(self, row: int, view: HostView) -> None:
        settings = self._hosts[row]
        sizes: dict[str, float] = {}
        images: dict[str, set[str]] = {}
        for volume in view.volumes:
            sizes[volume.pool] = sizes.get(volume.pool, 0.0) + (volume.capacity or 0)
            if volume.name.startswith(_IMAGE):
                images.setdefault(volume.pool, set()).add(volume.name)
        found = []
        for pool in view.pools:
            figures = sane(pool)
            free = np.inf if figures.available is None else figures.available - settings.reserved.disk
            limit = (
                np.inf
                if figures.capacity is None
                else max(0, figures.capacity - settings.reserved.disk) * settings.allocation_ratio.disk
            )
            promised = max(sizes.get(pool.name, 0.0), float(figures.allocation or 0))
            found.append(
                Known(pool, float(free), float(limit), promised, frozenset(images.get(pool.name, ())))
            )
        if tuple(found) != self.known[row]:
            self.known[row] = tuple(found)
            self._arrays = None

    def identity(self, row: int, name: str) -> str:
        """Of the storage behind a host's pool; empty: there is no such pool."""
        return next((each.pool.identity for each in self.known[row] if each.pool.name == name), "")

    def promise(self, identity: str, room: int, size: int) -> None:
        """So much more (or less) is taken of a storage."""
        if not identity:
            return
        taken = self._taken.setdefault(identity, [0, 0])
        taken[0] += room
        taken[1] += size
        if taken == [0, 0]:
            del self._taken[identity]
        if self._arrays is not None:
            self._arrays.take(identity, taken)

    def taken(self, pool: Pool) -> tuple[int, int]:
        """Room and size that are promised of a pool and not seen."""
        found = self._taken.get(pool.identity)
        return (found[0], found[1]) if found else (0, 0)

    @property
    def arrays(self) -> _Arrays:
        if self._arrays is None:
            self._arrays = _Arrays(self.known)
            for identity, taken in self._taken.items():
                self._arrays.take(identity, taken)
        return self._arrays

    def free(self) -> NDArray[np.float64]:
        """Bytes free in the pool with most of them, for each host; 0: it has none for files."""
        arrays = self.arrays
        result = np.zeros(len(self.known))
        free = arrays.free - arrays.room
        fit = arrays.fit & np.isfinite(free)
        np.maximum.at(result, arrays.rows[fit], free[fit])
        return result

    def best(self, size: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """For each host, how often `size` may be promised of the pool that has most for it, and the number of
        that storage, equal where hosts share it; −1: there is none."""
        arrays = self.arrays
        left = np.where(arrays.fit, np.clip(arrays.left - arrays.size, 0.0, None), 0.0)
        often = np.floor(np.where(np.isfinite(left), left, 0.0) / size)
        result, storage = np.zeros(len(self.known)), np.full(len(self.known), -1)
        order = np.argsort(often, kind="stable")
        # The last to be written is the one with most.
        result[arrays.rows[order]] = often[order]
        storage[arrays.rows[order]] = arrays.numbers[order]
        return result, storage

    def hosts_with(
        self, room: float, size: float, images: Sequence[tuple[str, int]], only: NDArray[np.bool_] | None
    ) -> NDArray[np.bool_]:
        """Hosts with a pool that has `room` and may promise `size` more, and the images not there besides.

        `only`: of these pools (as in `arrays`).
        """
        arrays = self.arrays
        need = np.full(len(arrays.rows), float(room))
        for name, length in images:
            need += length * ~arrays.has(name)
        fits = arrays.fit & (arrays.free - arrays.room >= need) & (arrays.left - arrays.size >= size)
        if only is not None:
            fits &= only
        result = np.zeros(len(self.known), bool)
        result[arrays.rows[fits]] = True
        return result


class _Arrays:
    """All pools of all hosts, one after another."""

    def __init__(self, known: Sequence[tuple[Known, ...]]) -> None:
        each = [(row, pool) for row, pools in enumerate(known) for pool in pools]
        self.rows = np.array([row for row, _ in each], np.intp)
        self.pools = [pool.pool for _, pool in each]
        self.fit = np.array([not pool.unfit for _, pool in each], bool)
        self.free = np.array([pool.free for _, pool in each], float)
        self.left = np.array([pool.limit - pool.promised for _, pool in each], float)
        self.room, self.size = np.zeros(len(each)), np.zeros(len(each))
        """What is promised and not seen: at once, and what it may grow to."""
        self._identities: dict[str, list[int]] = {}
        self._images: dict[str, list[int]] = {}
        numbers = {identity: n for n, identity in enumerate({pool.pool.identity: 0 for _, pool in each})}
        self.numbers = np.array([numbers[pool.pool.identity] for _, pool in each], np.int64)
        """Of the storage behind each."""
        for at, (_, pool) in enumerate(each):
            self._identities.setdefault(pool.pool.identity, []).append(at)
            for image in pool.images:
                self._images.setdefault(image, []).append(at)

    def take(self, identity: str, taken: Sequence[int]) -> None:
        for at in self._identities.get(identity, ()):
            self.room[at], self.size[at] = taken

    def has(self, image: str) -> NDArray[np.bool_]:
        """Pools in which an image is."""
        found = np.zeros(len(self.rows), bool)
        found[self._images.get(image, [])] = True
        return found
