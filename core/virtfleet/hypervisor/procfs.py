"""Texts of a Linux host's /proc and /sys as figures.

libvirt tells a host's CPU time and free memory, not its load, traffic, uptime
or page cache; one `cat` over SSH does. Pure parsers of a stranger's text:
none raises, what is missing or odd is None or left out, and no text makes
them work for long.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

from virtfleet.model import HugePages
from virtfleet.model.text import clean

_MAX_CHARS = 1024 * 1024
_MAX_ROWS = 4096
_MAX_ADDRESSES = 16
"""Per MAC: a guest that answers for a whole network must not fill the table."""
_LARGEST = 2**63 - 1
_SECTOR = 512
"""Bytes of a sector in /proc/diskstats, whatever the disk's own is."""


class Cpu(NamedTuple):
    """Counters of all CPUs together, in ticks."""

    total: int
    idle: int
    iowait: int


class Memory(NamedTuple):
    """Bytes."""

    total: int
    available: int
    """What the kernel could give without swapping: the page cache counts as free, huge pages don't."""

    @property
    def used(self) -> int:
        return self.total - self.available


class Transfer(NamedTuple):
    """Bytes read and written, or received and sent, since boot."""

    read: int
    written: int


class Mount(NamedTuple):
    device: str
    point: str
    type: str


def cpu(stat: str) -> Cpu | None:
    """Counters of /proc/stat. Guest time is not added: the kernel has it in `user` already."""
    for line in _lines(stat):
        fields = line.split()
        if fields and fields[0] == "cpu":
            ticks = [_number(each) for each in fields[1:9]]
            if len(ticks) < 4 or None in ticks:
                return None
            known = [each for each in ticks if each is not None]
            return Cpu(sum(known), known[3], known[4] if len(known) > 4 else 0)
    return None


def cpu_pct(before: Cpu | None, now: Cpu | None) -> tuple[float | None, float | None]:
    """Percent busy and percent waiting for I/O between two looks; waiting is not busy."""
    if before is None or now is None:
        return None, None
    total = now.total - before.total
    idle, iowait = now.idle - before.idle, now.iowait - before.iowait
    if total <= 0 or idle < 0:
        return None, None
    # iowait may fall by itself on a CPU that goes offline: the kernel's documentation warns of it.
    waiting = min(max(0, iowait), total)
    busy = total - idle - waiting
    return min(100.0, max(0.0, 100.0 * busy / total)), 100.0 * waiting / total


def memory(meminfo: str) -> Memory | None:
    """Total and available of /proc/meminfo; kernels before 3.14 have no MemAvailable: free and cache."""
    table = _meminfo(meminfo)
    total = table.get("MemTotal")
    available = table.get("MemAvailable")
    if available is None and "MemFree" in table:
        available = table["MemFree"] + table.get("Buffers", 0) + table.get("Cached", 0)
    if not total or available is None:
        return None
    return Memory(total, min(available, total))


def load1(loadavg: str) -> float | None:
    """The load of the last minute."""
    return _decimal(loadavg[:200].split()[:1])


def uptime(text: str) -> float | None:
    """Seconds since boot."""
    return _decimal(text[:200].split()[:1])


# ---------------------------------------------------------------- traffic

_VIRTUAL = re.compile(
    r"(lo|vnet|tap|tun|veth|virbr|vif|macvtap|macvlan|docker|podman|cni|flannel|cali|lxc|lxdbr|br|ovs|vxlan|"
    r"geneve|gre|sit|ip6tnl|wg|bond|team|dummy|ifb|nlmon|vmnet|vlan|fwbr|fwpr|fwln)([-_0-9.].*)?|.*[.@].*|"
    r"(br|virbr|vmbr|docker|veth|tap|fw)[-_0-9a-z]*"
)
"""Names of interfaces that carry what a physical one carries too: bridges, guests' ends, bonds, VLANs."""


def interfaces(net_dev: str, physical: Collection[str] | None = None) -> dict[str, Transfer]:
    """Traffic of each physical interface in /proc/net/dev.

    A frame of a guest is seen by its tap, the bridge, a VLAN, a bond and the
    card: only the card is counted, once. `physical` names the cards (those
    with a `device` in /sys/class/net); without it the name decides, and all
    that Linux and libvirt give to virtual interfaces is left out.
    """
    found: dict[str, Transfer] = {}
    for line in _lines(net_dev):
        name, colon, rest = line.partition(":")
        name = name.strip()
        if (
            not colon
            or not name
            or (name not in physical if physical is not None else _VIRTUAL.fullmatch(name))
        ):
            continue
        fields = rest.split()
        received = _number(fields[0]) if len(fields) > 8 else None
        sent = _number(fields[8]) if len(fields) > 8 else None
        if received is not None and sent is not None:
            found[clean(name, 64)] = Transfer(received, sent)
    return found


_STACKED = re.compile(r"(loop|ram|zram|dm-|md|sr|fd|drbd|bcache|zd|device-mapper)\d.*|nvme\d+c\d+n\d+.*")
"""Devices without a disk of their own, or whose blocks are another disk's: LVM, RAID, caches, NVMe paths."""


def disks(diskstats: str) -> dict[str, Transfer]:
    """Bytes moved by each whole disk in /proc/diskstats.

    Partitions and everything stacked upon disks (LVM, RAID, multipath,
    bcache, loop) are left out, for their blocks are counted where they end.
    """
    found: dict[str, Transfer] = {}
    for line in _lines(diskstats):
        fields = line.split()
        if len(fields) < 10 or _STACKED.fullmatch(fields[2]):
            continue
        read, written = _number(fields[5]), _number(fields[9])
        if read is not None and written is not None:
            found[clean(fields[2], 64)] = Transfer(read * _SECTOR, written * _SECTOR)
    return {name: moved for name, moved in found.items() if not _is_partition(name, found)}


