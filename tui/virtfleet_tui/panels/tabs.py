"""One line of tabs, for terminals where one panel at a time has room."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from virtfleet_tui.styles.themes import say


class Tabs(Widget):
    class Chosen(Message):
        """A tab was clicked."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    def __init__(self, tabs: Sequence[tuple[str, str]], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._tabs = tabs
        self._current = tabs[0][0]

    def show(self, name: str) -> None:
        self._current = name
        self.refresh()

    def render(self) -> Content:
        pieces: list[tuple[str, str]] = []
        for number, (name, title) in enumerate(self._tabs, 1):
            meaning = "bold" if name == self._current else "muted"
            pieces += [(f" {number} ", "accent"), (f"{title} ", meaning), (" ", "")]
        return say(*pieces)

    def on_click(self, event: events.Click) -> None:
        at = 0
        for name, title in self._tabs:
            at += len(title) + 5
            if event.x < at:
                self.post_message(self.Chosen(name))
                return
