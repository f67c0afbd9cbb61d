"""A guest's console on the screen: paints an emulator line by line, and hands every key on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from virtfleet_tui.widgets.terminal_keys import ESCAPE_KEY, key_bytes, paste_bytes

if TYPE_CHECKING:
    from virtfleet_tui.widgets.emulator import Emulator, Look

_NAMES = (
    "black", "red", "green", "brown", "blue", "magenta", "cyan", "white", "brightblack", "brightred",
    "brightgreen", "brightbrown", "brightblue", "brightmagenta", "brightcyan", "brightwhite",
)  # fmt: skip
_DARK_TEXT = (
    "1b1f27 e06c75 98c379 d5a15c 61a0ef c678dd 56b6c2 c5cad3 "
    "7a828f ff8a92 b5e08f f0c674 8fbfff dc9ff0 7fd6e0 ffffff"
)
_DARK_GROUND = (
    "1b1f27 8c2f39 3b6e2f 7a5a1e 2456a0 6f3a86 1f6f78 a9b0bb "
    "4a515c b03a46 4f8f3f 9a7428 3470c4 8a4aa5 2a8a95 d5d9e0"
)
_LIGHT_TEXT = (
    "20242b b41f30 24702e 8a5700 175ca8 8a2d9b 0f6f78 70757d "
    "4a4f57 d63545 2f8c3b a86c00 2a74c8 a34ab5 14868f 101216"
)
_LIGHT_GROUND = (
    "d9dbdf f4b6bc bfe3b4 f2dcae b8d4f4 e3c3ec b5e2e6 ececea "
    "c4c7cc f8cdd2 d3edcb f7e8c6 cfe2f8 ecd7f2 cdecef f4f4f2"
)
"""A guest thinks that its ground is black: here its white text is to be read on white, too."""
_TRUE_COLOUR = re.compile("[0-9a-f]{6}")
_WHEEL = 3


class Terminal(Widget, can_focus=True):
    """Shows an emulator. Focused, it takes every key for the guest, but for ctrl-] and those that scroll."""

    ALLOW_SELECT = False
    takes_all_keys: ClassVar[bool] = True
    """Whether no key of the console's own may come first."""

    class Typed(Message):
        """For the guest."""

        def __init__(self, data: bytes) -> None:
            super().__init__()
            self.data = data

    class Released(Message):
        """The operator wants the keys back."""

    class Scrolled(Message):
        """Another part of what was written is in view."""

    class Fits(Message):
        """There is room for so many cells."""

        def __init__(self, columns: int, lines: int) -> None:
            super().__init__()
            self.columns = columns
            self.lines = lines

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._emulator: Emulator | None = None
        self._back = 0
        """Lines that the view is above the end."""
        self._seen = 0
        """Lines that had scrolled away when it was painted last."""
        self._cursor: tuple[int, int] | None = None

    @property
    def back(self) -> int:
        """Lines that the view is scrolled back; 0: it shows the present."""
        return self._back

    def show(self, emulator: Emulator | None) -> None:
        """Show this one from now on."""
        self._emulator = emulator
        self._back = 0
        self._seen = emulator.ever_scrolled if emulator is not None else 0
        self._cursor = None
        self.refresh()

    def changed(self) -> None:
        """The guest has written: paint what is new. A view that is scrolled back stays where it is."""
        emulator = self._emulator
        if emulator is None:
            return
        lines = emulator.take_changed()
        more, self._seen = emulator.ever_scrolled - self._seen, emulator.ever_scrolled
        if self._back:
            self._back = min(self._back + more, emulator.scrolled)
            self.refresh()
            return
        cursor = emulator.cursor
        if cursor != self._cursor:
            lines |= {each[1] for each in (cursor, self._cursor) if each is not None}
            self._cursor = cursor
        if len(lines) > emulator.lines // 2:
            self.refresh()
        else:
            self.refresh(*(Region(0, y, self.size.width, 1) for y in lines if y < self.size.height))

    def scroll_back(self, by: int) -> None:
        """So many lines back (or, below zero, forward)."""
        most = self._emulator.scrolled if self._emulator is not None else 0
        wanted = max(0, min(most, self._back + by))
        if wanted != self._back:
            self._back = wanted
            self.refresh()
            self.post_message(self.Scrolled())

    # ---- keys

    async def on_key(self, event: events.Key) -> None:
        event.stop()
        event.prevent_default()
        page = max(1, self.size.height - 1)
        if event.key == ESCAPE_KEY:
            self.post_message(self.Released())
        elif event.key in ("shift+pageup", "shift+pagedown"):
            self.scroll_back(page if event.key == "shift+pageup" else -page)
        else:
            application = self._emulator is not None and self._emulator.cursor_keys
            self._type(key_bytes(event.key, event.character, application=application))

    def on_paste(self, event: events.Paste) -> None:
        event.stop()
        bracketed = self._emulator is not None and self._emulator.bracketed_paste
        self._type(paste_bytes(event.text, bracketed=bracketed))

    def _type(self, data: bytes) -> None:
        if data:
            self.scroll_back(-self._back)
            self.post_message(self.Typed(data))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.scroll_back(_WHEEL)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.scroll_back(-_WHEEL)

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()

    # ---- painting

    def on_resize(self, event: events.Resize) -> None:
        if event.size.width and event.size.height:
            self.post_message(self.Fits(event.size.width, event.size.height))

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self.refresh()

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        base = self.rich_style
        emulator = self._emulator
        if emulator is None:
            return Strip.blank(width, base)
        line = emulator.line(y - self._back)
        dark = self.app.current_theme.dark
        segments = [Segment(text, base + _style(look, dark)) for text, look in line]
        strip = Strip(segments).adjust_cell_length(width, base)
        cursor = emulator.cursor
        if cursor is not None and not self._back and cursor[1] == y and cursor[0] < width:
            strip = _with_cursor(strip, cursor[0], strong=self.has_focus)
        return strip


