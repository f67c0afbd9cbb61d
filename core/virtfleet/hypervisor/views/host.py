"""What libvirt tells of a host itself (capabilities, node info, sysinfo) as `HostFacts`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

import msgspec
from lxml import etree
from msgspec.structs import replace

from virtfleet.hypervisor.views import offering
from virtfleet.hypervisor.views.reading import (
    LARGEST,
    MOST_IN_SET,
    attribute,
    child,
    children,
    content,
    integer,
    number_set,
    size,
)
from virtfleet.hypervisor.views.safexml import Element, parse
from virtfleet.model import CellPages, GuestKind, HostFacts, HugePages, NumaCell, PciDevice
from virtfleet.model.text import clean

_MIB = 1024 * 1024
_MOST_THREADS = 16
"""Of one core: POWER has eight."""
_MOST_PAGE_SIZES = 16

FreePages = Mapping[int, Mapping[int, int]]
"""libvirt-python's `getFreePages`: number of free pages by cell and size in KiB."""


class Capabilities(msgspec.Struct, frozen=True):
    """The <host> part of a capabilities XML."""

    uuid: str = ""
    arch: str = ""
    cpu_model: str = ""
    cpu_vendor: str = ""
    sockets: int = 0
    """Of the whole host, counted from the cells; 0: not told."""
    cores: int = 0
    """Per socket."""
    threads: int = 0
    numa: tuple[NumaCell, ...] = ()
    iommu: bool | None = None
    page_sizes: tuple[int, ...] = ()
    """Bytes of each page size above the ordinary one."""
    guests: tuple[GuestKind, ...] = ()
    cpu_features: tuple[str, ...] = ()
    """Those that the CPU has beyond its model."""
    cpu_xml: str = ""
    """The <cpu> element, to be asked about."""


_NONE = Capabilities()
_NOTHING = offering.Offering()


def capabilities(xml: str) -> Capabilities:
    """Reads a capabilities XML; an empty or broken one gives the defaults, since facts are never vital."""
    try:
        root = parse(xml)
    except ValueError:
        return Capabilities()
    host = child(root, "host")
    cpu = child(host, "cpu")
    cells = list(children(child(host, "topology", "cells"), "cell"))
    topology = child(cpu, "topology")
    iommu = attribute(child(host, "iommu"), "support")
    pages = sorted(found for page in children(cpu, "pages") if (found := _page_size(page)))
    return Capabilities(
        uuid=content(child(host, "uuid"), 64),
        arch=content(child(cpu, "arch")),
        cpu_model=content(child(cpu, "model")),
        cpu_vendor=content(child(cpu, "vendor")),
        sockets=_sockets(cells),
        cores=_positive(topology, "cores") * max(1, _positive(topology, "dies")),
        threads=_positive(topology, "threads"),
        numa=tuple(_cell(cell) for cell in cells),
        iommu={"yes": True, "no": False}.get(iommu),
        page_sizes=tuple(dict.fromkeys(pages[1:])),
        guests=offering.guests(root),
        cpu_features=offering.cpu_features(cpu),
        cpu_xml="" if cpu is None else etree.tostring(cpu, encoding="unicode", with_tail=False),
    )


def host_facts(
    *,
    caps: Capabilities = _NONE,
    node_info: Sequence[object] | None = None,
    sysinfo_xml: str = "",
    hostname: str = "",
    hypervisor: str = "",
    hypervisor_version: int | None = None,
    libvirt_version: int | None = None,
    hugepages: tuple[HugePages, ...] = (),
    kernel: str = "",
    os: str = "",
    iommu: bool | None = None,
    offers: offering.Offering = _NOTHING,
    cpu_features: tuple[str, ...] = (),
    free_pages: FreePages | None = None,
    pci: tuple[PciDevice, ...] | None = None,
) -> HostFacts:
    """All facts of a host from whatever of them the driver and the transport tell. Never raises.

    `node_info` is libvirt-python's `getInfo()`: model, MiB, CPUs, MHz, NUMA
    nodes, sockets per node, cores per socket, threads per core. Versions are
    libvirt's numbers (9000000 is 9.0.0). `iommu`: what the host itself says,
    which counts more than libvirt's word. `cpu_features`: all of them, where
    libvirt has spelled them out.
    """
    model, memory, cpus, mhz, nodes, sockets, cores, threads = _node_info(node_info)
    return HostFacts(
        hostname=clean(hostname, 255),
        hypervisor=clean(hypervisor, 64),
        hypervisor_version=version(hypervisor_version),
        libvirt_version=version(libvirt_version),
        # Where both tell, the node info names the machine and capabilities the CPU.
        arch=caps.arch or model,
        cpu_model=caps.cpu_model or _processor(sysinfo_xml),
        cpu_vendor=caps.cpu_vendor,
        cpus=min(cpus or sum(cell.cpus for cell in caps.numa), LARGEST),
        sockets=caps.sockets or nodes * sockets,
        cores=cores or caps.cores,
        threads=threads or caps.threads,
        mhz=mhz,
        memory=min(memory * _MIB or sum(cell.memory for cell in caps.numa), LARGEST),
        numa=_with_free(caps.numa, free_pages or {}),
        iommu=caps.iommu if iommu is None else iommu,
        hugepages=hugepages,
        kernel=clean(kernel, 255),
        os=clean(os, 255),
        guests=caps.guests,
        cpu_modes=offers.cpu_modes,
        host_model=offers.host_model,
        cpu_models=offers.cpu_models,
        cpu_features=cpu_features or caps.cpu_features,
        firmwares=offers.firmwares,
        pci=pci,
        pool_types=offers.pool_types,
    )


