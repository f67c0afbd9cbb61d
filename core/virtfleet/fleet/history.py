"""Fifteen minutes of figures for every host, VM and pool, in numpy rings: what plots and sparklines draw.

Two minutes with every sample, then one point every 10 s: 3.6 kB for a VM with
six metrics and an interval of 2 s. Tuples in deques would take some 130 kB.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from virtfleet.fleet.ring import SPAN, Block, Floats, Row, Rows, Times
from virtfleet.model import HostStats, Pool, VmStats

Kind = Literal["host", "vm", "pool"]

METRICS: dict[str, tuple[str, ...]] = {
    "host": ("cpu_pct", "memory_used", "disk_read", "disk_write", "net_rx", "net_tx"),
    "vm": ("cpu_pct", "memory_used", "disk_read", "disk_write", "net_rx", "net_tx"),
    "pool": ("allocation",),
}
"""What is kept of each kind, in the order of the values of a sample. Units are the model's."""

_INDEX = {kind: {name: at for at, name in enumerate(names)} for kind, names in METRICS.items()}


class History:
    """To be used from one thread. Times are seconds of CLOCK_MONOTONIC, as in `Sample.taken`.

    The host itself has the uuid "". An object unknown here has an empty series; a metric unknown here is a
    KeyError.
    """

    def __init__(self) -> None:
        self._blocks: dict[tuple[str, str], Block] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of all rings."""
        return sum(block.nbytes for block in self._blocks.values())

    # ---- what the supervisor writes

    def record_host(self, host: str, taken: float, values: Row | HostStats) -> None:
        """`values` in the order of METRICS["host"]; None or NaN for what is not known."""
        if isinstance(values, HostStats):
            s = values
            values = (s.cpu_pct, s.memory_used, s.disk_read, s.disk_write, s.net_rx, s.net_tx)
        self._record("host", host, taken, ("",), (values,))

    def record_vms(self, host: str, taken: float, uuids: Sequence[str], values: Rows) -> None:
        """One sample of all VMs of a host: values[n, metrics] in the order of METRICS["vm"]."""
        self._record("vm", host, taken, uuids, values)

    def record_vm_stats(self, host: str, taken: float, stats: Sequence[VmStats]) -> None:
        """The same, from the samples as they come over the wire."""
        values = [(s.cpu_pct, s.memory_used, s.disk_read, s.disk_write, s.net_rx, s.net_tx) for s in stats]
        self._record("vm", host, taken, [s.uuid for s in stats], values)

    def record_pools(self, host: str, taken: float, pools: Sequence[Pool]) -> None:
        """One sample of all pools of a host."""
        self._record("pool", host, taken, [p.uuid for p in pools], [(p.allocation,) for p in pools])

    def forget_host(self, host: str) -> None:
        """Drop all that is kept of a host, its VMs and its pools."""
        for kind in METRICS:
            self._blocks.pop((kind, host), None)

    # ---- what faces read

    def series(
        self, kind: str, host: str, uuid: str, metric: str, now: float, span: float = SPAN
    ) -> tuple[Times, Floats]:
        """(ages in seconds, newest last and smallest; values) of the last `span` seconds before `now`.

        A NaN stands where there was no figure, also in the middle of each stretch without samples. The
        arrays are the caller's own.
        """
        column = _INDEX[kind][metric]
        block = self._blocks.get((kind, host))
        if block is None:
            return np.empty(0, np.float64), np.empty(0, np.float32)
        return block.series(uuid, column, now, span)

    def sparkline(self, kind: str, host: str, uuid: str, metric: str, n: int = 8) -> list[float]:
        """The last `n` samples, newest last, NaN where there is none: for cells that are drawn often."""
        column = _INDEX[kind][metric]
        block = self._blocks.get((kind, host))
        return [float("nan")] * n if block is None else block.last(uuid, column, n)

    def _record(self, kind: Kind, host: str, taken: float, uuids: Sequence[str], values: Rows) -> None:
        block = self._blocks.get((kind, host))
        if block is None:
            block = self._blocks[kind, host] = Block(len(METRICS[kind]), len(uuids))
        block.record(taken, uuids, values)
