"""Long text with XML highlighting and search, on the line API: only lines in view are ever looked at closely.

What is shown came from a host. It is cleaned, nothing in it is markup, and the
highlighter is one regular expression without nesting, on lines of bounded
length: the worst that hostile XML can do is to look dull.
"""

from __future__ import annotations

import re
from typing import ClassVar

from rich.segment import Segment
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from virtfleet.model.text import clean_lines
from virtfleet_tui.widgets.palette import MEANING_CLASSES, MEANING_CSS, Palette, meaning_class

_TOKEN = re.compile(
    r"""(?P<comment><!--[^>]*-->)|(?P<tag></?[\w:.-]+|\??/?>|<\?\w+)|(?P<name>[\w:.-]+)(?==)|(?P<text>"[^"]*"|'[^']*')"""
)
_LONGEST = 2000
"""Cells of a line beyond which it is not highlighted."""
_MEANINGS = {"comment": "muted", "tag": "busy", "name": "muted", "text": "good"}


def highlighted(line: str) -> list[tuple[str, str]]:
    """A line of XML in pieces with their meaning."""
    if len(line) > _LONGEST:
        return [(line, "")]
    pieces: list[tuple[str, str]] = []
    at = 0
    for token in _TOKEN.finditer(line):
        if token.start() > at:
            pieces.append((line[at : token.start()], ""))
        pieces.append((token[0], _MEANINGS[token.lastgroup or "text"]))
        at = token.end()
    if at < len(line):
        pieces.append((line[at:], ""))
    return pieces


class XmlView(ScrollView, can_focus=True):
    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = MEANING_CLASSES | {"xml--match", "xml--here", "xml--number"}
    DEFAULT_CSS = f"""
    XmlView {{
        {MEANING_CSS}
        & > .xml--match {{ background: $warning 35%; }}
        & > .xml--here {{ background: $warning; color: $background; }}
        & > .xml--number {{ color: $text-muted; }}
    }}
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", show=False),
        Binding("k", "scroll_up", show=False),
        Binding("g,home", "scroll_home", show=False),
        Binding("G,end", "scroll_end", show=False),
        Binding("ctrl+d", "page_down", show=False),
        Binding("ctrl+u", "page_up", show=False),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines: list[str] = []
        self._gutter = 4
        self._words = ""
        self._matches: list[tuple[int, int]] = []
        self._by_line: dict[int, list[int]] = {}
        self._here = -1
        self._palette = Palette(self)

    def show_text(self, text: str) -> None:
        """Show this text from its start. It may be hostile."""
        self._lines = clean_lines(text).rstrip("\n").split("\n")
        self._gutter = len(str(len(self._lines))) + 2
        width = self._gutter + max(map(len, self._lines)) + 1
        self.virtual_size = Size(width, len(self._lines))
        self.scroll_home(animate=False)
        self.search(self._words)
        self.refresh()

    @property
    def text(self) -> str:
        return "\n".join(self._lines)

    # ---- search

    def search(self, words: str) -> int:
        """Mark all places where `words` stand, whatever their case, and go to the first from here on."""
        self._words = words
        self._matches = []
        self._by_line = {}
        wanted = words.casefold()
        if wanted:
            for number, line in enumerate(self._lines):
                folded = line.casefold() if len(line.casefold()) == len(line) else line.lower()
                at = folded.find(wanted)
                while at >= 0 and len(self._matches) < 10_000:
                    self._matches.append((number, at))
                    self._by_line.setdefault(number, []).append(at)
                    at = folded.find(wanted, at + len(wanted))
        top = self.scroll_offset.y
        self._here = (
            next((i for i, (line, _) in enumerate(self._matches) if line >= top), 0) if self._matches else -1
        )
        self._show_here()
        self.refresh()
        return len(self._matches)

    def step(self, by: int) -> None:
        """Go to the next match (1) or the one before (-1), round the end."""
        if self._matches:
            self._here = (self._here + by) % len(self._matches)
            self._show_here()
            self.refresh()

    @property
    def place(self) -> tuple[int, int]:
        """(number of the match we are at, number of matches); zeros: there is none."""
        return self._here + 1, len(self._matches)

    def _show_here(self) -> None:
        if self._here >= 0:
            line, column = self._matches[self._here]
            region = Region(max(0, column - 4), line - 2, self._gutter + len(self._words) + 8, 5)
            self.scroll_to_region(region, animate=False, force=True)

    # ---- painting

    def notify_style_update(self) -> None:
        self._palette = Palette(self)
        super().notify_style_update()

    def on_resize(self, event: events.Resize) -> None:
        self.refresh()

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        look = self._palette.style
        left, top = self.scroll_offset
        number = top + y
        if number >= len(self._lines):
            return Strip.blank(width, look())
        lead = f"{number + 1:>{self._gutter - 2}}  "
        segments = [Segment(text, look(layer)) for text, layer in self._layers(number)]
        strip = Strip(segments).crop(left, left + width - self._gutter)
        whole = Strip([Segment(lead, look("xml--number")), *strip])
        return whole.adjust_cell_length(width, look())

    def _layers(self, number: int) -> list[tuple[str, str]]:
        """A line in pieces with their component class, cut where a match begins or ends."""
        line = self._lines[number]
        pieces = [(text, meaning_class(meaning)) for text, meaning in highlighted(line)]
        starts = self._by_line.get(number)
        if not starts:
            return pieces
        here = self._matches[self._here]
        marked: list[tuple[str, str]] = []
        at = 0
        for text, layer in pieces:
            marked += _cut(text, at, layer, starts, len(self._words), here[1] if here[0] == number else -1)
            at += len(text)
        return marked


def _cut(text: str, at: int, layer: str, starts: list[int], length: int, here: int) -> list[tuple[str, str]]:
    out: list[tuple[str, str]] = []
    done = 0
    for start in starts:
        first, last = max(start - at, done), min(start + length - at, len(text))
        if last <= first:
            continue
        if first > done:
            out.append((text[done:first], layer))
        out.append((text[first:last], "xml--here" if start == here else "xml--match"))
        done = last
    if done < len(text):
        out.append((text[done:], layer))
    return out
