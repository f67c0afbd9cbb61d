"""The lists of `:capacity`: room for more VMs of each flavor; and VMs that would be left behind."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from virtfleet.config.settings import Flavor
from virtfleet.query.display import format_value
from virtfleet.query.field import Field, Unit
from virtfleet.query.looks import Look, Meaning
from virtfleet.query.naming import natural_key
from virtfleet.query.nouns import Noun
from virtfleet_tui.panels.decided import decided
from virtfleet_tui.panels.nouns import Listed
from virtfleet_tui.reckoner import FLEET, HOST, N_PLUS_1, ZONE, PlaceRow
from virtfleet_tui.widgets.bars import load_meaning, percent_bar
from virtfleet_tui.widgets.grid import Cell, Renderer

_ORDER = {scope: rank for rank, scope in enumerate((FLEET, N_PLUS_1, ZONE, HOST))}


def place_look(row: PlaceRow) -> Look:
    """Whether the death of a host, or of any of several, can be borne."""
    if not row.fatal:
        return Look("●", "borne", Meaning.GOOD, 1)
    some = "1 VM" if row.homeless == 1 else f"{row.homeless} VMs"
    return Look("✖", some, Meaning.BAD, 0)


def verdict(row: PlaceRow) -> tuple[str, str]:
    """N+1 of the fleet in words, with its meaning."""
    if not row.fatal:
        return "N+1 holds: any host may die", "good"
    vms = "1 VM" if row.homeless == 1 else f"{row.homeless} VMs"
    hosts = "1 host" if row.fatal == 1 else f"{row.fatal} hosts"
    return f"N+1 broken: {vms} of {hosts} homeless", "bad"


def _name_of(flavor: str, taken: Iterable[str]) -> str:
    """A word that a filter can have."""
    word = re.sub(r"\W", "_", flavor).lower()
    return f"flavor_{word}" if word in taken or not word.isidentifier() else word


def _fits(flavor: str) -> Any:
    return lambda row: row.fits.get(flavor)


_FIXED: tuple[Field[Any], ...] = (
    Field(
        "where",
        "WHERE",
        Unit.TEXT,
        "fleet: all hosts now; N+1: so many, and any one host may still die; zone; host.",
        lambda row: row.scope,
        sort_key=lambda row: _ORDER[row.scope],
        width=5,
        priority=0,
    ),
    Field(
        "name",
        "NAME",
        Unit.TEXT,
        "Of the zone or host.",
        lambda row: row.name,
        sort_key=lambda row: natural_key(row.name),
        width=13,
        priority=0,
    ),
    Field("zone", "ZONE", Unit.TEXT, "Of the host.", lambda row: row.zone or None, width=6, priority=7),
    Field(
        "death",
        "IF IT DIED",
        Unit.TEXT,
        "borne: its VMs would find a place on other hosts; else how many would not.",
        lambda row: place_look(row).word,
        sort_key=lambda row: -row.homeless,
        glance=lambda row: place_look(row).text,
        width=12,
        priority=0,
    ),
    Field(
        "homeless",
        "HOMELESS",
        Unit.COUNT,
        "VMs that would find no place if it died; of several hosts: if each died alone, summed up.",
        lambda row: row.homeless,
        priority=9,
    ),
    Field(
        "vcpus_pct",
        "VCPUS GIVEN",
        Unit.PERCENT,
        "Share of its vCPUs that is promised, after reserve and allocation ratio.",
        lambda row: row.vcpus.percent,
        width=14,
        priority=4,
    ),
    Field(
        "memory_pct",
        "MEMORY GIVEN",
        Unit.PERCENT,
        "Share of its memory that is promised, after reserve and allocation ratio.",
        lambda row: row.memory.percent,
        width=14,
        priority=4,
    ),
)


def _share(name: str) -> Renderer:
    def cell(row: PlaceRow, width: int) -> Cell:
        value: float | None = getattr(row, name).percent
        return percent_bar(value, width, load_meaning(value, 90.0, 100.1))

    return cell


CAPACITY_METERS: Mapping[str, Renderer] = {"vcpus_pct": _share("vcpus"), "memory_pct": _share("memory")}


def capacity_list(flavors: Mapping[str, Flavor]) -> Listed:
    """A column for each flavor of the fleet file."""
    taken = [field.name for field in _FIXED]
    columns = list(_FIXED)
    for flavor, wants in flavors.items():
        size = f"{wants.vcpus} vCPUs, {format_value(wants.memory, Unit.BYTES)} of memory"
        name = _name_of(flavor, taken)
        taken.append(name)
        doc = f"How many more of flavor {flavor} fit: {size}."
        width = max(5, min(len(flavor), 12))
        columns.append(
            Field(name, flavor.upper()[:12], Unit.COUNT, doc, _fits(flavor), width=width, priority=1)
        )
    fields = tuple(columns)
    noun: Noun[Any] = Noun(
        name="capacity",
        plural="capacity",
        title="Room for more VMs",
        fields=fields,
        rows=lambda snapshot: iter(()),
        name_of=lambda row: row.name,
        key_of=lambda row: row.key,
        look_of=place_look,
        default_sort=("where", "name"),
        text_fields=("where", "name", "zone"),
        seen=False,
    )
    empty = "No hosts" if flavors else "The fleet file has no flavors: there is nothing to count"
    hint = "where=host  zone=a  homeless>0  memory_pct>90  words"
    return decided(noun, fields, lambda row: bool(row.fatal), empty, hint, _style, CAPACITY_METERS)


def _style(row: PlaceRow, field: Field[Any]) -> str:
    if field.name == "death":
        return place_look(row).meaning.value
    if row.scope in (FLEET, N_PLUS_1) and field.name in ("where", "name"):
        return "accent"
    if field.unit is Unit.COUNT and field.name != "homeless" and field.get(row) == 0:
        return "warning"
    return ""


_HOMELESS: tuple[Field[Any], ...] = (
    Field(
        "host",
        "HOST",
        Unit.TEXT,
        "The host that it is on.",
        lambda row: row.host,
        sort_key=lambda row: natural_key(row.host),
        width=12,
        priority=0,
    ),
    Field(
        "name",
        "NAME",
        Unit.TEXT,
        "The VM.",
        lambda row: row.name,
        sort_key=lambda row: natural_key(row.name),
        width=16,
        priority=0,
    ),
    Field("vcpus", "VCPU", Unit.COUNT, "Its vCPUs.", lambda row: row.vcpus, width=4, priority=1),
    Field("memory", "MEMORY", Unit.BYTES, "Its memory.", lambda row: row.memory, width=6, priority=1),
    Field("flavor", "FLAVOR", Unit.TEXT, "Its flavor.", lambda row: row.flavor or None, width=10, priority=2),
    Field(
        "project", "PROJECT", Unit.TEXT, "Its project.", lambda row: row.project or None, width=10, priority=3
    ),
    Field("group", "GROUP", Unit.TEXT, "Its group.", lambda row: row.group or None, width=10, priority=3),
)

HOMELESS = decided(
    Noun(
        name="homeless",
        plural="homeless",
        title="Would find no place if their host died",
        fields=_HOMELESS,
        rows=lambda snapshot: iter(()),
        name_of=lambda row: row.name,
        key_of=lambda row: row.key,
        look_of=lambda row: None,
        default_sort=("host", "-memory"),
        text_fields=("host", "name", "flavor", "project", "group"),
        seen=False,
    ),
    _HOMELESS,
    lambda row: True,
    "Every VM would find a place",
    "host~^hv1  memory>8GiB  project=web  words",
)
