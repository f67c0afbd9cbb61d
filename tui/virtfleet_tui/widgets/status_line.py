"""`StatusLine`: the one line that never moves. What it says stands always at the same place.

    virtfleet  prod ▸ vms          hosts  97/100  VMs 1,873/2,041  ✖ alerts 3  cost 1.4 calls/host/s  14:02:11

The right group has fixed widths and hangs on the right edge; where space is
short its parts leave by priority, warnings and badges last.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from textual.strip import Strip
from textual.widget import Widget

from virtfleet_tui.widgets.glyphs import glyphs
from virtfleet_tui.widgets.palette import (
    MEANING_CLASSES,
    MEANING_CSS,
    Meaning,
    Palette,
    Piece,
    fit,
    fit_pieces,
    meaning_class,
    width_of,
)

_GAP = 2
_LEFT = 12
"""Cells that always stay for where we are."""


@dataclass(frozen=True, slots=True)
class Status:
    """What there is to say. A part that is None is left out."""

    fleet: str = ""
    """Name of the fleet."""
    view: str = ""
    """Where in the console we are."""
    hosts: tuple[int, int] | None = None
    """Answering, all."""
    vms: tuple[int, int] | None = None
    """Running, all."""
    alerts: int = 0
    alerts_bad: int | None = None
    """Of `alerts`: those that are more than warnings; None: all."""
    cost: float | None = None
    """libvirt calls per host and second; NaN: not known yet."""
    jobs: str = ""
    """`2 ▸ 41 %`; empty: none."""
    badges: tuple[str, ...] = ()
    """demo, simulated, read-only."""
    message: str = ""
    """A word to the operator, after the view."""
    meaning: Meaning = "warning"
    """Of the message."""


class StatusLine(Widget):
    """Shows a `Status` and the time."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = MEANING_CLASSES | {
        "status--name",
        "status--badge",
        "status--plain",
    }
    DEFAULT_CSS = f"""
    StatusLine {{
        height: 1;
        width: 1fr;
        background: $panel;
        color: $foreground;
        {MEANING_CSS}
        & > .status--name {{ color: $text-primary; text-style: bold; }}
        & > .status--badge {{ text-style: reverse; }}
    }}
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        """`clock` gives Unix time."""
        super().__init__(name=name, id=id, classes=classes)
        self._clock = clock
        self._status = Status()
        self._palette = Palette(self)
        self._shown_time = ""

    @property
    def status(self) -> Status:
        return self._status

    def show(self, status: Status) -> None:
        """Say this from now on."""
        if status != self._status:
            self._status = status
            self.refresh()

    def on_mount(self) -> None:
        self.set_interval(1.0, self.tick)

    def tick(self) -> None:
        """Repaint when the second has changed."""
        if self._time() != self._shown_time:
            self.refresh()

    def _time(self) -> str:
        return time.strftime("%H:%M:%S", time.localtime(self._clock()))

    def notify_style_update(self) -> None:
        self._palette = Palette(self)
        super().notify_style_update()

    def render_line(self, _y: int) -> Strip:
        width = self.size.width
        self._shown_time = self._time()
        pieces = line_pieces(self._status, self._shown_time, width)
        look = self._palette.style
        out = []
        for text, its in pieces:
            layer = f"status--{its}" if its in ("name", "badge") else meaning_class(its)
            out.append(Segment(text, look(layer)))
        return Strip(out, width)


def line_pieces(status: Status, clock: str, width: int) -> list[Piece]:
    """The whole line in `width` cells. Besides the meanings there are `name` and `badge`."""
    inner = max(0, width - 2)
    parts = _right(status, clock)
    while parts and inner - _LEFT < sum(width_of(part) + _GAP for _, part in parts):
        parts.remove(max(parts, key=lambda part: part[0]))
    right: list[Piece] = []
    for _, part in parts:
        right += [(" " * _GAP, ""), *part]
    room = inner - width_of(right)
    return fit_pieces([(" ", ""), *_left(status, room), *right, (" ", "")], width)


def _left(status: Status, room: int) -> list[Piece]:
    sign = glyphs().enter
    where = [text for text in (status.fleet, status.view) if text]
    path: list[Piece] = []
    for index, text in enumerate(where):
        path += [(f" {sign} ", "muted")] if index else []
        path.append((text, "name" if index == len(where) - 1 else ""))
    full: list[Piece] = [("virtfleet", "muted"), ("  ", ""), *path]
    if status.message:
        word: Piece = (status.message, status.meaning)
        full += [("   ", ""), word]
        path = [*path, ("  ", ""), word]
    pieces = full if width_of(full) <= room else path
    if width_of(pieces) > room and not status.message:  # where we are says more than whose fleet it is
        pieces = [(fit(status.view, min(room, width_of(status.view))), "name")]
    return fit_pieces(pieces, room)


def _right(status: Status, clock: str) -> list[tuple[int, list[Piece]]]:
    """Parts from left to right with their priority: the largest number leaves first."""
    signs = glyphs()
    parts: list[tuple[int, list[Piece]]] = []
    if status.badges:
        badges: list[Piece] = []
        for index, badge in enumerate(status.badges):
            badges += [(" ", "")] if index else []
            badges.append((f" {badge} ", "badge"))
        parts.append((0, badges))
    if status.hosts is not None:
        up, every = status.hosts
        parts.append((2, _ratio("hosts", up, every, "warning" if up < every else "")))
    if status.vms is not None:
        parts.append((3, _ratio("VMs", *status.vms, "")))
    alerts: list[Piece] = [(f"  alerts {0:<3}", "muted")]
    if status.alerts:
        bad = status.alerts_bad is None or status.alerts_bad > 0
        sign, its = (signs.bad, "bad") if bad else (signs.warning, "warning")
        alerts = [(f"{sign} alerts {status.alerts:<3}", its)]
    parts.append((1, alerts))
    if status.jobs:
        parts.append((4, [("jobs ", "muted"), (status.jobs, "busy")]))
    if status.cost is not None:
        cost = "   —" if math.isnan(status.cost) else f"{status.cost:4.1f}"
        parts.append((6, [("cost ", "muted"), (cost, ""), (" calls/host/s", "muted")]))
    parts.append((5, [(clock, "")]))
    return parts


def _ratio(word: str, some: int, every: int, meaning: Meaning) -> list[Piece]:
    total = f"{every:,}"
    return [(f"{word} ", "muted"), (f"{some:,}".rjust(len(total)), meaning), (f"/{total}", "")]
