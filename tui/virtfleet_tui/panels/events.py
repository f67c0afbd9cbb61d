"""Events of one object, or of the fleet, newest last; quiet as long as nothing happens."""

from __future__ import annotations

from virtfleet.model import Event
from virtfleet_tui.bridge import Fleet
from virtfleet_tui.console import Subject
from virtfleet_tui.widgets.event_list import EventList

SHOWN = 2000


class SubjectEvents(EventList):
    """`show` an object; `refresh_events` when something happened. Who scrolled up is left in peace."""

    def __init__(self, fleet: Fleet, *, subject: Subject | None = None, id: str | None = None) -> None:
        super().__init__(id=id, empty=lambda: _empty(self._subject))
        self._fleet = fleet
        self._subject = subject
        self._last: Event | None = None

    def show(self, subject: Subject | None) -> None:
        self._subject = subject
        self._last = None
        self.refresh_events()

    def refresh_events(self) -> None:
        found = events_of(self._fleet, self._subject)
        last, self._last = self._last, found[-1] if found else None
        at = next((i for i in range(len(found) - 1, -1, -1) if found[i] is last), None)
        if last is None or at is None:
            self.set_events(found)
            return
        for event in found[at + 1 :]:
            self.add(event)


def events_of(fleet: Fleet, subject: Subject | None) -> list[Event]:
    """What happened to an object; to a host: all that happened on it; None: everything."""
    if subject is None:
        return fleet.events.recent(SHOWN)
    if subject.kind == "host":
        return fleet.events.recent(SHOWN, host=subject.host)
    if subject.kind == "vm" and subject.uuid:
        # By UUID over all hosts: a VM that was migrated keeps its past.
        return fleet.events.recent(SHOWN, kind="vm", uuid=subject.uuid)
    return fleet.events.recent(SHOWN, kind=subject.kind, name=subject.name)


def _empty(subject: Subject | None) -> str:
    what = "in the fleet" if subject is None else f"to {subject.name}"
    return f"Nothing has happened {what} since the console started"
