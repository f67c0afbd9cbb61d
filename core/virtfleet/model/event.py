"""Something that happened to an object of the fleet, as the event pane and `watch` show it."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Event(msgspec.Struct, frozen=True, gc=False):
    time: float
    """Unix time at which we learned of it."""
    host: str
    kind: str
    """host, vm, pool, volume or network: what `name` is."""
    name: str
    what: str
    """Stable word: started, stopped, rebooted, crashed, defined, undefined, suspended, resumed, ioerror,
    device-added, device-removed, metadata, hung, unreachable, up ..."""
    detail: str = ""
    uuid: str = ""
    severity: Severity = Severity.INFO
