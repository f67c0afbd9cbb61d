"""`Grid`: the live table of every panel, because nothing else repaints 10,000 rows in time.

It draws on Textual's line API: only lines in view are ever formatted, an
update repaints only the visible rows that it touched. Rows are immutable
values with a stable key; what the operator holds (selection, marks, place on
the screen) is bound to keys, so that nothing jumps when values move.

    grid = Grid(VM_FIELDS, default_sort="-cpu", empty="No VMs yet: press c to create one", id="vms")
    grid.set_rows(vm_rows(snapshot))                   # at the start, and after a change of subject
    grid.update_rows(row for row in changed)           # with each delta: new and changed rows
    grid.remove_rows([("hv1", uuid)])
    grid.filter = expression.matches                   # or None
    grid.targets()                                     # what a verb acts on: the marked, else the selected

Until the operator moves the cursor, the grid watches its top: the view stays
on the first lines whatever rises there. From then on the selected object
stays selected and on its line of the screen; `g` goes back to watching.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from virtfleet.query.field import Field
from virtfleet_tui.widgets.grid_hands import GridHands
from virtfleet_tui.widgets.grid_model import GridModel, Lasting, Predicate
from virtfleet_tui.widgets.grid_render import LinePainter, Renderer
from virtfleet_tui.widgets.palette import Cell, Meaning, Piece

__all__ = ["Cell", "Grid", "Meaning", "Piece", "Renderer"]

R = TypeVar("R")


class FleetGrid(GridHands[R], can_focus=True):
    """A table of rows of one kind. See the module for its use."""

    def __init__(
        self,
        fields: Sequence[Field[Any]],
        *,
        key: Callable[[Any], Hashable] = lambda row: row.key,
        default_sort: str | Sequence[str] = (),
        columns: Sequence[str] | None = None,
        renderers: Mapping[str, Renderer] | None = None,
        stale: Callable[[Any], str | None] | None = None,
        style_of: Callable[[Any, Field[Any]], Meaning] | None = None,
        is_fault: Predicate | None = None,
        lasting: Lasting | None = None,
        unlit: Collection[str] = (),
        empty: str | Callable[[], str] = "Nothing here",
        clock: Callable[[], float] = time.monotonic,
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        """`fields` in the order of the columns; those of priority 9 appear only when chosen.

        `default_sort`: names of fields, most important first, "-name" for descending; ties go by key.
        `renderers`: by field name, instead of the field's glance; see `widgets.bars`.
        `stale(row)`: the age to show ("14 s") if the row's figures may no longer be true, else None. Such a
        row is dim, has no green, and its age stands at the end of the line.
        `style_of(row, field)`: the meaning of that cell.
        `is_fault(row)`: for `faults_only` and `faults_first`.
        `unlit`: fields whose changes are not lit: texts with ages in them.
        `lasting`: fields whose sort values need not be computed anew for every new value of a row.
        `empty`: said in the middle when there is nothing to show; plain text, may have several lines.
        `clock`: seconds that only go forward.
        """
        sort = (default_sort,) if isinstance(default_sort, str) else tuple(default_sort)
        super().__init__(
            GridModel(fields, key, is_fault, sort, lasting),
            LinePainter(renderers or {}, style_of, stale is not None),
            columns=columns,
            stale=stale,
            empty=empty,
            clock=clock,
            unlit=unlit,
            name=name,
            id=id,
            classes=classes,
        )

    # -- data -----------------------------------------------------------------------------------------
    def set_rows(self, rows: Iterable[R]) -> None:
        """Replace all rows. Selection, marks and scroll stay on their objects where these still exist.

        The first rows, and rows that have no object in common with those before, are sorted at once.
        """
        model = self._model
        line, top, count, marks = model.index, self.top, len(model.order), len(model.marks)
        former = model.replace(rows)
        if not model.order:  # other objects: from their top
            self._held = False
            self._scroll_top(0)
        elif len(model.order) != count:
            self._after_order(line, top)
        self._tell_marks(marks)
        self._taken(former)

    def update_rows(self, rows: Iterable[R]) -> None:
        """New values of some rows, or new rows. Cheap: visible ones are repainted, order follows when due."""
        self._taken(self._model.upsert(rows))

    def _taken(self, former: Mapping[Hashable, R | None]) -> None:
        if not self._model.order:
            self._reorder()
        elif former:
            self._light(former)
        self._after_values()

    def remove_rows(self, keys: Collection[Hashable]) -> None:
        """Objects that are gone. Unknown keys are ignored."""
        line, top, marks = self._model.index, self.top, len(self._model.marks)
        if self._model.drop(keys):
            self._after_order(line, top)
        for key in keys:
            self._lines.pop(key, None)
            self._lit.pop(key, None)
        self._tell_marks(marks)
        self._after_values()

    # -- what is shown --------------------------------------------------------------------------------
    @property
    def filter(self) -> Predicate | None:
        """Only rows for which it is true are shown. Set it again when its answers changed by themselves."""
        return self._model.filter

    @filter.setter
    def filter(self, predicate: Predicate | None) -> None:
        before = self._model.cursor
        self._model.filter = predicate
        self._reorder()
        if before is not None and self._model.cursor not in (None, before):
            # It does not match: the first that does is what was looked for, not its neighbour.
            self.action_cursor_home()

    @property
    def faults_only(self) -> bool:
        """Show only rows for which `is_fault` is true."""
        return self._model.faults_only

    @faults_only.setter
    def faults_only(self, on: bool) -> None:
        self._model.faults_only = on
        self._reorder()

    @property
    def faults_first(self) -> bool:
        """Rows for which `is_fault` is true come first, each part in the order of `sort`."""
        return self._model.faults_first

    @faults_first.setter
    def faults_first(self, on: bool) -> None:
        self._model.faults_first = on
        self._reorder()

    @property
    def empty(self) -> str | Callable[[], str]:
        """What is said when nothing is shown."""
        return self._empty

    @empty.setter
    def empty(self, text: str | Callable[[], str]) -> None:
        self._empty = text
        self.refresh()


Grid = FleetGrid
"""Its name in Python. In CSS `Grid` is Textual's own container, whose rules would apply to ours too."""
