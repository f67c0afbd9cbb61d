"""The last minutes of one object, drawn from the engine's history once a second while somebody looks.

As long as only the last two or five minutes are known, the plot shows those:
fifteen mostly empty minutes would tell nothing.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from textual.containers import Container
from textual.timer import Timer

from virtfleet.query.field import Unit
from virtfleet.query.hosts import memory_total
from virtfleet.query.rows import HostRow, Row, VmRow
from virtfleet_tui.console import Console, Subject
from virtfleet_tui.widgets.plot import Plot

EVERY = 1.0
"""Seconds between two looks at whether there is something new to draw."""
_STILL = 5.0
"""Seconds after which plots are drawn though no sample came: they move on."""
_APART = 0.03
"""Seconds between two plots of one drawing: each is painted on its own."""
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

    def __init__(self, console: Console, curves: Sequence[Curve], *, id: str | None = None) -> None:
        super().__init__(*self._make(curves), id=id)
        self._fleet = console.fleet
        self._hands = console.hands
        self._curves = curves
        self._subject: Subject | None = None
        self._waiting: deque[Curve] = deque()
        """Curves that are still to be drawn this time."""
        self._due = 0.0
        self._next: Timer | None = None
        self._seen: tuple[Subject | None, float, float] = (None, 0.0, 0.0)
        """What was drawn last: whose, its newest sample, and when."""

    def _make(self, curves: Iterable[Curve]) -> list[Plot]:
        return [Plot(each.title, each.unit, each.labels, id=f"plot-{each.name}") for each in curves]

    def on_mount(self) -> None:
        self.set_interval(EVERY, self.draw)

    def on_resize(self) -> None:
        self._seen = (None, 0.0, 0.0)
        self.draw()

    def show(self, subject: Subject | None) -> None:
        """Soon, in frames of their own."""
        if subject != self._subject:
            self._subject = subject
            self._waiting.clear()
            self.draw()

    def limit(self, name: str, high: float | None) -> None:
        """The top of a plot's axis, where it is known: the memory of a host."""
        for plot in self.query(f"#plot-{name}").results(Plot):
            if plot.high != high:
                plot.high = high

    def draw(self) -> None:
        """Draw what is new, one plot after another: all of them together would keep a key waiting."""
        if self.display and self.screen.is_current and self._is_due():
            self._due = time.monotonic()
            self._waiting = deque(self._curves)
            if self._next is None:
                self._next = self.set_timer(_APART, self._draw_next)

    def _is_due(self) -> bool:
        """Whether there is a new sample, or the old ones have moved on by a visible step."""
        subject, now = self._subject, time.monotonic()
        newest = 0.0
        if subject is not None and (mine := curves_of(subject.kind)):
            ages, _ = self._series(subject, mine[0].metrics[0], now)
            newest = round(now - float(ages[-1]), 3) if ages.size else 0.0
        drawn = self._seen
        if drawn[:2] == (subject, newest) and now - drawn[2] < _STILL:
            return False
        self._seen = (subject, newest, now)
        return True

    def _series(self, subject: Subject, metric: str, now: float) -> tuple[np.ndarray, np.ndarray]:
        uuid = "" if subject.kind == "host" else subject.uuid
        return self._fleet.history.series(subject.kind, subject.host, uuid, metric, now, _SPANS[-1])

    def _draw_next(self) -> None:
        self._next = None
        if not self._waiting:
            return
        wait = self._hands.wait(self._due)
        if wait == 0.0:
            self._draw_one(self._waiting.popleft())
            wait = _APART
        if self._waiting:
            self._next = self.set_timer(wait, self._draw_next)

    def _draw_one(self, curve: Curve) -> None:
        subject = self._subject
        plot = self.query_one(f"#plot-{curve.name}", Plot)
        if subject is None or curve not in curves_of(subject.kind):
            plot.clear()
            return
        if plot.size.width == 0:
            return
        now = time.monotonic()
        series = [self._series(subject, metric, now) for metric in curve.metrics]
        plot.span = _span_of(*series[0])
        plot.set_series(series[0][0], *(values for _, values in series))


def _span_of(ages: np.ndarray, values: np.ndarray) -> float:
    known = ages[~np.isnan(values)]
    oldest = float(known.max()) if known.size else 0.0
    return next((span for span in _SPANS if oldest <= span), _SPANS[-1])
