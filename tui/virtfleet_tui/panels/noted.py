"""A grid whose rows may say something instead of figures that are not there: why a host is silent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rich.segment import Segment

from virtfleet_tui.widgets.grid import Grid
from virtfleet_tui.widgets.grid_render import AGE, Column, LinePainter, LineState
from virtfleet_tui.widgets.palette import Palette, fit


class _NotedPainter(LinePainter):
    def __init__(self, plain: LinePainter, after: str, note: Callable[[Any], str]) -> None:
        super().__init__(plain.renderers, plain.style_of, plain.ages)
        self._after = after
        self._note = note

    def line(
        self, row: Any, columns: Sequence[Column], width: int, state: LineState, palette: Palette
    ) -> list[Segment]:
        note = self._note(row)
        at = next((i for i, column in enumerate(columns) if column.field.name == self._after), None)
        if not note or at is None or at + 1 >= len(columns):
            return super().line(row, columns, width, state, palette)
        start = columns[at + 1].x
        room = width - start - AGE
        if room < 8:
            return super().line(row, columns, width, state, palette)
        without_age = LineState(state.cursor, state.focused, state.marked, None, state.lit)
        lead = super().line(row, columns[: at + 1], start, without_age, palette)
        under = (state.layer, "grid--stale") if state.age is not None else (state.layer,)
        age = fit(state.age or "", AGE, right=True)
        return [*lead, Segment(fit(note, room), palette.style(*under)), Segment(age, palette.style(*under))]


class NotedGrid(Grid[Any]):
    """See `note_with`; without it, a grid as any other."""

    def note_with(self, after: str, note: Callable[[Any], str]) -> None:
        """`note(row)` is said behind the column `after`, over all further columns; empty: the columns.

        To be called before it is shown.
        """
        self._painter = _NotedPainter(self._painter, after, note)
