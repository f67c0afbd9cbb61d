"""A framed part of a screen with its title at the left and its figures at the right of the upper edge."""

from __future__ import annotations

from textual import events
from textual.containers import Vertical
from textual.content import Content

from virtfleet_tui.styles.themes import say


class Frame(Vertical):
    """Give it `-current` to show that keys go here, without moving anything."""

    def __init__(
        self, title: str, *children: object, id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(*children, id=id, classes=classes)  # type: ignore[arg-type]
        self._left: tuple[tuple[str, str], ...] = ((title, "bold"),)
        self._right: tuple[tuple[str, str], ...] = ()
        self._drawn: Content | None = None

    def on_mount(self) -> None:
        self._draw()

    def on_resize(self, event: events.Resize) -> None:
        self._draw()

    def on_descendant_focus(self) -> None:
        self.set_current(True)

    def on_descendant_blur(self) -> None:
        self.set_current(False)

    def set_title(self, *left: tuple[str, str], right: tuple[tuple[str, str], ...] = ()) -> None:
        """Pieces with their meaning; what does not fit is cut on the left part."""
        if (left, right) != (self._left, self._right):
            self._left, self._right = left, right
            self._draw()

    @property
    def title_text(self) -> str:
        """Both parts as plain text."""
        return "".join(text for text, _ in (*self._left, (" ", ""), *self._right)).strip()

    def _draw(self) -> None:
        # Six cells go to the corners and to what Textual puts round a title, four where there are no sides.
        room = self.outer_size.width - (6 if self.styles.border_left[0] else 4)
        if room <= 0:
            return
        left, right = say(*self._left), say(*self._right)
        if right.cell_length > room - 12:
            right = right.truncate(max(0, room - 12), ellipsis=True)
        gap = room - left.cell_length - right.cell_length
        if right.plain and gap < 3:
            left = left.truncate(max(0, room - right.cell_length - 3), ellipsis=True)
            gap = room - left.cell_length - right.cell_length
        drawn = left
        if right.plain:
            rule = f" {'─' * (gap - 2)} "
            drawn = Content.assemble(left, (rule, self._rule_style()), right)
        if not self.styles.border_left[0]:
            drawn = Content.assemble(" ", drawn, " ")
        if drawn != self._drawn or (drawn.spans != (self._drawn.spans if self._drawn else None)):
            self._drawn = drawn
            self.border_title = drawn

    def _rule_style(self) -> str:
        return "$primary" if self.has_class("-current") else "$line"

    def set_current(self, current: bool) -> None:
        if self.has_class("-current") != current:
            self.set_class(current, "-current")
            self._drawn = None
            self._draw()
