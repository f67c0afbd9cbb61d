"""What a plan says and asks of the CPUs, pages and devices that a VM has for itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from virtfleet.config.extra_specs import Specs
from virtfleet.model import HostView, Vm
from virtfleet.model.plan import Condition, Plan, Reason
from virtfleet.model.spec import Tied
from virtfleet.query.numbers import ranges

_MIB, _GIB = 1 << 20, 1 << 30


def asks(specs: Specs) -> bool:
    """Whether a VM of these specs is tied to CPUs, memory or devices of its host."""
    return bool(specs.cells or specs.pci)


def words_of(tied: Tied) -> list[Reason]:
    """Where it is on its host: "pinned to CPUs 2,3 of cell 0"."""
    said = []
    pins = dict(tied.pins)
    for number, cell in enumerate(tied.cells):
        guest = f"its cell {number}: " if len(tied.cells) > 1 else ""
        own = [pins[vcpu] for vcpu in cell.cpus if vcpu in pins]
        if own:
            text = f"pinned to {_cpus(own)} of cell {cell.host}"
        else:
            text = f"shares {_cpus(cell.shared_cpus)} of cell {cell.host}"
        if cell.page_size:
            text += f", {_pages(cell.page_size)} pages"
        said.append(Reason(text=guest + text))
    if tied.kept_free:
        said.append(Reason(text=f"{_cpus(tied.kept_free)}, of the same cores, kept free"))
    said += [Reason(text=f"device {address}") for address in tied.devices]
    return said


def conditions_of(tied: Tied, host: HostView, uuid: str, name: str) -> list[Condition]:
    """That nobody else has its CPUs and devices."""
    found = []
    if tied.cpus:
        found.append(
            Condition(
                kind="cpus-free",
                host=host.name,
                uuid=uuid,
                name=name,
                value=list(tied.cpus),
                text=f"no VM has {_cpus(tied.cpus)} of {host.name} for itself",
            )
        )
    if tied.devices:
        found.append(
            Condition(
                kind="devices-free",
                host=host.name,
                uuid=uuid,
                name=name,
                value=list(tied.devices),
                text=f"nobody has {', '.join(tied.devices)} on {host.name}",
            )
        )
    return found


def limits_of(tied: Tied, host: HostView) -> dict[str, Any]:
    """What must be nobody's when it is defined, for the claim that is made on the host."""
    found: dict[str, Any] = {}
    if tied.cpus:
        found["cpus"] = list(tied.cpus)
    if tied.devices:
        from virtfleet.decide.tied import not_parted

        found["devices"] = list(not_parted(host.facts, tied.devices))
    return found


def alone(vm: Vm) -> str:
    """The CPUs and devices that a VM has for itself, to be said; empty: none."""
    cpus = [_cpus(vm.info.dedicated)] if vm.info.dedicated else []
    return ", ".join([*cpus, *(f"device {address}" for address in vm.info.pci)])


def tied_by(plan: Plan) -> Tied:
    """What the VM that a plan makes will have for itself."""
    for step in plan.steps:
        if step.op == "vm.define" and (given := step.args.get("spec", {}).get("tied")):
            return msgspec.convert(given, Tied)
    return Tied()


def _cpus(cpus: Iterable[int]) -> str:
    found = sorted(cpus)
    return f"CPU{'s' if len(found) > 1 else ''} {ranges(found)}"


def _pages(size: int) -> str:
    return f"{size // _GIB} GiB" if size % _GIB == 0 else f"{size / _MIB:g} MiB"
