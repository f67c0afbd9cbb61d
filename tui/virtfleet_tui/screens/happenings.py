"""Views of what happened (`:events`) and of what is wrong now (`:alerts`)."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import ClassVar

from textual import on
from textual.binding import BindingType
from textual.containers import Vertical
from textual.widget import Widget

from virtfleet.errors import QueryError
from virtfleet.model import Event, FleetSnapshot
from virtfleet.query.health import Alert, alerts
from virtfleet_tui.bridge import Changes
from virtfleet_tui.console import Console, Place, Subject
from virtfleet_tui.keys import ANYWHERE, GRID, TEXT, bindings
from virtfleet_tui.panels.alerts import ALERT_FIELDS, AlertRow, alert_style
from virtfleet_tui.panels.events import SubjectEvents
from virtfleet_tui.panels.facts_view import TroubleView
from virtfleet_tui.panels.frame import Frame
from virtfleet_tui.panels.nouns import find, subject_of_alert
from virtfleet_tui.panels.troubles import troubles_of
from virtfleet_tui.screens.base import FleetScreen
from virtfleet_tui.widgets.grid import Grid

_ALERTS_EVERY = 1.0


class EventsScreen(FleetScreen):
    """All events, or those of one object; `/` keeps those that contain the words."""

    contexts: ClassVar[tuple[str, ...]] = (TEXT, ANYWHERE)
    BINDINGS: ClassVar[list[BindingType]] = bindings(TEXT)

    def __init__(self, console: Console, place: Place) -> None:
        super().__init__(console, place)
        self._words = place.filter

    def compose_body(self) -> Iterable[Widget]:
        events = SubjectEvents(self.console.fleet, subject=self.place.subject, id="all-events")
        yield Frame("Events", events, id="events-frame", classes="-current")

    def on_mount(self) -> None:
        self._show_words(self._words)
        self.home_focus()

    @property
    def title_text(self) -> str:
        subject = self.place.subject
        return f"events of {subject.name}" if subject is not None else "events"

    def home_focus(self) -> None:
        self.query_one(SubjectEvents).focus()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("next_match", "previous_match", "events"):
            return False
        return super().check_action(action, parameters)

    def show_fleet(self, snapshot: FleetSnapshot, changes: Changes | None) -> None:
        if changes is None or changes.events:
            self.query_one(SubjectEvents).refresh_events()
            self._retitle()

    def action_search(self) -> None:
        self.input_bar.ask(
            "search", "/", "words that an event must contain   enter keeps, esc undoes", self._words
        )

    def typed(self, purpose: str, text: str) -> None:
        if purpose == "search":
            self._show_words(text)
        super().typed(purpose, text)

    def entered(self, purpose: str, text: str) -> QueryError | None:
        if purpose == "search":
            self._show_words(text)
        return super().entered(purpose, text)

    def cancelled(self, purpose: str, before: str) -> None:
        if purpose == "search":
            self._show_words(before)

    def _show_words(self, text: str) -> None:
        self._words = text.strip()
        words = self._words.casefold().split()

        def matches(event: Event) -> bool:
            said = f"{event.host} {event.kind} {event.name} {event.what} {event.detail}".casefold()
            return all(word in said for word in words)

        self.query_one(SubjectEvents).matches = matches if words else None
        self._retitle()

    def _retitle(self) -> None:
        events = self.query_one(SubjectEvents)
        subject = self.place.subject
        left: list[tuple[str, str]] = [("Events", "bold")]
        if subject is not None:
            left.append((f" of {subject.title}", "accent"))
        shown = len(events.shown)
        right: list[tuple[str, str]] = [
            (f"{shown:,}" if shown == events.total else f"{shown:,} of {events.total:,}", "")
        ]
        if self._words:
            right.append((f", with {self._words}", "accent"))
        self.query_one("#events-frame", Frame).set_title(*left, right=tuple(right))

    def action_back(self) -> None:
        if self._words:
            self._show_words("")
        else:
            super().action_back()


class AlertsScreen(FleetScreen):
    """What is wrong now, errors first; enter goes to the object, where the cure is."""

    contexts: ClassVar[tuple[str, ...]] = (GRID, ANYWHERE)
    BINDINGS: ClassVar[list[BindingType]] = bindings(GRID)

    def __init__(self, console: Console, place: Place) -> None:
        super().__init__(console, place)
        self._shown: list[Alert] = []

    def compose_body(self) -> Iterable[Widget]:
        grid: Grid[AlertRow] = Grid(
            ALERT_FIELDS,
            default_sort=("severity", "since"),
            style_of=alert_style,
            empty="All is well\n\nNothing in the fleet needs you now",
            id="alerts",
        )
        yield Frame("Alerts", grid, id="alerts-frame", classes="-current")
        # A place of its own, so that the list does not move when the cursor does.
        yield Vertical(TroubleView(id="alert-trouble"), id="alert-foot")

    def on_mount(self) -> None:
        self.set_interval(_ALERTS_EVERY, self._refresh)
        self.home_focus()

    @property
    def grid(self) -> Grid[AlertRow]:
        return self.query_one("#alerts", Grid)

    @property
    def title_text(self) -> str:
        return "alerts"

    @property
    def subject(self) -> Subject | None:
        row = self.grid.selected
        return subject_of_alert(row.alert) if row is not None else None

    def home_focus(self) -> None:
        self.grid.focus()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("filter", "faults", "faults_first", "sort", "reverse", "columns", "mark", "mark_all"):
            return False
        if action == "open":
            return self.grid.selected is not None
        return super().check_action(action, parameters)

    def show_fleet(self, snapshot: FleetSnapshot, changes: Changes | None) -> None:
        if changes is None:
            self._refresh()

    def _refresh(self) -> None:
        if not self.is_current:
            return
        found = alerts(self.console.fleet.snapshot, time.monotonic())
        if found != self._shown:
            self._shown = found
            rows = {row.key: row for row in map(AlertRow, found)}
            self.grid.set_rows(rows.values())
            bad = sum(alert.severity == "error" for alert in found)
            right = ((f"{len(found):,}", ""), (f", {bad:,} bad", "bad" if bad else "muted"))
            self.query_one("#alerts-frame", Frame).set_title(("Alerts", "bold"), right=right)
            self._show_trouble()

    @on(Grid.Selected)
    def _selected(self) -> None:
        self._show_trouble()
        self.show_keys()

    def _show_trouble(self) -> None:
        """The selected alert in full, with what to try."""
        subject = self.subject
        row = find(self.console.fleet.snapshot, subject) if subject is not None else None
        found = troubles_of(row, time.monotonic()) if row is not None else []
        named = [
            each._replace(text=f"{subject.title}: {each.text}") for each in found[:1] if subject is not None
        ]
        self.query_one(TroubleView).show(named)

    @on(Grid.Opened)
    def _opened(self, event: Grid.Opened) -> None:
        event.stop()
        self.console.go(Place("detail", subject_of_alert(event.row.alert)))
