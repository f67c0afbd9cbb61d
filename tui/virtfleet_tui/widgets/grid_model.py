"""What a grid holds, without a screen: rows, their order, marks, and where the cursor is.

Pure, so that the promise "nothing jumps" can be tested by the thousand. Keys
identify objects; `order` is what is shown. New values are taken at once, but
the order moves only in `reorder`, whose moment the grid chooses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from virtfleet.query.field import Field, Value

R = TypeVar("R")
Predicate = Callable[[Any], bool]

_HIDDEN, _PLAIN, _FAULT = 0, 1, 2
"""Verdicts on a row."""


class Lasting(NamedTuple):
    """Which sort values need not be looked at again: most rows are sorted by what hardly ever changes."""

    names: frozenset[str]
    """Fields that depend on the row's key and on `part` alone."""
    part: Callable[[Any], object]
    """A part of a row; as long as it is the same object, those fields have the values that they had."""


class GridModel(Generic[R]):
    """Rows of one kind by key, the shown ones in order, marks and a cursor bound to keys."""

    def __init__(
        self,
        fields: Sequence[Field[Any]],
        key: Callable[[R], Hashable],
        is_fault: Predicate | None = None,
        sort: tuple[str, ...] = (),
        lasting: Lasting | None = None,
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
        self._lasting = lasting or Lasting(frozenset(), lambda row: row)
        self._passing: dict[Hashable, int] | None = None
        """Whether a row is shown, and as what; None: not looked at yet, empty: nobody asks."""
        self._values: dict[str, dict[Hashable, Any]] = {}
        """Values of the fields of `sort`; those that lack have not been asked for yet."""
        self._stale_order = False
        self._marked: tuple[list[Hashable], set[Hashable], list[Hashable]] = ([], set(), [])
        """Marked keys in order, and the order and the marks of which they were made."""
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
        self._follow(former)
        return former

    def _follow(self, former: Mapping[Hashable, R | None]) -> None:
        """Look at once at what came, as far as the order depends on it: a few rows now and a few then are
        cheap, while all of them together would keep a key waiting."""
        if not former:
            return
        changed = self._judge(former) if self._passing is not None else False
        renewed: Collection[Hashable] | None = None
        for name, known in self._values.items():
            keys: Collection[Hashable] = former
            if name in self._lasting.names:
                renewed = self._renewed(former) if renewed is None else renewed
                keys = renewed
            changed |= self._take_values(name, known, keys)
        self._stale_order |= changed

    def _renewed(self, former: Mapping[Hashable, R | None]) -> list[Hashable]:
        """Those whose lasting part is another one."""
        rows, part = self.rows, self._lasting.part
        return [
            key for key, before in former.items() if before is None or part(before) is not part(rows[key])
        ]

    def drop(self, keys: Collection[Hashable]) -> bool:
        """Forget these objects; the cursor goes to its nearest neighbour. True if any was shown."""
        gone = {key for key in keys if self.rows.pop(key, None) is not None}
        if not gone:
            return False
        self.marks = self.marks - gone
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
        return self._stale_order or self.members_changed or self._passing is None

    def reorder(self) -> bool:
        """Bring `order` up to date with values, filters and sort. True if it changed.

        Values that are sorted by are computed once per change of a row, not per comparison and not per sort.
        """
        if not self.pending:
            return False
        if self._ties is None:
            self._ties = _sorted(list(self.rows), {key: key for key in self.rows}, reverse=False)
        if self._passing is None:
            self._passing = {}
            self._judge(self.rows)
        self._look_up_values()
        self.members_changed = self._stale_order = False
        before, self.order = self.order, self._ordered(self._ties)
        self._settle_cursor(before)
        return self.order != before

    @property
    def _is_judging(self) -> bool:
        return self._filter is not None or self._faults_only or self._faults_first

    def _judge(self, keys: Collection[Hashable]) -> bool:
        """Whether rows are shown, and where. True if any verdict changed."""
        if self._passing is None or not self._is_judging:
            return False
        passing, look, rows = self._passing, self._filter, self.rows
        fault_of = self.is_fault if self._faults_only or self._faults_first else None
        if fault_of is None and look is not None:
            verdicts = {key: _PLAIN if look(rows[key]) else _HIDDEN for key in keys}
        else:
            verdicts = {key: self._verdict(rows[key], fault_of) for key in keys}
        changed = any(passing.get(key) != verdict for key, verdict in verdicts.items()) if passing else True
        passing.update(verdicts)
        return changed

    def _verdict(self, row: R, fault_of: Predicate | None) -> int:
        if self._filter is not None and not self._filter(row):
            return _HIDDEN
        if fault_of is not None and fault_of(row):
            return _FAULT
        return _HIDDEN if self._faults_only else _PLAIN

    def _look_up_values(self) -> None:
        wanted = {name.removeprefix("-") for name in self._sort}
        for name in self._values.keys() - wanted:
            del self._values[name]
        for name in wanted - self._values.keys():
            field = self.fields[name]
            self._values[name] = {key: _known(field.key(row)) for key, row in self.rows.items()}

    def _take_values(self, name: str, known: dict[Hashable, Any], keys: Collection[Hashable]) -> bool:
        field, rows, changed = self.fields[name], self.rows, False
        get = field.sort_key or field.get  # thousands a second: no detour by a method
        for key in keys:
            value = get(rows[key])
            if value != value:
                value = None
            if key not in known or known[key] != value:
                known[key] = value
                changed = True
        return changed

    def _ordered(self, ties: list[Hashable]) -> list[Hashable]:
        passing = self._passing if self._is_judging else None
        order = list(ties) if passing is None else [key for key in ties if passing[key]]
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
        if self._faults_first and passing is not None:
            order.sort(key=lambda key: passing[key] != _FAULT)
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
        if not self.marks:  # asked for with every key
            return []
        order, marks, keys = self._marked
        if order is not self.order or marks is not self.marks:
            keys = [key for key in self.order if key in self.marks]
            hidden = self.marks.difference(keys)
            if hidden:
                keys += _sorted(list(hidden), {key: key for key in hidden}, reverse=False)
            self._marked = (self.order, self.marks, keys)
        return [self.rows[key] for key in keys]

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
