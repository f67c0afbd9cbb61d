"""The rules about NUMA cells, pinned CPUs, huge pages and PCI devices.

A host that does not tell its cells or devices is refused, with these words:
what a flavor asks for is never silently left out.
"""

from __future__ import annotations

import numpy as np

from virtfleet.decide import numa, pci
from virtfleet.decide.ledger import Bools
from virtfleet.decide.numa import HostCell, NumaAsk
from virtfleet.decide.pci import HostPci, PciNeed
from virtfleet.decide.question import Question
from virtfleet.model import HostView


def host_cells(view: HostView) -> tuple[HostCell, ...]:
    """The host's NUMA cells with what its VMs take of them; empty: it does not tell which CPUs they have."""
    # NumaCell has no CPUs by number, and VmInfo no pins: nothing can be said yet.
    return ()


def host_devices(view: HostView) -> tuple[HostPci, ...] | None:
    """Its PCI devices, those that VMs have among them; None: it does not tell."""
    return None


def cells(q: Question) -> Bools | None:
    wanted = numa.numa_ask(q.ask.specs)
    if wanted is None:
        return None
    return np.array([_fits(q, row, wanted) for row in range(len(q.ledger))], bool)


def why_cells(q: Question, row: int) -> str:
    wanted = numa.numa_ask(q.ask.specs)
    if wanted is None:
        return ""
    there, ratio = host_cells(q.ledger.views[row]), q.ledger.hosts[row].allocation_ratio
    reason = numa.why(wanted, there, cpu_ratio=ratio.cpu, memory_ratio=ratio.memory)
    return reason or "its devices are not at the NUMA cells that are free"


def _fits(q: Question, row: int, wanted: NumaAsk) -> bool:
    view, ratio, specs = q.ledger.views[row], q.ledger.hosts[row].allocation_ratio, q.ask.specs
    there = host_cells(view)
    if not there:
        return False
    needs, devices = _needs(q), host_devices(view) or ()

    def accept(ids: frozenset[int]) -> bool:
        return pci.fit(needs, devices, affinity=specs.pci_affinity, cells=ids) is not None

    found = numa.fit(
        wanted, there, cpu_ratio=ratio.cpu, memory_ratio=ratio.memory, accept=accept if needs else None
    )
    return found is not None


def devices(q: Question) -> Bools | None:
    needs = _needs(q)
    if not needs:
        return None
    known = (host_devices(view) for view in q.ledger.views)
    return np.array([each is not None and pci.fit(needs, each) is not None for each in known], bool)


def why_devices(q: Question, row: int) -> str:
    known = host_devices(q.ledger.views[row])
    return "its PCI devices are not known" if known is None else pci.why(_needs(q), known)


def _needs(q: Question) -> tuple[PciNeed, ...]:
    """The fleet file is checked: every alias is there."""
    return pci.needs(q.ask.specs.pci, q.ledger.settings.pci_aliases)
