"""The part of a grid that the operator's hands move: cursor, marks, order, columns; by keys and by mouse.

`Grid` in `grid.py` adds what feeds it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any, ClassVar, TypeAlias, TypeVar

from textual import events
from textual.binding import Binding, BindingType

from virtfleet.query.field import Field
from virtfleet_tui.widgets import grid_messages as messages
from virtfleet_tui.widgets.grid_render import Column, column_at, edge_at, more_columns
from virtfleet_tui.widgets.grid_view import HEADER, GridView

R = TypeVar("R")


LEAST = 2
"""Cells of a column below which nothing of it could be read, nor its edge be taken again."""


class GridHands(GridView[R], can_focus=True):
    """What can be done to a `GridView`; see the module."""

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
    ColumnSized: TypeAlias = messages.ColumnSized

    _told: Hashable | None = None
    _counted = (0, 0, 0)
    _dragged: tuple[Column, int] | None = None
    """The column whose edge is held as it was, and where on the screen it was taken."""
    _was_dragged = False

    # -- order and columns ---------------------------------------------------------------------------------
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

    def size_column(self, name: str, width: int | None) -> None:
        """Give a column another fixed width, in cells; None: its own again."""
        if width is None:
            self._sizes.pop(name, None)
        else:
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

    def on_mouse_down(self, event: events.MouseDown) -> None:
        self.hold_still()
        self._was_dragged = False
        offset = event.get_content_offset(self)
        if offset is None or offset.y >= HEADER or event.button != 1:
            return
        column = edge_at(self._columns, offset.x)
        if column is not None:
            self._dragged = (column, event.screen_x)
            self.capture_mouse()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """The edge of a column's head follows the mouse."""
        if self._dragged is None:
            return
        column, start = self._dragged
        width = max(LEAST, column.width + event.screen_x - start)
        if width != self._sizes.get(column.field.name, column.width):
            self.hold_still()
            self.size_column(column.field.name, width)

    def on_mouse_up(self, event: events.MouseUp) -> None:
        if self._dragged is None:
            return
        column, start = self._dragged
        self._dragged = None
        self.release_mouse()
        if event.screen_x != start:
            self._was_dragged = True
            width = self._sizes.get(column.field.name, column.width)
            self.post_message(self.ColumnSized(self, column.field.name, width))

    def on_mouse_scroll_down(self, _event: events.MouseScrollDown) -> None:
        self.hold_still()

    def on_mouse_scroll_up(self, _event: events.MouseScrollUp) -> None:
        self.hold_still()

    def on_click(self, event: events.Click) -> None:
        """A row: select, twice: open, with ctrl: mark. A title: sort."""
        if self._was_dragged:  # a click is told after each release
            self._was_dragged = False
            return
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
