"""The fields of a VM: where it is and what it does now; then how it is made."""

from __future__ import annotations

from typing import TypeVar

from virtfleet.query.field import Field, Unit
from virtfleet.query.health import vm_fault, vm_look
from virtfleet.query.naming import natural_key
from virtfleet.query.rows import VmRow
from virtfleet.query.vm_details import DETAILS, word_of

T = TypeVar("T")


def _memory_pct(row: VmRow) -> float | None:
    stats = row.vm.stats
    if stats.memory_used is None or not stats.memory:
        return None
    return 100.0 * stats.memory_used / stats.memory


def _addresses(row: VmRow) -> tuple[str, ...]:
    nics = row.vm.info.nics
    if len(nics) == 1:
        return nics[0].addresses
    return tuple(address for nic in nics for address in nic.addresses)


def _fault(row: VmRow) -> str | None:
    fault = vm_fault(row.vm)
    return fault.kind if fault else None


FIELDS: tuple[Field[VmRow], ...] = (
    Field(
        "name",
        "NAME",
        Unit.TEXT,
        "Name of the VM on its host.",
        lambda row: row.vm.info.name,
        sort_key=lambda row: natural_key(row.vm.info.name),
        width=20,
        priority=0,
    ),
    Field(
        "host",
        "HOST",
        Unit.TEXT,
        "Host it is on.",
        lambda row: row.host.name,
        sort_key=lambda row: natural_key(row.host.name),
        width=12,
        priority=1,
    ),
    Field(
        "state",
        "STATE",
        Unit.TEXT,
        "running, blocked, paused, shutting-down, shutoff, crashed, pmsuspended or nostate.",
        lambda row: (
            row.vm.stats.state._value_
        ),  # `value` is ten times slower, and this is asked for every row
        sort_key=lambda row: vm_look(row.vm).urgency,
        width=15,
        glance=lambda row: vm_look(row.vm).text,
        priority=0,
    ),
    Field(
        "vcpus",
        "VCPU",
        Unit.COUNT,
        "Virtual CPUs it has now.",
        lambda row: row.vm.stats.vcpus,
        width=4,
        priority=3,
    ),
    Field(
        "cpu_pct",
        "CPU",
        Unit.PERCENT,
        "Busy share of all its virtual CPUs.",
        lambda row: row.vm.stats.cpu_pct,
        width=10,
        priority=1,
    ),
    Field(
        "memory_used",
        "USED",
        Unit.BYTES,
        "Memory in use as the guest sees it, where its balloon driver tells.",
        lambda row: row.vm.stats.memory_used,
        width=6,
        priority=2,
    ),
    Field(
        "memory",
        "MEMORY",
        Unit.BYTES,
        "Memory it is given now.",
        lambda row: row.vm.stats.memory,
        width=6,
        priority=2,
    ),
    Field(
        "disk_read",
        "READ",
        Unit.RATE,
        "Bytes per second read from its disks.",
        lambda row: row.vm.stats.disk_read,
        width=6,
        priority=4,
    ),
    Field(
        "disk_write",
        "WRITE",
        Unit.RATE,
        "Bytes per second written to its disks.",
        lambda row: row.vm.stats.disk_write,
        width=6,
        priority=4,
    ),
    Field(
        "net_rx",
        "NET ↓",
        Unit.RATE,
        "Bytes per second that it receives.",
        lambda row: row.vm.stats.net_rx,
        width=6,
        priority=4,
    ),
    Field(
        "net_tx",
        "NET ↑",
        Unit.RATE,
        "Bytes per second that it sends.",
        lambda row: row.vm.stats.net_tx,
        width=6,
        priority=4,
    ),
    Field(
        "addresses",
        "ADDRESS",
        Unit.LIST,
        "IP addresses known from leases, the guest agent or the host's ARP table.",
        _addresses,
        sort_key=lambda row: natural_key(_addresses(row)[0]) if _addresses(row) else None,
        width=15,
        priority=3,
    ),
    Field(
        "project",
        "PROJECT",
        Unit.TEXT,
        "Project it belongs to.",
        word_of(lambda i: i.project),
        width=10,
        priority=5,
    ),
    Field("tags", "TAGS", Unit.LIST, "Its tags.", lambda row: row.vm.info.tags, width=14, priority=6),
    Field(
        "flavor",
        "FLAVOR",
        Unit.TEXT,
        "Flavor it was made from.",
        word_of(lambda i: i.flavor),
        width=10,
        priority=6,
    ),
    Field(
        "group",
        "GROUP",
        Unit.TEXT,
        "Group with which it is kept together or apart.",
        word_of(lambda i: i.group),
        width=10,
        priority=7,
    ),
    Field(
        "fault",
        "FAULT",
        Unit.TEXT,
        "Stable word for what is wrong with it; unknown is nothing.",
        _fault,
        width=14,
        priority=9,
    ),
    Field(
        "reason",
        "REASON",
        Unit.TEXT,
        "libvirt's reason for the state.",
        lambda row: row.vm.stats.reason or None,
        width=12,
        priority=8,
    ),
    Field(
        "memory_pct",
        "MEM %",
        Unit.PERCENT,
        "Share of its memory in use as the guest sees it.",
        _memory_pct,
        width=6,
        priority=7,
    ),
    Field(
        "memory_rss",
        "RSS",
        Unit.BYTES,
        "Memory that its process holds on the host.",
        lambda row: row.vm.stats.memory_rss,
        width=6,
        priority=7,
    ),
    Field(
        "disk_read_iops",
        "R IOPS",
        Unit.IOPS,
        "Reads per second.",
        lambda row: row.vm.stats.disk_read_iops,
        width=6,
        priority=6,
    ),
    Field(
        "disk_write_iops",
        "W IOPS",
        Unit.IOPS,
        "Writes per second.",
        lambda row: row.vm.stats.disk_write_iops,
        width=6,
        priority=6,
    ),
    Field(
        "monitor_stuck",
        "STUCK",
        Unit.BOOL,
        "Whether its QEMU monitor does not answer though its host does.",
        lambda row: row.vm.stats.monitor_stuck,
        width=5,
        priority=9,
    ),
    Field(
        "zone", "ZONE", Unit.TEXT, "Zone of its host.", lambda row: row.host.zone or None, width=8, priority=7
    ),
    Field(
        "host_state",
        "HOST STATE",
        Unit.TEXT,
        "State of its host: where that is not up or slow, all else is old.",
        lambda row: row.host.state.value,
        width=11,
        priority=9,
    ),
    *DETAILS,
)
