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
from typing import Any, ClassVar, TypeAlias, TypeVar

from textual import events
from textual.binding import Binding, BindingType

from virtfleet.query.field import Field
from virtfleet_tui.widgets import grid_messages as messages
from virtfleet_tui.widgets.grid_model import GridModel, Predicate
from virtfleet_tui.widgets.grid_render import LinePainter, Renderer, column_at, more_columns
from virtfleet_tui.widgets.grid_view import HEADER, GridView
from virtfleet_tui.widgets.palette import Cell, Meaning, Piece

__all__ = ["Cell", "Grid", "Meaning", "Piece", "Renderer"]

R = TypeVar("R")


class FleetGrid(GridView[R], can_focus=True):
    """A table of rows of one kind. See the module for its use."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "cursor_down", "Down", show=False),
        Binding("up,k", "cursor_up", "Up", show=False),
        Binding("home,g", "cursor_home", "First", show=False),
        Binding("end,G", "cursor_end", "Last", show=False),
        Binding("pagedown", "page_down", "Page down", show=False),
        Binding("pageup", "page_up", "Page up", show=False),
        Binding("ctrl+d", "half_page_down", "Half a page down", show=False),
        Binding("ctrl+u", "half_page_up", "Half a page up", show=False),
        Binding("right", "columns_right", "Columns that did not fit", show=False),
        Binding("left", "columns_left", "Columns before", show=False),
        Binding("space", "mark", "Mark", show=False),
        Binding("asterisk", "mark_all", "Mark all", show=False),
        Binding("enter", "open", "Open", show=False),
    ]

    Selected: TypeAlias = messages.Selected
    Opened: TypeAlias = messages.Opened
    Marked: TypeAlias = messages.Marked
    SortChanged: TypeAlias = messages.SortChanged
    Counted: TypeAlias = messages.Counted

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
        `empty`: said in the middle when there is nothing to show; plain text, may have several lines.
        `clock`: seconds that only go forward.
        """
        sort = (default_sort,) if isinstance(default_sort, str) else tuple(default_sort)
        super().__init__(
            GridModel(fields, key, is_fault, sort),
            LinePainter(renderers or {}, style_of, stale is not None),
            columns=columns,
            stale=stale,
            empty=empty,
            clock=clock,
            name=name,
            id=id,
            classes=classes,
        )
        self._told: Hashable | None = None
        self._counted = (0, 0, 0)

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
        self._model.filter = predicate
        self._reorder()

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

    @property
    def sort(self) -> tuple[str, ...]:
        """Names of fields, most important first, "-" before descending ones."""
        return self._model.sort

    def sort_by(self, *names: str) -> None:
        """Sort at once by these fields ("-name" descending). An unknown name raises KeyError."""
        if names == self._model.sort:
            return
        self._model.sort = names
        self._reorder()
        self.refresh()
        self.post_message(self.SortChanged(self, names))

    def sort_by_column(self, name: str) -> None:
        """As a click on its title: numbers from the top, words from A; again: turned round.

        What was sorted by before decides between equals.
        """
        before = self._model.sort
        if before and before[0].removeprefix("-") == name:
            self.reverse()
            return
        first = f"-{name}" if self._model.fields[name].unit.numeric else name
        self.sort_by(first, *[each for each in before if each.removeprefix("-") != name][:1])

    def reverse(self) -> None:
        """Turn the first sort key round."""
        if self._model.sort:
            first, *rest = self._model.sort
            self.sort_by(first[1:] if first.startswith("-") else f"-{first}", *rest)

    @property
    def fields(self) -> tuple[Field[Any], ...]:
        """All fields that can be columns."""
        return tuple(self._model.fields.values())

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns now on the screen, from left to right."""
        return tuple(column.field.name for column in self._columns)

    def choose_columns(self, names: Sequence[str] | None) -> None:
        """Show these fields in this order as far as they fit (← → for the rest); None: by priority."""
        self._chosen = None if names is None else tuple(names)
        self._skip = 0
        self._lay_out()

    def size_column(self, name: str, width: int) -> None:
        """Give a column another fixed width, in cells."""
        self._sizes[name] = max(1, width)
        self._lay_out()

    # -- the operator's hand --------------------------------------------------------------------------
    @property
    def selected(self) -> R | None:
        """The row under the cursor, its newest value."""
        key = self._model.cursor
        return None if key is None else self._model.rows[key]

    @property
    def selected_key(self) -> Hashable | None:
        return self._model.cursor

    def select(self, key: Hashable) -> bool:
        """Put the cursor on an object and scroll to it. False: it is not shown."""
        if self._model.members_changed:
            self._reorder()
        index = self._model.find(key)
        if index is None:
            return False
        self._move(index)
        return True

    @property
    def marked_rows(self) -> list[R]:
        """Marked rows in the order of the grid; those hidden by the filter come last."""
        return self._model.marked_rows()

    def mark(self, keys: Iterable[Hashable], on: bool = True) -> None:
        """Set or clear marks. Unknown keys are ignored."""
        known = {key for key in keys if key in self._model.rows}
        self._set_marks(self._model.marks | known if on else self._model.marks - known)

    def clear_marks(self) -> None:
        self._set_marks(set())

    def targets(self) -> list[R]:
        """What a verb acts on: the marked rows, or else the selected one, or nothing."""
        selected = self.selected
        return self._model.marked_rows() or ([] if selected is None else [selected])

    def hold_still(self) -> None:
        """Treat this moment as a press of a key: no new order for the next 1.5 s."""
        self._patience.pressed(self._clock())

    # -- figures for the panel's title ----------------------------------------------------------------
    @property
    def shown(self) -> int:
        """Rows that pass the filters."""
        return len(self._model.order)

    @property
    def total(self) -> int:
        """All rows."""
        return len(self._model.rows)

    @property
    def marked(self) -> int:
        """Marked rows, hidden ones included."""
        return len(self._model.marks)

    @property
    def rows(self) -> list[R]:
        """The shown rows in their order."""
        return self._model.shown_rows()

    def get(self, key: Hashable) -> R | None:
        """The newest value of an object, shown or not."""
        return self._model.rows.get(key)

    # -- keys and mouse -------------------------------------------------------------------------------
    def noticed(self) -> None:
        if self._model.cursor != self._told:
            self._told = self._model.cursor
            self.post_message(self.Selected(self, self.selected))
        figures = (self.shown, self.total, self.marked)
        if figures != self._counted:
            self._counted = figures
            self.post_message(self.Counted(self))

    def _set_marks(self, marks: set[Hashable]) -> None:
        before = self._model.marks
        self._model.marks = marks
        if marks != before:
            self.refresh()
            self.post_message(self.Marked(self, len(marks)))
        self.noticed()

    def _tell_marks(self, before: int) -> None:
        if len(self._model.marks) != before:
            self.post_message(self.Marked(self, len(self._model.marks)))

    def action_cursor_down(self) -> None:
        self._move(self._model.index + 1)

    def action_cursor_up(self) -> None:
        self._move(self._model.index - 1)

    def action_cursor_home(self) -> None:
        """To the top, and watch it from now on."""
        self._move(0)
        self._held = False

    def action_cursor_end(self) -> None:
        self._move(len(self._model.order) - 1)

    def action_page_down(self) -> None:
        self._page(self.body_height - 1)

    def action_page_up(self) -> None:
        self._page(1 - self.body_height)

    def action_half_page_down(self) -> None:
        self._page(self.body_height // 2)

    def action_half_page_up(self) -> None:
        self._page(-(self.body_height // 2))

    def _page(self, lines: int) -> None:
        """Cursor and view go together, so that the cursor keeps its line of the screen."""
        count = len(self._model.order)
        self._scroll_top(max(0, min(self.top + lines, count - self.body_height)))
        self._move(self._model.index + lines)

    def action_columns_right(self) -> None:
        if more_columns(self.fields, self._chosen, self._columns, self._skip):
            self._skip += 1
            self._lay_out()

    def action_columns_left(self) -> None:
        if self._skip:
            self._skip -= 1
            self._lay_out()

    def action_mark(self) -> None:
        """Mark the selected object, or not any more, and go on to the next."""
        key = self._model.cursor
        if key is not None:
            self._set_marks(self._model.marks ^ {key})
            self._move(self._model.index + 1)

    def action_mark_all(self) -> None:
        """Mark all that is shown; when all of it is marked already, clear all marks."""
        shown = set(self._model.order)
        self._set_marks(set() if shown <= self._model.marks else self._model.marks | shown)

    def action_open(self) -> None:
        row = self.selected
        if row is not None:
            self.post_message(self.Opened(self, row))

    def on_key(self, _event: events.Key) -> None:
        self.hold_still()

    def on_mouse_down(self, _event: events.MouseDown) -> None:
        self.hold_still()

    def on_mouse_scroll_down(self, _event: events.MouseScrollDown) -> None:
        self.hold_still()

    def on_mouse_scroll_up(self, _event: events.MouseScrollUp) -> None:
        self.hold_still()

    def on_click(self, event: events.Click) -> None:
        """A row: select, twice: open, with ctrl: mark. A title: sort."""
        offset = event.get_content_offset(self)
        if offset is None:
            return
        if offset.y < HEADER:
            column = column_at(self._columns, offset.x)
            if column is not None:
                self.sort_by_column(column.field.name)
            return
        index = self.top + offset.y - HEADER
        if index >= len(self._model.order):
            return
        same = index == self._model.index
        self._move(index)
        if event.ctrl:
            self._set_marks(self._model.marks ^ {self._model.order[index]})
        elif event.chain == 2 and same:
            self.action_open()


Grid = FleetGrid
"""Its name in Python. In CSS `Grid` is Textual's own container, whose rules would apply to ours too."""
