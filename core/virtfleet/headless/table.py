"""Rows as a table for a person: columns as wide as their content, as many as fit, the name never cut.

Where the width is limited, long texts are cut first, then the columns of
least priority go. A name that is longer than its column pushes its row to the
right instead of being cut. Rows whose figures may no longer be true are dim
and say how old they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from virtfleet.query.clock import age_of, is_stale
from virtfleet.query.display import UNKNOWN, cell_width, fit, format_age, format_value
from virtfleet.query.field import Field
from virtfleet.query.looks import Meaning
from virtfleet.query.nouns import Noun

GAP = "  "
_LONGEST_NAME = 40
RESET = "\x1b[0m"
_COLOURS = {
    Meaning.GOOD: "\x1b[32m",
    Meaning.BUSY: "\x1b[36m",
    Meaning.WARNING: "\x1b[33m",
    Meaning.BAD: "\x1b[31m",
    Meaning.MUTED: "\x1b[2m",
}
_DIM = "\x1b[2m"
BOLD = "\x1b[1m"


@dataclass(frozen=True)
class Style:
    """How a table is to look. `width`: cells of a line, None for no limit."""

    width: int | None = None
    colour: bool = False
    header: bool = True
    chosen: bool = False
    """The operator named the columns: none is left out."""


@dataclass
class _Column:
    field: Field[Any] | None
    """None: the mark of stale rows."""
    title: str
    cells: list[str]
    width: int = 0
    right: bool = False
    priority: int = 5

    @property
    def is_name(self) -> bool:
        return self.field is not None and self.field.name == "name"


def render(
    rows: Sequence[Any], fields: Sequence[Field[Any]], noun: Noun[Any], style: Style, now: float
) -> list[str]:
    """The lines of the table, without line breaks. `now` is CLOCK_MONOTONIC."""
    stale = [noun.seen and is_stale(row, now) for row in rows]
    columns = [_column(field, rows) for field in fields]
    if not style.chosen and rows:
        columns = [c for c in columns if c.is_name or any(cell != UNKNOWN for cell in c.cells)]
    if any(stale):
        ages = [age_of(row, now) if old else -1.0 for row, old in zip(rows, stale, strict=True)]
        marks = ["never" if age is None else format_age(age) if age >= 0 else "" for age in ages]
        columns.append(_Column(None, "STALE", marks, max(5, *map(len, marks)), True, 0))
    columns = _fitted(columns, style)
    if columns:
        columns[-1].width = 0 if not columns[-1].right else columns[-1].width
    lines = []
    if style.header:
        head = _line([_padded(column, column.title) for column in columns])
        lines.append(f"{BOLD}{head}{RESET}" if style.colour else head)
    for index, row in enumerate(rows):
        cells = [_padded(column, column.cells[index]) for column in columns]
        if style.colour and not stale[index]:
            _paint_state(cells, columns, noun, row)
        line = _line(cells)
        lines.append(f"{_DIM}{line}{RESET}" if style.colour and stale[index] else line)
    return lines


def _column(field: Field[Any], rows: Sequence[Any]) -> _Column:
    show = field.glance or field.get
    cells = [format_value(show(row), field.unit) or UNKNOWN for row in rows]
    width = max([cell_width(field.title), *map(cell_width, cells)])
    column = _Column(field, field.title, cells, width, field.unit.numeric, field.priority)
    if column.is_name:
        column.width = min(width, max(_LONGEST_NAME, cell_width(field.title)))
    return column


def _fitted(columns: list[_Column], style: Style) -> list[_Column]:
    """Those columns that fit, texts cut where that is needed."""
    if style.width is None:
        return columns
    if _total(columns) > style.width:
        for column in columns:
            if column.field is not None and not column.is_name and not column.right:
                limit = max(column.field.width, cell_width(column.title))
                if column.width > limit:
                    column.cells = [fit(cell, limit) for cell in column.cells]
                    column.width = max(map(cell_width, [column.title, *column.cells]))
    while not style.chosen and len(columns) > 1 and _total(columns) > style.width:
        # Of equal priority the rightmost goes first.
        worst = max(range(len(columns)), key=lambda i: (columns[i].priority, i))
        if columns[worst].priority == 0 or columns[worst].is_name:
            break
        columns = columns[:worst] + columns[worst + 1 :]
    return columns


def _total(columns: Sequence[_Column]) -> int:
    return sum(column.width for column in columns) + len(GAP) * (len(columns) - 1)


def _padded(column: _Column, text: str) -> str:
    space = " " * max(0, column.width - cell_width(text))
    return space + text if column.right else text + space


def _line(cells: Sequence[str]) -> str:
    return GAP.join(cells).rstrip()


def _paint_state(cells: list[str], columns: Sequence[_Column], noun: Noun[Any], row: Any) -> None:
    look = noun.look_of(row)
    code = _COLOURS.get(look.meaning) if look else None
    if code is None:
        return
    for index, column in enumerate(columns):
        if column.field is not None and column.field.name == "state":
            cells[index] = f"{code}{cells[index]}{RESET}"
