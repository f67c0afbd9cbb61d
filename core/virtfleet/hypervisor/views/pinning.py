"""What a VM has of its host's NUMA cells and devices: pinned CPUs, memory cells, huge pages, PCI devices.

Hostile XML may name thousands of CPUs for thousands of vCPUs; what is kept
stays small whatever it says.
"""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

from virtfleet.hypervisor.views.reading import (
    attribute,
    bytes_of,
    child,
    children,
    integer,
    number_set,
    pci_address,
)
from virtfleet.hypervisor.views.safexml import Element
from virtfleet.hypervisor.views.vmdata import KEPT_FREE, VM
from virtfleet.model import CpuPin, VmCell

_MOST_VCPUS = 4096
_MOST_PINS = 65_536
"""CPUs in the pins of one VM, all together."""
_MOST_CELLS = 256
_MOST_DEVICES = 256


class Pinning(NamedTuple):
    cpuset: tuple[int, ...]
    pinned: tuple[CpuPin, ...]
    kept_free: tuple[int, ...]
    emulator_cpus: tuple[int, ...]
    memory_cells: tuple[int, ...]
    cells: tuple[VmCell, ...]
    page_size: int | None
    pci: tuple[str, ...]


def pinning(domain: Element) -> Pinning:
    """Of a whole <domain>. Never raises."""
    tune = child(domain, "cputune")
    numa = child(domain, "numatune")
    memory_cells = number_set(child(numa, "memory"), "nodeset")[:_MOST_CELLS]
    page_size, by_cell = _page_sizes(domain)
    return Pinning(
        cpuset=number_set(child(domain, "vcpu"), "cpuset"),
        pinned=_pins(tune),
        kept_free=number_set(child(domain, "metadata", f"{{{VM}}}vm", f"{{{VM}}}{KEPT_FREE}"), "cpuset"),
        emulator_cpus=number_set(child(tune, "emulatorpin"), "cpuset"),
        memory_cells=memory_cells,
        cells=_cells(domain, _nodes(numa), memory_cells, by_cell, page_size),
        page_size=page_size,
        pci=_devices(child(domain, "devices")),
    )


def _pins(tune: Element | None) -> tuple[CpuPin, ...]:
    """vCPUs that may run on the same CPUs stand together: a guest bound to a cell costs one set, not many."""
    together: dict[tuple[int, ...], list[int]] = {}
    kept = 0
    for each in islice(children(tune, "vcpupin"), _MOST_VCPUS):
        vcpu = integer(attribute(each, "vcpu"))
        cpus = number_set(each, "cpuset")
        if vcpu is None or not 0 <= vcpu < _MOST_VCPUS or not cpus:
            continue
        if cpus not in together:
            kept += len(cpus)
            if kept > _MOST_PINS:
                break
        together.setdefault(cpus, []).append(vcpu)
    pins = (CpuPin(tuple(sorted(set(vcpus))), cpus) for cpus, vcpus in together.items())
    return tuple(sorted(pins, key=lambda pin: pin.vcpus))


def _nodes(numa: Element | None) -> dict[int, tuple[int, ...]]:
    """The host's cells for a cell of the guest, where they are its own."""
    found: dict[int, tuple[int, ...]] = {}
    for each in children(numa, "memnode"):
        cell = integer(attribute(each, "cellid"))
        if cell is not None and len(found) < _MOST_CELLS:
            found[cell] = number_set(each, "nodeset")[:_MOST_CELLS]
    return found


def _page_sizes(domain: Element) -> tuple[int | None, dict[int, int]]:
    """Size of the huge pages of the VM, and of those cells that have another one."""
    huge = child(domain, "memoryBacking", "hugepages")
    if huge is None:
        return None, {}
    everywhere: int | None = None
    by_cell: dict[int, int] = {}
    pages = list(children(huge, "page"))
    for page in pages:
        found = bytes_of(attribute(page, "size"), attribute(page, "unit") or "KiB") or 0
        if not page.get("nodeset"):
            everywhere = found
        elif len(by_cell) < _MOST_CELLS:
            by_cell.update(dict.fromkeys(number_set(page, "nodeset")[:_MOST_CELLS], found))
    if not pages:
        everywhere = 0
    elif everywhere is None and child(domain, "cpu", "numa") is None:
        everywhere = next(iter(by_cell.values()), 0)  # without cells the page is that of all its memory
    return everywhere, by_cell


def _cells(
    domain: Element,
    nodes: dict[int, tuple[int, ...]],
    memory_cells: tuple[int, ...],
    by_cell: dict[int, int],
    page_size: int | None,
) -> tuple[VmCell, ...]:
    cells: list[VmCell] = []
    known: set[int] = set()  # libvirt lets no vCPU be in two cells
    for each in children(child(domain, "cpu", "numa"), "cell"):
        if len(cells) >= _MOST_CELLS:
            break
        number = integer(attribute(each, "id"))
        number = len(cells) if number is None else number
        cpus = tuple(cpu for cpu in number_set(each, "cpus")[:_MOST_VCPUS] if cpu not in known)
        known.update(cpus)
        cells.append(
            VmCell(
                id=number,
                cpus=cpus,
                memory=bytes_of(attribute(each, "memory"), attribute(each, "unit") or "KiB") or 0,
                host_cells=nodes.get(number, memory_cells),
                page_size=by_cell.get(number, page_size),
            )
        )
    return tuple(cells)


def _devices(devices: Element | None) -> tuple[str, ...]:
    found: list[str] = []
    for tag in ("hostdev", "interface", "disk"):
        for each in children(devices, tag):
            kind = attribute(each, "type")
            if (tag, kind) in (("hostdev", "pci"), ("interface", "hostdev"), ("disk", "nvme")):
                address = child(each, "source", "address")
                if attribute(address, "type") in ("", "pci"):  # else a USB card or a network's own choice
                    found.append(pci_address(address))
    return tuple(dict.fromkeys(address for address in found if address))[:_MOST_DEVICES]
