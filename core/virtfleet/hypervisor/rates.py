"""Counters that only grow, as rates: what happened between two looks, per second.

Three rules, everywhere the same: the first look gives None; a counter that
became smaller was reset (a guest was restarted, a device replaced) and gives
None, never a negative figure; a counter that is missing gives None.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping

from virtfleet.hypervisor.states import vm_reason, vm_state
from virtfleet.model import VmState, VmStats

STATE, CPU, BALLOON, VCPU, INTERFACE, BLOCK = 1, 2, 4, 8, 16, 32
"""libvirt's VIR_DOMAIN_STATS_* groups."""
ALL = STATE | CPU | BALLOON | VCPU | INTERFACE | BLOCK

Record = Mapping[str, object]
"""One domain's part of `getAllDomainStats`."""

_KIB = 1024
_MOST_KIB = 2**53 - 1
"""More is libvirt's word for «unlimited», and would not fit on the wire in bytes."""
_MAX_DEVICES = 1024
_MOST_CPUS = 2**16


class Rates:
    """Remembers the last look at every counter of one host. Not thread-safe."""

    def __init__(self) -> None:
        self._last: dict[tuple[Hashable, str], tuple[float, float]] = {}
        self._vms: dict[str, _Seen] = {}

    def rate(self, subject: Hashable, counter: str, value: float | None, now: float) -> float | None:
        """Growth per second of `subject`'s `counter` since the last look; `now` in seconds."""
        key = (subject, counter)
        if value is None:
            self._last.pop(key, None)
            return None
        last = self._last.get(key)
        if last is not None and now <= last[0]:
            return None
        self._last[key] = (now, value)
        if last is None or value < last[1]:
            return None
        return (value - last[1]) / (now - last[0])

    def total(self, subject: Hashable, counters: Mapping[str, float], now: float) -> float | None:
        """Sum of the rates of several like counters (of all disks, of all network cards).

        One that is new or was reset adds nothing this time. None: none of them has a rate yet.
        """
        known = [
            each
            for name, value in counters.items()
            if (each := self.rate(subject, name, value, now)) is not None
        ]
        return sum(known) if known else None

    def keep(self, uuids: Collection[str]) -> None:
        """Forgets all VMs but these."""
        for uuid in self._vms.keys() - set(uuids):
            del self._vms[uuid]

    def seen(self, uuid: str) -> _Seen:
        """The last look at a VM, for `vm_stats`."""
        found = self._vms.get(uuid)
        if found is None:
            found = self._vms[uuid] = _Seen()
        return found


Figures = tuple[float | None, ...]
_Devices = dict[object, tuple[int | None, ...]]
_Look = tuple[float, _Devices]


class _Seen:
    """Counters of one VM at its last look, group by group: groups are asked for at different times."""

    __slots__ = ("block", "cpu", "net", "stats")

    def __init__(self) -> None:
        self.stats: VmStats | None = None
        self.cpu: tuple[float, int] | None = None
        self.net: _Look | None = None
        self.block: _Look | None = None


class _Keys:
    """`net.0.rx.bytes` and its like, made once: formatting them for each VM costs more than all the rest."""

    def __init__(self, group: str, *counters: str) -> None:
        self.group = group
        self._counters = counters
        self._made: list[tuple[str, tuple[str, ...]]] = []
        self.none: Figures = (None,) * len(counters)
        self.zero: Figures = (0.0,) * len(counters)

    def upto(self, count: int) -> list[tuple[str, tuple[str, ...]]]:
        """Key of the name and keys of the counters, of the first `count` devices."""
        for number in range(len(self._made), count):
            start = f"{self.group}.{number}."
            self._made.append((start + "name", tuple(start + each for each in self._counters)))
        return self._made if len(self._made) == count else self._made[:count]


_NET = _Keys("net", "rx.bytes", "tx.bytes")
_BLOCK = _Keys("block", "rd.bytes", "wr.bytes", "rd.reqs", "wr.reqs")
_NOTHING = VmStats("", VmState.NOSTATE)


