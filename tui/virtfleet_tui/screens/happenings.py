"""Views of what happened (`:events`) and of what is wrong now (`:alerts`)."""

from __future__ import annotations

import time
from collections.abc import Iterable

from textual import on
from textual.containers import Vertical
from textual.widget import Widget

from virtfleet.model import FleetSnapshot
from virtfleet.query.looks import glyph
from virtfleet_tui.bridge import Changes
from virtfleet_tui.panels.alerts import AlertRow
from virtfleet_tui.panels.facts_view import TroubleView
from virtfleet_tui.panels.happened import AlertPanel, EventPanel
from virtfleet_tui.panels.list_panel import ListPanel
from virtfleet_tui.panels.nouns import find
from virtfleet_tui.panels.troubles import Trouble, troubles_of
from virtfleet_tui.screens.lists import OneList
from virtfleet_tui.widgets.grid import Grid

_ALERTS_EVERY = 1.0


class EventsScreen(OneList):
    """All events, or those of one object."""

    def make_panel(self) -> ListPanel:
        return EventPanel(self.console, self.place.subject, filter_text=self.place.filter, id="only")

    @property
    def title_text(self) -> str:
        subject = self.place.subject
        return f"events of {subject.name}" if subject is not None else "events"

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "events" and self.subject == self.place.subject:
            return False
        return super().check_action(action, parameters)


class AlertsScreen(OneList):
    """What is wrong now, errors first; enter goes to the object. What to try is told below the list."""

    def make_panel(self) -> ListPanel:
        return AlertPanel(self.console, filter_text=self.place.filter, id="only")

    def compose_body(self) -> Iterable[Widget]:
        yield from super().compose_body()
        # A place of its own, so that the list does not move when the cursor does.
        yield Vertical(TroubleView(id="alert-trouble"), id="alert-foot")

    def on_mount(self) -> None:
        self.set_interval(_ALERTS_EVERY, self._refresh)

    @property
    def title_text(self) -> str:
        return "alerts"

    def show_fleet(self, snapshot: FleetSnapshot, changes: Changes | None) -> None:
        """Once a second is enough, and time alone makes alerts, too."""
        if changes is None:
            self._refresh()

    def _refresh(self) -> None:
        if self.is_current:
            self.panel.show_fleet(self.console.fleet.snapshot, None)
            self._show_trouble()

    @on(Grid.Selected)
    def _show_trouble(self) -> None:
        """The selected alert in full, with what to try."""
        subject = self.subject
        row = find(self.console.fleet.snapshot, subject) if subject is not None else None
        found = troubles_of(row, time.monotonic()) if row is not None else []
        named = [
            each._replace(text=f"{subject.title}: {each.text}") for each in found[:1] if subject is not None
        ]
        alert = self.panel.grid.selected
        if isinstance(alert, AlertRow) and alert.alert.kind.startswith("group-") and subject is not None:
            meaning = glyph(alert.alert.severity).meaning.value
            named = [Trouble(alert.alert.text, f"w shows where else {subject.name} could be", meaning)]
        self.query_one(TroubleView).show(named)
