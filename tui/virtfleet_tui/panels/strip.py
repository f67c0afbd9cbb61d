"""The lower edge of the overview: what is wrong with what is selected; plots and events, where there is room.

Where there is none (a small terminal, a zoomed panel) it shows itself only for
an object in trouble, because why a host is silent must not need another key.
"""

from __future__ import annotations

import time

from textual import events
from textual.containers import Horizontal
from textual.timer import Timer

from virtfleet.model import FleetSnapshot
from virtfleet_tui.bridge import Changes
from virtfleet_tui.console import Console, Subject
from virtfleet_tui.panels.events import SubjectEvents
from virtfleet_tui.panels.facts_view import TroubleView
from virtfleet_tui.panels.frame import Frame
from virtfleet_tui.panels.nouns import find
from virtfleet_tui.panels.plots import LOAD, ROOM, Plots, curves_of, memory_limit
from virtfleet_tui.panels.troubles import troubles_of

_REST = 0.15
"""Seconds that the cursor must rest before its object is drawn."""


class Strip(Frame):
    def __init__(self, console: Console, *, id: str | None = None) -> None:
        self._hands = console
        self._trouble = TroubleView(id="strip-trouble")
        self._load = Plots(console, LOAD, id="strip-load")
        self._room = Plots(console, ROOM, id="strip-room")
        self._events = SubjectEvents(console.fleet, id="strip-events")
        self._row = Horizontal(self._load, self._room, self._events, id="strip-row")
        super().__init__("Nothing selected", self._trouble, self._row, id=id)
        self._subject: Subject | None = None
        self._next: Subject | None = None
        self._plotted: Subject | None = None
        """What the plots are of: they may have had no room for the subject so far."""
        self._resting: Timer | None = None

    def on_resize(self, event: events.Resize) -> None:
        self._draw_curves()

    def show_subject(self, subject: Subject | None) -> None:
        """Soon: while the cursor runs through a list, keys go before plots."""
        self._next = subject
        if self._resting is None:
            self._resting = self.set_timer(_REST, self._show_next)
        else:
            self._resting.reset()

    def _show_next(self) -> None:
        self._resting = None
        subject = self._next
        if subject == self._subject:
            return
        self._subject = subject
        if subject is not None:
            self.set_title((subject.title, "bold"), right=(("enter opens it", "muted"),))
        else:
            self.set_title(("Nothing selected", "muted"))
        self._show_trouble(self._hands.fleet.snapshot)
        self._draw_curves()

    def _draw_curves(self) -> None:
        subject = self._subject
        if subject == self._plotted or not (self.display and self._row.display):
            return
        self._plotted = subject
        curves = curves_of(subject.kind) if subject is not None else ()
        self._load.display = curves != ROOM
        self._room.display = curves == ROOM
        self._load.show(subject)
        self._room.show(subject)
        self._events.show(subject)

    def show_fleet(self, snapshot: FleetSnapshot, changes: Changes | None) -> None:
        if changes is None or changes.events:
            self._events.refresh_events()
        if self._subject is not None and (changes is None or self._subject.host in changes.hosts):
            self._show_trouble(snapshot)

    def _show_trouble(self, snapshot: FleetSnapshot) -> None:
        row = find(snapshot, self._subject) if self._subject is not None else None
        self._load.limit("memory", memory_limit(row) if row is not None else None)
        troubles = troubles_of(row, time.monotonic())[:1] if row is not None else []
        self.set_class(bool(troubles), "-troubled")
        self._trouble.show(troubles)