def vm_stats(
    record: Record,
    uuid: str,
    rates: Rates,
    now: float,
    *,
    groups: int = ALL,
    vcpus: int = 0,
    memory: int = 0,
    monitor_stuck: bool = False,
) -> VmStats:
    """One sample of a VM from libvirt's record of it.

    `groups` are those that were asked for. A group that was asked for and is
    missing (its monitor was busy, the driver has none) gives None; one that
    was not asked for keeps its value of the last look. `vcpus` and `memory`
    (bytes) are used where libvirt never told them. A stuck monitor and a VM
    that is off have no rates. Never raises, whatever the record holds.
    """
    seen = rates.seen(uuid)
    before = seen.stats if seen.stats is not None else _NOTHING
    state = vm_state(record.get("state.state"))
    count = _natural(record.get("vcpu.current"), _MOST_CPUS) or before.vcpus or vcpus
    size = _bytes(record.get("balloon.current"))
    if not state.active:
        memory = 0
    elif size:
        memory = size
    else:
        memory = before.memory or memory
    cpu_pct: float | None = None
    used: int | None = None
    rss: int | None = None
    net: Figures = _NET.none
    io: Figures = _BLOCK.none
    if state.active and not monitor_stuck:
        cpu_pct = _cpu(record, seen, now, count)
        if cpu_pct is None and "cpu.time" not in record and not groups & CPU:
            cpu_pct = before.cpu_pct
        used, rss = _balloon(record)
        if not groups & BALLOON:
            used = before.memory_used if used is None else used
            rss = before.memory_rss if rss is None else rss
        if groups & INTERFACE or "net.count" in record:
            net, seen.net = _devices(_NET, record, seen.net, now)
        else:
            net = (before.net_rx, before.net_tx)
        if groups & BLOCK or "block.count" in record:
            io, seen.block = _devices(_BLOCK, record, seen.block, now)
        else:
            io = (before.disk_read, before.disk_write, before.disk_read_iops, before.disk_write_iops)
    else:
        seen.cpu = seen.net = seen.block = None
    reason = vm_reason(state, record.get("state.reason"))
    read, written, reads, writes = io
    received, sent = net
    stats = VmStats(
        uuid,
        state,
        reason,
        count,
        cpu_pct,
        memory,
        used,
        rss,
        read,
        written,
        reads,
        writes,
        received,
        sent,
        monitor_stuck,
    )
    seen.stats = stats
    return stats


def stuck(stats: VmStats) -> VmStats:
    """The same sample of a VM whose monitor turned out not to answer: without figures."""
    return VmStats(
        stats.uuid, stats.state, stats.reason, stats.vcpus, memory=stats.memory, monitor_stuck=True
    )


def _natural(value: object, most: int = 2**64) -> int | None:
    """A counter as libvirt gives it; None for what is none."""
    return value if type(value) is int and 0 <= value <= most else None


def _bytes(kib: object) -> int | None:
    """Bytes of a size that libvirt gives in KiB."""
    return kib * _KIB if type(kib) is int and 0 <= kib <= _MOST_KIB else None


def _cpu(record: Record, seen: _Seen, now: float, vcpus: int) -> float | None:
    """Share of all its vCPUs, at most 100: a sample that was late by a hair must not show 104 %."""
    spent = _natural(record.get("cpu.time"))
    if spent is None:
        return None
    last = seen.cpu
    if last is not None and now <= last[0]:
        return None
    seen.cpu = (now, spent)
    if last is None or spent < last[1] or vcpus < 1:
        return None
    return min(100.0, (spent - last[1]) / ((now - last[0]) * vcpus * 1e7))


def _balloon(record: Record) -> tuple[int | None, int | None]:
    """Memory in use as the guest sees it, and what its process holds, in bytes.

    `usable` (Linux's MemAvailable) counts the page cache as free; an older
    guest only tells `unused`. A balloon that was never polled says when:
    at 0, and its figures are those of an empty guest.
    """
    held = _bytes(record.get("balloon.rss"))
    available = _bytes(record.get("balloon.available"))
    if available is None or record.get("balloon.last-update") == 0 or record.get("balloon.last_update") == 0:
        return None, held
    free = _bytes(record.get("balloon.usable"))
    if free is None:
        free = _bytes(record.get("balloon.unused"))
    return (None if free is None or free > available else available - free), held


def _devices(keys: _Keys, record: Record, last: _Look | None, now: float) -> tuple[Figures, _Look | None]:
    """Rates of each counter over all devices, and what to compare with next time.

    A device is known by its name: numbers shift when another one is unplugged.
    A sum is None if one of its devices was reset, for it would be too low.
    After a look that told nothing, the next one is compared with the one before.
    """
    count = _natural(record.get(f"{keys.group}.count"))
    if count is None:
        return keys.none, last
    if last is not None and now <= last[0]:
        return keys.none, last
    if count == 0:
        return keys.zero, (now, {})
    devices: _Devices = {}
    get = record.get
    for name_key, counter_keys in keys.upto(min(count, _MAX_DEVICES)):
        values = tuple(
            [value if type(value := get(key)) is int and value >= 0 else None for key in counter_keys]
        )
        if values != keys.none:
            devices[get(name_key, name_key)] = values
    if not devices:
        return keys.none, last
    if last is None:
        return keys.none, (now, devices)
    passed = now - last[0]
    sums: list[float | None] = list(keys.none)
    broken = 0
    for name, values in devices.items():
        earlier = last[1].get(name)
        if earlier is None:
            continue
        for index, value in enumerate(values):
            was = earlier[index]
            if value is None or was is None:
                continue
            if value < was:
                broken |= 1 << index
            sums[index] = (sums[index] or 0.0) + (value - was) / passed
    if broken:
        sums = [None if broken >> index & 1 else value for index, value in enumerate(sums)]
    return tuple(sums), (now, devices)
