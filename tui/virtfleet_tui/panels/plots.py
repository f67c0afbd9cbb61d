"""The last minutes of one object, drawn from the engine's history once a second while somebody looks.

As long as only the last two or five minutes are known, the plot shows those:
fifteen mostly empty minutes would tell nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from textual.containers import Container

from virtfleet.query.field import Unit
from virtfleet.query.hosts import memory_total
from virtfleet.query.rows import HostRow, Row, VmRow
from virtfleet_tui.bridge import Fleet
from virtfleet_tui.console import Subject
from virtfleet_tui.widgets.plot import Plot

EVERY = 1.0
_SPANS = (120.0, 300.0, 900.0)
"""Seconds that a plot may show."""


class Curve(NamedTuple):
    name: str
    title: str
    unit: Unit
    metrics: tuple[str, ...]
    labels: tuple[str, ...]


LOAD = (
    Curve("cpu", "CPU", Unit.PERCENT, ("cpu_pct",), ("cpu",)),
    Curve("memory", "Memory", Unit.BYTES, ("memory_used",), ("used",)),
    Curve("disk", "Disk", Unit.RATE, ("disk_read", "disk_write"), ("read", "write")),
    Curve("net", "Network", Unit.RATE, ("net_rx", "net_tx"), ("in", "out")),
)
ROOM = (Curve("room", "Allocated", Unit.BYTES, ("allocation",), ("allocated",)),)


def curves_of(kind: str) -> tuple[Curve, ...]:
    """What there is to plot of a kind of object; empty: nothing."""
    return {"host": LOAD, "vm": LOAD, "pool": ROOM}.get(kind, ())


def memory_limit(row: Row) -> float | None:
    """The most that the memory of an object can be; None: nobody knows, or it has none."""
    match row:
        case HostRow(host):
            return memory_total(host)
        case VmRow(_, vm):
            return vm.stats.memory or vm.info.memory_max or None
        case _:
            return None


class Plots(Container):
    """The plots of one object; which of them are shown, and where, is the style sheet's."""

    def __init__(self, fleet: Fleet, curves: Sequence[Curve], *, id: str | None = None) -> None:
        super().__init__(*self._make(curves), id=id)
        self._fleet = fleet
        self._curves = curves
        self._subject: Subject | None = None

    def _make(self, curves: Iterable[Curve]) -> list[Plot]:
        return [Plot(each.title, each.unit, each.labels, id=f"plot-{each.name}") for each in curves]

    def on_mount(self) -> None:
        self.set_interval(EVERY, self.draw)

    def show(self, subject: Subject | None) -> None:
        if subject != self._subject:
            self._subject = subject
            self.draw()

    def limit(self, name: str, high: float | None) -> None:
        """The top of a plot's axis, where it is known: the memory of a host."""
        for plot in self.query(f"#plot-{name}").results(Plot):
            if plot.high != high:
                plot.high = high

    def draw(self) -> None:
        if not self.display or not self.screen.is_current:
            return
        subject = self._subject
        mine = {curve.name for curve in curves_of(subject.kind)} if subject is not None else set()
        now = time.monotonic()
        for curve in self._curves:
            plot = self.query_one(f"#plot-{curve.name}", Plot)
            if subject is None or curve.name not in mine:
                plot.clear()
                continue
            if plot.size.width == 0:
                continue
            uuid = "" if subject.kind == "host" else subject.uuid
            series = [
                self._fleet.history.series(subject.kind, subject.host, uuid, metric, now, _SPANS[-1])
                for metric in curve.metrics
            ]
            span = _span_of(*series[0])
            if plot.span != span:
                plot.span = span
            plot.set_series(series[0][0], *(values for _, values in series))


def _span_of(ages: np.ndarray, values: np.ndarray) -> float:
    known = ages[~np.isnan(values)]
    oldest = float(known.max()) if known.size else 0.0
    return next((span for span in _SPANS if oldest <= span), _SPANS[-1])
