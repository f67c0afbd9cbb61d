"""The fields of what a hypervisor is made of: its hardware and its software. They stand behind those of
`virtfleet.query.hosts`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from virtfleet.model import HostFacts
from virtfleet.query.field import Field, Unit
from virtfleet.query.naming import natural_key
from virtfleet.query.rows import HostRow

T = TypeVar("T")


def _fact(get: Callable[[HostFacts], T]) -> Callable[[HostRow], T | None]:
    """A getter over the facts; None before they are known, and where they are empty."""

    def from_row(row: HostRow) -> T | None:
        facts = row.host.facts
        return None if facts is None else (get(facts) or None)

    return from_row


def _iommu(row: HostRow) -> bool | None:
    return row.host.facts.iommu if row.host.facts else None


def _hugepages(row: HostRow) -> int | None:
    facts = row.host.facts
    return sum(each.size * each.total for each in facts.hugepages) if facts else None


def _pci(row: HostRow) -> tuple[str, ...] | None:
    facts = row.host.facts
    if facts is None or facts.pci is None:
        return None
    return tuple(f"{each.address} {each.vendor}:{each.product}" for each in facts.pci)


FACTS: tuple[Field[HostRow], ...] = (
    Field(
        "cpus",
        "CPUS",
        Unit.COUNT,
        "Logical CPUs that are active.",
        _fact(lambda f: f.cpus),
        width=5,
        priority=6,
    ),
    Field("sockets", "SOCKETS", Unit.COUNT, "CPU sockets.", _fact(lambda f: f.sockets), width=7, priority=9),
    Field("cores", "CORES", Unit.COUNT, "Cores per socket.", _fact(lambda f: f.cores), width=5, priority=9),
    Field(
        "threads", "THREADS", Unit.COUNT, "Threads per core.", _fact(lambda f: f.threads), width=7, priority=9
    ),
    Field("mhz", "MHZ", Unit.COUNT, "Clock of its CPUs in MHz.", _fact(lambda f: f.mhz), width=5, priority=9),
    Field(
        "cpu_model",
        "CPU MODEL",
        Unit.TEXT,
        "Model of its CPUs.",
        _fact(lambda f: f.cpu_model),
        width=20,
        priority=8,
    ),
    Field(
        "cpu_vendor",
        "VENDOR",
        Unit.TEXT,
        "Maker of its CPUs.",
        _fact(lambda f: f.cpu_vendor),
        width=8,
        priority=9,
    ),
    Field("arch", "ARCH", Unit.TEXT, "Its architecture.", _fact(lambda f: f.arch), width=8, priority=8),
    Field("numa_cells", "NUMA", Unit.COUNT, "NUMA cells.", _fact(lambda f: len(f.numa)), width=4, priority=9),
    Field("iommu", "IOMMU", Unit.BOOL, "Whether devices can be handed to VMs.", _iommu, width=5, priority=9),
    Field(
        "hugepages", "HUGE", Unit.BYTES, "Bytes in huge pages of all sizes.", _hugepages, width=6, priority=9
    ),
    Field(
        "pci",
        "PCI",
        Unit.LIST,
        "PCI devices that could be handed to VMs: address vendor:product.",
        _pci,
        width=22,
        priority=9,
    ),
    Field(
        "machines",
        "MACHINES",
        Unit.LIST,
        "Machine types that guests of its architecture may have.",
        _fact(lambda f: f.machines),
        width=20,
        priority=9,
    ),
    Field(
        "firmwares",
        "FIRMWARES",
        Unit.LIST,
        "Firmware that guests may have: bios, efi.",
        _fact(lambda f: f.firmwares),
        width=9,
        priority=9,
    ),
    Field(
        "hypervisor",
        "DRIVER",
        Unit.TEXT,
        "libvirt's driver: QEMU, LXC, Xen, ESX, TEST.",
        _fact(lambda f: f.hypervisor),
        width=6,
        priority=7,
    ),
    Field(
        "hypervisor_version",
        "VERSION",
        Unit.TEXT,
        "Version of the hypervisor.",
        _fact(lambda f: f.hypervisor_version),
        sort_key=lambda row: natural_key(row.host.facts.hypervisor_version) if row.host.facts else None,
        width=10,
        priority=8,
    ),
    Field(
        "libvirt_version",
        "LIBVIRT",
        Unit.TEXT,
        "Version of its libvirt.",
        _fact(lambda f: f.libvirt_version),
        sort_key=lambda row: natural_key(row.host.facts.libvirt_version) if row.host.facts else None,
        width=10,
        priority=8,
    ),
    Field(
        "hostname",
        "HOSTNAME",
        Unit.TEXT,
        "What it calls itself.",
        _fact(lambda f: f.hostname),
        width=20,
        priority=8,
    ),
    Field("os", "OS", Unit.TEXT, "Its operating system.", _fact(lambda f: f.os), width=20, priority=9),
    Field(
        "kernel",
        "KERNEL",
        Unit.TEXT,
        "Release of its kernel.",
        _fact(lambda f: f.kernel),
        width=20,
        priority=9,
    ),
)
