"""What in a domain's XML ties a VM to its host's CPUs, memory cells, huge pages and devices. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from lxml import etree

from virtfleet.errors import RefusedError
from virtfleet.hypervisor.views.safexml import Element
from virtfleet.model.spec import Tied
from virtfleet.query.numbers import ranges

_KIB = 1024


def tie(root: Element, tied: Tied) -> None:
    """Into a <domain> with <vcpu> and <devices>. RefusedError: an address that is none."""
    if tied.cells:
        _cpus(root, tied)
        _memory(root, tied)
        _guest_cells(root, tied)
    devices = root.find("devices")
    for address in tied.devices:
        hostdev = etree.SubElement(devices, "hostdev", mode="subsystem", type="pci", managed="yes")  # type: ignore[arg-type] # it has devices
        etree.SubElement(etree.SubElement(hostdev, "source"), "address", _address(address))


def _cpus(root: Element, tied: Tied) -> None:
    vcpu = root.find("vcpu")
    if not tied.pins and len(tied.cells) == 1 and vcpu is not None:
        # All of it in one place: this holds for what is no vCPU's, too.
        vcpu.set("placement", "static")
        vcpu.set("cpuset", ranges(tied.cells[0].shared_cpus))
        return
    where: dict[int, tuple[int, ...]] = {vcpu: (cpu,) for vcpu, cpu in tied.pins}
    for cell in tied.cells:
        where |= {each: cell.shared_cpus for each in cell.cpus if cell.shared_cpus}
    tune = etree.SubElement(root, "cputune")
    for number, cpus in sorted(where.items()):
        etree.SubElement(tune, "vcpupin", vcpu=str(number), cpuset=ranges(cpus))
    # Its own CPUs: other guests are not delayed by its disks and network.
    own = {cpu for cpus in where.values() for cpu in cpus}
    etree.SubElement(tune, "emulatorpin", cpuset=ranges(sorted(own)))


def _memory(root: Element, tied: Tied) -> None:
    tune = etree.SubElement(root, "numatune")
    every = ranges(sorted({cell.host for cell in tied.cells}))
    etree.SubElement(tune, "memory", mode="strict", nodeset=every)
    for number, cell in enumerate(tied.cells):
        etree.SubElement(tune, "memnode", cellid=str(number), mode="strict", nodeset=str(cell.host))
    by_size: dict[int, list[int]] = {}
    for number, cell in enumerate(tied.cells):
        if cell.page_size:
            by_size.setdefault(cell.page_size, []).append(number)
    if by_size:
        huge = etree.SubElement(etree.SubElement(root, "memoryBacking"), "hugepages")
        for size, numbers in by_size.items():
            etree.SubElement(huge, "page", size=str(size // _KIB), unit="KiB", nodeset=ranges(numbers))


def _guest_cells(root: Element, tied: Tied) -> None:
    cpu = root.find("cpu")
    if cpu is None:
        cpu = etree.SubElement(root, "cpu")
    numa = etree.SubElement(cpu, "numa")
    for number, cell in enumerate(tied.cells):
        etree.SubElement(
            numa,
            "cell",
            id=str(number),
            cpus=_numbers(cell.cpus),
            memory=str(max(1, cell.memory // _KIB)),
            unit="KiB",
        )


def _numbers(cpus: Iterable[int]) -> str:
    return ranges(sorted(cpus))


def _address(text: str) -> dict[str, str]:
    """0000:3b:00.0 as libvirt's attributes."""
    domain, bus, rest = (*text.split(":"), "", "")[:3]
    slot, _, function = rest.partition(".")
    parts = {"domain": domain, "bus": bus, "slot": slot, "function": function}
    try:
        numbers = {key: int(value, 16) for key, value in parts.items()}
    except ValueError:
        raise RefusedError(f"{text!r} is no address of a PCI device", cure="like 0000:3b:00.0") from None
    widths = {"domain": 4, "bus": 2, "slot": 2, "function": 1}
    return {key: f"0x{number:0{widths[key]}x}" for key, number in numbers.items()}
