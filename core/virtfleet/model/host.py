"""A hypervisor: how it is reached, how it is, what it is made of, what it does now.

Units here and in the whole model: sizes in bytes, rates in bytes or
operations per second, durations in seconds, percentages 0 to 100. None means
"this driver or transport doesn't tell", never zero.
"""

from __future__ import annotations

import sys
from enum import StrEnum

import msgspec
from msgspec.structs import force_setattr


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


def _shared(words: tuple[str, ...]) -> tuple[str, ...]:
    """The same words as one string each for all hosts: five hundred of them say much the same."""
    return tuple(map(sys.intern, words))


class CellPages(msgspec.Struct, frozen=True, gc=False):
    """Memory pages of one size in a NUMA cell."""

    size: int
    """Bytes of one page."""
    total: int | None = None
    """Number of pages."""
    free: int | None = None
    """Of huge pages alone, when the facts were read: for a look. Ordinary ones come and go too fast."""


class NumaCell(msgspec.Struct, frozen=True, gc=False):
    id: int
    memory: int
    cpus: int
    """How many."""
    cpu_ids: tuple[int, ...] = ()
    siblings: tuple[tuple[int, ...], ...] = ()
    """CPUs that are threads of one core, for each core with several; a CPU in none is a core alone."""
    pages: tuple[CellPages, ...] = ()
    """Smallest size first; that is the ordinary one."""


class HugePages(msgspec.Struct, frozen=True, gc=False):
    size: int
    """Bytes of one page."""
    total: int
    free: int


class PciDevice(msgspec.Struct, frozen=True, gc=False):
    """A device that could be handed to a VM as a whole; bridges are none."""

    address: str
    """0000:3b:00.0"""
    vendor: str
    """Four hexadecimal digits, small letters."""
    product: str
    class_code: str = ""
    """Six hexadecimal digits: 030000 is a VGA card. Empty: not told."""
    numa: int | None = None
    """The NUMA cell that it is next to."""
    driver: str = ""
    """Who drives it on the host: vfio-pci, nvidia, ixgbe ... Empty: nobody."""
    iommu_group: int | None = None
    """Devices of one group can only be handed out together."""
    physical: str = ""
    """Of a virtual function: the address of the card that it is a part of."""

    def __post_init__(self) -> None:
        for name in ("vendor", "product", "class_code", "driver", "physical"):
            force_setattr(self, name, sys.intern(getattr(self, name)))


class GuestKind(msgspec.Struct, frozen=True, gc=False):
    """A kind of guest that a host can run."""

    arch: str
    os_type: str
    """hvm, exe (LXC), xen ..."""
    domains: tuple[str, ...] = ()
    """libvirt's domain types: kvm, qemu, lxc ..."""
    machines: tuple[str, ...] = ()
    """Machine types, aliases (pc, q35) among them."""

    def __post_init__(self) -> None:
        force_setattr(self, "machines", _shared(self.machines))


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
    guests: tuple[GuestKind, ...] = ()
    """What it can run; empty: not told."""
    cpu_modes: tuple[str, ...] = ()
    """host-passthrough, host-model, maximum, custom: those that guests of its own architecture may have."""
    host_model: str = ""
    """The CPU model that `host-model` means here."""
    cpu_models: tuple[str, ...] = ()
    """CPU models that a guest may be given by name."""
    cpu_features: tuple[str, ...] = ()
    """Of its CPUs, those of the model included where libvirt spells them out."""
    firmwares: tuple[str, ...] = ()
    """bios, efi; empty: not told."""
    pci: tuple[PciDevice, ...] | None = None
    """None: not read yet, or not told."""
    pool_types: tuple[str, ...] = ()
    """Types of storage pools that its libvirt was built with; empty: not told."""

    def __post_init__(self) -> None:
        force_setattr(self, "cpu_models", _shared(self.cpu_models))
        force_setattr(self, "cpu_features", _shared(self.cpu_features))
        force_setattr(self, "pool_types", _shared(self.pool_types))

    @property
    def machines(self) -> tuple[str, ...]:
        """Machine types for guests of its own architecture."""
        own = (machine for each in self.guests if each.arch == self.arch for machine in each.machines)
        return tuple(dict.fromkeys(own))


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
