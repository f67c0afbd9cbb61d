"""Fifteen minutes of figures for every host, VM and pool, in numpy rings: what plots and sparklines draw.

Two minutes with every sample, then one point every 10 s: 3.6 kB for a VM with
six metrics and an interval of 2 s. Tuples in deques would take some 130 kB.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from virtfleet.fleet.ring import SPAN, Block, Floats, Rows, Times
from virtfleet.model import HostStats, Pool, VmStats

Kind = Literal["host", "vm", "pool"]

METRICS: dict[str, tuple[str, ...]] = {
    "host": ("cpu_pct", "memory_used", "disk_read", "disk_write", "net_rx", "net_tx"),
    "vm": ("cpu_pct", "memory_used", "disk_read", "disk_write", "net_rx", "net_tx"),
    "pool": ("allocation",),
}
"""What is kept of each kind, in the order of the values of a sample. Units are the model's."""

_INDEX = {kind: {name: at for at, name in enumerate(names)} for kind, names in METRICS.items()}

HOST = ""
"""The uuid under which a host stands among its own VMs: they have the same metrics and are sampled together,
so one block and one write serve both."""


class History:
    """To be used from one thread. Times are seconds of CLOCK_MONOTONIC, as in `Sample.taken`.

    The host itself has the uuid `HOST`. An object unknown here has an empty series; a metric unknown here is
    a KeyError.
    """

    def __init__(self) -> None:
        self._vms: dict[str, Block] = {}
        self._pools: dict[str, Block] = {}
        self._of = {"host": self._vms, "vm": self._vms, "pool": self._pools}

    @property
    def nbytes(self) -> int:
        """Bytes of all rings."""
        return sum(block.nbytes for blocks in (self._vms, self._pools) for block in blocks.values())

    # ---- what the supervisor writes

    def record_sample(self, host: str, taken: float, stats: HostStats, vms: Sequence[VmStats]) -> None:
        """One sample of a host and all its VMs, as it comes over the wire; None is what is not known."""
        each: list[HostStats | VmStats] = [stats, *vms]
        values = [(s.cpu_pct, s.memory_used, s.disk_read, s.disk_write, s.net_rx, s.net_tx) for s in each]
        self.record_vms(host, taken, [HOST, *[s.uuid for s in vms]], values)

    def record_vms(self, host: str, taken: float, uuids: Sequence[str], values: Rows) -> None:
        """The same as rows: values[n, metrics] in the order of METRICS["vm"]."""
        _record(self._vms, "vm", host, taken, uuids, values)

    def record_pools(self, host: str, taken: float, pools: Sequence[Pool]) -> None:
        """One sample of all pools of a host."""
        uuids = [p.uuid for p in pools]
        _record(self._pools, "pool", host, taken, uuids, [(p.allocation,) for p in pools])

    def forget_host(self, host: str) -> None:
        """Drop all that is kept of a host, its VMs and its pools."""
        self._vms.pop(host, None)
        self._pools.pop(host, None)

    # ---- what faces read

    def series(
        self, kind: str, host: str, uuid: str, metric: str, now: float, span: float = SPAN
    ) -> tuple[Times, Floats]:
        """(ages in seconds, newest last and smallest; values) of the last `span` seconds before `now`.

        A NaN stands where there was no figure, also in the middle of each stretch without samples. The
        arrays are the caller's own.
        """
        column = _INDEX[kind][metric]
        block = self._of[kind].get(host)
        if block is None:
            return np.empty(0, np.float64), np.empty(0, np.float32)
        return block.series(uuid, column, now, span)

    def sparkline(self, kind: str, host: str, uuid: str, metric: str, n: int = 8) -> list[float]:
        """The last `n` samples, newest last, NaN where there is none: for cells that are drawn often."""
        column = _INDEX[kind][metric]
        block = self._of[kind].get(host)
        return [float("nan")] * n if block is None else block.last(uuid, column, n)


def _record(
    blocks: dict[str, Block], kind: Kind, host: str, taken: float, uuids: Sequence[str], values: Rows
) -> None:
    block = blocks.get(host)
    if block is None:
        block = blocks[host] = Block(len(METRICS[kind]), len(uuids))
    block.record(taken, uuids, values)
