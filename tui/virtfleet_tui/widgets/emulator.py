"""A terminal in memory: what a guest wrote, as lines of text with their looks. No screen is touched here.

pyte does the work. It is given only what `Sieve` lets through, and some of its
gaps are closed: the other screen of full-screen programs, lines that scroll
away, sequences it does not know, and sequences that a guest could use to make
it grow without end or fail. If it fails nevertheless, the screen starts anew
and says so.
"""

from __future__ import annotations

import copy
import unicodedata
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import pyte
from pyte import modes
from pyte.screens import Char, Cursor, Margins, StaticDefaultDict, wcwidth
from rich.cells import cell_len

from virtfleet.model.guest_output import Sieve

SCROLLBACK = 5000
"""Lines kept of what has scrolled away."""
_SOFT_RESET = "\x1b[!p"
_ALTERNATE = frozenset({47, 1047, 1049})
_UNSUPPORTED = frozenset({3, 5, 6})
"""132 columns; reverse video, for which pyte writes every cell anew; an origin that it fails on."""
_CURSOR_KEYS = 1 << 5
_BRACKETED_PASTE = 2004 << 5

Look = tuple[str, str, bool, bool, bool, bool, bool, bool]
"""Colours of text and ground, bold, italic, underlined, struck, reversed, blinking; as in pyte's Char."""
Run = tuple[str, Look]
Line = tuple[Run, ...]
PLAIN: Look = Char(" ")[1:]

_Row = StaticDefaultDict[int, Char]
_Rows = dict[int, _Row]


class Emulator:
    """A screen of `columns` × `lines` cells and what has scrolled off it."""

    def __init__(self, columns: int = 80, lines: int = 24, *, bell: Callable[[], None] | None = None) -> None:
        self.failures = 0
        """How often the guest wrote what pyte fails on."""
        self._sieve = Sieve()
        self._screen = _Screen(max(2, columns), max(2, lines), bell or (lambda: None))
        self._stream = _Stream(self._screen)
        self._stream.use_utf8 = False  # it is text already; and so line drawing by charset works

    def feed(self, data: bytes) -> None:
        """The guest wrote this. Takes some 10 ms for 4 KiB."""
        parts = self._sieve.feed(data).split(_SOFT_RESET)
        try:
            for number, part in enumerate(parts):
                if number:
                    self._screen.soft_reset()
                self._stream.feed(part)
        except Exception as error:  # pyte's bugs are many, and the guest chooses among them
            self.failures += 1
            self._screen.reset()
            self._stream.feed(
                f"\x1b[7m the guest's output was too odd ({type(error).__name__}): screen reset \x1b[m\r\n"
            )

    # ---- what is to be seen

    @property
    def columns(self) -> int:
        return self._screen.columns

    @property
    def lines(self) -> int:
        return self._screen.lines

    @property
    def scrolled(self) -> int:
        """Lines kept of what has scrolled away; they are lines -1 (the newest) and before."""
        return len(self._screen.scrollback)

    @property
    def ever_scrolled(self) -> int:
        """Lines that have scrolled away since the beginning, also those no longer kept."""
        return self._screen.ever_scrolled

    @property
    def cursor(self) -> tuple[int, int] | None:
        """(column, line); None: hidden."""
        cursor = self._screen.cursor
        return None if cursor.hidden else (min(cursor.x, self.columns - 1), cursor.y)

    @property
    def cursor_keys(self) -> bool:
        """Whether arrow keys are to be sent in their application form."""
        return _CURSOR_KEYS in self._screen.mode

    @property
    def bracketed_paste(self) -> bool:
        """Whether the guest wants to know what was pasted and what typed."""
        return _BRACKETED_PASTE in self._screen.mode

    def line(self, number: int) -> Line:
        """A line of the screen, or with a negative number one that has scrolled away."""
        if number < 0:
            kept = self._screen.scrollback
            return kept[number] if -number <= len(kept) else ()
        return _runs(self._screen.buffer[number], self.columns) if number in self._screen.buffer else ()

    def text(self, first: int = 0) -> list[str]:
        """Lines from `first` as plain text."""
        return ["".join(run for run, _ in self.line(y)).rstrip() for y in range(first, self.lines)]

    def take_changed(self) -> set[int]:
        """Lines of the screen that changed since this was asked last."""
        changed, self._screen.dirty = self._screen.dirty, set()
        return changed

    def resize(self, columns: int, lines: int) -> None:
        """The guest is not told: a serial line can't. Lines at the top without room have scrolled away."""
        self._screen.resize(max(2, lines), max(2, columns))

    def clear(self) -> None:
        """Begin anew, with what has scrolled away."""
        self._screen.reset()


