"""The rules about NUMA cells, pinned CPUs, huge pages and PCI devices.

A host that does not tell its cells or devices is refused, with these words:
what a flavor asks for is never silently left out. What a row has left, and
whether a flavor fits it, is kept until its VMs or promises change.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import numpy as np

from virtfleet.config.extra_specs import Specs
from virtfleet.decide import numa, pci
from virtfleet.decide.host_cells import host_cells, host_devices
from virtfleet.decide.ledger import Bools, Ledger, Promise
from virtfleet.decide.numa import HostCell, NumaAsk
from virtfleet.decide.pci import HostPci, PciNeed
from virtfleet.decide.question import Question
from virtfleet.decide.tied import cells_of
from virtfleet.errors import NoValidHostError
from virtfleet.model.spec import Tied


class _Left(NamedTuple):
    """What a host has, with all that is defined on it and promised."""

    cells: tuple[HostCell, ...]
    """Empty: not told."""
    devices: tuple[HostPci, ...] | None
    """None: not told."""


def cells(q: Question) -> Bools | None:
    """Cells, and the devices near them."""
    if not q.ask.specs.cells:
        return None
    return _mask(q, "numa")


def devices(q: Question) -> Bools | None:
    """Devices, wherever they are."""
    return _mask(q, "pci") if q.ask.specs.pci else None


def why_cells(q: Question, row: int) -> str:
    wanted, ratio = numa.numa_ask(q.ask.specs), q.ledger.hosts[row].allocation_ratio
    if wanted is None:
        return ""
    left = _left(q, row)
    reason = numa.why(wanted, left.cells, cpu_ratio=ratio.cpu, memory_ratio=ratio.memory)
    return reason or "its devices are not at the NUMA cells that are free"


def why_devices(q: Question, row: int) -> str:
    known = _left(q, row).devices
    return "its PCI devices are not known" if known is None else pci.why(_needs(q.ledger, q.ask.specs), known)


def tied_at(q: Question, row: int) -> Tied:
    """What the VM is given of a host. NoValidHostError: not what it asks for; the filters tell beforehand."""
    specs, left = q.ask.specs, _left(q, row)
    wanted, needs = numa.numa_ask(specs), _needs(q.ledger, specs)
    fits = _fit(q.ledger, row, left, wanted, needs, specs) if wanted is not None else ()
    if fits is None:
        raise NoValidHostError(f"{q.ledger.names[row]}: {why_cells(q, row)}")
    where = frozenset(each.host for each in fits) if wanted is not None else None
    given = pci.fit(needs, left.devices or (), affinity=specs.pci_affinity, cells=where)
    if given is None:
        raise NoValidHostError(f"{q.ledger.names[row]}: {why_devices(q, row)}")
    pins = tuple(sorted(pin for each in fits for pin in each.pins))
    return Tied(
        cells=cells_of(specs, fits, left.cells),
        pins=pins,
        kept_free=tuple(sorted({cpu for each in fits for cpu in each.taken} - {cpu for _, cpu in pins})),
        devices=given,
    )


def _mask(q: Question, rule: str) -> Bools:
    ledger, specs = q.ledger, q.ask.specs
    own = ledger.vms.get(q.ask.moving, ()) if q.ask.moving else ()
    answers: dict[int, tuple[Any, bool]] = ledger.cached((rule, specs), dict)
    found = np.zeros(len(ledger), bool)
    for row in range(len(ledger)):
        if row in own:
            found[row] = _answer(q, row, rule)
            continue
        state = _state(ledger, row)
        known = answers.get(row)
        if known is None or not _same(known[0], state):
            known = answers[row] = (state, _answer(q, row, rule))
        found[row] = known[1]
    return found


def _answer(q: Question, row: int, rule: str) -> bool:
    left, needs = _left(q, row), _needs(q.ledger, q.ask.specs)
    if rule == "pci":
        return left.devices is not None and pci.fit(needs, left.devices) is not None
    wanted = numa.numa_ask(q.ask.specs)
    return wanted is not None and _fit(q.ledger, row, left, wanted, needs, q.ask.specs) is not None


def _fit(
    ledger: Ledger, row: int, left: _Left, wanted: NumaAsk, needs: tuple[PciNeed, ...], specs: Specs
) -> tuple[numa.CellFit, ...] | None:
    ratio, there = ledger.hosts[row].allocation_ratio, left.devices or ()

    def accept(ids: frozenset[int]) -> bool:
        return pci.fit(needs, there, affinity=specs.pci_affinity, cells=ids) is not None

    return numa.fit(
        wanted, left.cells, cpu_ratio=ratio.cpu, memory_ratio=ratio.memory, accept=accept if needs else None
    )


# ---- what a row has left


def _state(ledger: Ledger, row: int) -> tuple[Any, ...]:
    """Values that are replaced when what a row has left changes."""
    view = ledger.views[row]
    return view.facts, ledger.infos_at(row), ledger.promises_at(row)


def _same(one: tuple[Any, ...], two: tuple[Any, ...]) -> bool:
    return all(a is b for a, b in zip(one, two, strict=True))


def _left(q: Question, row: int) -> _Left:
    ledger = q.ledger
    if q.ask.moving and row in ledger.vms.get(q.ask.moving, ()):
        return _count(ledger, row, q.ask.moving)
    known: dict[int, tuple[Any, _Left]] = ledger.cached("cells", dict)
    state = _state(ledger, row)
    found = known.get(row)
    if found is None or not _same(found[0], state):
        found = known[row] = (state, _count(ledger, row, ""))
    return found[1]


def _count(ledger: Ledger, row: int, without: str) -> _Left:
    facts = ledger.views[row].facts
    promises = ledger.promises_at(row)
    infos = [info for info in ledger.infos_at(row) if info.uuid != without]
    infos += [each.shown for each in promises if each.shown is not None]
    left = _Left(host_cells(facts, infos, ledger.settings.flavors), host_devices(facts, infos))
    for promise in promises:
        if promise.shown is None:
            left = _with(ledger, row, left, promise)
    return left


def _with(ledger: Ledger, row: int, left: _Left, promise: Promise) -> _Left:
    """A promise takes what it would be given; one that has no place takes nothing."""
    specs = promise.specs
    wanted, needs = numa.numa_ask(specs), _needs(ledger, specs)
    where: frozenset[int] | None = None
    if wanted is not None and (found := _fit(ledger, row, left, wanted, needs, specs)) is not None:
        left = left._replace(cells=numa.take(left.cells, found, wanted))
        where = frozenset(each.host for each in found)
    if needs and left.devices is not None:
        given = pci.fit(needs, left.devices, affinity=specs.pci_affinity, cells=where) or ()
        left = left._replace(
            devices=tuple(
                msgspec.structs.replace(each, user=promise.uuid) if each.address in given else each
                for each in left.devices
            )
        )
    return left


def _needs(ledger: Ledger, specs: Specs) -> tuple[PciNeed, ...]:
    """The fleet file is checked: every alias is there."""
    return pci.needs(specs.pci, ledger.settings.pci_aliases) if specs.pci else ()
