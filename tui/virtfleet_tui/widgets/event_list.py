"""`EventList`: what happened, one line each, newest below; it follows the end unless somebody scrolled up."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import ClassVar

from rich.segment import Segment
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from virtfleet.model.event import Event, Severity
from virtfleet_tui.widgets.glyphs import glyphs
from virtfleet_tui.widgets.palette import (
    MEANING_CLASSES,
    MEANING_CSS,
    Meaning,
    Palette,
    Piece,
    centred,
    fit,
    fit_pieces,
    meaning_class,
    wrapped,
)

KEPT = 2000
_HOST = 10
_NAME = 18
_NARROW = 60
"""Cells below which host and name share the line with the rest as they come."""
_MEANING: dict[Severity, Meaning] = {
    Severity.INFO: "",
    Severity.WARNING: "warning",
    Severity.ERROR: "bad",
}


class EventList(ScrollView, can_focus=True):
    """The newest `KEPT` events that pass `matches`."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = MEANING_CLASSES
    DEFAULT_CSS = f"""
    EventList {{
        background: $surface;
        color: $foreground;
        overflow-x: hidden;
        overflow-y: auto;
        scrollbar-gutter: stable;
        scrollbar-size-vertical: 1;
        scrollbar-background: $surface;
        {MEANING_CSS}
    }}
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "scroll_down", "Down", show=False),
        Binding("k,up", "scroll_up", "Up", show=False),
        Binding("g,home", "scroll_home", "First", show=False),
        Binding("G,end", "scroll_end", "Last, and follow", show=False),
        Binding("ctrl+d,pagedown", "page_down", "Page down", show=False),
        Binding("ctrl+u,pageup", "page_up", "Page up", show=False),
    ]

    def __init__(
        self,
        *,
        empty: str | Callable[[], str] = "Nothing has happened yet",
        clock: Callable[[], float] = time.time,
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        """`clock` gives Unix time; it tells today's events from older ones."""
        super().__init__(name=name, id=id, classes=classes)
        self._empty = empty
        self._clock = clock
        self._all: deque[Event] = deque(maxlen=KEPT)
        self._shown: deque[Event] = deque(maxlen=KEPT)
        self._matches: Callable[[Event], bool] | None = None
        self._palette = Palette(self)
        self._width = 0
        self._follows = True

    def set_events(self, happened: Iterable[Event]) -> None:
        """Replace all, oldest first, and follow the end."""
        self._all = deque(happened, maxlen=KEPT)
        self._choose()

    def add(self, event: Event) -> None:
        """One more at the end."""
        self._all.append(event)
        if self._matches is not None and not self._matches(event):
            return
        lost = len(self._shown) == KEPT
        self._shown.append(event)
        self._grown(lost)

    @property
    def matches(self) -> Callable[[Event], bool] | None:
        """Only events for which it is true are shown."""
        return self._matches

    @matches.setter
    def matches(self, predicate: Callable[[Event], bool] | None) -> None:
        self._matches = predicate
        self._choose()

    @property
    def shown(self) -> list[Event]:
        """What passes the filter, oldest first."""
        return list(self._shown)

    @property
    def total(self) -> int:
        return len(self._all)

    @property
    def follows(self) -> bool:
        """Whether new events scroll into view."""
        return self._follows

    def _choose(self) -> None:
        look = self._matches
        self._shown = deque((each for each in self._all if look is None or look(each)), maxlen=KEPT)
        self._follows = True
        self._grown(lost=False)

    def _grown(self, lost: bool) -> None:
        """`lost`: the oldest line fell off, so all others went up by one."""
        before = self.scroll_offset.y
        follows = self._follows
        size = Size(0, len(self._shown))
        if self.virtual_size != size:
            self.virtual_size = size
        if follows:
            self.scroll_to(y=len(self._shown), animate=False, force=True)
            self._follows = True
        elif lost:
            self.scroll_to(y=max(0, before - 1), animate=False, force=True)
        self.refresh()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self._follows = new_value >= self.max_scroll_y

    def on_mount(self) -> None:
        self._grown(lost=False)

    def on_resize(self, _event: events.Resize) -> None:
        self._width = self.scrollable_content_region.width
        self._grown(lost=False)

    def notify_style_update(self) -> None:
        self._palette = Palette(self)
        super().notify_style_update()

    def render_line(self, y: int) -> Strip:
        width, look = self._width, self._palette.style
        if not self._shown:
            text = self._empty() if callable(self._empty) else self._empty
            line = centred(wrapped(text, max(8, width - 4)), width, self.size.height, y)
            return Strip([Segment(line, look("meaning--muted"))], width)
        index = self.scroll_offset.y + y
        if index >= len(self._shown):
            return Strip.blank(width, look())
        pieces = event_pieces(self._shown[index], width, self._clock())
        return Strip(
            [Segment(text, look(meaning_class(its))) for text, its in fit_pieces(pieces, width)], width
        )


def event_pieces(event: Event, width: int, now: float) -> list[Piece]:
    """One line: time, severity, host, name, what happened. Times are local; older days show their date."""
    signs = glyphs()
    sign = {Severity.WARNING: signs.warning, Severity.ERROR: signs.bad}.get(event.severity, " ")
    meaning = _MEANING[event.severity]
    start: list[Piece] = [(when(event.time, now), "muted"), (f" {sign} ", meaning)]
    said = f"{event.what}  {event.detail}" if event.detail else event.what
    # an event of a host has no name of its own
    name = "" if event.kind == "host" and event.name in ("", event.host) else event.name
    if width < _NARROW:
        subject = f"{name}@{event.host}" if name else event.host
        return [*start, (f"{subject} ", ""), (said, meaning or "muted")]
    return [
        *start,
        (fit(event.host, _HOST) + " ", "muted"),
        (fit(name, _NAME) + " ", ""),
        (event.what, meaning),
        (f"  {event.detail}" if event.detail else "", "muted"),
    ]


def when(moment: float, now: float) -> str:
    """A moment in 8 cells: the time of today, the day of what is older. Both in Unix time."""
    then, today = time.localtime(moment), time.localtime(now)
    if then[:3] == today[:3]:
        return time.strftime("%H:%M:%S", then)
    return time.strftime("%b %d", then).ljust(8)
