"""The lists of projects (used and limit in one column) and of groups, and words on the selected one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from virtfleet.query.display import UNKNOWN, format_value
from virtfleet.query.field import Field, Unit
from virtfleet.query.placement import GROUPS, PROJECTS, GroupRow, ProjectRow, group_look, project_look
from virtfleet_tui.panels.decided import decided
from virtfleet_tui.panels.foot import line
from virtfleet_tui.widgets.bars import bar, load_meaning
from virtfleet_tui.widgets.glyphs import glyphs
from virtfleet_tui.widgets.grid import Cell, Renderer
from virtfleet_tui.widgets.hanging import Line

_FIGURES: Mapping[str, tuple[str, Unit, int]] = {
    # Name: title, unit, priority.
    "vcpus": ("VCPUS", Unit.COUNT, 1),
    "memory": ("MEMORY", Unit.BYTES, 1),
    "vms": ("VMS", Unit.COUNT, 2),
    "capacity": ("CAPACITY", Unit.BYTES, 2),
    "volumes": ("VOLUMES", Unit.COUNT, 3),
}
_WIDTH = 15
_LEAST_BAR = 3
NEARLY = 90.0
"""Percent of a quota from which it is worth a colour."""


def of_limit(row: ProjectRow, name: str) -> str:
    """`310/512`; without a limit `310`."""
    unit = _FIGURES[name][1]
    limit = row.limits.get(name)
    used = format_value(row.used[name], unit)
    return used if limit is None else f"{used}/{format_value(limit, unit)}"


def _figure(name: str) -> Field[Any]:
    field = PROJECTS.field(name)
    assert field is not None  # noqa: S101 - they are of one table
    title, _, priority = _FIGURES[name]
    return replace(
        field, title=title, width=_WIDTH, priority=priority, glance=lambda row: of_limit(row, name)
    )


def _share(row: ProjectRow, name: str) -> float | None:
    limit = row.limits.get(name)
    if limit is None:
        return None
    if not limit:
        return 100.0 if row.used[name] else 0.0
    return 100.0 * row.used[name] / limit


def _meter(name: str) -> Renderer:
    """A bar where there is a limit, and the figures; over it all is in its colour."""

    def cell(row: ProjectRow, width: int) -> Cell:
        text = of_limit(row, name)
        share = _share(row, name)
        room = width - len(text) - 1
        meaning = "bad" if name in row.over else load_meaning(share, NEARLY, 100.1)
        if share is None or room < _LEAST_BAR:
            return [(text.rjust(width), meaning)]
        cells = bar(share / 100, room)
        filled = cells.rstrip(glyphs().track)
        return [(filled, meaning or "gauge"), (cells[len(filled) :], "track"), (f" {text}", meaning)]

    return cell


PROJECT_METERS: Mapping[str, Renderer] = {name: _meter(name) for name in _FIGURES}

_STATE: Field[Any] = Field(
    "state",
    "STATE",
    Unit.TEXT,
    "within, or over: more is used than may be.",
    lambda row: project_look(row).word,
    sort_key=lambda row: project_look(row).urgency,
    glance=lambda row: project_look(row).text,
    width=8,
    priority=0,
)
_PROJECT_NAMES = {*_FIGURES, "name"}


def _project_columns() -> tuple[Field[Any], ...]:
    name = replace(PROJECTS.fields[0], width=14)
    others = [
        replace(field, priority={"over": 4, "types": 4}.get(field.name, 9))
        for field in PROJECTS.fields
        if field.name not in _PROJECT_NAMES
    ]
    return (name, _STATE, *(_figure(each) for each in _FIGURES), *others)


def _project_style(row: ProjectRow, field: Field[Any]) -> str:
    if field.name == "state":
        return project_look(row).meaning.value
    return "bad" if field.name == "over" else ""


PROJECT_LIST = decided(
    replace(PROJECTS, fields=(*PROJECTS.fields, _STATE), text_fields=("name", "state")),
    _project_columns(),
    lambda row: bool(row.over),
    "No projects: the fleet file has none, and no VM names one",
    "over:vcpus  memory>512GiB  vms_limit=none  words",
    _project_style,
    PROJECT_METERS,
)


def project_foot(row: ProjectRow, advisory: bool) -> list[Line]:
    """All its figures in words. `advisory`: nothing keeps two operators from exceeding a limit together."""
    plain = [f"{of_limit(row, name)} {_WORDS[name]}" for name in _FIGURES]
    look = project_look(row)
    lines = [
        line(
            f"{look.glyph} ",
            (row.name, "bold"),
            (f"  over its quota of {', '.join(row.over)}" if row.over else "", "bad"),
            ("" if row.known else "  not in the fleet file: nothing limits it", "muted"),
            meaning=look.meaning.value,
        ),
        line("  ", (", ".join(plain), "")),
    ]
    lines += [line("  ", (each, "")) for each in row.types]
    if advisory and any(limit is not None for limit in row.limits.values()):
        text = "advisory: without a `store` that operators share, two at once may exceed it together"
        lines.append(line("  ", (text, "muted")))
    return lines


_WORDS = {
    "vcpus": "vCPUs",
    "memory": "of memory",
    "vms": "VMs",
    "capacity": "in volumes",
    "volumes": "volumes",
}


# ---- groups

_GROUP_COLUMNS: Mapping[str, dict[str, Any]] = {
    "name": {"width": 12},
    "state": {"width": 10, "sort_key": lambda row: group_look(row).urgency},
    "policy": {"width": 18, "priority": 2},
    "count": {"width": 4, "priority": 1},
    "hosts": {"width": 5, "priority": 1},
    "members": {"width": 30, "priority": 4},
    "problems": {"width": 26, "priority": 0},
}


def _group_style(row: GroupRow, field: Field[Any]) -> str:
    if field.name == "state":
        return group_look(row).meaning.value
    if field.name == "problems" and row.problems:
        return "warning" if row.soft else "bad"
    return "muted" if field.name == "members" else ""


def _group_columns() -> tuple[Field[Any], ...]:
    fields = {field.name: field for field in GROUPS.fields}
    order = ("name", "state", "policy", "count", "hosts", "members", "problems")
    return tuple(replace(fields[name], **_GROUP_COLUMNS[name]) for name in order)


GROUP_LIST = decided(
    replace(GROUPS, default_sort=("state", "name"), text_fields=("name", "policy", "members")),
    _group_columns(),
    lambda row: bool(row.problems),
    "No groups: the fleet file has none, and no VM names one",
    "state=broken  policy~^soft  members~web  hosts>1  words",
    _group_style,
)

_MEANS = {
    "affinity": "all on one host",
    "anti-affinity": "apart: only so many on one host",
    "soft-affinity": "all on one host, if that can be",
    "soft-anti-affinity": "apart, if that can be",
}


def group_foot(row: GroupRow) -> list[Line]:
    """What it means, what is wrong, who belongs to it."""
    look = group_look(row)
    means = f"{row.policy}: {_MEANS.get(row.policy, '')}" if row.policy else "the fleet file does not know it"
    lines = [
        line(f"{look.glyph} ", (row.name, "bold"), (f"  {means}", "muted"), meaning=look.meaning.value),
        *(line("  ", (each, "warning" if row.soft else "bad")) for each in row.problems),
    ]
    lines.append(line("  ", (", ".join(row.members) or f"no VMs {UNKNOWN}", "")))
    return lines
