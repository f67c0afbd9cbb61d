"""Where a VM could be moved to, as rows: each other host with its answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from virtfleet.model import FleetSnapshot
from virtfleet.query.field import Field, Unit
from virtfleet.query.looks import Look, Meaning
from virtfleet.query.naming import natural_key
from virtfleet.query.nouns import Noun


class WayRow(NamedTuple):
    vm: str
    here: str
    host: str
    zone: str
    fit: str
    """fits, fits with copying, does not fit."""
    score: float | None
    copies: tuple[str, ...]
    bytes: int
    """Of the disks that would be copied."""
    rules: tuple[str, ...]
    reasons: tuple[str, ...]
    cures: tuple[str, ...]


def way_look(row: WayRow) -> Look:
    if row.reasons:
        return Look("✖", row.fit, Meaning.BAD, 2)
    return Look("◐", row.fit, Meaning.WARNING, 1) if row.copies else Look("●", row.fit, Meaning.GOOD, 0)


FIELDS: tuple[Field[WayRow], ...] = (
    Field("vm", "VM", Unit.TEXT, "Name of the VM.", lambda row: row.vm, width=16, priority=0),
    Field("from", "FROM", Unit.TEXT, "The host it is on.", lambda row: row.here, width=12, priority=5),
    Field(
        "host",
        "TO",
        Unit.TEXT,
        "The host it could go to.",
        lambda row: row.host,
        sort_key=lambda row: natural_key(row.host),
        width=12,
        priority=0,
    ),
    Field("zone", "ZONE", Unit.TEXT, "Its zone.", lambda row: row.zone or None, width=8, priority=6),
    Field(
        "state",
        "ANSWER",
        Unit.TEXT,
        "fits, fits with copying, or does not fit.",
        lambda row: row.fit,
        glance=lambda row: way_look(row).text,
        width=19,
        priority=0,
    ),
    Field("score", "SCORE", Unit.LOAD, "Of placement.", lambda row: row.score, width=7, priority=3),
    Field("copies", "COPIES", Unit.LIST, "Disks to copy.", lambda row: row.copies or None, width=10),
    Field("bytes", "BYTES", Unit.BYTES, "What they may hold.", lambda row: row.bytes or None, width=8),
    Field(
        "refused_by", "REFUSED BY", Unit.LIST, "Rules.", lambda row: row.rules or None, width=16, priority=9
    ),
    Field(
        "reasons",
        "WHY NOT",
        Unit.LIST,
        "With the numbers.",
        lambda row: row.reasons or None,
        width=50,
        priority=1,
    ),
    Field("cures", "WHAT WOULD HELP", Unit.LIST, "What would help.", lambda row: row.cures or None, width=30),
)


def _none(_: FleetSnapshot) -> Iterator[WayRow]:
    """These rows are decided, not seen."""
    return iter(())


WAYS: Noun[WayRow] = Noun(
    name="way",
    plural="ways",
    title="Where it could go",
    fields=FIELDS,
    rows=_none,
    name_of=lambda row: row.host,
    key_of=lambda row: (row.vm, row.here, row.host),
    look_of=way_look,
    default_sort=(),
    text_fields=("vm", "host", "reasons"),
    seen=False,
)
