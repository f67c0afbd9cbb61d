"""Choose one of a few: what to sort by, and the like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from virtfleet_tui.dialogs.base import Dialog
from virtfleet_tui.styles.themes import say


class ChooseDialog(Dialog[str]):
    """`options` are (answer, title, explanation). Typing a letter goes to the next title with it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "down", "down", show=False),
        Binding("k", "up", "up", show=False),
    ]

    def __init__(self, title: str, options: Sequence[tuple[str, str, str]], current: str = "") -> None:
        super().__init__()
        self._title = title
        self._options = options
        self._current = current

    def compose(self) -> ComposeResult:
        width = max((len(title) for _, title, _ in self._options), default=8) + 2
        with Vertical(classes="dialog choose") as box:
            box.border_title = say(self._title)
            box.border_subtitle = say("enter chooses, esc leaves")
            yield OptionList(
                *(
                    Option(say(f"{title:<{width}}", (doc, "muted")), id=answer)
                    for answer, title, doc in self._options
                ),
                markup=False,
                compact=True,
            )

    def on_mount(self) -> None:
        options = self.query_one(OptionList)
        answers = [answer for answer, _, _ in self._options]
        if self._current in answers:
            options.highlighted = answers.index(self._current)
        options.focus()

    def action_down(self) -> None:
        self.query_one(OptionList).action_cursor_down()

    def action_up(self) -> None:
        self.query_one(OptionList).action_cursor_up()

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option_id)
