"""What an object is, told in words and figures: the left side of its page. Pure: rows in, lines out."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from virtfleet.model import HostView, VmDisk, VmNic
from virtfleet.query.capacity import capacity_of
from virtfleet.query.display import UNKNOWN, format_value
from virtfleet.query.field import Unit, Value
from virtfleet.query.health import pool_look
from virtfleet.query.looks import Look, host_look, network_look, vm_look
from virtfleet.query.rows import HostRow, NetworkRow, PoolRow, Row, VmRow, VolumeRow
from virtfleet.query.words import describe, describe_age, describe_duration

Pieces = list[tuple[str, str]]


class Fact(NamedTuple):
    label: str
    """Empty: it belongs to the fact before it."""
    pieces: Pieces
    """Text with its meaning."""


class Section(NamedTuple):
    title: str
    facts: list[Fact]


class Draft(NamedTuple):
    """A section before it is known which facts there are."""

    title: str
    facts: Sequence[Fact | None]


def facts_of(row: Row, now: float, room: Mapping[str, int] = MappingProxyType({})) -> list[Section]:
    """All that is known of the object. `now` is CLOCK_MONOTONIC. `room`: on a host, how many more VMs of each
    flavor fit."""
    drafts = _drafts(row, now)
    if room:
        fits = [Fact(flavor, [(f"{count:,}", "" if count else "warning")]) for flavor, count in room.items()]
        at = next((at for at, draft in enumerate(drafts) if draft.title == "Made of"), len(drafts) - 1)
        drafts.insert(at, Draft("Room for more VMs", fits))
    sections = [Section(title, [fact for fact in facts if fact is not None]) for title, facts in drafts]
    return [section for section in sections if section.facts]


def _drafts(row: Row, now: float) -> list[Draft]:
    match row:
        case HostRow():
            return _host(row, now)
        case VmRow():
            return _vm(row, now)
        case PoolRow():
            return _pool(row)
        case VolumeRow():
            return _volume(row)
        case NetworkRow():
            return _network(row)


# ---- helpers


def _value(value: Value, unit: Unit = Unit.TEXT) -> Pieces:
    if value is None or value in ("", ()):
        return [(UNKNOWN, "muted")]
    text = format_value(value, unit)
    # Below 1 K there is no letter that would say what it is.
    return [(f"{text} bytes" if unit is Unit.BYTES and text.isdigit() else text, "")]


def _told(label: str, value: Value) -> Fact | None:
    """What somebody wrote or chose; nothing, if nobody did. What is measured is shown as unknown instead."""
    return Fact(label, _value(value)) if value else None


def _look(look: Look, since: float = 0.0) -> Pieces:
    pieces: Pieces = [(f"{look.glyph} {look.word}", look.meaning)]
    if since:
        pieces.append((f"  for {describe_duration(max(0.0, time.time() - since))}", "muted"))
    return pieces


def _bytes(value: float | None, of: float | None = None) -> Pieces:
    if value is None and not of:
        return _value(None)
    pieces = _value(value, Unit.BYTES)
    if of:
        pieces.append((f" of {format_value(of, Unit.BYTES)}", "muted"))
        if value is not None:
            pieces.append((f"  {format_value(100.0 * value / of, Unit.PERCENT)}", ""))
    return pieces


def _pair(read: float | None, write: float | None, first: str, second: str) -> Pieces:
    if read is None and write is None:
        return _value(None)
    return [
        (f"{first} ", "muted"),
        (f"{format_value(read, Unit.RATE)}/s", ""),
        (f"  {second} ", "muted"),
        (f"{format_value(write, Unit.RATE)}/s", ""),
    ]


def _flags(pairs: Iterable[tuple[bool, str]]) -> Fact | None:
    words = [word for on, word in pairs if on]
    return Fact("flags", [(", ".join(words), "")]) if words else None


def _moment(host: HostView, now: float) -> str:
    """Of which moment figures of a host and of its VMs are: a title that says now must be true."""
    return f"Last seen {describe_age(host.age(now))}" if host.is_stale(now) else "Now"


def _age(age: float | None) -> Pieces:
    return [(describe_age(age), "warning" if age is None else "")]


# ---- one function per kind


def _host(row: HostRow, now: float) -> list[Draft]:
    host = row.host
    stats, facts = host.stats, host.facts
    state = [
        Fact("state", _look(host_look(host), host.since)),
        Fact("last sample", _age(host.age(now))),
        Fact("answers in", [*_value(host.latency_p95, Unit.SECONDS), (" p95 of a minute", "muted")]),
        Fact("connection", _value(host.uri)),
        _told("zone", host.zone),
        _told("traits", host.traits),
    ]
    sections = [Draft("Host", state)]
    if stats is not None:
        sections.append(
            Draft(
                _moment(host, now),
                [
                    Fact("cpu", _value(stats.cpu_pct, Unit.PERCENT)),
                    Fact("waits for disk", _value(stats.iowait_pct, Unit.PERCENT)),
                    Fact("memory", _bytes(stats.memory_used, stats.memory_total)),
                    Fact("load", _value(stats.load1, Unit.LOAD)),
                    Fact("disk", _pair(stats.disk_read, stats.disk_write, "read", "write")),
                    Fact("network", _pair(stats.net_rx, stats.net_tx, "in", "out")),
                    Fact("up for", [(describe(stats.uptime_s, Unit.SECONDS), "")]),
                ],
            )
        )
    if facts is not None:
        counts = ((facts.sockets, "socket"), (facts.cores, "core"), (facts.threads, "thread"))
        layout = ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts)
        sections.append(
            Draft(
                "Made of",
                [
                    Fact("cpus", [(str(facts.cpus), ""), (f"  {layout}", "muted")]),
                    Fact("cpu model", _value(" ".join(filter(None, (facts.cpu_vendor, facts.cpu_model))))),
                    Fact("memory", _value(facts.memory or None, Unit.BYTES)),
                    Fact("numa cells", _value(len(facts.numa) or None, Unit.COUNT)),
                    Fact("iommu", _value(facts.iommu, Unit.BOOL)),
                    *(
                        Fact(
                            f"{format_value(page.size, Unit.BYTES)} pages",
                            [(f"{page.free:,} free", ""), (f" of {page.total:,}", "muted")],
                        )
                        for page in facts.hugepages
                    ),
                    Fact("hypervisor", _value(f"{facts.hypervisor} {facts.hypervisor_version}".strip())),
                    Fact("libvirt", _value(facts.libvirt_version)),
                    Fact("system", _value(" ".join(filter(None, (facts.os, facts.kernel, facts.arch))))),
                ],
            )
        )
    running = sum(vm.state.active for vm in host.vms)
    sections.append(
        Draft(
            "Has",
            [
                Fact("VMs", [(f"{running} running", ""), (f" of {len(host.vms)}", "muted")]),
                Fact("pools", _value(len(host.pools), Unit.COUNT)),
                Fact("volumes", _value(len(host.volumes), Unit.COUNT)),
                Fact("networks", _value(len(host.networks), Unit.COUNT)),
            ],
        )
    )
    return sections


def _vm(row: VmRow, now: float) -> list[Draft]:
    host, vm = row.host, row.vm
    info, stats = vm.info, vm.stats
    return [
        Draft(
            "VM",
            [
                Fact(
                    "state", _look(vm_look(vm)) + ([(f"  {stats.reason}", "muted")] if stats.reason else [])
                ),
                Fact("host", [(host.name, ""), (f"  {host_look(host).text}", host_look(host).meaning)]),
                Fact("seen", _age(host.age(now))),
                _told("title", info.title),
                _told("about", info.description),
                _told("project", info.project),
                _told("flavor", info.flavor),
                _told("group", info.group),
                _told("tags", info.tags),
                Fact("uuid", _value(info.uuid)),
                _flags(
                    (
                        (info.protected, "protected"),
                        (info.autostart, "starts with its host"),
                        (not info.persistent, "transient"),
                        (info.managed_save, "saved"),
                    )
                ),
            ],
        ),
        Draft(
            _moment(host, now),
            [
                Fact("cpu", _value(stats.cpu_pct, Unit.PERCENT)),
                Fact("vcpus", [(str(stats.vcpus), ""), (f" of {info.vcpus_max}", "muted")]),
                Fact("memory", _bytes(stats.memory_used, stats.memory or info.memory_max)),
                Fact("on the host", _value(stats.memory_rss, Unit.BYTES)),
                Fact("disk", _pair(stats.disk_read, stats.disk_write, "read", "write")),
                Fact("operations", _iops(stats.disk_read_iops, stats.disk_write_iops)),
                Fact("network", _pair(stats.net_rx, stats.net_tx, "in", "out")),
            ],
        ),
        Draft("Disks", [Fact(disk.target, _disk(disk)) for disk in info.disks]),
        Draft("Networks", [fact for nic in info.nics for fact in _nic(nic)]),
        Draft(
            "Made of",
            [
                Fact("machine", _value(" ".join(filter(None, (info.arch, info.machine, info.firmware))))),
                Fact("cpu model", _value(" ".join(filter(None, (info.cpu_mode, info.cpu_model))))),
                Fact("agent", _agent(info.agent)),
                Fact("snapshots", _value(info.snapshots, Unit.COUNT)),
                Fact("consoles", _value(info.consoles, Unit.COUNT)),
                *(
                    Fact("display", [(f"{g.type} {g.listen}{f':{g.port}' if g.port else ''}{g.socket}", "")])
                    for g in info.graphics
                ),
            ],
        ),
    ]


def _iops(read: float | None, write: float | None) -> Pieces:
    if read is None and write is None:
        return _value(None)
    return [
        ("read ", "muted"),
        (describe(read, Unit.COUNT), ""),
        ("/s  write ", "muted"),
        (f"{describe(write, Unit.COUNT)}/s", ""),
    ]


def _agent(agent: bool | None) -> Pieces:
    if agent is None:
        return [("not configured", "muted")]
    return [("connected", "good")] if agent else [("configured, but silent", "warning")]


def _disk(disk: VmDisk) -> Pieces:
    words = [word for word in (disk.bus, disk.format, "" if disk.device == "disk" else disk.device) if word]
    words += [word for on, word in ((disk.readonly, "read-only"), (disk.shareable, "shared")) if on]
    return [(disk.source or "empty", "" if disk.source else "muted"), (f"  {' '.join(words)}", "muted")]


def _nic(nic: VmNic) -> list[Fact]:
    source = f"{nic.type} {nic.source}".strip()
    facts = [Fact(nic.target or nic.model or "nic", [(nic.mac, ""), (f"  {source}", "muted")])]
    if nic.addresses:
        facts.append(Fact("", [(", ".join(nic.addresses), ""), (f"  by {nic.address_source}", "muted")]))
    return facts


def _pool(row: PoolRow) -> list[Draft]:
    pool = row.members[0][1]
    room = capacity_of(row)
    what = [
        Fact("state", _look(pool_look(row))),
        Fact("type", _value(pool.type)),
        _told("source", pool.source),
        _told("path", pool.target),
        Fact("full", _value(room.used_pct, Unit.PERCENT)),
        Fact("free", _bytes(room.available, room.capacity)),
        Fact("allocated", _value(room.allocation, Unit.BYTES)),
        Fact("volumes", _value(pool.volumes, Unit.COUNT)),
        _flags(((pool.autostart, "starts with its host"), (not pool.persistent, "transient"))),
        Fact("identity", _value(row.identity)),
    ]
    members = [
        Fact(
            host.name,
            [(f"{each.state.value}", "" if host.state.answers else "muted"), (f"  as {each.name}", "muted")],
        )
        for host, each in row.members
    ]
    return [Draft("Pool", what), Draft("Seen by", members)]


def _volume(row: VolumeRow) -> list[Draft]:
    volume = row.volume
    return [
        Draft(
            "Volume",
            [
                Fact("pool", [(volume.pool, ""), (f"  on {row.host.name}", "muted")]),
                Fact("type", _value(" ".join(filter(None, (volume.type, volume.format))))),
                Fact("size", [(describe(volume.capacity, Unit.BYTES), "")]),
                Fact("allocated", _bytes(volume.allocation, volume.capacity)),
                Fact("on disk", _value(volume.physical, Unit.BYTES)),
                _told("path", volume.path),
                _told("based on", volume.backing),
            ],
        )
    ]


def _network(row: NetworkRow) -> list[Draft]:
    network = row.network
    sections = [
        Draft(
            "Network",
            [
                Fact("state", _look(network_look(network))),
                Fact("host", _value(row.host.name)),
                Fact("forward", _value(network.forward or "isolated")),
                Fact("bridge", _value(network.bridge)),
                Fact("addresses", _value(network.addresses)),
                Fact("dhcp", _value(network.dhcp, Unit.BOOL)),
                _flags(((network.autostart, "starts with its host"), (not network.persistent, "transient"))),
                Fact("uuid", _value(network.uuid)),
            ],
        )
    ]
    if network.leases:
        leases = [
            Fact(
                lease.address,
                [
                    (lease.hostname or UNKNOWN, ""),
                    (f"  {lease.mac}", "muted"),
                    (_expiry(lease.expires), "muted"),
                ],
            )
            for lease in network.leases
        ]
        sections.append(Draft("Leases", leases))
    return sections


def _expiry(expires: float) -> str:
    left = expires - time.time()
    return f"  {describe_duration(left)} left" if expires and left > 0 else ""
