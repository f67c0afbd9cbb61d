"""What placement tells, as rows: projects with their quotas, groups, room for more VMs, hosts and why not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from virtfleet.model import FleetSnapshot
from virtfleet.query.field import Field, Unit, Value
from virtfleet.query.looks import Look, Meaning
from virtfleet.query.naming import natural_key
from virtfleet.query.nouns import Noun


class ProjectRow(NamedTuple):
    name: str
    known: bool
    """Whether the fleet file has it."""
    used: Mapping[str, int]
    """vms, vcpus, memory, volumes, capacity."""
    limits: Mapping[str, int | None]
    over: tuple[str, ...]
    """Figures that are above their limit."""
    types: tuple[str, ...]
    """`fast: 3 of 5 volumes, 20G of 1.0T`, for each limited volume type."""


class GroupRow(NamedTuple):
    name: str
    policy: str
    """Empty: the fleet file does not know it."""
    members: tuple[str, ...]
    """NAME@HOST."""
    hosts: int
    problems: tuple[str, ...]
    soft: bool


class RoomRow(NamedTuple):
    """How many more VMs of a flavor fit somewhere."""

    scope: str
    """fleet, zone or host."""
    name: str
    zone: str
    flavor: str
    fits: int
    after_death: int | None
    """Of the fleet: so many, and the death of any one host can still be borne."""


class CaseRow(NamedTuple):
    """A host in the answer to `placement explain`."""

    host: str
    zone: str
    fits: bool
    chosen: bool
    score: float | None
    weights: tuple[str, ...]
    refused_by: tuple[str, ...]
    reasons: tuple[str, ...]
    cures: tuple[str, ...]


def _figure(name: str, title: str, unit: Unit, doc: str) -> tuple[Field[ProjectRow], Field[ProjectRow]]:
    return (
        Field(
            name, title, unit, f"{doc} that its VMs have.", lambda row: row.used[name], width=8, priority=1
        ),
        Field(
            f"{name}_limit",
            "LIMIT",
            unit,
            f"{doc} that they may have.",
            lambda row: row.limits.get(name),
            width=8,
            priority=2,
        ),
    )


def _name(doc: str) -> Field[Any]:
    return Field(
        "name",
        "NAME",
        Unit.TEXT,
        doc,
        lambda row: row.name,
        sort_key=lambda row: natural_key(row.name),
        width=20,
        priority=0,
    )


def _some(words: tuple[str, ...]) -> Value:
    """None instead of nothing."""
    return words if words else None


PROJECT_FIELDS: tuple[Field[ProjectRow], ...] = (
    _name("Name of the project; `default` is that of VMs that name none."),
    *_figure("vms", "VMS", Unit.COUNT, "VMs"),
    *_figure("vcpus", "VCPUS", Unit.COUNT, "vCPUs"),
    *_figure("memory", "MEMORY", Unit.BYTES, "Bytes of memory"),
    *_figure("volumes", "VOLUMES", Unit.COUNT, "Volumes"),
    *_figure("capacity", "CAPACITY", Unit.BYTES, "Bytes of volumes"),
    Field(
        "over",
        "OVER",
        Unit.LIST,
        "What is above its limit.",
        lambda row: _some(row.over),
        width=16,
        priority=1,
    ),
    Field("types", "TYPES", Unit.LIST, "Limited volume types.", lambda row: _some(row.types), width=30),
    Field("known", "KNOWN", Unit.BOOL, "Whether the fleet file has it.", lambda row: row.known, priority=9),
)
GROUP_FIELDS: tuple[Field[GroupRow], ...] = (
    _name("Name of the group, as its VMs have it."),
    Field(
        "state",
        "STATE",
        Unit.TEXT,
        "kept, broken, not met (a soft rule), or unknown to the fleet file.",
        lambda row: group_look(row).word,
        glance=lambda row: group_look(row).text,
        width=10,
        priority=0,
    ),
    Field("policy", "POLICY", Unit.TEXT, "What the group means.", lambda row: row.policy or None, width=18),
    Field("count", "VMS", Unit.COUNT, "How many VMs it has.", lambda row: len(row.members), width=4),
    Field("hosts", "HOSTS", Unit.COUNT, "On how many hosts they are.", lambda row: row.hosts, width=5),
    Field(
        "problems",
        "WHAT IS WRONG",
        Unit.LIST,
        "Rules that are broken.",
        lambda row: _some(row.problems),
        width=40,
        priority=1,
    ),
    Field("members", "MEMBERS", Unit.LIST, "Its VMs.", lambda row: row.members, width=40, priority=9),
)
ROOM_FIELDS: tuple[Field[RoomRow], ...] = (
    Field("scope", "WHERE", Unit.TEXT, "fleet, zone or host.", lambda row: row.scope, width=6, priority=0),
    _name("Of the zone or host."),
    Field("zone", "ZONE", Unit.TEXT, "Zone of the host.", lambda row: row.zone or None, width=10, priority=9),
    Field("flavor", "FLAVOR", Unit.TEXT, "Of the fleet file.", lambda row: row.flavor, width=14, priority=0),
    Field("fits", "FIT", Unit.COUNT, "How many more VMs fit.", lambda row: row.fits, width=6, priority=0),
    Field(
        "after_death",
        "N+1",
        Unit.COUNT,
        "How many more, and the death of any one host can still be borne.",
        lambda row: row.after_death,
        width=6,
        priority=0,
    ),
)
CASE_FIELDS: tuple[Field[CaseRow], ...] = (
    Field(
        "host",
        "HOST",
        Unit.TEXT,
        "Name of the host.",
        lambda row: row.host,
        sort_key=lambda row: natural_key(row.host),
        width=14,
        priority=0,
    ),
    Field("zone", "ZONE", Unit.TEXT, "Its zone.", lambda row: row.zone or None, width=8, priority=6),
    Field(
        "state",
        "ANSWER",
        Unit.TEXT,
        "chosen, fits or refused.",
        lambda row: case_look(row).word,
        glance=lambda row: case_look(row).text,
        width=10,
        priority=0,
    ),
    Field("score", "SCORE", Unit.LOAD, "Sum of its weights.", lambda row: row.score, width=7, priority=1),
    Field("weights", "WEIGHTS", Unit.LIST, "Of each weigher.", lambda row: _some(row.weights), width=30),
    Field(
        "refused_by",
        "REFUSED BY",
        Unit.LIST,
        "Filters.",
        lambda row: _some(row.refused_by),
        width=16,
        priority=9,
    ),
    Field(
        "reasons",
        "WHY NOT",
        Unit.LIST,
        "With the numbers.",
        lambda row: _some(row.reasons),
        width=50,
        priority=1,
    ),
    Field(
        "cures",
        "WHAT WOULD HELP",
        Unit.LIST,
        "What would make it fit.",
        lambda row: _some(row.cures),
        width=30,
    ),
)


def project_look(row: ProjectRow) -> Look:
    if row.over:
        return Look("!", "over", Meaning.WARNING, 0)
    return Look("●", "within", Meaning.GOOD, 1)


def group_look(row: GroupRow) -> Look:
    if not row.policy:
        return Look("○", "unknown", Meaning.MUTED, 2)
    if not row.problems:
        return Look("●", "kept", Meaning.GOOD, 3)
    return Look("!", "not met", Meaning.WARNING, 1) if row.soft else Look("✖", "broken", Meaning.BAD, 0)


def case_look(row: CaseRow) -> Look:
    if row.chosen:
        return Look("●", "chosen", Meaning.GOOD, 0)
    return Look("○", "fits", Meaning.MUTED, 1) if row.fits else Look("✖", "refused", Meaning.BAD, 2)


def _noun(name: str, title: str, fields: tuple[Field[Any], ...], **more: Any) -> Noun[Any]:
    usual: dict[str, Any] = {
        "name_of": lambda row: row.name,
        "key_of": lambda row: row.name,
        "look_of": lambda row: None,
        "default_sort": ("name",),
        "text_fields": ("name",),
    }
    return Noun(
        name=name,
        plural=f"{name}s",
        title=title,
        fields=fields,
        rows=_none,
        seen=False,
        **{**usual, **more},
    )


def _none(_: FleetSnapshot) -> Any:
    """These rows are decided, not seen."""
    return iter(())


PROJECTS = _noun("project", "Projects", PROJECT_FIELDS, look_of=project_look)
GROUPS = _noun("group", "Groups", GROUP_FIELDS, look_of=group_look)
ROOM = _noun(
    "room",
    "Room for more VMs",
    ROOM_FIELDS,
    key_of=lambda row: (row.scope, row.name, row.flavor),
    default_sort=("flavor", "scope", "name"),
)
CASES = _noun(
    "case",
    "Hosts",
    CASE_FIELDS,
    name_of=lambda row: row.host,
    key_of=lambda row: row.host,
    look_of=case_look,
    default_sort=(),
    text_fields=("host", "reasons"),
)
