"""The columns of the console's lists: the fields of each noun, with widths and order for a screen.

Some columns of a list say two things that belong together (read and write,
used and given) in the room of one and a half. They sort by their sum or first
part; filters and the command line know only the plain fields.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from virtfleet.query.display import UNKNOWN, format_value
from virtfleet.query.field import Field, Unit
from virtfleet.query.rows import HostRow, VmRow

_HALF = 4
"""Cells of each part of a pair: 1.5M, 210M, 12."""


def _pair(first: float | None, second: float | None, unit: Unit) -> str:
    if first is None and second is None:
        return UNKNOWN
    return f"{format_value(first, unit, _HALF)}/{format_value(second, unit, _HALF)}"


def _sum(first: float | None, second: float | None) -> float | None:
    return None if first is None and second is None else (first or 0.0) + (second or 0.0)


def _rates(
    name: str, title: str, doc: str, parts: Callable[[Any], tuple[float | None, float | None]]
) -> Field[Any]:
    return Field(
        name,
        title,
        Unit.RATE,
        doc,
        lambda row: _sum(*parts(row)),
        width=9,
        glance=lambda row: _pair(*parts(row), Unit.RATE),
        priority=3,
    )


def _vm_disk(row: VmRow) -> tuple[float | None, float | None]:
    return row.vm.stats.disk_read, row.vm.stats.disk_write


def _vm_net(row: VmRow) -> tuple[float | None, float | None]:
    return row.vm.stats.net_rx, row.vm.stats.net_tx


def _host_disk(row: HostRow) -> tuple[float | None, float | None]:
    stats = row.host.stats
    return (stats.disk_read, stats.disk_write) if stats is not None else (None, None)


def _host_net(row: HostRow) -> tuple[float | None, float | None]:
    stats = row.host.stats
    return (stats.net_rx, stats.net_tx) if stats is not None else (None, None)


def _vm_memory(row: VmRow) -> str:
    """What its process holds on the host is another thing, with QEMU's own share in it: never shown here."""
    given = row.vm.stats.memory or row.vm.info.memory_max
    return _pair(row.vm.stats.memory_used, given, Unit.BYTES)


_DISK = "Bytes per second read and written."
_NET = "Bytes per second received and sent."
_ADDED: Mapping[str, Mapping[str, Sequence[Field[Any]]]] = {
    # noun: {name of the field after which they stand: fields}
    "vm": {
        "cpu_pct": (
            Field(
                "memory_both",
                "MEMORY",
                Unit.BYTES,
                "Memory in use as the guest sees it, and memory given.",
                lambda row: row.vm.stats.memory_used,
                width=9,
                glance=_vm_memory,
                priority=2,
            ),
            _rates("disk_both", "DISK r/w", _DISK, _vm_disk),
            _rates("net_both", "NET ↓/↑", _NET, _vm_net),
        )
    },
    "host": {
        "load1": (
            _rates("disk_both", "DISK r/w", _DISK, _host_disk),
            _rates("net_both", "NET ↓/↑", _NET, _host_net),
        )
    },
}

_HIDDEN = 9
_WIDTHS: Mapping[str, Mapping[str, int]] = {
    "host": {"name": 12, "state": 13, "memory_pct": 12, "zone": 6, "load1": 5},
    "vm": {"name": 16, "host": 10},
    "pool": {"name": 12, "used_pct": 11, "hosts": 8},
    "volume": {},
    "network": {},
}
_TITLES: Mapping[str, Mapping[str, str]] = {
    # Beside a pair of the same title, in the dialogs that list all columns.
    "vm": {"memory": "GIVEN"},
}
_PRIORITIES: Mapping[str, Mapping[str, int]] = {
    # What a pair says already appears alone only where the operator chose it.
    "vm": {
        "memory_used": _HIDDEN,
        "memory": _HIDDEN,
        "disk_read": _HIDDEN,
        "disk_write": _HIDDEN,
        "net_rx": _HIDDEN,
        "net_tx": _HIDDEN,
        "memory_pct": _HIDDEN,
        "vcpus": 4,
    },
    "host": {
        "disk_read": _HIDDEN,
        "disk_write": _HIDDEN,
        "net_rx": _HIDDEN,
        "net_tx": _HIDDEN,
        "memory_used": _HIDDEN,
        "vms_running": 4,
    },
    # Its state is the glyph before its name; what is not running says so over the other columns.
    "pool": {"hosts": 1, "available": 2, "used_pct": 3, "state": 5, "capacity": 4, "type": 4},
    "volume": {},
    "network": {},
}


def columns_of(noun: str, fields: Sequence[Field[Any]]) -> tuple[Field[Any], ...]:
    """`fields` of a noun as its list shows them."""
    widths, priorities = _WIDTHS.get(noun, {}), _PRIORITIES.get(noun, {})
    found: list[Field[Any]] = []
    for field in fields:
        found.append(
            replace(
                field,
                title=_TITLES.get(noun, {}).get(field.name, field.title),
                width=widths.get(field.name, field.width),
                priority=priorities.get(field.name, field.priority),
            )
        )
        found += _ADDED.get(noun, {}).get(field.name, ())
    return tuple(found)
