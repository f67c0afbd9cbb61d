"""The fields of an event."""

from __future__ import annotations

from virtfleet.model import Event
from virtfleet.query.field import Field, Unit
from virtfleet.query.looks import glyph
from virtfleet.query.naming import natural_key

FIELDS: tuple[Field[Event], ...] = (
    Field(
        "time",
        "TIME",
        Unit.TIME,
        "Unix time at which we learned of it.",
        lambda event: event.time,
        width=8,
        priority=0,
    ),
    Field(
        "severity",
        "SEVERITY",
        Unit.TEXT,
        "info, warning or error.",
        lambda event: event.severity.value,
        sort_key=lambda event: glyph(event.severity).urgency,
        width=9,
        glance=lambda event: glyph(event.severity).text,
        priority=3,
    ),
    Field(
        "host",
        "HOST",
        Unit.TEXT,
        "Host on which it happened.",
        lambda event: event.host,
        sort_key=lambda event: natural_key(event.host),
        width=12,
        priority=1,
    ),
    Field(
        "kind",
        "KIND",
        Unit.TEXT,
        "host, vm, pool, volume or network: what `name` is.",
        lambda event: event.kind,
        width=7,
        priority=2,
    ),
    Field(
        "name",
        "NAME",
        Unit.TEXT,
        "To what it happened.",
        lambda event: event.name,
        sort_key=lambda event: natural_key(event.name),
        width=20,
        priority=0,
    ),
    Field(
        "what",
        "WHAT",
        Unit.TEXT,
        "Stable word: started, stopped, crashed, defined, hung, up ...",
        lambda event: event.what,
        width=14,
        priority=0,
    ),
    Field(
        "detail", "DETAIL", Unit.TEXT, "More of it.", lambda event: event.detail or None, width=40, priority=4
    ),
    Field(
        "uuid",
        "UUID",
        Unit.TEXT,
        "UUID of the object.",
        lambda event: event.uuid or None,
        width=36,
        priority=9,
    ),
)
