"""What happened lately, all hosts together: a bounded log in memory for event panes and `watch`.

It is a convenience for the person who looks, not an audit: what it drops is
still true on the hosts.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice

from virtfleet.model import Event

_log = logging.getLogger(__name__)

CAPACITY = 2000


class EventLog:
    """The newest `capacity` events, oldest first. To be used from one thread."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._events: deque[Event] = deque(maxlen=capacity)
        self._subscribers: list[Callable[[Event], None]] = []

    def __len__(self) -> int:
        return len(self._events)

    def __iter__(self) -> Iterator[Event]:
        return iter(tuple(self._events))

    def add(self, event: Event) -> None:
        """Keep the event and tell the subscribers; one that fails is logged and costs the others nothing."""
        self._events.append(event)
        for callback in tuple(self._subscribers):
            try:
                callback(event)
            except Exception:
                _log.exception("a subscriber of events failed")

    def recent(
        self,
        limit: int = 100,
        *,
        host: str | None = None,
        kind: str | None = None,
        name: str | None = None,
        uuid: str | None = None,
    ) -> list[Event]:
        """The last `limit` events for which everything given is equal, newest last."""
        found = (
            event
            for event in reversed(self._events)
            if (host is None or event.host == host)
            and (kind is None or event.kind == kind)
            and (name is None or event.name == name)
            and (uuid is None or event.uuid == uuid)
        )
        events = list(islice(found, max(0, limit)))
        events.reverse()
        return events

    def subscribe(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Call back with every event from now on, in the caller's thread; returns the way out."""
        self._subscribers.append(callback)

        def unsubscribe() -> None:
            if callback in self._subscribers:
                self._subscribers.remove(callback)

        return unsubscribe
