"""`Tick`: yes or no as `[x]` or `[ ]`. Textual's own shows its X always and tells by the colour alone."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Checkbox


class Tick(Checkbox):
    """A checkbox whose sign says what it is, without colours too."""

    @property
    def _button(self) -> Content:
        return Content.styled("[x]", "bold") if self.value else Content("[ ]")
