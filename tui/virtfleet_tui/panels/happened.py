"""Lists of what is wrong now and of what happened: like any other list, but made of all that is known.

An alert or an event is about an object: enter goes to that, and keys that act
on an object act on it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from virtfleet.model import Event, FleetSnapshot, Severity
from virtfleet.query.field import Field
from virtfleet.query.health import alerts
from virtfleet.query.looks import glyph
from virtfleet.query.nouns import NOUNS, Noun
from virtfleet_tui.bridge import Changes
from virtfleet_tui.console import Console, Subject
from virtfleet_tui.panels.alerts import ALERT_FIELDS, AlertRow, alert_style
from virtfleet_tui.panels.events import events_of
from virtfleet_tui.panels.list_panel import ListPanel
from virtfleet_tui.panels.nouns import CLOCK, LISTED, Listed, subject_of_alert
from virtfleet_tui.widgets.event_list import when

_EVENT_COLUMNS: dict[str, dict[str, Any]] = {
    # The sign of its severity stands before what happened, as that of a state does elsewhere.
    "time": {"glance": lambda event: when(event.time, time.time()), "width": 8, "priority": 0},
    "what": {"glance": lambda event: f"{glyph(event.severity).glyph} {event.what}", "width": 18},
    "name": {"width": 14},
    "host": {"width": 10},
    "detail": {"glance": lambda event: event.detail, "width": 20, "priority": 2},
    "age_s": {"priority": 9},
    "kind": {"priority": 3},
    "severity": {"priority": 9},
}


def _event_style(event: Event, field: Field[Any]) -> str:
    if field.name in ("severity", "what") and event.severity is not Severity.INFO:
        return glyph(event.severity).meaning.value
    return "muted" if field.name in ("time", "detail") else ""


def _event_columns() -> tuple[Field[Any], ...]:
    """In the order of a line: when, where, to what, what; the long text last."""
    fields = {field.name: field for field in NOUNS["event"].with_clock(CLOCK).fields}
    order = ["time", "host", "kind", "name", "what", "detail"]
    order += [name for name in fields if name not in order]
    return tuple(replace(fields[name], **_EVENT_COLUMNS.get(name, {})) for name in order)


EVENTS = Listed(
    noun=replace(NOUNS["event"].with_clock(CLOCK), default_sort=("-time",)),
    groups=frozenset(),
    members="",
    of_host=None,
    is_fault=lambda event: event.severity is not Severity.INFO,
    empty="Nothing has happened in the fleet since the console started",
    told=lambda host: True,
    columns=_event_columns(),
    ages=False,
    style=_event_style,
    hint="what=crashed  severity=error  host~^hv  kind=vm  !what=started  words",
)

ALERTS = Listed(
    noun=Noun(
        name="alert",
        plural="alerts",
        title="Alerts",
        fields=ALERT_FIELDS,
        rows=lambda snapshot: map(AlertRow, alerts(snapshot, time.monotonic())),
        name_of=lambda row: row.alert.name,
        key_of=lambda row: row.key,
        look_of=lambda row: glyph(row.alert.severity),
        default_sort=("severity", "since"),
        text_fields=("noun", "name", "host", "kind", "text"),
        short={"level": "severity", "what": "noun", "trouble": "text"},
    ),
    groups=frozenset({"state", "stats", "vms", "pools", "networks"}),
    members="",
    of_host=None,
    is_fault=lambda row: row.alert.severity is Severity.ERROR,
    empty="All is well\n\nNothing in the fleet needs you now",
    told=lambda host: True,
    columns=ALERT_FIELDS,
    ages=False,
    style=alert_style,
    unlit=frozenset({"text", "since"}),
    hint="kind=hung  severity=error  host~^hv  what=vm  words",
)


class AlertPanel(ListPanel):
    """All that is wrong."""

    def __init__(self, console: Console, *, filter_text: str = "", id: str | None = None) -> None:
        super().__init__(console, ALERTS, filter_text=filter_text, id=id)

    def _scoped(self, snapshot: FleetSnapshot) -> Iterable[Any]:
        return map(AlertRow, alerts(snapshot, time.monotonic(), self.console.fleet.settings.groups))

    def subject_of(self, row: Any) -> Subject | None:
        return subject_of_alert(row.alert)


class EventPanel(ListPanel):
    """What happened, newest first; to one object, if one is given."""

    def __init__(
        self,
        console: Console,
        subject: Subject | None = None,
        *,
        filter_text: str = "",
        id: str | None = None,
    ) -> None:
        self._of = subject
        noun = EVENTS
        if subject is not None:
            noun = replace(EVENTS, empty=f"Nothing has happened to {subject.name} since the console started")
        super().__init__(console, noun, filter_text=filter_text, id=id)
        if subject is not None:
            self._scope_title = f"of {subject.title}"

    def show_fleet(self, snapshot: FleetSnapshot, changes: Changes | None) -> None:
        self._snapshot = snapshot
        if changes is None or changes.events:
            self._reload()

    def _scoped(self, snapshot: FleetSnapshot) -> Iterable[Any]:
        return events_of(self.console.fleet, self._of)

    def subject_of(self, row: Any) -> Subject | None:
        return subject_of_event(row, self._snapshot) if self._snapshot is not None else None


def subject_of_event(event: Event, snapshot: FleetSnapshot) -> Subject | None:
    """The object to which it happened; None: there is no way to tell which that is now."""
    name, host = event.name, event.host
    match event.kind:
        case "host":
            return Subject("host", host, host, host)
        case "vm" if event.uuid:
            # A VM that was migrated is found where it is now.
            views = [snapshot.hosts[host]] if host in snapshot.hosts else []
            for view in (*views, *snapshot.hosts.values()):
                for vm in view.vms:
                    if vm.uuid == event.uuid:
                        return Subject("vm", (view.name, vm.uuid), vm.name, view.name, vm.uuid)
            return Subject("vm", (host, event.uuid), name, host, event.uuid)
        case "network" if event.uuid:
            return Subject("network", (host, event.uuid), name, host, event.uuid)
        case "pool":
            pools = LISTED["pool"].rows(snapshot)
            seen = (row for row in pools for at, pool in row.members if (at.name, pool.name) == (host, name))
            row = next(seen, None)
            return LISTED["pool"].subject(row) if row is not None else None
        case _:
            return None
