"""What one VM needs of a host: the question that placement answers. Sizes in bytes."""

from __future__ import annotations

from typing import Literal

import msgspec

from virtfleet.config.extra_specs import Specs


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    vcpus: int
    memory: int
    disk: int = 0
    """What its volumes may grow to; it is promised."""
    room: int = 0
    """What its disks take of a pool at once; 0: it needs no pool."""
    images: tuple[tuple[str, int], ...] = ()
    """Volume name and size of what must be brought to the pool, unless it is there."""
    pool: str = ""
    """The pool by name; empty: any of files."""
    volume_type: str = ""
    name: str = ""
    """A host with a VM of this name is out."""
    kind: Literal["machine", "container"] = "machine"
    hypervisor: str = ""
    """libvirt's driver name that its image asks for: QEMU, Xen ..."""
    arch: str = ""
    firmware: str = ""
    machine: str = ""
    """Machine type: q35, pc-i440fx-7.2 ..."""
    cpu_model: str = ""
    zone: str = ""
    hosts: tuple[str, ...] = ()
    """Only these; empty: any."""
    avoid: tuple[str, ...] = ()
    same_host: tuple[str, ...] = ()
    """UUIDs of VMs: on a host of one of them."""
    different_host: tuple[str, ...] = ()
    """UUIDs of VMs: on no host of any of them."""
    project: str = ""
    group: str = ""
    networks: tuple[str, ...] = ()
    specs: Specs = Specs()
    """What its flavor asks for beyond size."""
    moving: str = ""
    """UUID of a VM that is there already: where it is, its own use does not count."""
    stale_ok: bool = False
    """Also on hosts whose data is old: the operator said so."""
