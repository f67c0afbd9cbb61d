"""How a grid looks: which columns fit, and what one line is made of. No widget, no clock.

A column's width comes from its field, never from the data, so that nothing
moves sideways when values change.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from rich.cells import cell_len
from rich.segment import Segment

from virtfleet.query.field import Field, Unit
from virtfleet.query.units import format_value
from virtfleet_tui.widgets.glyphs import glyphs
from virtfleet_tui.widgets.palette import Cell, Meaning, Palette, fit, fit_pieces, meaning_class

Renderer = Callable[[Any, int], Cell]
"""(row, width of the column in cells) -> text, or pieces with their meaning. The grid cuts and pads."""

GUTTER = 2
"""Cells at the left of a line: cursor or mark, and a space."""
GAP = 2
"""Cells between two columns."""
AGE = 6
"""Cells for the age of a stale row at the right."""
_HIDDEN = 9
_PERCENTAGE = 5
_GROWTH = 2


@dataclass(frozen=True, slots=True)
class Column:
    """A field with its place on the screen."""

    field: Field[Any]
    x: int
    width: int

    @property
    def right(self) -> bool:
        return self.field.unit.numeric


def lay_out(
    fields: Sequence[Field[Any]],
    width: int,
    chosen: Sequence[str] | None = None,
    sizes: Mapping[str, int] | None = None,
    skip: int = 0,
) -> tuple[Column, ...]:
    """Columns for a screen of `width` cells.

    Without a choice, fields come by their priority as long as there is space, in the order declared; with
    one, in its order. `skip` leaves out that many columns after the first, to look at those that did not fit.
    Left-over space goes to the last column if it is text, else the first text column grows, at most twice.
    """
    order = _wanted(fields, chosen)
    if not order:
        return ()
    space = width - GUTTER
    cells = {field.name: _cells(field, sizes or {}) for field in order}
    if skip:
        picked = [order[0]]
        left = space - cells[order[0].name]
        for field in order[1 + min(skip, len(order) - 2) :]:
            left -= cells[field.name] + GAP
            if left < 0:
                break
            picked.append(field)
    elif chosen is not None:
        picked, left = [], space + GAP
        for field in order:
            left -= cells[field.name] + GAP
            if left < 0 and picked:
                break
            picked.append(field)
    else:
        left = space + GAP
        wanted: set[str] = set()
        for field in sorted(order, key=lambda field: field.priority):
            for width_here in (cells[field.name], _least(field, cells[field.name])):
                if width_here + GAP <= left or not wanted:
                    cells[field.name] = width_here
                    wanted.add(field.name)
                    left -= width_here + GAP
                    break
        picked = [field for field in order if field.name in wanted]
    _grow(picked, cells, space, sizes or {})
    columns, x = [], GUTTER
    for field in picked:
        columns.append(Column(field, x, min(cells[field.name], max(1, width - x))))
        x += cells[field.name] + GAP
    return tuple(columns)


def _wanted(fields: Sequence[Field[Any]], chosen: Sequence[str] | None) -> list[Field[Any]]:
    if chosen is None:
        return [field for field in fields if field.priority < _HIDDEN]
    by_name = {field.name: field for field in fields}
    return [by_name[name] for name in chosen if name in by_name]


def more_columns(
    fields: Sequence[Field[Any]], chosen: Sequence[str] | None, columns: Sequence[Column], skip: int
) -> bool:
    """Whether `lay_out` with a larger `skip` would show what is not on the screen."""
    order = _wanted(fields, chosen)
    if skip:
        return columns[-1].field is not order[-1]
    return len(columns) < len(order)


def _cells(field: Field[Any], sizes: Mapping[str, int]) -> int:
    return max(1, sizes.get(field.name, max(field.width, cell_len(field.title))))


def _least(field: Field[Any], full: int) -> int:
    """A percentage can do without the picture beside it."""
    return min(full, max(_PERCENTAGE, cell_len(field.title))) if field.unit is Unit.PERCENT else full


def _grow(picked: Sequence[Field[Any]], cells: dict[str, int], space: int, sizes: Mapping[str, int]) -> None:
    """What somebody gave a width keeps it."""
    left = space - sum(cells[field.name] + GAP for field in picked) + GAP
    if left <= 0:
        return
    last = picked[-1]
    if not last.unit.numeric and last.unit is not Unit.BOOL and last.name not in sizes:
        cells[last.name] += left
        return
    for field in picked:
        if field.unit is Unit.TEXT and field.name not in sizes:
            cells[field.name] += min(left, cells[field.name] * (_GROWTH - 1))
            return


def column_at(columns: Sequence[Column], x: int) -> Column | None:
    """The column whose title or values stand at this cell of a line."""
    for column in columns:
        if column.x <= x < column.x + column.width + GAP:
            return column
    return None


def edge_at(columns: Sequence[Column], x: int) -> Column | None:
    """The column whose right edge is there: the gap behind it."""
    for column in columns:
        if 0 <= x - column.x - column.width < GAP:
            return column
    return None


def header_pieces(columns: Sequence[Column], sort: Sequence[str]) -> list[tuple[str, str]]:
    """Titles and their component class, as wide as column and gap; the arrow stands behind its title."""
    first = sort[0] if sort else ""
    signs = glyphs()
    out: list[tuple[str, str]] = []
    for column in columns:
        title = column.field.title
        arrow = ""
        if first.removeprefix("-") == column.field.name:
            arrow = signs.descending if first.startswith("-") else signs.ascending
        if column.right:
            text = fit(title, column.width, right=True) + fit(arrow, GAP)
        else:
            text = fit(fit(title, min(column.width, cell_len(title))) + arrow, column.width + GAP)
        out.append((text, "grid--sorted" if arrow else ""))
    return out


@dataclass(frozen=True, slots=True)
class LineState:
    """What a line shows besides its values. Part of the key under which a finished line is kept."""

    cursor: bool = False
    focused: bool = False
    marked: bool = False
    age: str | None = None
    """Set: the row is stale."""
    lit: frozenset[str] = frozenset()
    """Fields whose change is being shown."""

    @property
    def layer(self) -> str:
        if self.cursor:
            return "grid--cursor" if self.focused else "grid--cursor-blurred"
        return "grid--marked" if self.marked else ""


class LinePainter:
    """Makes the segments of one line from one row."""

    def __init__(
        self,
        renderers: Mapping[str, Renderer],
        style_of: Callable[[Any, Field[Any]], Meaning] | None,
        ages: bool,
    ) -> None:
        self.renderers = renderers
        self.style_of = style_of
        self.ages = ages

    def cell(self, row: Any, column: Column) -> Cell:
        """The bare content of a cell, not yet cut."""
        field = column.field
        renderer = self.renderers.get(field.name)
        if renderer is not None:
            return renderer(row, column.width)
        value = (field.glance or field.get)(row)
        return value if isinstance(value, str) else format_value(value, field.unit, column.width)

    def line(
        self, row: Any, columns: Sequence[Column], width: int, state: LineState, palette: Palette
    ) -> list[Segment]:
        layer, stale = state.layer, state.age is not None
        # What the operator stands on is read: there the age and the state alone say that it is old.
        old = "grid--stale-cursor" if state.cursor and state.focused else "grid--stale"
        under = (layer, old) if stale else (layer,)
        base = palette.style(*under)
        signs = glyphs()
        sign = signs.mark if state.marked else signs.cursor if state.cursor else " "
        pieces = [(sign.ljust(GUTTER), palette.style(layer))]
        x = GUTTER
        for column in columns:
            if column.x > x:
                pieces.append((" " * (column.x - x), base))
            cell = self.cell(row, column)
            meaning = self.style_of(row, column.field) if self.style_of else ""
            over = "grid--lit" if column.field.name in state.lit else ""
            if isinstance(cell, str):
                style = palette.style(*under, meaning_class(_faded(meaning, stale)), over)
                pieces.append((fit(cell, column.width, column.right), style))
            else:
                for text, its in fit_pieces(cell, column.width, column.right):
                    style = palette.style(*under, meaning_class(_faded(its or meaning, stale)), over)
                    pieces.append((text, style))
            x = column.x + column.width
        if x < width:
            pieces.append((self._tail(width - x, state.age), base))
        # Textual looks at every segment of every repaint several times: few long ones are cheap.
        return [
            Segment("".join(text for text, _ in run), style)
            for style, run in groupby(pieces, key=lambda piece: piece[1])
        ]

    def _tail(self, width: int, age: str | None) -> str:
        if not self.ages or age is None:
            return " " * width
        return fit(age, width, right=True) if width >= AGE else " " * width


def _faded(meaning: Meaning, stale: bool) -> Meaning:
    """No green, and no activity, on what may no longer be true; trouble keeps its colour."""
    return "muted" if stale and meaning in ("good", "busy", "gauge") else meaning


def changed_fields(before: Any, after: Any, fields: Collection[Field[Any]]) -> frozenset[str]:
    """Fields worth lighting: words and counts. Rates and loads move always and would only flicker."""
    return frozenset(
        field.name
        for field in fields
        if field.unit in (Unit.TEXT, Unit.LIST, Unit.BOOL, Unit.COUNT)
        and field.get(before) != field.get(after)
    )
