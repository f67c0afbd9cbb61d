"""A VM's fit on a host as values of its definition, and as what the host will show of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from virtfleet.config.extra_specs import Specs
from virtfleet.decide.numa import CellFit, HostCell
from virtfleet.model import CpuPin, HostFacts, PciDevice, VmCell, VmInfo
from virtfleet.model.spec import CellSpec, Tied


def cells_of(specs: Specs, fits: Iterable[CellFit], host: Sequence[HostCell]) -> tuple[CellSpec, ...]:
    """The guest's cells, in its order, where `fits` has put them."""
    known = {cell.id: cell for cell in host}
    found = []
    for fit in sorted(fits, key=lambda each: each.guest):
        guest, cell = specs.cells[fit.guest], known[fit.host]
        ordinary = min((each.size for each in cell.pages), default=0)
        found.append(
            CellSpec(
                cpus=guest.cpus,
                memory=guest.memory,
                host=fit.host,
                page_size=0 if fit.page_size == ordinary else fit.page_size,
                shared_cpus=() if specs.dedicated else tuple(sorted(cell.free)),
            )
        )
    return tuple(found)


def shown_as(tied: Tied, uuid: str, name: str, vcpus: int, memory: int) -> VmInfo:
    """The VM as its host will show it, as far as cells and devices go."""
    pins = [CpuPin((vcpu,), (cpu,)) for vcpu, cpu in tied.pins]
    shared = [each for each in tied.cells if each.shared_cpus]
    whole = shared[0].shared_cpus if len(shared) == len(tied.cells) == 1 else ()
    if not whole:
        pins += [CpuPin(each.cpus, each.shared_cpus) for each in shared]
    return VmInfo(
        uuid=uuid,
        name=name,
        vcpus_max=vcpus,
        memory_max=memory,
        cpuset=whole,
        pinned=tuple(pins),
        kept_free=tied.kept_free,
        memory_cells=tuple(sorted({each.host for each in tied.cells})),
        cells=tuple(
            VmCell(number, each.cpus, each.memory, (each.host,), each.page_size or None)
            for number, each in enumerate(tied.cells)
        ),
        pci=tied.devices,
    )


def not_parted(facts: HostFacts | None, addresses: Iterable[str]) -> tuple[str, ...]:
    """These devices and those that nobody else may have while one VM has them: the others of their IOMMU
    groups, the cards that they are functions of, the functions of them."""
    wanted = set(addresses)
    known = facts.pci if facts is not None and facts.pci is not None else ()
    ours = [device for device in known if device.address in wanted]
    groups = {device.iommu_group for device in ours} - {None}
    cards = {device.physical for device in ours} - {""}

    def tied(device: PciDevice) -> bool:
        return device.iommu_group in groups or device.address in cards or device.physical in wanted

    return tuple(sorted(wanted | {device.address for device in known if tied(device)}))