def _is_partition(name: str, names: Collection[str]) -> bool:
    """sda1 of sda, nvme0n1p1 of nvme0n1: what is left without the number is another one of the names."""
    base = name.rstrip("0123456789")
    if base == name:
        return False
    return base in names or (base[-1:] == "p" and base[:-1][-1:].isdigit() and base[:-1] in names)


# ---------------------------------------------------------------- who is where


def neighbours(arp: str) -> dict[str, tuple[str, ...]]:
    """MAC in lower case to IP addresses, of /proc/net/arp; unanswered entries are left out."""
    found: dict[str, tuple[str, ...]] = {}
    for line in _lines(arp):
        fields = line.split()
        if len(fields) < 6:
            continue
        address, flags, mac = fields[0], fields[2], fields[3].lower()
        if flags == "0x0" or not _MAC.fullmatch(mac) or mac == "00:00:00:00:00:00":
            continue
        try:
            ipaddress.ip_address(address)
        except ValueError:
            continue
        known = found.get(mac, ())
        if address not in known and len(known) < _MAX_ADDRESSES:
            found[mac] = (*known, address)
    return found


_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


def mount_of(mounts: str, path: str) -> Mount | None:
    """The mount of /proc/mounts in which an absolute `path` lies: the longest, of equals the last."""
    if not path.startswith("/"):
        return None
    where = "/" + path.strip("/")
    best: Mount | None = None
    for line in _lines(mounts):
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = _unescape(fields[1])
        inside = point == "/" or where == point or where.startswith(point.rstrip("/") + "/")
        if inside and (best is None or len(point) >= len(best.point)):
            best = Mount(_unescape(fields[0]), point, fields[2])
    return best and Mount(clean(best.device), clean(best.point), clean(best.type, 64))


def fs_of(mounts: str, path: str) -> str | None:
    """Filesystem type under `path`: ext4, xfs, nfs4, fuse.glusterfs ..."""
    mount = mount_of(mounts, path)
    return mount.type if mount is not None else None


def _unescape(text: str) -> str:
    r"""The kernel writes a space as \040."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text) if "\\" in text else text


# ---------------------------------------------------------------- what it is


def os_name(os_release: str) -> str | None:
    """PRETTY_NAME of /etc/os-release, else NAME and VERSION."""
    table: dict[str, str] = {}
    for line in _lines(os_release):
        name, equals, value = line.strip().partition("=")
        if equals and name not in table:
            table[name] = clean(value.strip().strip("\"'"), 255)
    name = table.get("PRETTY_NAME") or f"{table.get('NAME', '')} {table.get('VERSION', '')}".strip()
    return name or None


def cpu_model(cpuinfo: str) -> str | None:
    """The processor's name in /proc/cpuinfo."""
    for line in _lines(cpuinfo):
        key, colon, value = line.partition(":")
        if colon and key.strip() in ("model name", "cpu model", "Processor") and value.strip():
            return clean(value.strip(), 255)
    return None


_HUGE = re.compile(r"hugepages-(\d{1,9})kB\s+(\d{1,9})\s+(\d{1,9})", re.ASCII)


def hugepages(listing: str) -> tuple[HugePages, ...]:
    """Huge pages of every size, smallest first, of lines `hugepages-2048kB TOTAL FREE`."""
    found = {}
    for line in _lines(listing):
        if match := _HUGE.fullmatch(line.strip()):
            size, total, free = int(match[1]) * 1024, int(match[2]), int(match[3])
            found[size] = HugePages(size, total, min(free, total))
    return tuple(each for _, each in sorted(found.items()))


def hugepages_of_meminfo(meminfo: str) -> tuple[HugePages, ...]:
    """Huge pages of the default size alone, for hosts whose /sys is not readable."""
    table = _meminfo(meminfo)
    size, total, free = (table.get(each) for each in ("Hugepagesize", "HugePages_Total", "HugePages_Free"))
    if not size or total is None or free is None:
        return ()
    return (HugePages(size, total, min(free, total)),)


# ---------------------------------------------------------------- reading


def _lines(text: str) -> Iterator[str]:
    """Lines of the sensible part of a text: a hostile one costs milliseconds, not seconds."""
    return iter(text[:_MAX_CHARS].split("\n", _MAX_ROWS)[:_MAX_ROWS])


def _meminfo(text: str) -> dict[str, int]:
    """Bytes for what is in kB, plain numbers for the rest."""
    table: dict[str, int] = {}
    for line in _lines(text):
        name, colon, rest = line.partition(":")
        fields = rest.split()
        value = _number(fields[0]) if colon and fields else None
        if value is not None and name not in table:
            table[name] = min(value * 1024 if fields[1:] == ["kB"] else value, _LARGEST)
    return table


def _number(text: str) -> int | None:
    """A counter: decimal, ASCII, of at most 20 digits (2^64)."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 20 else None


def _decimal(fields: list[str]) -> float | None:
    """A plain decimal like 0.25; `nan`, `inf` and exponents are none."""
    return (
        float(fields[0]) if fields and re.fullmatch(r"\d{1,15}(\.\d{1,15})?", fields[0], re.ASCII) else None
    )
