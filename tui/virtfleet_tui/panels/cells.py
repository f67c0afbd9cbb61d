"""Cells that say more than a number: a sparkline or a bar beside it, trouble in its colour."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from virtfleet.model import HostState
from virtfleet.query.capacity import capacity_of
from virtfleet.query.health import FULL_BAD, FULL_WARNING, host_look, pool_look
from virtfleet.query.hosts import memory_total, state_glance
from virtfleet.query.rows import HostRow, PoolRow, VmRow
from virtfleet_tui.bridge import Fleet
from virtfleet_tui.widgets.bars import load_meaning, percent_bar, percent_spark
from virtfleet_tui.widgets.grid import Cell, Renderer

_SAMPLES = 24


def renderers_of(kind: str, fleet: Fleet) -> Mapping[str, Renderer]:
    """Renderers by field name. They are called for visible cells only."""
    if kind == "host":
        return {"cpu_pct": _host_cpu(fleet), "memory_pct": _host_memory, "state": _host_state}
    if kind == "vm":
        return {"cpu_pct": _vm_cpu(fleet)}
    if kind == "pool":
        return {"used_pct": _pool_full, "name": _pool_name}
    return {}


def _host_cpu(fleet: Fleet) -> Renderer:
    def cell(row: HostRow, width: int) -> Cell:
        stats = row.host.stats
        cpu = stats.cpu_pct if stats is not None else None
        if cpu is None:
            return percent_spark((), None, width, "muted")
        return percent_spark(_recent(fleet, "host", row.host.name, ""), cpu, width, load_meaning(cpu))

    return cell


def _vm_cpu(fleet: Fleet) -> Renderer:
    def cell(row: VmRow, width: int) -> Cell:
        cpu = row.vm.stats.cpu_pct
        if cpu is None:
            return percent_spark((), None, width, "muted")
        return percent_spark(_recent(fleet, "vm", row.host.name, row.vm.uuid), cpu, width, load_meaning(cpu))

    return cell


def _recent(fleet: Fleet, kind: str, host: str, uuid: str) -> Sequence[float]:
    return fleet.history.sparkline(kind, host, uuid, "cpu_pct", _SAMPLES)


def _host_memory(row: HostRow, width: int) -> Cell:
    stats, total = row.host.stats, memory_total(row.host)
    used = 100.0 * stats.memory_used / total if stats and stats.memory_used is not None and total else None
    return percent_bar(used, width, load_meaning(used, 90.0, 97.0))


def _host_state(row: HostRow, width: int) -> Cell:
    return [(state_glance(row), str(host_look(row.host).meaning))]


def _pool_full(row: PoolRow, width: int) -> Cell:
    used = capacity_of(row).used_pct
    return percent_bar(used, width, load_meaning(used, FULL_WARNING, FULL_BAD))


def _pool_name(row: PoolRow, width: int) -> Cell:
    look = pool_look(row)
    return [(f"{look.glyph} ", str(look.meaning)), (row.members[0][1].name, "")]


def note_of(kind: str) -> tuple[str, Callable[[Any], str]] | None:
    """(column behind which it stands, what to say there instead of figures that are not there)."""
    notes: dict[str, tuple[str, Callable[[Any], str]]] = {
        "host": ("state", _host_note),
        "pool": ("name", _pool_note),
    }
    return notes.get(kind)


def _host_note(row: HostRow) -> str:
    host = row.host
    return "" if host.stats is not None or host.state is HostState.UP else host.reason


def _pool_note(row: PoolRow) -> str:
    if capacity_of(row).used_pct is not None:
        return ""
    return f"{pool_look(row).word} on {', '.join(host.name for host, _ in row.members)}"
