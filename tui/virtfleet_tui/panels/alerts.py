"""The columns of the alerts view."""

from __future__ import annotations

import time
from collections.abc import Hashable
from typing import Any, NamedTuple

from virtfleet.model import Severity
from virtfleet.query.display import format_age
from virtfleet.query.field import Field, Unit
from virtfleet.query.health import Alert
from virtfleet.query.looks import glyph

_RANK = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}


class AlertRow(NamedTuple):
    alert: Alert

    @property
    def key(self) -> Hashable:
        return (self.alert.noun, self.alert.key, self.alert.kind)


def _since(row: AlertRow) -> str | None:
    since = row.alert.since
    return None if since is None else format_age(max(0.0, time.time() - since))


ALERT_FIELDS: tuple[Field[Any], ...] = (
    Field(
        "severity",
        "LEVEL",
        Unit.TEXT,
        "How bad it is",
        lambda row: row.alert.severity.value,
        sort_key=lambda row: _RANK[row.alert.severity],
        width=9,
        glance=lambda row: glyph(row.alert.severity).text,
        priority=0,
    ),
    Field("noun", "WHAT", Unit.TEXT, "Kind of object", lambda row: row.alert.noun, width=7, priority=3),
    Field("name", "NAME", Unit.TEXT, "Its name", lambda row: row.alert.name, width=16, priority=0),
    Field("host", "HOST", Unit.TEXT, "The host it is on", lambda row: row.alert.host, width=10, priority=1),
    Field(
        "since",
        "SINCE",
        Unit.TEXT,
        "How long it is known",
        lambda row: row.alert.since,
        width=5,
        glance=_since,
        priority=2,
    ),
    Field(
        "kind",
        "KIND",
        Unit.TEXT,
        "Stable word for the trouble: hung, full, crashed ...",
        lambda row: row.alert.kind,
        width=14,
        priority=9,
    ),
    # The last column takes what room there is; it must be there on 80 cells too.
    Field("text", "TROUBLE", Unit.TEXT, "What is wrong", lambda row: row.alert.text, width=36, priority=0),
)


def alert_style(row: AlertRow, field: Field[Any]) -> str:
    if field.name in ("severity", "text"):
        return glyph(row.alert.severity).meaning.value
    return ""
