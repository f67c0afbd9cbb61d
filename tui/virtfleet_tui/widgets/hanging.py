"""`Hanging`: lines with a sign before them; what does not fit goes on under the text, not under the sign."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget

_LEAST = 12
"""Cells that the text has at least: below them it goes on under the sign after all."""


@dataclass(frozen=True, slots=True)
class Line:
    sign: Content
    text: Content

    def wrapped(self, width: int) -> list[Content]:
        """In lines of at most `width` cells."""
        indent = self.sign.cell_length
        if width - indent < _LEAST:
            return (self.sign + self.text).wrap(max(1, width))
        pieces = self.text.wrap(width - indent) or [Content("")]
        return [self.sign + pieces[0], *(Content(" " * indent) + piece for piece in pieces[1:])]


class Hanging(Widget):
    DEFAULT_CSS = "Hanging { height: auto; width: 1fr; }"

    def __init__(self, lines: Sequence[Line] = (), *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines = lines

    def show(self, lines: Sequence[Line]) -> None:
        """These from now on."""
        self._lines = lines
        self.refresh(layout=True)

    def _wrapped(self, width: int) -> list[Content]:
        return [piece for line in self._lines for piece in line.wrapped(width)]

    def render(self) -> Content:
        return Content("\n").join(self._wrapped(self.content_size.width))

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return max(1, len(self._wrapped(width)))
