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