def _with_cursor(strip: Strip, x: int, *, strong: bool) -> Strip:
    mark = Style(reverse=True) if strong else Style(underline=True)
    before, at, after = strip.crop(0, x), strip.crop(x, x + 1), strip.crop(x + 1)
    marked = Strip([Segment(segment.text, _toggled(segment.style, mark)) for segment in at])
    return Strip.join([before, marked, after])


def _toggled(style: Style | None, mark: Style) -> Style:
    style = style or Style.null()
    return style + Style(reverse=not style.reverse) if mark.reverse else style + mark


def _named(palette: str) -> dict[str, Color]:
    colours = [Color.parse(f"#{each}") for each in palette.split()]
    return {**dict(zip(_NAMES, colours, strict=True)), "bfightmagenta": colours[13]}  # as pyte spells it


_TEXT = {True: _named(_DARK_TEXT), False: _named(_LIGHT_TEXT)}
_GROUND = {True: _named(_DARK_GROUND), False: _named(_LIGHT_GROUND)}
"""By whether the theme is dark."""


@lru_cache(maxsize=4096)
def _style(look: Look, dark: bool) -> Style:
    """No blinking: one thing that blinks draws the eye from all others."""
    text, ground, bold, italic, underlined, struck, reverse, _ = look
    return Style(
        color=_colour(text, _TEXT[dark]),
        bgcolor=_colour(ground, _GROUND[dark]),
        bold=bold or None,
        italic=italic or None,
        underline=underlined or None,
        strike=struck or None,
        reverse=reverse or None,
    )


def _colour(name: str, palette: Mapping[str, Color]) -> Color | None:
    """None: the theme's own, also for what is no colour."""
    if _TRUE_COLOUR.fullmatch(name):
        return Color.parse(f"#{name}")
    return palette.get(name)