def _with_free(cells: tuple[NumaCell, ...], free: FreePages) -> tuple[NumaCell, ...]:
    """The cells with their free huge pages; the first size is the ordinary one, which is left as it is."""
    found = []
    for cell in cells:
        counts = free.get(cell.id, {})
        pages = (*cell.pages[:1], *(_told(each, counts.get(each.size // 1024)) for each in cell.pages[1:]))
        found.append(replace(cell, pages=pages))
    return tuple(found)


def _told(pages: CellPages, free: int | None) -> CellPages:
    if free is None or not 0 <= free <= LARGEST:
        return pages
    return replace(pages, free=free if pages.total is None else min(free, pages.total))


def version(number: int | None) -> str:
    """`9.0.0` of libvirt's 9000000; "" for 0 and None."""
    if not number or number < 0:
        return ""
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


def _node_info(info: Sequence[object] | None) -> tuple[str, int, int, int, int, int, int, int]:
    values = list(info or ())
    model = clean(str(values[0]), 64) if values else ""
    numbers = [each if isinstance(each, int) and each >= 0 else 0 for each in values[1:8]]
    memory, cpus, mhz, nodes, sockets, cores, threads = numbers + [0] * (7 - len(numbers))
    return model, memory, cpus, mhz, nodes, sockets, cores, threads


def _processor(sysinfo_xml: str) -> str:
    """The processor's name by DMI."""
    try:
        processor = child(parse(sysinfo_xml), "processor")
    except ValueError:
        return ""
    for entry in children(processor, "entry"):
        if entry.get("name") == "version":
            return content(entry)
    return ""


def _cell(cell: Element) -> NumaCell:
    cpus = child(cell, "cpus")
    count = integer(attribute(cpus, "num"))
    ids: set[int] = set()
    cores: set[tuple[int, ...]] = set()
    for cpu in islice(children(cpus, "cpu"), MOST_IN_SET):
        number = integer(attribute(cpu, "id"))
        if number is not None and 0 <= number < MOST_IN_SET:
            ids.add(number)
            cores.add(number_set(cpu, "siblings")[:_MOST_THREADS])
    return NumaCell(
        id=integer(attribute(cell, "id")) or 0,
        memory=size(child(cell, "memory"), "KiB") or 0,
        cpus=count if count is not None and count >= 0 else sum(1 for _ in children(cpus, "cpu")),
        cpu_ids=tuple(sorted(ids)),
        siblings=tuple(sorted(core for core in cores if len(core) > 1 and ids.issuperset(core))),
        pages=_cell_pages(cell),
    )


def _cell_pages(cell: Element) -> tuple[CellPages, ...]:
    found: dict[int, CellPages] = {}
    for page in islice(children(cell, "pages"), _MOST_PAGE_SIZES):
        number = _page_size(page)
        if number is not None:
            total = integer(content(page))
            found[number] = CellPages(number, total if total is not None and total >= 0 else None)
    return tuple(each for _, each in sorted(found.items()))


def _sockets(cells: list[Element]) -> int:
    ids = {attribute(cpu, "socket_id") for cell in cells for cpu in children(child(cell, "cpus"), "cpu")}
    return len(ids - {""})


def _positive(element: Element | None, name: str) -> int:
    return max(0, integer(attribute(element, name)) or 0)


def _page_size(page: Element) -> int | None:
    """`<pages unit='KiB' size='2048'/>` in bytes."""
    number = integer(attribute(page, "size"))
    if number is None or number <= 0:
        return None
    return number * {"kib": 1024, "mib": _MIB, "gib": 1024 * _MIB}.get(attribute(page, "unit").lower(), 1024)
