"""What a host's NUMA cells and PCI devices have left, from what it tells and what is defined on it. Pure.

Memory that is bound to several cells is counted in equal parts. VMs that are
bound to none are the concern of the host's vCPUs and memory as a whole. What
the host keeps for itself is not told by cell and counts there, too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from virtfleet.config.settings import Flavor
from virtfleet.decide.numa import HostCell, Pages
from virtfleet.decide.pci import HOST, HostPci
from virtfleet.model import HostFacts, NumaCell, PciDevice, VmInfo

_FREE_DRIVERS = frozenset({"", "vfio-pci", "pci-stub"})
"""A device with another driver is at the host's own work: its network card, its disks."""


class _Use:
    """What is taken of one cell."""

    def __init__(self) -> None:
        self.pinned: set[int] = set()
        self.shared = 0
        self.memory: dict[int, int] = {}
        """Bytes by page size."""


def host_cells(
    facts: HostFacts | None, vms: Iterable[VmInfo], flavors: Mapping[str, Flavor]
) -> tuple[HostCell, ...]:
    """The cells of a host with `vms`; empty: it does not tell which CPUs they have."""
    if facts is None or not facts.numa or not all(cell.cpu_ids for cell in facts.numa):
        return ()
    uses = {cell.id: _Use() for cell in facts.numa}
    for vm in vms:
        _count_cpus(vm, facts.numa, uses, _isolated(vm, flavors))
        _count_memory(vm, facts.numa, uses)
    return tuple(_cell(cell, uses[cell.id]) for cell in facts.numa)


def _cell(cell: NumaCell, use: _Use) -> HostCell:
    ordinary = cell.pages[0] if cell.pages else None
    small = ordinary.size if ordinary is not None else 0
    pages = tuple(
        Pages(each.size, each.total or 0, -(-use.memory.get(each.size, 0) // each.size))
        for each in cell.pages
    )
    # Memory that stands as huge pages is nobody's who does not ask for them.
    memory = ordinary.size * ordinary.total if ordinary is not None and ordinary.total else cell.memory
    return HostCell(
        id=cell.id,
        cpus=frozenset(cell.cpu_ids),
        memory=memory,
        siblings=tuple(frozenset(core) for core in cell.siblings),
        pinned=frozenset(use.pinned),
        shared=use.shared,
        memory_used=use.memory.get(small, 0),
        pages=pages,
    )


def _isolated(vm: VmInfo, flavors: Mapping[str, Flavor]) -> bool:
    """Whether nobody may have the threads beside its own."""
    flavor = flavors.get(vm.flavor)
    return flavor is not None and flavor.extra_specs.get("hw:cpu_thread_policy") == "isolate"


def _count_cpus(vm: VmInfo, cells: Sequence[NumaCell], uses: Mapping[int, _Use], isolated: bool) -> None:
    alone = set(vm.dedicated)
    floating = vm.vcpus_max - sum(len(pin.vcpus) for pin in vm.pinned)
    bound = [(len(pin.vcpus), pin.cpus) for pin in vm.pinned if len(pin.cpus) > 1]
    bound.append((max(0, floating), vm.cpuset))
    for cell in cells:
        use, cpus = uses[cell.id], set(cell.cpu_ids)
        use.pinned |= alone & cpus
        if isolated:
            for core in cell.siblings:
                if alone & set(core):
                    use.pinned |= set(core) & cpus
        use.shared += sum(count for count, where in bound if where and cpus.issuperset(where))


def _count_memory(vm: VmInfo, cells: Sequence[NumaCell], uses: Mapping[int, _Use]) -> None:
    for memory, wanted, page in _parts(vm):
        if not wanted and page is None:
            continue
        there = [cell for cell in cells if not wanted or cell.id in wanted]
        for cell in there:
            sizes = [each.size for each in cell.pages]
            # 0 is the host's default size of huge pages, the smallest as a rule.
            size = (sizes[1] if len(sizes) > 1 else 0) if page == 0 else (page or (sizes[0] if sizes else 0))
            used = uses[cell.id].memory
            used[size] = used.get(size, 0) + memory // len(there)


def _parts(vm: VmInfo) -> Iterator[tuple[int, Collection[int], int | None]]:
    """Memory, the host's cells that it must come from (empty: any), and its page size."""
    if not vm.cells:
        yield vm.memory_max, vm.memory_cells, vm.page_size
    for cell in vm.cells:
        page = vm.page_size if cell.page_size is None else cell.page_size
        yield cell.memory, cell.host_cells or vm.memory_cells, page


def host_devices(facts: HostFacts | None, vms: Iterable[VmInfo]) -> tuple[HostPci, ...] | None:
    """The devices of a host and who has each; None: it does not tell.

    One is taken, too, when what it can't be parted from is: another of its
    IOMMU group, its card or the virtual functions of it.
    """
    if facts is None or facts.pci is None:
        return None
    users = {device.address: "" if device.driver in _FREE_DRIVERS else HOST for device in facts.pci}
    users |= {address: vm.uuid for vm in vms for address in vm.pci}
    groups: dict[int | None, list[PciDevice]] = {}
    functions: dict[str, list[str]] = {}
    for device in facts.pci:
        if device.iommu_group is not None:
            groups.setdefault(device.iommu_group, []).append(device)
        if device.physical:
            functions.setdefault(device.physical, []).append(device.address)

    def user(device: PciDevice) -> str:
        # A card that the host drives lends its virtual functions; one that a VM has does not.
        card = users.get(device.physical, "")
        others = [
            users[device.address],
            *(users[mate.address] for mate in groups.get(device.iommu_group, ())),
            *(users.get(function, "") for function in functions.get(device.address, ())),
            "" if card == HOST else card,
        ]
        return next((each for each in others if each), "")

    return tuple(
        HostPci(device.address, device.vendor, device.product, device.numa, user(device))
        for device in facts.pci
    )
