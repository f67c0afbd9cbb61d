"""`Field[T]`: one declared property of one kind of object, and the only place that knows it.

Grids take their columns from fields, `--output json` its keys, the filter
language its names, `?` its help. A field is data: adding one is one
declaration beside its noun.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

T = TypeVar("T")
Value = str | int | float | bool | tuple[str, ...] | None


class Unit(StrEnum):
    """How a value is counted, and so how it is shown, aligned and parsed in a filter."""

    TEXT = "text"
    LIST = "list"
    """Several words: tags, addresses."""
    COUNT = "count"
    BYTES = "bytes"
    RATE = "bytes/s"
    IOPS = "1/s"
    PERCENT = "percent"
    SECONDS = "seconds"
    TIME = "unix time"
    """A moment: seconds since 1970; shown in local time."""
    LOAD = "load"
    BOOL = "bool"

    @property
    def numeric(self) -> bool:
        return self not in (Unit.TEXT, Unit.LIST, Unit.BOOL)


@dataclass(frozen=True, slots=True)
class Field(Generic[T]):
    """`get` never raises; None means unknown and is shown as an em dash, sorted last either way."""

    name: str
    """Stable and public: the JSON key, the filter's word."""
    title: str
    """Column head, upper case, short."""
    unit: Unit
    doc: str
    get: Callable[[T], Value]
    sort_key: Callable[[T], Value] | None = None
    """Where the natural order is not that of `get`: states by urgency, names in natural order."""
    width: int = 8
    """Cells of its column in a grid."""
    glance: Callable[[T], Value] | None = None
    """What the grid shows where that is not `get` (a state glyph and word with its age)."""
    priority: int = 5
    """Shown first when space is short: 0 always, 9 only where the operator chose it."""

    def key(self, row: T) -> Value:
        return (self.sort_key or self.get)(row)
