"""One block of float32 rings: all objects of one kind on one host, sampled together.

The layout is slots × objects × metrics, so that a sample of a host is one
contiguous write, and the time of a slot is kept once for all its objects.
Two rings: `dense` holds every sample, `thin` the mean of each `THIN_STEP`.
A value that is not known, and an object that was not there, is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Times = npt.NDArray[np.float64]
Row = Floats | Sequence[float | None]
Rows = Floats | Sequence[Row]

DENSE_SPAN = 120.0
"""Seconds for which every sample is kept."""
THIN_STEP = 10.0
"""Seconds of one thinned point."""
SPAN = 900.0
"""Seconds of history in all."""
GRACE = 60.0
"""Seconds for which an object that vanished keeps its place though another wants it."""

_DENSE_SLOTS = 60  # two minutes at the usual interval of 2 s
_MAX_DENSE_SLOTS = 960
_ENOUGH = 0.9 * DENSE_SPAN  # a little jitter must not make every ring half as large again
_GAP = 2.5  # this many usual steps without a sample are a gap


class _Ring:
    """A ring over the first axis of `values`, with one time for each slot."""

    __slots__ = ("head", "times", "used", "values")

    def __init__(self, slots: int, objects: int, metrics: int) -> None:
        self.values: Floats = np.full((slots, objects, metrics), np.nan, np.float32)
        self.times: Times = np.zeros(slots, np.float64)
        self.head = 0
        """Slot that is written next, which is the oldest once the ring is full."""
        self.used = 0

    def order(self, last: int | None = None) -> npt.NDArray[np.intp]:
        """Slots from old to new; only the `last` ones, where given."""
        count = self.used if last is None else min(last, self.used)
        return np.arange(self.head - count, self.head) % len(self.times)

    def push(self, taken: float) -> Floats:
        """The row for a new sample, all NaN (objects × metrics)."""
        row: Floats = self.values[self.head]
        row.fill(np.nan)
        self.times[self.head] = taken
        self.head = (self.head + 1) % len(self.times)
        self.used = min(self.used + 1, len(self.times))
        return row

    def newest(self, count: int) -> Floats:
        """The last `count` samples, of which there must be as many (samples × objects × metrics)."""
        start = self.head - count
        if start >= 0:
            return self.values[start : self.head]
        return np.concatenate((self.values[start:], self.values[: self.head]))

    def resize(self, slots: int, objects: int) -> None:
        """Room for more; what there is stays."""
        order = self.order()
        grown = np.full((slots, objects, self.values.shape[2]), np.nan, np.float32)
        grown[: self.used, : self.values.shape[1]] = self.values[order]
        times = np.zeros(slots, np.float64)
        times[: self.used] = self.times[order]
        self.values, self.times, self.head = grown, times, self.used % slots


class Block:
    """The history of the objects of one kind on one host. `metrics`: how many values each has."""

    __slots__ = (
        "_bucket",
        "_bucket_times",
        "_dense",
        "_free",
        "_index",
        "_last",
        "_metrics",
        "_newest",
        "_seen",
        "_slot",
        "_thin",
    )

    def __init__(self, metrics: int, objects: int) -> None:
        self._metrics = metrics
        self._dense = _Ring(_DENSE_SLOTS, objects, metrics)
        self._thin = _Ring(int(SPAN / THIN_STEP), objects, metrics)
        self._slot: dict[str, int] = {}
        self._seen: dict[str, float] = {}
        """When the objects that vanished were last seen."""
        self._free = list(range(objects - 1, -1, -1))
        self._last: tuple[str, ...] = ()
        self._index: slice | npt.NDArray[np.intp] = slice(0, 0)
        self._newest = float("-inf")
        self._bucket = 0
        self._bucket_times: list[float] = []
        """When the samples of the bucket were taken that is being filled."""

    @property
    def nbytes(self) -> int:
        rings = (self._dense, self._thin)
        return sum(ring.values.nbytes + ring.times.nbytes for ring in rings)

    def record(self, taken: float, uuids: Sequence[str], values: Rows) -> None:
        """One sample (objects × metrics; NaN or None for unknown) at `taken`, seconds of CLOCK_MONOTONIC.

        `uuids` are all that there are now. A sample that is not newer than the last is ignored.
        """
        dense = self._dense
        if taken <= self._newest:
            return
        names = tuple(uuids)
        if names != self._last:
            self._place(names, self._newest, taken)
        self._newest = taken
        if int(taken // THIN_STEP) != self._bucket:
            self._close_bucket()
            self._bucket = int(taken // THIN_STEP)
        self._bucket_times.append(taken)
        too_short = dense.used == len(dense.times) and taken - dense.times[dense.head] < _ENOUGH
        if too_short and dense.used < _MAX_DENSE_SLOTS:
            dense.resize(min(_MAX_DENSE_SLOTS, dense.used * 3 // 2), dense.values.shape[1])
        row = dense.push(taken)
        if names:
            row[self._index] = np.asarray(values, np.float32)

    def series(self, uuid: str, metric: int, now: float, span: float) -> tuple[Times, Floats]:
        """Falling ages in seconds, and values: dense as far as it reaches, thinned before, NaN in gaps."""
        slot = self._slot.get(uuid)
        if slot is None:
            return np.empty(0, np.float64), np.empty(0, np.float32)
        dense, thin = self._dense.order(), self._thin.order()
        if len(dense):
            thin = thin[self._thin.times[thin] < self._dense.times[dense[0]]]
        dense = dense[now - self._dense.times[dense] <= span]
        thin = thin[now - self._thin.times[thin] <= span]
        times = np.concatenate((self._thin.times[thin], self._dense.times[dense]))
        values = np.concatenate(
            (self._thin.values[thin, slot, metric], self._dense.values[dense, slot, metric])
        )
        times, values = _with_gaps(times, values, len(thin))
        return now - times, values

    def last(self, uuid: str, metric: int, n: int) -> list[float]:
        """The last `n` samples, newest last, NaN where there is none."""
        slot = self._slot.get(uuid)
        if slot is None:
            return [np.nan] * n
        dense = self._dense
        start = dense.head - min(n, dense.used)
        if start >= 0:
            found: list[float] = dense.values[start : dense.head, slot, metric].tolist()
        else:
            found = dense.values[start:, slot, metric].tolist()
            found += dense.values[: dense.head, slot, metric].tolist()
        return [np.nan] * (n - len(found)) + found

    # ---- places of objects

    def _place(self, names: tuple[str, ...], newest: float, taken: float) -> None:
        """Give each of `names` a place; those that are no longer there keep theirs until it is needed."""
        present = set(names)
        for uuid in self._last:
            if uuid not in present:
                self._seen[uuid] = newest
        new = [uuid for uuid in dict.fromkeys(names) if uuid not in self._slot]
        for uuid in present.intersection(self._seen):
            del self._seen[uuid]
        if len(new) > len(self._free):
            self._evict(taken - GRACE)
        if len(new) > len(self._free):
            self._grow(len(new) - len(self._free))
        for uuid in new:
            self._slot[uuid] = self._free.pop()
        index = [self._slot[uuid] for uuid in names]
        in_order = index == list(range(len(index)))
        self._index = slice(0, len(index)) if in_order else np.array(index, np.intp)
        self._last = names

    def _evict(self, before: float) -> None:
        for uuid in [uuid for uuid, seen in self._seen.items() if seen <= before]:
            slot = self._slot.pop(uuid)
            del self._seen[uuid]
            self._dense.values[:, slot] = np.nan
            self._thin.values[:, slot] = np.nan
            self._free.append(slot)

    def _grow(self, missing: int) -> None:
        objects = self._dense.values.shape[1]
        wanted = objects + max(missing, objects // 8)
        wanted += -wanted % 4
        self._dense.resize(len(self._dense.times), wanted)
        self._thin.resize(len(self._thin.times), wanted)
        self._free[:0] = range(wanted - 1, objects - 1, -1)

    # ---- thinning

    def _close_bucket(self) -> None:
        """Write the mean of the bucket that was filled, where it has samples, to the thin ring.

        All hosts close theirs at the same moment, so this is written for speed: `nansum` alone takes longer.
        """
        times, self._bucket_times = self._bucket_times, []
        if not times:
            return
        values = self._dense.newest(min(len(times), self._dense.used))
        known = np.isfinite(values)
        count = np.add.reduce(known, axis=0, dtype=np.float32)
        total = np.add.reduce(values, axis=0, where=known)
        row = self._thin.push(sum(times) / len(times))
        np.divide(total, count, out=row, where=count > 0)


def _with_gaps(times: Times, values: Floats, thinned: int) -> tuple[Times, Floats]:
    """Put a NaN into the middle of each stretch without samples, so that no plot draws a line across it.

    The first `thinned` points are `THIN_STEP` apart or more, the others as far as their usual step.
    """
    if len(times) < 2:
        return times, values
    steps = np.diff(times)
    dense = np.sort(steps[thinned:])
    step = float(dense[len(dense) // 4]) if len(dense) else 0.0  # not the mean: gaps would widen it
    usual = np.full(len(steps), step)
    usual[:thinned] = max(THIN_STEP, step)
    gaps = np.flatnonzero(steps > _GAP * usual)
    if not len(gaps):
        return times, values
    middle = times[gaps] + steps[gaps] / 2
    return np.insert(times, gaps + 1, middle), np.insert(values, gaps + 1, np.float32(np.nan))
