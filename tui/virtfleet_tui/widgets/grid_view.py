"""The part of a grid that paints and keeps time: lines, columns, scroll, and when a new order may appear.

`Grid` in `grid.py` adds what hosts and operators use. Everything here is
private to the two.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from rich.segment import Segment
from textual import events
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.timer import Timer

from virtfleet_tui.widgets import grid_render
from virtfleet_tui.widgets.grid_model import GridModel, Patience, new_top
from virtfleet_tui.widgets.grid_render import Column, LinePainter, LineState
from virtfleet_tui.widgets.palette import (
    MEANING_CLASSES,
    MEANING_CSS,
    Palette,
    centred,
    fit,
    wrapped,
)

R = TypeVar("R")

HEADER = 1
"""Lines of the header, which does not scroll."""
_LIT = 0.8
"""Seconds for which a change is shown."""
_AGES = 1.0
"""Seconds between two looks at ages."""
_SOON = 0.05
_TOGETHER = 0.2
"""Seconds between two repaints of changed rows: a hundred hosts would else have us paint all the time."""
_BESIDE = 0.04
"""Seconds after which a grid without the focus paints what changed."""
_KEPT_LINES = 400


class GridView(ScrollView, Generic[R]):
    """Paints a `GridModel`; see the module."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = MEANING_CLASSES | {
        "grid--header",
        "grid--sorted",
        "grid--cursor",
        "grid--cursor-blurred",
        "grid--marked",
        "grid--stale",
        "grid--stale-cursor",
        "grid--lit",
        "grid--empty",
    }
    DEFAULT_CSS = f"""
    GridView {{
        background: $surface;
        color: $foreground;
        overflow-x: hidden;
        overflow-y: auto;
        scrollbar-gutter: stable;
        scrollbar-size-vertical: 1;
        scrollbar-background: $surface;
        scrollbar-background-hover: $surface;
        scrollbar-background-active: $surface;
        {MEANING_CSS}
        & > .grid--header {{ color: $text-muted; text-style: bold; }}
        & > .grid--cursor {{ background: $primary 35%; text-style: bold; }}
        & > .grid--cursor-blurred {{ background: $primary 15%; }}
        & > .grid--sorted {{ color: $foreground; }}
        & > .grid--marked {{ background: $foreground 12%; text-style: bold; }}
        & > .grid--stale {{ color: $foreground; text-style: dim; }}
        & > .grid--stale-cursor {{ color: $foreground 80%; }}
        & > .grid--lit {{ background: $foreground 22%; }}
        & > .grid--empty {{ color: $text-muted; }}
    }}
    """

    def __init__(
        self,
        model: GridModel[R],
        painter: LinePainter,
        *,
        columns: Sequence[str] | None,
        stale: Callable[[Any], str | None] | None,
        empty: str | Callable[[], str],
        clock: Callable[[], float],
        unlit: Collection[str],
        name: str | None,
        id: str | None,
        classes: str | None,
    ) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._model = model
        self._painter = painter
        self._stale = stale
        self._empty = empty
        self._clock = clock
        self._unlit = frozenset(unlit)
        self._patience = Patience()
        self._chosen = None if columns is None else tuple(columns)
        self._sizes: dict[str, int] = {}
        self._skip = 0
        # kept, because asking Textual for them costs more than formatting a cell
        self._width = 0
        self._height = 0
        self._columns: tuple[Column, ...] = ()
        self._palette = Palette(self)
        self._lines: dict[Hashable, tuple[R, LineState, Strip]] = {}
        self._lit: dict[Hashable, tuple[float, frozenset[str]]] = {}
        self._held = False
        """The operator chose the selected object; else the grid watches its top."""
        self._ages_at = clock()
        self._dirty: set[Hashable] = set()
        """Rows in view with new values that are not painted yet."""
        self._flush_timer: Timer | None = None
        self._timer: Timer | None = None
        self._timer_due = 0.0

    def noticed(self) -> None:
        """Called when the selected object or the figures may have changed."""

    # -- geometry -------------------------------------------------------------------------------------
    @property
    def body_height(self) -> int:
        """Lines for rows."""
        return self._height

    @property
    def top(self) -> int:
        """Index of the first row in view."""
        return round(self.scroll_y)

    def in_view(self) -> list[Hashable]:
        """Keys of the rows in view, from the top."""
        top = round(self.scroll_y)
        return self._model.order[top : top + self._height]

    def _repaint(self, line: int) -> None:
        self.refresh(Region(0, line + HEADER, self._width, 1))

    def _repaint_row(self, index: int) -> None:
        if 0 <= index - self.top < self.body_height:
            self._repaint(index - self.top)

    def _scroll_top(self, top: int) -> None:
        if top != self.top:
            self.scroll_to(y=top, animate=False, force=True)

    def _reveal(self, index: int) -> None:
        """Scroll as little as needed to have this row in view."""
        if index < self.top:
            self._scroll_top(index)
        elif index >= self.top + self.body_height:
            self._scroll_top(index - self.body_height + 1)

    def _lay_out(self) -> None:
        self._width = self.scrollable_content_region.width
        self._height = max(0, self.size.height - HEADER)
        width = self._width - (grid_render.AGE if self._painter.ages else 0)
        fields = tuple(self._model.fields.values())
        self._columns = grid_render.lay_out(fields, max(1, width), self._chosen, self._sizes, self._skip)
        self._lines.clear()
        self.refresh()

    def _resize_virtual(self) -> None:
        size = Size(0, len(self._model.order) + HEADER)
        if self.virtual_size != size:
            self.virtual_size = size

    def on_resize(self, _event: events.Resize) -> None:
        self._lay_out()
        if self._held and self._model.index >= 0:
            self._reveal(self._model.index)

    def notify_style_update(self) -> None:
        self._palette = Palette(self)
        self._lines.clear()
        super().notify_style_update()

    # -- order and time -------------------------------------------------------------------------------
    def _reorder(self) -> None:
        """Show the order that values, filters and sort ask for, now."""
        line, top = self._model.index, self.top
        self._patience.sorted(self._clock())
        if self._model.reorder() or not self._model.order:
            self._after_order(line, top)

    def _after_order(self, line: int, top: int) -> None:
        """`line` and `top`: index of the cursor and of the first row in view before."""
        model, height = self._model, max(1, self.body_height)
        self._resize_virtual()
        if not model.order:
            self._held = False
        elif self._held:
            self._scroll_top(new_top(top, height, line, model.index, len(model.order)))
        elif not 0 <= model.index - self.top < height:
            model.move_to(self.top)
        self.refresh()
        self.noticed()

    def _after_values(self) -> None:
        self.noticed()
        self._arm()

    def _move(self, index: int) -> None:
        """The operator's hand: the cursor goes to this row, clamped, and stays with its object."""
        before = self._model.index
        self._held = True
        self._model.move_to(index)
        if self._model.index < 0:
            return
        self._repaint_row(before)
        self._reveal(self._model.index)
        self._repaint_row(self._model.index)
        self.noticed()

    def tick(self) -> None:
        """Do what is due by the clock: end of lit cells, ages, a new order. A timer calls it."""
        now = self._clock()
        ended = {key for key, (until, _) in self._lit.items() if until <= now}
        for key in ended:
            del self._lit[key]
        if ended:
            for line, key in enumerate(self.in_view()):
                if key in ended:
                    self._repaint(line)
        self._flush()
        if self._stale is not None and now - self._ages_at >= _AGES:
            self.refresh_ages()
        if self._model.pending and self._patience.delay(now, self._model.members_changed) <= 0:
            self._reorder()

    def refresh_ages(self) -> None:
        """Repaint what depends on the time alone: lines of stale rows. Happens by itself every second."""
        self._ages_at = self._clock()
        if self._stale is None:
            return
        for line, key in enumerate(self.in_view()):
            kept = self._lines.get(key)
            if self._stale(self._model.rows[key]) is not None or (
                kept is not None and kept[1].age is not None
            ):
                self._lines.pop(key, None)
                self._repaint(line)

    def _arm(self) -> None:
        """One timer for whatever is due next."""
        if not self.is_running:
            return
        now = self._clock()
        due = [until - now for until, _ in self._lit.values()]
        if self._stale is not None and self._model.rows:
            due.append(self._ages_at + _AGES - now)
        if self._model.pending:
            due.append(self._patience.delay(now, self._model.members_changed))
        if not due:
            return
        at = now + max(_SOON, min(due))
        if self._timer is not None:
            if self._timer_due <= at:
                return
            self._timer.stop()
        self._timer_due = at
        self._timer = self.set_timer(at - now, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.tick()
        self._arm()

    def on_mount(self) -> None:
        self._resize_virtual()
        self._arm()

    # -- changes --------------------------------------------------------------------------------------
    def _light(self, former: Mapping[Hashable, R | None]) -> None:
        """Have the visible rows repainted that have new values, and light what changed in them."""
        seen = self.in_view()
        if former.keys().isdisjoint(seen):
            return
        until = self._clock() + _LIT
        fields = [column.field for column in self._columns if column.field.name not in self._unlit]
        for key in seen:
            before = former.get(key)
            if before is None:
                continue
            changed = grid_render.changed_fields(before, self._model.rows[key], fields)
            if changed:
                self._lit[key] = (until, changed | self._lit.get(key, (0.0, frozenset()))[1])
            self._dirty.add(key)
        if self._flush_timer is not None or not self._dirty:
            return
        if self.has_focus or not self.is_running:
            self._flush()
        else:  # in a frame of its own: one that paints several grids would keep a key waiting
            self._flush_timer = self.set_timer(_BESIDE, self._flush)

    def _flush(self) -> None:
        """Paint the rows that changed; what comes in the next moment waits and is painted together."""
        if self._flush_timer is not None:
            self._flush_timer.stop()
            self._flush_timer = None
        if not self._dirty:
            return
        for line, key in enumerate(self.in_view()):
            if key in self._dirty:
                self._repaint(line)
        self._dirty.clear()
        if self.is_running:
            self._flush_timer = self.set_timer(_TOGETHER, self._flush)

    # -- painting -------------------------------------------------------------------------------------
    def render_line(self, y: int) -> Strip:
        width = self._width
        if y < HEADER:
            return self._header(width)
        order = self._model.order
        if not order:
            return self._nothing(y - HEADER, width)
        index = self.top + y - HEADER
        if index >= len(order):
            return Strip.blank(width, self._palette.style())
        return self._row(order[index], index == self._model.index, width)

    def _header(self, width: int) -> Strip:
        style = self._palette.style("grid--header")
        out = [Segment(" " * grid_render.GUTTER, style)]
        left = width - grid_render.GUTTER
        for text, layer in grid_render.header_pieces(self._columns, self._model.sort):
            shown = text if len(text) <= left else fit(text.rstrip(), left)
            out.append(Segment(shown, self._palette.style("grid--header", layer)))
            left -= len(shown)
        if left > 0:
            out.append(Segment(" " * left, style))
        return Strip(out, width)

    def _nothing(self, y: int, width: int) -> Strip:
        text = self._empty() if callable(self._empty) else self._empty
        line = centred(wrapped(text, max(8, width - 4)), width, self.body_height, y)
        return Strip([Segment(line, self._palette.style("grid--empty"))], width)

    def _row(self, key: Hashable, cursor: bool, width: int) -> Strip:
        row = self._model.rows[key]
        lit = self._lit.get(key)
        state = LineState(
            cursor=cursor,
            focused=cursor and self.has_focus,
            marked=key in self._model.marks,
            age=self._stale(row) if self._stale else None,
            lit=lit[1] if lit else frozenset(),
        )
        kept = self._lines.get(key)
        if kept is not None and kept[0] is row and kept[1] == state:
            return kept[2]
        strip = Strip(self._painter.line(row, self._columns, width, state, self._palette), width)
        if len(self._lines) > _KEPT_LINES:
            self._lines.clear()
        self._lines[key] = (row, state, strip)
        return strip
