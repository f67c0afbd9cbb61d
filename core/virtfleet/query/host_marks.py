"""The fields of a host that tell what operators have said of it: may new VMs go there, and why not."""

from __future__ import annotations

from collections.abc import Callable

from virtfleet.model import Maintenance, Mark
from virtfleet.query.field import Field, Unit, Value
from virtfleet.query.rows import HostRow


def _said(get: Callable[[Maintenance], Value]) -> Callable[[HostRow], Value]:
    """None: not read yet."""

    def from_row(row: HostRow) -> Value:
        said = row.host.maintenance
        return None if said is None else get(said)

    return from_row


def _mark(get: Callable[[Mark], Value]) -> Callable[[HostRow], Value]:
    """None also where nothing is said."""
    return _said(lambda said: None if said.mark is None else get(said.mark))


MARKS: tuple[Field[HostRow], ...] = (
    Field(
        "takes_vms",
        "NEW VMS",
        Unit.BOOL,
        "Whether new VMs may go there: nobody has disabled it for them, or drains it.",
        _said(lambda said: not said.closed),
        glance=lambda row: row.host.closed or ("yes" if row.host.maintenance is not None else "—"),
        width=30,
        priority=8,
    ),
    Field(
        "maintenance",
        "MAINTENANCE",
        Unit.TEXT,
        "disabled (for new VMs), draining, or unreadable (its own file says nothing that can be understood).",
        _said(lambda said: said.word or None),
        width=11,
        priority=8,
    ),
    Field(
        "maintenance_reason",
        "WHY",
        Unit.TEXT,
        "Why it is disabled, or drained; what is wrong with its own file.",
        _said(lambda said: (said.mark.reason if said.mark is not None else said.problem) or None),
        width=30,
        priority=9,
    ),
    Field(
        "maintenance_by",
        "BY",
        Unit.TEXT,
        "Who disabled or drains it: user@machine.",
        _mark(lambda mark: mark.by or None),
        width=16,
        priority=9,
    ),
    Field(
        "maintenance_since",
        "MARKED",
        Unit.TIME,
        "Unix time at which that was said.",
        _mark(lambda mark: mark.since or None),
        width=8,
        priority=9,
    ),
    Field(
        "maintenance_shared",
        "SHARED",
        Unit.BOOL,
        "Whether other operators see it: it is kept on the host, not on this machine alone.",
        _said(lambda said: said.shared),
        width=6,
        priority=9,
    ),
)
