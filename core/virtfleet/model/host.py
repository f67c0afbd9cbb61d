"""A hypervisor: how it is reached, how it is, what it is made of, what it does now.

Units here and in the whole model: sizes in bytes, rates in bytes or
operations per second, durations in seconds, percentages 0 to 100. None means
"this driver or transport doesn't tell", never zero.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class HostState(StrEnum):
    """How our connection to a hypervisor is, most urgent question first: does it answer?"""

    CONNECTING = "connecting"
    """No answer yet, none overdue."""
    ASKING = "asking"
    """A person must answer first: unknown host key, passphrase, password."""
    UP = "up"
    SLOW = "slow"
    """It answers, but the p95 of the last minute is above the limit."""
    HUNG = "hung"
    """The transport answers, libvirtd does not."""
    UNREACHABLE = "unreachable"
    """The transport does not answer; tried again with back-off."""
    REFUSED = "refused"
    """Authentication, host key or permission. Never tried again blindly."""
    DISABLED = "disabled"
    """The fleet file says not to connect."""

    @property
    def answers(self) -> bool:
        """Whether samples arrive in this state."""
        return self in _ANSWERS


_ANSWERS = frozenset({HostState.UP, HostState.SLOW})


class NumaCell(msgspec.Struct, frozen=True, gc=False):
    id: int
    memory: int
    cpus: int


class HugePages(msgspec.Struct, frozen=True, gc=False):
    size: int
    """Bytes of one page."""
    total: int
    free: int


class HostFacts(msgspec.Struct, frozen=True, gc=False):
    """What changes only with a reboot or an upgrade."""

    hostname: str = ""
    hypervisor: str = ""
    """libvirt's driver name: QEMU, LXC, Xen, ESX, TEST."""
    hypervisor_version: str = ""
    libvirt_version: str = ""
    arch: str = ""
    cpu_model: str = ""
    cpu_vendor: str = ""
    cpus: int = 0
    """Logical CPUs that are active."""
    sockets: int = 0
    cores: int = 0
    """Cores per socket."""
    threads: int = 0
    """Threads per core."""
    mhz: int = 0
    memory: int = 0
    numa: tuple[NumaCell, ...] = ()
    iommu: bool | None = None
    hugepages: tuple[HugePages, ...] = ()
    kernel: str = ""
    os: str = ""


class HostStats(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What moves: one sample of the host."""

    cpu_pct: float | None = None
    iowait_pct: float | None = None
    memory_used: int | None = None
    """Total less what the kernel calls available (page cache counts as free)."""
    memory_total: int | None = None
    load1: float | None = None
    uptime_s: float | None = None
    disk_read: float | None = None
    disk_write: float | None = None
    net_rx: float | None = None
    net_tx: float | None = None
    hugepages_free: int | None = None
    """Bytes in free huge pages of all sizes."""
