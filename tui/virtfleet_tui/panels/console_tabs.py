"""One line that says which consoles are open, and which of them is in view."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.widget import Widget

from virtfleet.model.text import clean
from virtfleet_tui.guest_consoles import Phase
from virtfleet_tui.styles.themes import say

_SIGNS = {Phase.OPENING: ("◌", "busy"), Phase.OPEN: ("●", "good"), Phase.ENDED: ("✖", "bad")}
_LONGEST = 24


class ConsoleTabs(Widget):
    """Not there while there is one alone."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._tabs: list[tuple[str, Phase]] = []
        self._current = 0
        self.display = False

    def show(self, tabs: Sequence[tuple[str, Phase]], current: int) -> None:
        """Name and phase of each, and which is in view."""
        if (list(tabs), current) != (self._tabs, self._current):
            self._tabs, self._current = list(tabs), current
            self.display = len(tabs) > 1
            self.refresh()

    def render(self) -> Content:
        pieces: list[tuple[str, str]] = []
        for number, (name, phase) in enumerate(self._tabs):
            sign, meaning = _SIGNS[phase]
            pieces.append((f" {sign} ", meaning))
            pieces.append((clean(name, _LONGEST), "bold" if number == self._current else "muted"))
            pieces.append((" ", ""))
        return say(*pieces)
