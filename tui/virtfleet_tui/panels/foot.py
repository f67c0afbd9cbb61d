"""What there is to say about the selected row of a list, below it: always of the same height."""

from __future__ import annotations

from collections.abc import Sequence

from textual.containers import VerticalScroll

from virtfleet_tui.styles.themes import say
from virtfleet_tui.widgets.hanging import Hanging, Line

Words = tuple[str, str]
"""Text with its meaning."""


def line(sign: str, *words: Words, meaning: str = "") -> Line:
    """A line with a sign before it, under which nothing stands when it is wrapped."""
    return Line(say((sign, meaning)), say(*words))


class Foot(VerticalScroll):
    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(Hanging(), id=id, classes="foot", can_focus=False)

    def show(self, lines: Sequence[Line]) -> None:
        self.query_one(Hanging).show(lines)
        self.scroll_home(animate=False)