class _Screen(pyte.Screen):
    def __init__(self, columns: int, lines: int, bell: Callable[[], None]) -> None:
        self.scrollback: deque[Line] = deque(maxlen=SCROLLBACK)
        self.ever_scrolled = 0
        self._bell = bell
        self._main: tuple[_Rows, Cursor, Margins | None] | None = None
        """What the other screen hides."""
        self._last = " "
        super().__init__(columns, lines)

    # ---- text

    def draw(self, data: str) -> None:
        if not data.isascii():
            data = "".join(_drawable(char) for char in unicodedata.normalize("NFC", data))
        if data:
            self._last = data[-1]
            super().draw(data)

    def repeat(self, count: int = 1, *_: Any) -> None:
        self.draw(self._last * min(max(1, count), self.columns))

    def bell(self, *_: Any) -> None:
        self._bell()

    # ---- scrolling

    def index(self) -> None:
        top, bottom = self.margins or Margins(0, self.lines - 1)
        if self.cursor.y == bottom and top == 0 and self._main is None:
            self._keep(self.buffer.get(0))
        super().index()

    def _keep(self, row: _Row | None) -> None:
        self.scrollback.append(_runs(row, self.columns) if row else ())
        self.ever_scrolled += 1

    def next_line(self) -> None:
        self.carriage_return()
        self.index()

    def scroll_up(self, count: int = 1, *_: Any) -> None:
        top, bottom = self.margins or Margins(0, self.lines - 1)
        by = min(max(1, count), bottom - top + 1)
        if top == 0 and self._main is None:
            for y in range(by):
                self._keep(self.buffer.get(y))
        self._move(top, bottom, -by)

    def scroll_down(self, count: int = 1, *_: Any) -> None:
        top, bottom = self.margins or Margins(0, self.lines - 1)
        self._move(top, bottom, min(max(1, count), bottom - top + 1))

    def _move(self, top: int, bottom: int, by: int) -> None:
        """The rows between the margins go down, or with a negative number up."""
        rows = {y: self.buffer.pop(y) for y in range(top, bottom + 1) if y in self.buffer}
        self.buffer.update({y + by: row for y, row in rows.items() if top <= y + by <= bottom})
        self.dirty.update(range(top, bottom + 1))

    # ---- cursor

    def save(self, *_: Any) -> None:
        self.save_cursor()

    def restore(self, *_: Any) -> None:
        self.restore_cursor()

    def save_cursor(self) -> None:
        self.savepoints.clear()  # there is one place to remember, not a stack that a guest could pile up
        super().save_cursor()

    def restore_cursor(self) -> None:
        kept = copy.deepcopy(self.savepoints)
        super().restore_cursor()
        self.savepoints = kept

    def tab_forward(self, count: int = 1, *_: Any) -> None:
        for _each in range(min(max(1, count), self.columns)):
            self.tab()

    def tab_back(self, count: int = 1, *_: Any) -> None:
        for _each in range(min(max(1, count), self.columns)):
            self.cursor.x = max((stop for stop in self.tabstops if stop < self.cursor.x), default=0)

    # ---- modes

    def set_mode(self, *wanted: int, **kwargs: Any) -> None:
        if kwargs.get("private") and _ALTERNATE & set(wanted):
            self._enter_other()
        super().set_mode(*_known(wanted, kwargs), **kwargs)

    def reset_mode(self, *wanted: int, **kwargs: Any) -> None:
        if kwargs.get("private") and _ALTERNATE & set(wanted):
            self._leave_other()
        super().reset_mode(*_known(wanted, kwargs), **kwargs)

    def soft_reset(self) -> None:
        self.mode = {modes.DECAWM, modes.DECTCEM}
        self.margins = None
        self.cursor.hidden = False
        self.select_graphic_rendition(0)
        self.savepoints.clear()

    def reset(self) -> None:
        self._main = None
        super().reset()
        self.savepoints.clear()

    def _enter_other(self) -> None:
        if self._main is None:
            self._main = self.buffer, copy.copy(self.cursor), self.margins
            self._show(self._blank(), self.cursor, None)

    def _leave_other(self) -> None:
        if self._main is not None:
            rows, cursor, margins = self._main
            self._main = None
            self._show(rows, cursor, margins)

    def _show(self, rows: _Rows, cursor: Cursor, margins: Margins | None) -> None:
        hidden = self.cursor.hidden
        self.buffer, self.cursor, self.margins = rows, cursor, margins
        self.cursor.hidden = hidden
        self.dirty.update(range(self.lines))

    def _blank(self) -> _Rows:
        return defaultdict(lambda: StaticDefaultDict[int, Char](self.default_char))

    # ---- size

    def resize(self, lines: int | None = None, columns: int | None = None) -> None:
        lines, columns = lines or self.lines, columns or self.columns
        if (lines, columns) == (self.lines, self.columns):
            return
        self._refit(self.buffer, self.cursor, lines, columns, keep=self._main is None)
        if self._main is not None:
            self._refit(self._main[0], self._main[1], lines, columns, keep=True)
            self._main = (self._main[0], self._main[1], None)
        self.lines, self.columns = lines, columns
        self.margins = None
        self.tabstops |= set(range(8, columns, 8))
        self.dirty.update(range(lines))

    def _refit(self, rows: _Rows, cursor: Cursor, lines: int, columns: int, *, keep: bool) -> None:
        """Cuts what is below and beside; what is above the cursor and has no room goes up and away."""
        above = max(0, cursor.y - lines + 1)
        for y in range(above):
            if keep:
                self._keep(rows.get(y))
        moved = {y - above: row for y, row in rows.items() if above <= y < above + lines}
        rows.clear()
        rows.update(moved)
        for row in rows.values():
            for x in [x for x in row if x >= columns]:
                del row[x]
        cursor.y -= above
        cursor.x = min(cursor.x, columns - 1)


