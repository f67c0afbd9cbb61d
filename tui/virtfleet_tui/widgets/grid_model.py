"""What a grid holds, without a screen: rows, their order, marks, and where the cursor is.

Pure, so that the promise "nothing jumps" can be tested by the thousand. Keys
identify objects; `order` is what is shown. New values are taken at once, but
the order moves only in `reorder`, whose moment the grid chooses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from virtfleet.query.field import Field, Value

R = TypeVar("R")
Predicate = Callable[[Any], bool]


class GridModel(Generic[R]):
    """Rows of one kind by key, the shown ones in order, marks and a cursor bound to keys."""

    def __init__(
        self,
        fields: Sequence[Field[Any]],
        key: Callable[[R], Hashable],
        is_fault: Predicate | None = None,
        sort: tuple[str, ...] = (),
    ) -> None:
        self.fields = {field.name: field for field in fields}
        self.key = key
        self.is_fault = is_fault
        self.rows: dict[Hashable, R] = {}
        self.order: list[Hashable] = []
        self.marks: set[Hashable] = set()
        self.cursor: Hashable | None = None
        """Key of the selected object; None exactly when nothing is shown."""
        self.index = -1
        """Where the cursor stands in `order`; -1 when nothing is shown."""
        self.members_changed = False
        """Rows came since the last `reorder`, which does not show them yet."""
        self._sort: tuple[str, ...] = ()
        self._filter: Predicate | None = None
        self._faults_only = False
        self._faults_first = False
        self._ties: list[Hashable] | None = []
        self._passing: dict[Hashable, tuple[bool, bool]] | None = {}
        self._values: dict[str, dict[Hashable, Any]] = {}
        self._touched: set[Hashable] = set()
        self._stale_order = False
        self.sort = sort

    # -- what is shown and how ------------------------------------------------------------------------
    @property
    def sort(self) -> tuple[str, ...]:
        return self._sort

    @sort.setter
    def sort(self, names: tuple[str, ...]) -> None:
        for name in names:
            if name.removeprefix("-") not in self.fields:
                raise KeyError(name)
        self._sort = names
        self._stale_order = True

    @property
    def filter(self) -> Predicate | None:
        return self._filter

    @filter.setter
    def filter(self, predicate: Predicate | None) -> None:
        self._filter = predicate
        self._passing = None

    @property
    def faults_only(self) -> bool:
        return self._faults_only

    @faults_only.setter
    def faults_only(self, on: bool) -> None:
        self._faults_only = on
        self._passing = None

    @property
    def faults_first(self) -> bool:
        return self._faults_first

    @faults_first.setter
    def faults_first(self, on: bool) -> None:
        self._faults_first = on
        self._passing = None

    # -- rows -----------------------------------------------------------------------------------------
    def replace(self, rows: Iterable[R]) -> dict[Hashable, R | None]:
        """Take these rows and no others. What is gone leaves `order` and marks at once."""
        fresh = {self.key(row): row for row in rows}
        gone = self.rows.keys() - fresh.keys()
        if gone:
            self.drop(gone)
        return self.upsert(fresh.values())

    def upsert(self, rows: Iterable[R]) -> dict[Hashable, R | None]:
        """Take new values, and new rows. Returns the former value by key, None for a new row."""
        former: dict[Hashable, R | None] = {}
        mine, key_of = self.rows, self.key
        for row in rows:
            key = key_of(row)
            before = mine.get(key)
            if before is row:
                continue
            if before is None:
                self.members_changed = True
                self._ties = None
            former[key] = before
            mine[key] = row
        self._touched.update(former)
        return former

    def drop(self, keys: Collection[Hashable]) -> bool:
        """Forget these objects; the cursor goes to its nearest neighbour. True if any was shown."""
        gone = {key for key in keys if self.rows.pop(key, None) is not None}
        if not gone:
            return False
        self.marks -= gone
        self._touched -= gone
        for values in self._values.values():
            for key in gone:
                values.pop(key, None)
        if self._passing is not None:
            for key in gone:
                self._passing.pop(key, None)
        if self._ties is not None:
            self._ties = [key for key in self._ties if key not in gone]
        before = self.order
        self.order = [key for key in before if key not in gone]
        self._settle_cursor(before)
        return len(self.order) != len(before)

    # -- order ----------------------------------------------------------------------------------------
    @property
    def pending(self) -> bool:
        """Whether `reorder` could change anything."""
        return bool(self._touched) or self._stale_order or self.members_changed or self._passing is None

    def reorder(self) -> bool:
        """Bring `order` up to date with values, filters and sort. True if it changed.

        Values that are sorted by are computed once per change of a row, not per comparison and not per sort.
        """
        if not self.pending:
            return False
        if self._ties is None:
            self._ties = _sorted(list(self.rows), {key: key for key in self.rows}, reverse=False)
            self._stale_order = True
        moved = self._refresh_passing()
        moved |= self._refresh_values()
        self._touched.clear()
        self.members_changed = False
        if not (moved or self._stale_order):
            return False
        self._stale_order = False
        before, self.order = self.order, self._ordered(self._ties)
        self._settle_cursor(before)
        return self.order != before

    def _refresh_passing(self) -> bool:
        if self._filter is None and not self._faults_only and not self._faults_first:
            changed = bool(self._passing is None or self._passing)
            self._passing = {}
            return changed
        whole = self._passing is None
        passing: dict[Hashable, tuple[bool, bool]] = {} if self._passing is None else self._passing
        look, fault_of = self._filter, self.is_fault
        faults = fault_of is not None and (self._faults_only or self._faults_first)
        changed = whole
        # An empty mapping stands for "no filter so far": all rows have to be looked at once.
        for key in list(self.rows) if whole or not passing else self._touched:
            row = self.rows[key]
            fault = bool(faults and fault_of is not None and fault_of(row))
            verdict = ((look is None or bool(look(row))) and (fault or not self._faults_only), fault)
            if passing.get(key) != verdict:
                passing[key] = verdict
                changed = True
        self._passing = passing
        return changed

    def _refresh_values(self) -> bool:
        changed = False
        wanted = {name.removeprefix("-") for name in self._sort}
        for name in list(self._values):
            if name not in wanted:
                del self._values[name]
        for name in wanted:
            field = self.fields[name]
            known = self._values.get(name)
            if known is None:
                self._values[name] = {key: _known(field.key(row)) for key, row in self.rows.items()}
                changed = True
                continue
            get, rows = field.sort_key or field.get, self.rows  # thousands a second: no detour by a method
            for key in self._touched:
                value = _known(get(rows[key]))
                if key not in known or known[key] != value:
                    known[key] = value
                    changed = True
        return changed

    def _ordered(self, ties: list[Hashable]) -> list[Hashable]:
        passing = self._passing
        order = [key for key in ties if passing[key][0]] if passing else list(ties)
        for name in reversed(self._sort):  # least important first: every pass is stable
            field = self.fields[name.removeprefix("-")]
            values, reverse = self._values[field.name], name.startswith("-")
            if field.unit.numeric and (numbers := _numbers(order, values)) is not None:
                places = np.argsort(-numbers if reverse else numbers, kind="stable")
                order = [order[place] for place in places.tolist()]
                continue
            unknown = [key for key in order if values[key] is None]
            known = [key for key in order if values[key] is not None] if unknown else order
            order = _sorted(known, values, reverse=reverse) + unknown
        if self._faults_first and passing:
            order.sort(key=lambda key: not passing[key][1])
        return order

    # -- cursor and marks -----------------------------------------------------------------------------
    def _settle_cursor(self, before: list[Hashable]) -> None:
        """After `order` changed: stay on the object, or go to the nearest that is left below, then above."""
        if not self.order:
            self.cursor, self.index = None, -1
            return
        if self.cursor is None:
            self.cursor, self.index = self.order[0], 0
            return
        index = self.find(self.cursor)
        if index is None:
            shown = set(self.order)
            start = self.index if before and self.index >= 0 else 0
            below = (key for key in before[start:] if key in shown)
            above = (key for key in reversed(before[:start]) if key in shown)
            self.cursor = next(below, next(above, self.order[0]))
            index = self.order.index(self.cursor)
        self.index = index

    def move_to(self, index: int) -> bool:
        """Put the cursor on a line, clamped. True if it went to another object."""
        if not self.order:
            return False
        index = max(0, min(index, len(self.order) - 1))
        changed = self.order[index] != self.cursor
        self.index, self.cursor = index, self.order[index]
        return changed

    def find(self, key: Hashable) -> int | None:
        """Where an object is shown, if it is."""
        try:
            return self.order.index(key)
        except ValueError:
            return None

    def marked_rows(self) -> list[R]:
        """In the order shown, then those that the filter hides."""
        shown = [key for key in self.order if key in self.marks]
        hidden = self.marks.difference(shown)
        if hidden:
            shown += _sorted(list(hidden), {key: key for key in hidden}, reverse=False)
        return [self.rows[key] for key in shown]

    def shown_rows(self) -> list[R]:
        return [self.rows[key] for key in self.order]


def _known(value: Value) -> Any:
    """None for what cannot be compared: unknown values and NaN."""
    return None if value != value else value


def _numbers(keys: list[Hashable], values: dict[Hashable, Any]) -> NDArray[np.float64] | None:
    """Sort values as an array, which sorts three times as fast; unknown ones are NaN, which numpy puts last.

    None where a sort key is something else than a number.
    """
    try:
        return np.array([values[key] for key in keys], dtype=np.float64)
    except (TypeError, ValueError):
        return None


def _sorted(keys: list[Hashable], values: dict[Hashable, Any], *, reverse: bool) -> list[Hashable]:
    try:
        return sorted(keys, key=values.__getitem__, reverse=reverse)
    except TypeError:  # values of different kinds: grouped by kind, so that a strange host can't stop us
        return sorted(keys, key=lambda key: (type(values[key]).__name__, repr(values[key])), reverse=reverse)


def new_top(top: int, height: int, old: int, new: int, count: int) -> int:
    """First line to show after the cursor's object went from line `old` to `new` of `count`.

    If the object was in view it stays on its line of the screen as far as the ends of the table allow;
    otherwise the view stays where it was.
    """
    if 0 <= old - top < height and new >= 0:
        top += new - old
    return max(0, min(top, count - height))


class Patience:
    """When a new order may be shown: not while keys are being pressed, and not often. All in seconds."""

    QUIET = 1.5
    """After the last key."""
    PERIOD = 2.0
    """Between two sorts."""
    ARRIVAL = 0.25
    """Between two sorts when rows came, which would otherwise be missed."""

    def __init__(self) -> None:
        self._pressed = -math.inf
        self._sorted = -math.inf

    def pressed(self, now: float) -> None:
        self._pressed = now

    def sorted(self, now: float) -> None:
        self._sorted = now

    def delay(self, now: float, arrivals: bool) -> float:
        """Seconds to wait; 0: now."""
        due = max(self._pressed + self.QUIET, self._sorted + (self.ARRIVAL if arrivals else self.PERIOD))
        return max(0.0, due - now)
