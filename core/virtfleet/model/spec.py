"""A VM that is to be defined, as the plan has decided it; the worker makes libvirt's XML of it.

Made there, because only the host's domain capabilities tell what it offers:
machine, CPU mode, virtio, firmware. Sizes in bytes.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class DiskSpec(msgspec.Struct, frozen=True, kw_only=True):
    pool: str
    volume: str
    """Both must be there when the VM is defined; the path is read from the volume."""
    format: str = "qcow2"
    device: Literal["disk", "cdrom"] = "disk"
    bus: str = ""
    """Empty: the best the host offers: virtio, else sata."""


class NicSpec(msgspec.Struct, frozen=True, kw_only=True):
    mac: str
    network: str = ""
    bridge: str = ""
    """Exactly one of network and bridge."""
    model: str = ""
    """Empty: virtio where there is virtio."""


class CellSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A NUMA cell that the guest sees, and where on the host it is."""

    cpus: tuple[int, ...]
    """Its vCPUs."""
    memory: int
    host: int
    """The host's cell that its memory comes from."""
    page_size: int = 0
    """Of the huge pages that it is made of; 0: ordinary pages."""
    shared_cpus: tuple[int, ...] = ()
    """CPUs of the host on which its vCPUs run beside others; empty: each has a pin."""


class Tied(msgspec.Struct, frozen=True, kw_only=True):
    """What a VM has of the host it was placed on: chosen in the plan, written into its definition."""

    cells: tuple[CellSpec, ...] = ()
    pins: tuple[tuple[int, int], ...] = ()
    """vCPU, and the CPU of the host that it has for itself."""
    kept_free: tuple[int, ...] = ()
    """CPUs beside these that nobody may have: the other threads of its cores."""
    devices: tuple[str, ...] = ()
    """Addresses of PCI devices: 0000:3b:00.0"""

    @property
    def cpus(self) -> tuple[int, ...]:
        """CPUs of the host that nobody else may have."""
        return tuple(sorted({*(cpu for _, cpu in self.pins), *self.kept_free}))


class VmSpec(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    uuid: str
    memory: int
    vcpus: int
    kind: Literal["machine", "container"] = "machine"
    arch: str = ""
    """Empty: the host's."""
    disks: tuple[DiskSpec, ...] = ()
    """In the order of booting; a CD-ROM before the disks: install from it."""
    nics: tuple[NicSpec, ...] = ()
    firmware: Literal["", "bios", "efi"] = ""
    root: str = ""
    """Container: its root folder on the host."""
    init: str = "/sbin/init"
    project: str = ""
    flavor: str = ""
    group: str = ""
    tags: tuple[str, ...] = ()
    title: str = ""
    description: str = ""
    protected: bool = False
    tied: Tied = Tied()
