"""What all dialogs share: they stand over a live screen, escape always leaves without doing anything."""

from __future__ import annotations

from typing import ClassVar, TypeVar

from textual.await_complete import AwaitComplete
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen

T = TypeVar("T")
BREAKPOINTS = [(0, "-narrow"), (100, "-normal"), (160, "-wide")]
"""Columns of the terminal from which a view has this class."""
LOW = [(0, "-low"), (30, "-high")]
"""And lines."""


class Dialog(ModalScreen[T | None]):
    """Its answer is None when it was left with escape."""

    HORIZONTAL_BREAKPOINTS = BREAKPOINTS
    VERTICAL_BREAKPOINTS = LOW

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "leave", show=False)]

    def __init__(self) -> None:
        super().__init__()
        self._answered = False

    def dismiss(self, result: T | None = None) -> AwaitComplete:
        """The first answer counts: a key that repeats sends enter twice before the dialog is gone."""
        if self._answered or not self.is_current:
            return AwaitComplete()
        self._answered = True
        return super().dismiss(result)

    def action_leave(self) -> None:
        self.dismiss(None)
