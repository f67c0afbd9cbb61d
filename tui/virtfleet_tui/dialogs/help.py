"""`?`: the keys that apply where the operator is, what glyphs mean, how a filter is written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll

from virtfleet_tui.dialogs.base import Dialog
from virtfleet_tui.dialogs.signs import signs_of
from virtfleet_tui.keys import GRID, TITLES, Key
from virtfleet_tui.styles.themes import say
from virtfleet_tui.widgets.hanging import Hanging, Line
from virtfleet_tui.widgets.palette import fit

_SIGN = 16
"""Cells of a key or a sign."""

_FILTERS = (
    ("cpu>80", "a figure: > >= < <= = !=; sizes as 4GiB, rates as 80M"),
    ("state=running", "a word"),
    ("host~^hv1", "a pattern"),
    ("ip=10.0.0.0/24", "an address or a network"),
    ("!project=test", "not"),
    ("web db", "free text: all of these words"),
)


class HelpDialog(Dialog[None]):
    BINDINGS: ClassVar[list[BindingType]] = [Binding("question_mark,q,enter", "leave", "close", show=False)]

    def __init__(self, where: str, keys: Sequence[Key], kinds: Sequence[str] = ()) -> None:
        """`kinds`: what is seen there, as `signs.signs_of` takes it."""
        super().__init__()
        self._kinds = kinds
        self._where = where
        self._keys = keys

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="help", classes="dialog") as box:
            box.border_title = say(f"Keys in {self._where}")
            box.border_subtitle = say("esc closes")
            yield Hanging(self._lines(), id="help-text")

    def on_mount(self) -> None:
        self.query_one("#help").focus()

    def _lines(self) -> list[Line]:
        lines: list[Line] = []

        def part(title: str, rows: Iterable[tuple[str, str, str]]) -> None:
            lines.append(Line(say(""), say((title, "bold"))))
            lines.extend(
                Line(say((f"  {fit(sign, _SIGN)}", colour)), say(meaning)) for sign, colour, meaning in rows
            )
            lines.append(Line(say(""), say("")))

        for where, title in TITLES.items():
            keys = [key for key in self._keys if key.where == where]
            if keys:
                part(title, ((key.label, "accent", key.doc) for key in keys))
        if any(key.where == GRID for key in self._keys):
            part("Filters", ((example, "accent", meaning) for example, meaning in _FILTERS))
        for title, signs in signs_of(self._kinds) if self._kinds else ():
            part(title, signs)
        return lines
