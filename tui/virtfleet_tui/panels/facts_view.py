"""Facts and troubles on the screen: labels in one column, values in the other, long values wrapped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len, chop_cells
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from virtfleet_tui.panels.facts import Pieces, Section
from virtfleet_tui.panels.troubles import Trouble
from virtfleet_tui.styles.themes import say
from virtfleet_tui.widgets.palette import fit

_LABEL = 16
"""Cells of the labels, the same in all sections."""
_INDENT = 2
"""Cells before a value that stands below its label."""


class FactsView(VerticalScroll):
    """Scrolls when there are more facts than lines. Redrawn only when something differs."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("j", "scroll_down"),
        ("k", "scroll_up"),
        ("g", "scroll_home"),
        ("G", "scroll_end"),
        ("ctrl+d", "page_down"),
        ("ctrl+u", "page_up"),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(Static("", markup=False, classes="facts-text"), id=id)
        self._sections: Sequence[Section] = ()
        self._drawn: Content | None = None

    def action_scroll_down(self) -> None:
        self._scrolling().scroll_down(animate=False)

    def action_scroll_up(self) -> None:
        self._scrolling().scroll_up(animate=False)

    def action_scroll_home(self) -> None:
        self._scrolling().scroll_home(animate=False)

    def action_scroll_end(self) -> None:
        self._scrolling().scroll_end(animate=False)

    def action_page_down(self) -> None:
        self._scrolling().scroll_page_down(animate=False)

    def action_page_up(self) -> None:
        self._scrolling().scroll_page_up(animate=False)

    def _scrolling(self) -> Widget:
        """Itself, or on a small screen the page on which it stands in full length."""
        around = [each for each in self.ancestors_with_self if isinstance(each, Widget)]
        return next((each for each in around if each.max_scroll_y > 0), self)

    def show(self, sections: Sequence[Section]) -> None:
        self._sections = sections
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        width = self.scrollable_content_region.width - 2
        if width < 10:
            return
        lines: list[Content] = []
        for at, section in enumerate(self._sections):
            if at:
                lines.append(say(""))
            lines.append(say((section.title, "bold")))
            for label, pieces in section.facts:
                lead = fit(label, _LABEL - 1) + " "
                if len(pieces) == 1 and _fits_only_below(pieces[0][0], width):
                    lines += [say((lead, "muted")), say((" " * _INDENT, ""), *pieces)]
                    continue
                for number, line in enumerate(_wrapped(pieces, width - _LABEL)):
                    lines.append(say((lead if number == 0 else " " * _LABEL, "muted"), *line))
        drawn = Content("\n").join(lines)
        if self._drawn is None or drawn.plain != self._drawn.plain or drawn.spans != self._drawn.spans:
            self._drawn = drawn
            self.query_one(Static).update(drawn)


def _fits_only_below(text: str, width: int) -> bool:
    """Whether it is one word (an identifier, to be read and copied whole) with room below its label only."""
    return " " not in text.strip() and width - _LABEL < cell_len(text) <= width - _INDENT


def _wrapped(pieces: Pieces, width: int) -> list[Pieces]:
    """Pieces in lines of `width` cells, cut at blanks; paths and identifiers have none: cut anywhere."""
    lines: list[Pieces] = [[]]
    room = width
    for text, meaning in pieces:
        rest = text
        if not lines[-1]:
            rest = rest.lstrip()
        if cell_len(rest) > room and cell_len(rest.strip()) <= width and lines[-1]:
            lines.append([])
            room, rest = width, rest.strip()
        while cell_len(rest) > room:
            head = chop_cells(rest, max(room, 1))[0]
            words = head if rest[len(head)] == " " else head[: head.rfind(" ") + 1]
            head = words if words.strip() else head
            lines[-1].append((head, meaning))
            rest = rest[len(head) :].lstrip()
            lines.append([])
            room = width
        lines[-1].append((rest, meaning))
        room -= cell_len(rest)
    return lines


class TroubleView(Static):
    """What is wrong and what to try; takes no room when all is well."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__("", markup=False, id=id)
        self._troubles: tuple[Trouble, ...] = ()

    def on_mount(self) -> None:
        self.display = False

    def show(self, troubles: Sequence[Trouble]) -> None:
        if tuple(troubles) == self._troubles:
            return
        self._troubles = tuple(troubles)
        self.display = bool(troubles)
        pieces: list[tuple[str, str]] = []
        for trouble in troubles[:4]:
            if pieces:
                pieces.append(("\n", ""))
            pieces.append(
                (f"✖ {trouble.text}" if trouble.meaning == "bad" else f"! {trouble.text}", trouble.meaning)
            )
            if trouble.cure:
                pieces += [("\n  try: ", "muted"), (trouble.cure, "")]
        if len(troubles) > 4:
            pieces.append((f"\n  and {len(troubles) - 4} more", "muted"))
        self.update(say(*pieces))

    def show_gone(self, title: str) -> None:
        """The object itself is no longer in the fleet."""
        self.show((Trouble(f"{title} is no longer there; what is shown was true last", "", "warning"),))
