"""`Plot`: one to three series of the last minutes as braille lines, with limits, axis and figures.

plot = Plot("disk", Unit.RATE, ("read", "write"), id="disk")
plot.set_series(ages, read, write)         # seconds ago, newest last; NaN where nothing was measured
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rich.segment import Segment
from textual import events
from textual.strip import Strip
from textual.widget import Widget

from virtfleet.query.field import Unit
from virtfleet.query.units import format_value
from virtfleet_tui.widgets.canvas import DOTS_X, DOTS_Y, Floats, cell_bits, cell_text, dotted, line_mask
from virtfleet_tui.widgets.glyphs import glyphs
from virtfleet_tui.widgets.palette import (
    MEANING_CLASSES,
    MEANING_CSS,
    Palette,
    Piece,
    centred,
    fit,
    fit_pieces,
    meaning_class,
    width_of,
)

_LABEL = 6
"""Cells of the figures at the y axis."""
_AXIS = _LABEL + 1
_FIGURE, _SHORT = 6, 4
_APART = 1
"""Cells of the title line that stay free: what stands beside the plot is not its last figure."""
_MEANINGS = ("gauge", "", "accent")
_CLASSES = tuple(meaning_class(each) for each in _MEANINGS)
_KEYS = ("━━", "╍╍", "┅┅")
_PLAIN_KEYS = ("--", "- ", "..")
_DETAIL: tuple[tuple[tuple[str, ...], int], ...] = (
    (("now", "max", "avg"), _FIGURE),
    (("now", "max"), _FIGURE),
    (("now", "max"), _SHORT),
    (("now",), _FIGURE),
    (("now ",), _FIGURE),
    (("now ",), _SHORT),
    ((), 0),
)
"""What the title line says of each series, and cells of a figure, as far as there is room. A blank: its
figure without its word."""
_LATE = 10.0
"""Seconds after which the newest sample is not called now; more where samples come seldom."""
_SMALLEST = 3
"""Lines below which there is no room for a curve."""


def nice_limit(value: float, unit: Unit) -> float:
    """The next round number at or above `value`: 1, 2 or 5 times a power, of 1024 for sizes and rates."""
    if unit is Unit.PERCENT:
        return 100.0
    if not value > 0 or math.isinf(value):
        return 1.0
    base = 1024.0 if unit in (Unit.BYTES, Unit.RATE) else 1000.0
    power = base ** max(0, math.floor(math.log(value, base) + 1e-9)) if value >= 1 else 1.0
    for step in (1, 2, 5, 10, 20, 50, 100, 200, 500):
        if value <= step * power:
            return float(step * power)
    return base * power


class Plot(Widget):
    """A plot in the lines it is given: a title line with figures, the curve, the time axis."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = MEANING_CLASSES | {"plot--title"}
    DEFAULT_CSS = f"""
    Plot {{
        background: $surface;
        color: $foreground;
        min-height: 1;
        {MEANING_CSS}
        & > .plot--title {{ text-style: bold; }}
    }}
    """

    def __init__(
        self,
        title: str,
        unit: Unit,
        names: Sequence[str] = ("",),
        *,
        span: float = 900.0,
        high: float | None = None,
        empty: str = "no samples yet",
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        """`names` of one to three series; `span` seconds are shown; `high` is the top of the axis where it is
        known (memory of the host), else it is rounded up from the data."""
        super().__init__(name=name, id=id, classes=classes)
        if not 1 <= len(names) <= len(_MEANINGS):
            raise ValueError(f"a plot shows 1 to {len(_MEANINGS)} series, not {len(names)}")
        self._title = title
        self._unit = unit
        self._names = tuple(names)
        self._span = span
        self._high = high
        self._empty = empty
        self._ages: Floats = np.zeros(0)
        self._values: tuple[Floats, ...] = tuple(np.zeros(0) for _ in names)
        self._palette = Palette(self)
        self._painted: list[Strip] | None = None

    def set_series(self, ages: ArrayLike, *values: ArrayLike) -> None:
        """Show these. `ages` in seconds before now, falling; each series as long as `ages`, NaN for gaps."""
        if len(values) != len(self._names):
            raise ValueError(f"{len(self._names)} series are needed, not {len(values)}")
        self._ages = np.asarray(ages, dtype=np.float64)
        self._values = tuple(np.asarray(each, dtype=np.float64) for each in values)
        if any(each.shape != self._ages.shape for each in self._values):
            raise ValueError("every series needs one value per age")
        self._drop()

    def clear(self) -> None:
        """Show that there is nothing to show."""
        self.set_series((), *[()] * len(self._names))

    @property
    def title(self) -> str:
        return self._title

    @title.setter
    def title(self, text: str) -> None:
        self._title = text
        self._drop()

    @property
    def high(self) -> float | None:
        """Top of the axis where it is known."""
        return self._high

    @high.setter
    def high(self, value: float | None) -> None:
        self._high = value
        self._drop()

    @property
    def span(self) -> float:
        """Seconds that are shown."""
        return self._span

    @span.setter
    def span(self, seconds: float) -> None:
        self._span = seconds
        self._drop()

    @property
    def empty(self) -> str:
        """What is said without data."""
        return self._empty

    @empty.setter
    def empty(self, text: str) -> None:
        self._empty = text
        self._drop()

    def _drop(self) -> None:
        self._painted = None
        self.refresh()

    def notify_style_update(self) -> None:
        self._palette = Palette(self)
        self._painted = None
        super().notify_style_update()

    def on_resize(self, _event: events.Resize) -> None:
        self._drop()

    # -- painting -------------------------------------------------------------------------------------
    def render_line(self, y: int) -> Strip:
        width, height = self.size
        if self._painted is None or len(self._painted) != height:
            self._painted = self._paint(width, height)
        return self._painted[y] if y < len(self._painted) else Strip.blank(width, self._palette.style())

    def _strip(self, pieces: Sequence[Piece], width: int, under: str = "") -> Strip:
        look = self._palette.style
        parts = fit_pieces(pieces, width)
        return Strip([Segment(text, look(under, meaning_class(its))) for text, its in parts], width)

    def _paint(self, width: int, height: int) -> list[Strip]:
        seen = [self._in_span(each) for each in self._values]
        known = [each[~np.isnan(each)] for each in seen]
        some = any(each.size for each in known)
        lines = [self._strip(self._headline(known, width), width, "plot--title")]
        rows, columns = height - 2, width - _AXIS
        if height < _SMALLEST or columns < 4:
            return lines + [self._strip([], width) for _ in range(height - 1)]
        if not some:
            text = [self._empty]
            return lines + [
                self._strip([(centred(text, width, height - 1, y), "muted")], width)
                for y in range(height - 1)
            ]
        high = self._high or nice_limit(max(float(each.max()) for each in known if each.size), self._unit)
        body = self._curves(columns, rows, high)
        for y, pieces in enumerate(body):
            # these fill the line exactly: nothing to cut
            look = self._palette.style
            label = Segment(self._label(y, rows, high), look("", "meaning--muted"))
            lines.append(Strip([label, *(Segment(text, look("", its)) for text, its in pieces)], width))
        lines.append(self._strip([(" " * _AXIS + self._time_axis(columns), "muted")], width))
        return lines

    def _in_span(self, values: Floats) -> Floats:
        return values[self._ages <= self._span]

    def _has_ended(self) -> bool:
        """Whether the newest sample is older than samples come: its host hangs."""
        ages = self._ages
        step = float(ages[-2] - ages[-1]) if ages.size > 1 else 0.0
        return float(ages[-1]) > max(_LATE, 3.0 * step)

    def _figure(self, value: float, cells: int = _FIGURE) -> str:
        whole: int | float = round(value) if self._unit in (Unit.BYTES, Unit.RATE) else value
        return format_value(whole, self._unit, cells).strip()

    def _headline(self, known: Sequence[Floats], width: int) -> list[Piece]:
        """Title and figures; the average goes first where there is no room, then the maximum."""
        pieces: list[Piece] = []
        for wanted, cells in _DETAIL:
            pieces = [(self._title, "")]
            for index, values in enumerate(known):
                pieces += self._figures(index, values, wanted, cells)
            if width_of(pieces) <= width - _APART:
                break
        return pieces

    def _figures(self, index: int, values: Floats, wanted: Sequence[str], cells: int) -> list[Piece]:
        keys, name = _KEYS if glyphs().braille else _PLAIN_KEYS, self._names[index]
        out: list[Piece] = []
        if len(self._names) > 1 or name:
            out += [("  ", ""), (keys[index], _MEANINGS[index]), (f" {name}", "")]
        if not values.size:
            return [*out, (" —", "muted")] if wanted else out
        latest = float(self._values[index][-1])
        # After a missing last sample there is no "now", nor when the samples have ended.
        figures = {"now": "—" if math.isnan(latest) or self._has_ended() else self._figure(latest, cells)}
        figures |= {
            "max": self._figure(float(values.max()), cells),
            "avg": self._figure(float(values.mean()), cells),
        }
        for word in wanted:
            out += [(" ", "")] if word.endswith(" ") else [("  ", ""), (f"{word} ", "muted")]
            out.append((figures[word.strip()], ""))
        return out

    def _label(self, y: int, rows: int, high: float) -> str:
        plain = not glyphs().braille
        value = {0: high, rows - 1: 0.0}.get(y)
        if rows >= 7 and rows % 2 and y == rows // 2:
            value = high / 2
        if value is None:
            return " " * _LABEL + ("|" if plain else "│")
        return fit(self._figure(value), _LABEL, right=True) + ("+" if plain else "┤")

    def _time_axis(self, columns: int) -> str:
        start, middle, end = f"-{_span(self._span)}", f"-{_span(self._span / 2)}", "now"
        if columns < len(start) + len(end) + 2:
            return fit(end, columns, right=True)
        line = start + " " * (columns - len(start) - len(end)) + end
        at = columns // 2 - len(middle) // 2
        if at > len(start) + 3 and at + len(middle) < columns - len(end) - 3:
            line = line[:at] + middle + line[at + len(middle) :]
        return line

    def _curves(self, columns: int, rows: int, high: float) -> list[list[tuple[str, str]]]:
        """Rows of runs with their component class. A cell that several series cross shows the dots of all in
        the colour of the first."""
        wide, tall = columns * DOTS_X, rows * DOTS_Y
        x = (1.0 - self._ages / self._span) * (wide - 1)
        bits = np.zeros((rows, columns), dtype=np.uint8)
        owner: NDArray[np.int8] = np.full((rows, columns), -1, dtype=np.int8)
        for index, values in enumerate(self._values):
            mask = line_mask(x, values / high * (tall - 1), wide, tall)
            if index:
                mask = dotted(mask, 4 - index)
            mine = cell_bits(mask)
            bits |= mine
            owner[(owner < 0) & (mine > 0)] = index
        # Blanks go with what is before them: fewer runs, and every run costs.
        last = np.maximum.accumulate(np.where(owner >= 0, np.arange(columns)[None, :], 0), axis=1)
        owner = np.take_along_axis(owner, last, axis=1)
        return [
            _runs(text, owners) for text, owners in zip(cell_text(bits, glyphs().braille), owner, strict=True)
        ]


def _runs(text: str, owners: NDArray[np.int8]) -> list[tuple[str, str]]:
    """A row cut where its colour changes."""
    cuts = [0, *((owners[1:] != owners[:-1]).nonzero()[0] + 1).tolist(), len(text)]
    whose = owners[cuts[:-1]].tolist()
    return [
        (text[start:end], _CLASSES[index] if index >= 0 else "")
        for (start, end), index in zip(pairwise(cuts), whose, strict=True)
    ]


def _span(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 1:
        return f"{seconds:g}s"
    return f"{minutes:g}m" if minutes < 120 else f"{minutes / 60:g}h"
