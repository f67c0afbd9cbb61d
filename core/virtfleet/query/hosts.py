"""The fields of a hypervisor: how we reach it and what it does now; then what it is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from virtfleet.model import HostState, HostStats, HostView, Vm
from virtfleet.query.display import format_age, format_duration
from virtfleet.query.field import Field, Unit
from virtfleet.query.health import host_fault, host_look
from virtfleet.query.host_facts import FACTS
from virtfleet.query.host_marks import MARKS
from virtfleet.query.naming import natural_key
from virtfleet.query.rows import HostRow

T = TypeVar("T")


def _stat(get: Callable[[HostStats], T | None]) -> Callable[[HostRow], T | None]:
    """A getter over the last sample; None before the first."""

    def from_row(row: HostRow) -> T | None:
        stats = row.host.stats
        return None if stats is None else get(stats)

    return from_row


def memory_total(host: HostView) -> int | None:
    """Bytes of memory, from the sample or else from the facts."""
    total = host.stats.memory_total if host.stats else None
    if total is None and host.facts:
        total = host.facts.memory
    return total or None


def _memory_pct(row: HostRow) -> float | None:
    stats, total = row.host.stats, memory_total(row.host)
    if stats is None or stats.memory_used is None or not total:
        return None
    return 100.0 * stats.memory_used / total


def _hugepages_free(row: HostRow) -> int | None:
    if row.host.stats and row.host.stats.hugepages_free is not None:
        return row.host.stats.hugepages_free
    facts = row.host.facts
    return sum(each.size * each.free for each in facts.hugepages) if facts else None


def _of_vms(count: Callable[[tuple[Vm, ...]], int]) -> Callable[[HostRow], int | None]:
    """A count over its VMs; None as long as it has never told which it has: that is not the same as none."""

    def from_row(row: HostRow) -> int | None:
        host = row.host
        return count(host.vms) if host.vms or host.freshness.stats is not None else None

    return from_row


def _running(vms: tuple[Vm, ...]) -> int:
    return sum(vm.stats.state.active for vm in vms)


def _promised_vcpus(vms: tuple[Vm, ...]) -> int:
    return sum(vm.stats.vcpus for vm in vms if vm.stats.state.active)


def _promised_memory(vms: tuple[Vm, ...]) -> int:
    return sum(vm.stats.memory for vm in vms if vm.stats.state.active)


def _fault(row: HostRow) -> str | None:
    fault = host_fault(row.host)
    return fault.kind if fault else None


def state_glance(row: HostRow, now: float | None = None) -> str:
    """`● up`, `▲ slow 2.1s`, and with `now` (CLOCK_MONOTONIC) the age of the last sample: `✖ hung 14s`."""
    host = row.host
    look = host_look(host)
    if host.state is HostState.SLOW and host.latency_p95 is not None:
        return f"{look.text} {format_duration(host.latency_p95)}"
    age = None if now is None or host.state.answers else host.age(now)
    return look.text if age is None else f"{look.text} {format_age(age)}"


def _pools(row: HostRow) -> int | None:
    return None if row.host.freshness.pools is None else len(row.host.pools)


def _volumes(row: HostRow) -> int | None:
    """While they are listed for the first time, those listed so far."""
    host = row.host
    return None if host.freshness.volumes is None and not host.volumes else len(host.volumes)


def _networks(row: HostRow) -> int | None:
    return None if row.host.freshness.networks is None else len(row.host.networks)


FIELDS: tuple[Field[HostRow], ...] = (
    Field(
        "name",
        "NAME",
        Unit.TEXT,
        "Name in the fleet file.",
        lambda row: row.host.name,
        sort_key=lambda row: natural_key(row.host.name),
        width=16,
        priority=0,
    ),
    Field(
        "state",
        "STATE",
        Unit.TEXT,
        "How our connection is: up, slow, hung, unreachable, refused, asking, connecting, disabled (in the "
        "fleet file).",
        lambda row: row.host.state.value,
        sort_key=lambda row: host_look(row.host).urgency,
        width=17,
        glance=state_glance,
        priority=0,
    ),
    Field(
        "cpu_pct",
        "CPU",
        Unit.PERCENT,
        "Busy share of all its CPUs.",
        _stat(lambda stats: stats.cpu_pct),
        width=10,
        priority=1,
    ),
    Field(
        "memory_pct",
        "MEMORY",
        Unit.PERCENT,
        "Share of its memory in use; page cache counts as free.",
        _memory_pct,
        width=14,
        priority=1,
    ),
    Field(
        "vms",
        "VMS",
        Unit.COUNT,
        "VMs defined or running on it.",
        _of_vms(len),
        width=5,
        priority=2,
    ),
    Field(
        "vms_running",
        "RUN",
        Unit.COUNT,
        "VMs that have a process on it.",
        _of_vms(_running),
        width=5,
        priority=3,
    ),
    Field(
        "load1",
        "LOAD",
        Unit.LOAD,
        "Load average of the last minute.",
        _stat(lambda stats: stats.load1),
        width=6,
        priority=4,
    ),
    Field(
        "disk_read",
        "READ",
        Unit.RATE,
        "Bytes per second read from its disks.",
        _stat(lambda stats: stats.disk_read),
        width=6,
        priority=5,
    ),
    Field(
        "disk_write",
        "WRITE",
        Unit.RATE,
        "Bytes per second written to its disks.",
        _stat(lambda stats: stats.disk_write),
        width=6,
        priority=5,
    ),
    Field(
        "net_rx",
        "NET ↓",
        Unit.RATE,
        "Bytes per second received by its network devices.",
        _stat(lambda stats: stats.net_rx),
        width=6,
        priority=5,
    ),
    Field(
        "net_tx",
        "NET ↑",
        Unit.RATE,
        "Bytes per second sent by its network devices.",
        _stat(lambda stats: stats.net_tx),
        width=6,
        priority=5,
    ),
    Field(
        "uptime_s",
        "UPTIME",
        Unit.SECONDS,
        "Seconds since it started.",
        _stat(lambda stats: stats.uptime_s),
        width=6,
        priority=6,
    ),
    Field(
        "zone",
        "ZONE",
        Unit.TEXT,
        "Zone of the fleet file.",
        lambda row: row.host.zone or None,
        width=8,
        priority=4,
    ),
    Field(
        "fault",
        "FAULT",
        Unit.TEXT,
        "Stable word for what is wrong with it; unknown is nothing.",
        _fault,
        width=12,
        priority=9,
    ),
    Field(
        "reason",
        "REASON",
        Unit.TEXT,
        "Why it is in its state.",
        lambda row: row.host.reason or None,
        width=40,
        priority=8,
    ),
    Field("cure", "CURE", Unit.TEXT, "What to try.", lambda row: row.host.cure or None, width=40, priority=9),
    Field(
        "since",
        "SINCE",
        Unit.TIME,
        "Unix time at which it entered its state.",
        lambda row: row.host.since or None,
        width=8,
        priority=9,
    ),
    Field(
        "uri",
        "URI",
        Unit.TEXT,
        "How libvirt is told to reach it.",
        lambda row: row.host.uri,
        width=32,
        priority=9,
    ),
    Field(
        "traits",
        "TRAITS",
        Unit.LIST,
        "Traits of the fleet file, for placement.",
        lambda row: row.host.traits,
        width=14,
        priority=7,
    ),
    Field(
        "memory",
        "INSTALLED",
        Unit.BYTES,
        "Memory it has.",
        lambda row: memory_total(row.host),
        width=9,
        priority=6,
    ),
    Field(
        "memory_used",
        "USED",
        Unit.BYTES,
        "Memory in use; page cache counts as free.",
        _stat(lambda stats: stats.memory_used),
        width=6,
        priority=7,
    ),
    Field(
        "memory_promised",
        "PROMISED",
        Unit.BYTES,
        "Memory given to VMs that have a process.",
        _of_vms(_promised_memory),
        width=8,
        priority=8,
    ),
    Field(
        "vcpus_promised",
        "VCPUS",
        Unit.COUNT,
        "Virtual CPUs of VMs that have a process.",
        _of_vms(_promised_vcpus),
        width=6,
        priority=8,
    ),
    Field(
        "iowait_pct",
        "IOWAIT",
        Unit.PERCENT,
        "Share of CPU time spent waiting for disks.",
        _stat(lambda stats: stats.iowait_pct),
        width=6,
        priority=7,
    ),
    Field(
        "hugepages_free",
        "HUGE FREE",
        Unit.BYTES,
        "Bytes in free huge pages of all sizes.",
        _hugepages_free,
        width=9,
        priority=9,
    ),
    Field(
        "pools",
        "POOLS",
        Unit.COUNT,
        "Storage pools on it.",
        _pools,
        width=5,
        priority=8,
    ),
    Field(
        "volumes",
        "VOLUMES",
        Unit.COUNT,
        "Volumes it sees.",
        _volumes,
        width=7,
        priority=9,
    ),
    Field(
        "networks",
        "NETS",
        Unit.COUNT,
        "Virtual networks on it.",
        _networks,
        width=5,
        priority=9,
    ),
    Field(
        "latency_s",
        "LATENCY",
        Unit.SECONDS,
        "p95 of its libvirt calls in the last minute.",
        lambda row: row.host.latency_p95,
        width=7,
        priority=7,
    ),
    Field(
        "calls_per_s",
        "CALLS/S",
        Unit.IOPS,
        "libvirt calls per second that we make on it.",
        lambda row: row.host.calls_per_s,
        width=7,
        priority=9,
    ),
    Field(
        "interval_s",
        "EVERY",
        Unit.SECONDS,
        "Seconds between samples.",
        lambda row: row.host.interval,
        width=6,
        priority=9,
    ),
    Field(
        "simulated",
        "SIMULATED",
        Unit.BOOL,
        "Whether its figures are made up (demo).",
        lambda row: row.host.simulated,
        width=9,
        priority=9,
    ),
    *MARKS,
    *FACTS,
)
