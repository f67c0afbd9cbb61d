"""The last line: keys that apply here and now, made from the table of keys; each can be clicked."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from virtfleet_tui.keys import Key
from virtfleet_tui.styles.themes import say


class KeyBar(Widget):
    class Pressed(Message):
        """A key was clicked."""

        def __init__(self, key: Key) -> None:
            super().__init__()
            self.key = key

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._keys: tuple[Key, ...] = ()
        self._places: list[tuple[int, int, Key]] = []

    def show(self, keys: Sequence[Key]) -> None:
        if tuple(keys) != self._keys:
            self._keys = tuple(keys)
            self.refresh()

    @property
    def shown(self) -> tuple[Key, ...]:
        """The keys that found room."""
        return tuple(key for _, _, key in self._places)

    def render(self) -> Content:
        """As many keys as fit whole; the last two of the table (command, help) always keep their place."""
        room = self.size.width - 1
        ends = [key for key in self._keys if key.action in ("command", "help")]
        kept = room - sum(_width(key) for key in ends)
        fitting: list[Key] = []
        for key in self._keys:
            if key not in ends and _width(key) <= kept:
                kept -= _width(key)
                fitting.append(key)
        self._places = []
        pieces: list[tuple[str, str]] = []
        at = 1
        for key in [*fitting, *ends]:
            self._places.append((at, at + _width(key) - 2, key))
            pieces += [(key.label, "accent"), (f" {key.title}  ", "muted")]
            at += _width(key)
        return say(" ", *pieces)

    def on_click(self, event: events.Click) -> None:
        for start, end, key in self._places:
            if start <= event.x < end:
                self.post_message(self.Pressed(key))


def _width(key: Key) -> int:
    return len(key.label) + len(key.title) + 3
