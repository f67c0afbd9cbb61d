"""One sample of a host, from the texts of its /proc or from what libvirt tells where there is no SSH."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from virtfleet.hypervisor import procfs
from virtfleet.hypervisor.rates import Rates
from virtfleet.model import HostStats


class HostSampler:
    """Turns looks at a host into `HostStats`; remembers the last look. Not thread-safe."""

    def __init__(self, physical: Collection[str] | None = None) -> None:
        """`physical`: names of the network cards, where they are known."""
        self._physical = physical
        self._rates = Rates()
        self._cpu: procfs.Cpu | None = None

    def from_proc(self, texts: Mapping[str, str], now: float) -> HostStats:
        """From texts by their name below /proc: stat, meminfo, loadavg, uptime, net/dev, diskstats.

        `hugepages` is the listing that `procfs.hugepages` reads. What is
        missing leaves its figures None. `now` in seconds, monotonic.
        """
        cpu = procfs.cpu(texts.get("stat", ""))
        busy, iowait = procfs.cpu_pct(self._cpu, cpu)
        self._cpu = cpu
        memory = procfs.memory(texts.get("meminfo", ""))
        disks = procfs.disks(texts.get("diskstats", ""))
        cards = procfs.interfaces(texts.get("net/dev", ""), self._physical)
        pages = procfs.hugepages(texts.get("hugepages", "")) or procfs.hugepages_of_meminfo(
            texts.get("meminfo", "")
        )
        total = self._rates.total
        return HostStats(
            cpu_pct=busy,
            iowait_pct=iowait,
            memory_used=memory.used if memory else None,
            memory_total=memory.total if memory else None,
            load1=procfs.load1(texts.get("loadavg", "")),
            uptime_s=procfs.uptime(texts.get("uptime", "")),
            disk_read=total("disk_read", {name: each.read for name, each in disks.items()}, now),
            disk_write=total("disk_write", {name: each.written for name, each in disks.items()}, now),
            net_rx=total("net_rx", {name: each.read for name, each in cards.items()}, now),
            net_tx=total("net_tx", {name: each.written for name, each in cards.items()}, now),
            hugepages_free=min(sum(each.size * each.free for each in pages), 2**63 - 1) if pages else None,
        )

    def from_libvirt(
        self, cpu: Mapping[str, object] | None, memory: Mapping[str, object] | None
    ) -> HostStats:
        """From libvirt-python's `getCPUStats(-1)` (nanoseconds) and `getMemoryStats(-1)` (KiB).

        The rest is None: libvirt doesn't tell.
        """
        counters = _cpu(cpu or {})
        busy, iowait = procfs.cpu_pct(self._cpu, counters)
        self._cpu = counters
        sizes = memory or {}
        total, free = _natural(sizes.get("total")), _natural(sizes.get("free"))
        # Some drivers say free 0 for "I don't know".
        cache = sum(_natural(sizes.get(each)) or 0 for each in ("buffers", "cached"))
        known = total is not None and free is not None and 0 < free + cache <= total
        return HostStats(
            cpu_pct=busy,
            iowait_pct=iowait,
            memory_used=(total - free - cache) * 1024
            if known and total is not None and free is not None
            else None,
            memory_total=total * 1024 if total else None,
        )


def _cpu(stats: Mapping[str, object]) -> procfs.Cpu | None:
    idle = _natural(stats.get("idle"))
    if idle is None:
        return None
    iowait = _natural(stats.get("iowait")) or 0
    busy = sum(_natural(stats.get(each)) or 0 for each in ("kernel", "user", "intr"))
    return procfs.Cpu(busy + idle + iowait, idle, iowait)


def _natural(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None
