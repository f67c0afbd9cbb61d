"""Text to read, and nothing to answer."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Static

from virtfleet_tui.dialogs.base import Dialog
from virtfleet_tui.styles.themes import say


class TextDialog(Dialog[None]):
    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._title = title
        self._text = text

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog text") as box:
            box.border_title = say(self._title)
            box.border_subtitle = say("esc leaves")
            with VerticalScroll():
                yield Static(say(self._text), markup=False)

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()
