"""What a newcomer needs to know, in two lines at most, until it is put away."""

from __future__ import annotations

from textual import events
from textual.content import Content
from textual.widget import Widget

from virtfleet_tui.console import Console
from virtfleet_tui.styles.themes import say

_DEMO = (
    "This is the demo: simulated hosts, nothing real.",
    "For your own, put a line like this into ~/.config/virtfleet/fleet.yaml:",
    "  hosts: {hv1: {uri: qemu+ssh://root@hv1/system}}",
)


def hint_for(console: Console) -> tuple[str, tuple[str, ...]] | None:
    """(name, lines) of the hint that fits this console; None: there is none, or it was put away."""
    if console.demo and "demo" not in console.taste.dismissed:
        return ("demo", _DEMO)
    return None


class Hint(Widget):
    """Put away for good with a click on it, or with escape when nothing else is to be left."""

    def __init__(self, console: Console, hint: str, lines: tuple[str, ...], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._hands = console
        self._hint = hint
        self._lines = lines

    def render(self) -> Content:
        first, *rest = self._lines
        lead = say((" ◆ ", "accent"), (first, "bold"), ("  esc puts this line away", "muted"))
        return Content("\n").join([lead, *(say(("   " + line, "")) for line in rest)])

    def put_away(self) -> None:
        if self._hint not in self._hands.taste.dismissed:
            self._hands.taste.dismissed.append(self._hint)
            self._hands.keep()
        self.remove()

    def on_click(self, event: events.Click) -> None:
        self.put_away()
