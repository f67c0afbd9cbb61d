"""A virtual machine (a libvirt domain): what it is (`VmInfo`) and what it does now (`VmStats`).

The two are apart because they travel apart: `VmInfo` comes from the domain's
XML and is sent when it changed; `VmStats` is sent with every sample.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class VmState(StrEnum):
    """libvirt's domain states by their usual names; `shutoff` stays libvirt's word."""

    RUNNING = "running"
    BLOCKED = "blocked"
    PAUSED = "paused"
    SHUTDOWN = "shutting-down"
    SHUTOFF = "shutoff"
    CRASHED = "crashed"
    SUSPENDED = "pmsuspended"
    NOSTATE = "nostate"

    @property
    def active(self) -> bool:
        """Whether there is a process for it on the host."""
        return self not in _INACTIVE


_INACTIVE = frozenset({VmState.SHUTOFF, VmState.CRASHED, VmState.NOSTATE})


class VmDisk(msgspec.Struct, frozen=True, gc=False):
    target: str
    """Name in the guest's bus order: vda, sdb."""
    device: str = "disk"
    """disk, cdrom, floppy or lun."""
    type: str = "file"
    """file, block, network, volume, dir ..."""
    source: str = ""
    """Path, or protocol:name for a network disk, pool/volume for a volume. Empty: no medium."""
    format: str = ""
    bus: str = ""
    readonly: bool = False
    shareable: bool = False


class VmNic(msgspec.Struct, frozen=True, gc=False):
    mac: str
    type: str = ""
    """network, bridge, direct, user, ethernet ..."""
    source: str = ""
    """Network, bridge or device it is plugged into."""
    model: str = ""
    target: str = ""
    """Its device on the host (vnet3) while it runs."""
    addresses: tuple[str, ...] = ()
    """IP addresses known from leases, the guest agent or the host's ARP table."""
    address_source: str = ""
    """lease, agent or arp."""


class VmGraphics(msgspec.Struct, frozen=True, gc=False):
    type: str
    """vnc, spice ..."""
    listen: str = ""
    port: int | None = None
    socket: str = ""


class CpuPin(msgspec.Struct, frozen=True, gc=False):
    """vCPUs that may run on the same CPUs of the host and on no others."""

    vcpus: tuple[int, ...]
    cpus: tuple[int, ...]


class VmCell(msgspec.Struct, frozen=True, gc=False):
    """A NUMA cell that a guest sees."""

    id: int
    cpus: tuple[int, ...] = ()
    """Its vCPUs."""
    memory: int = 0
    host_cells: tuple[int, ...] = ()
    """NUMA cells of the host that its memory must come from; empty: any."""
    page_size: int | None = None
    """Bytes of the huge pages that it is made of; 0: of the host's default size; None: ordinary pages."""


class VmInfo(msgspec.Struct, frozen=True, gc=False):
    uuid: str
    name: str
    title: str = ""
    description: str = ""
    persistent: bool = True
    autostart: bool = False
    arch: str = ""
    machine: str = ""
    os_type: str = ""
    """hvm, exe (LXC), xen, linux ..."""
    firmware: str = ""
    """bios or efi."""
    cpu_mode: str = ""
    cpu_model: str = ""
    vcpus_max: int = 0
    memory_max: int = 0
    disks: tuple[VmDisk, ...] = ()
    nics: tuple[VmNic, ...] = ()
    graphics: tuple[VmGraphics, ...] = ()
    consoles: int = 0
    """Serial or paravirtual consoles it has."""
    agent: bool | None = None
    """Guest agent: True connected, False configured but silent, None not configured."""
    snapshots: int | None = None
    managed_save: bool = False
    # From <metadata> urn:virtfleet:vm:1
    project: str = ""
    flavor: str = ""
    group: str = ""
    tags: tuple[str, ...] = ()
    protected: bool = False
    ha_priority: int | None = None
    drained_from: tuple[str, ...] = ()
    """Hosts that it left when they were drained, the last one at the end."""
    # What it has of its host's cells and devices
    cpuset: tuple[int, ...] = ()
    """CPUs of the host for vCPUs that are not in `pinned`; empty: any."""
    pinned: tuple[CpuPin, ...] = ()
    kept_free: tuple[int, ...] = ()
    """CPUs of the host that nobody may have, being threads of the cores that its vCPUs are pinned to."""
    emulator_cpus: tuple[int, ...] = ()
    """CPUs of the host for the work that is no vCPU's; empty: any."""
    memory_cells: tuple[int, ...] = ()
    """NUMA cells of the host that its memory must come from; empty: any."""
    cells: tuple[VmCell, ...] = ()
    page_size: int | None = None
    """As in VmCell, for memory that is in no cell with a size of its own."""
    pci: tuple[str, ...] = ()
    """Addresses of the host's devices that it is given whole: hostdevs, network cards, NVMe disks."""
    tied: tuple[str, ...] = ()
    """What else ties it to its host, in words: a USB device, a mediated device, the host's TPM."""

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(a for nic in self.nics for a in nic.addresses)

    @property
    def dedicated(self) -> tuple[int, ...]:
        """CPUs of the host to which a vCPU is tied, one to one, and those kept free beside them: meant for it
        alone."""
        single = (pin.cpus[0] for pin in self.pinned if len(pin.cpus) == 1)
        return tuple(sorted({*single, *self.kept_free}))


class VmStats(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One sample of a VM."""

    uuid: str
    state: VmState
    reason: str = ""
    """libvirt's reason for the state: booted, migrating, ioerror ..."""
    vcpus: int = 0
    cpu_pct: float | None = None
    """Of all its vCPUs: 100 means every vCPU busy."""
    memory: int = 0
    """What the balloon gives it now."""
    memory_used: int | None = None
    """The guest's own view (available − usable), where its balloon driver tells."""
    memory_rss: int | None = None
    """What its process holds on the host."""
    disk_read: float | None = None
    disk_write: float | None = None
    disk_read_iops: float | None = None
    disk_write_iops: float | None = None
    net_rx: float | None = None
    net_tx: float | None = None
    monitor_stuck: bool = False
    """Its QEMU monitor does not answer, though the host does; the rates are then None."""


class Vm(msgspec.Struct, frozen=True, gc=False):
    info: VmInfo
    stats: VmStats

    @property
    def uuid(self) -> str:
        return self.info.uuid

    @property
    def name(self) -> str:
        return self.info.name

    @property
    def state(self) -> VmState:
        return self.stats.state