class _Stream(pyte.Stream):
    csi = {  # noqa: RUF012 - as pyte declares it
        **pyte.Stream.csi,
        "S": "scroll_up",
        "T": "scroll_down",
        "I": "tab_forward",
        "Z": "tab_back",
        "b": "repeat",
        "s": "save",
        "u": "restore",
    }
    escape = {**pyte.Stream.escape, "E": "next_line"}  # noqa: RUF012


def _known(wanted: Iterable[int], kwargs: dict[str, Any]) -> list[int]:
    return [mode for mode in wanted if not (kwargs.get("private") and mode in _UNSUPPORTED)]


@lru_cache(maxsize=4096)
def _drawable(char: str) -> str:
    """The character, if all agree on its width; nothing for marks, which could be piled up for ever."""
    width = wcwidth(char)
    if width == 0:
        return ""
    return char if width in (1, 2) and cell_len(char) == width else "\N{REPLACEMENT CHARACTER}"


def _runs(row: _Row, columns: int) -> Line:
    """A row as text of the same look, piece by piece; never wider than the screen."""
    runs: list[Run] = []
    text: list[str] = []
    look: Look = PLAIN
    after_wide = False
    end = min(columns, max(row, default=-1) + 1)
    for x in range(end):
        char = row[x]
        data = char.data
        if after_wide:
            after_wide = False
            if not data:
                continue
        if not data:
            data = " "  # half of a wide character whose other half was written over
        elif not data.isascii() and wcwidth(data) == 2:
            if x + 1 < end and not row[x + 1].data:
                after_wide = True
            else:
                data = " "
        its: Look = char[1:]
        if its != look and text:
            runs.append(("".join(text), look))
            text = []
        look = its
        text.append(data)
    if text:
        runs.append(("".join(text), look))
    return tuple(runs)
