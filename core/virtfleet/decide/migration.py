"""Where a VM that is there could be moved to: each host with fits, fits with copying, or why not. Pure.

Capacity, groups, networks, machine type and the like are the placement's own
filters; here stands what only a move asks: what runs it now against what
would, which disks both see, and what can't be carried over.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from virtfleet.decide.ask import Ask
from virtfleet.decide.explain import Refusal, explain
from virtfleet.decide.ledger import Ledger
from virtfleet.decide.moving_disks import Copy, disks
from virtfleet.model import HostView, Vm, VmInfo, VmState


class Fit(StrEnum):
    FITS = "fits"
    COPYING = "fits with copying"
    NO = "does not fit"


class Way(NamedTuple):
    """One host, as a destination."""

    host: str
    fit: Fit
    refusals: tuple[Refusal, ...]
    copies: tuple[Copy, ...]
    """Disks that must be copied there."""
    score: float | None
    """Of placement; None: it does not fit."""


class Move(NamedTuple):
    """A VM, where it is, and a host that it could go to."""

    here: HostView
    there: HostView
    vm: Vm


Why = Callable[[Move], str]


def ways(ledger: Ledger, ask: Ask, here: HostView, vm: Vm, now: float) -> tuple[Way, ...]:
    """All hosts but the one it is on: best first, then those that need copying, then the others.

    `ask`: what it needs, `moving` it. `now`: CLOCK_MONOTONIC.
    """
    found = []
    for case in explain(ledger, ask, now).cases:
        if case.host == here.name:
            continue
        move = Move(here, ledger.views[ledger.rows[case.host]], vm)
        refusals = [*case.refusals]
        refusals += [Refusal(name, why, "") for name, rule in RULES if (why := rule(move))]
        copies, lacking = disks(ledger, here, move.there, vm.info)
        refusals += [Refusal("disks", why, mend) for why, mend in lacking]
        fit = Fit.NO if refusals else Fit.COPYING if copies else Fit.FITS
        score = case.score if not refusals else None
        found.append(Way(case.host, fit, tuple(refusals), copies, score))
    order = list(Fit)
    return tuple(sorted(found, key=lambda way: (order.index(way.fit), -(way.score or 0.0))))


def obstacles(vm: Vm) -> list[str]:
    """Why a VM can't be moved to any host as it is now."""
    info, found = vm.info, list[str]()
    if vm.state is VmState.PAUSED and vm.stats.reason in ("migrating", "postcopy", "postcopy-failed"):
        found.append(f"{info.name} is being migrated, or was when that broke off")
    elif vm.state.active and vm.state not in (VmState.RUNNING, VmState.BLOCKED, VmState.PAUSED):
        found.append(f"{info.name} is {vm.state.value}")
    elif vm.stats.reason == "ioerror":
        found.append(f"{info.name} was paused by an I/O error: look at its storage first")
    if info.pci:
        found.append(f"it has PCI devices of its host: {', '.join(info.pci[:4])}")
    found += [f"it has {each}, which can't be moved" for each in info.tied]
    if info.snapshots:
        found.append(f"it has snapshots ({info.snapshots}), which libvirt can't move with it")
    if info.managed_save and not vm.state.active:
        found.append("it has a saved state, which lies on its host: restore it, or discard it")
    if info.os_type == "exe":
        found.append("containers can't be moved")
    return found


# ---- what only a move asks


def _already(move: Move) -> str:
    if any(each.uuid == move.vm.uuid for each in move.there.vms):
        return "a VM of its UUID is there"
    return ""


def _hypervisor(move: Move) -> str:
    """Of the same kind, and no older."""
    ours, theirs = move.here.facts, move.there.facts
    if ours is None or theirs is None:
        return "what it runs is not known yet"
    if ours.hypervisor != theirs.hypervisor:
        return f"runs {theirs.hypervisor or 'nothing known'}, not {ours.hypervisor or 'known'}"
    if not move.vm.state.active:
        return ""
    if _version(theirs.hypervisor_version) < _version(ours.hypervisor_version):
        return f"has {theirs.hypervisor} {theirs.hypervisor_version}, older than {ours.hypervisor_version}"
    return ""


def _version(text: str) -> tuple[int, ...]:
    """7.10.1 is more than 7.9; what is no number counts as nothing."""
    return tuple(int(part) if part.isdecimal() else 0 for part in text.split("."))


def _cpu(move: Move) -> str:
    """A guest that sees the host's own CPU needs the same one, with all that it has."""
    ours, theirs = move.here.facts, move.there.facts
    if not move.vm.state.active or ours is None or theirs is None:
        return ""
    if move.vm.info.cpu_mode not in ("host-passthrough", "maximum"):
        return ""
    if (ours.cpu_vendor, ours.cpu_model) != (theirs.cpu_vendor, theirs.cpu_model):
        return (
            f"its guest sees the CPU of its host, {ours.cpu_model}; this is {theirs.cpu_model or 'not known'}"
        )
    missing = sorted(set(ours.cpu_features) - set(theirs.cpu_features))
    if missing:
        more = f" and {len(missing) - 4} more" if len(missing) > 4 else ""
        return f"its CPU lacks {', '.join(missing[:4])}{more}"
    return ""


def _pins(move: Move) -> str:
    """CPUs and cells that it is tied to must be there, by the same numbers, and nobody else's."""
    info, facts = move.vm.info, move.there.facts
    wanted = _tied_cpus(info)
    if facts is None or not (wanted or info.memory_cells):
        return ""
    there = {cpu for cell in facts.numa for cpu in cell.cpu_ids} or set(range(facts.cpus))
    if missing := sorted(wanted - there):
        return f"it is tied to CPU {', '.join(map(str, missing[:8]))}, which is not there"
    taken = {cpu for other in move.there.vms for cpu in other.info.dedicated}
    if both := sorted(taken & wanted):
        return f"CPU {', '.join(map(str, both[:8]))}, to which it is tied, is another VM's"
    cells = {cell.id for cell in facts.numa}
    if gone := sorted(set(info.memory_cells) - cells):
        return f"its memory is tied to NUMA cell {', '.join(map(str, gone))}, which is not there"
    return ""


def _tied_cpus(info: VmInfo) -> set[int]:
    pins = {cpu for pin in info.pinned for cpu in pin.cpus}
    return pins | set(info.cpuset) | set(info.emulator_cpus)


RULES: tuple[tuple[str, Why], ...] = (
    ("uuid", _already),
    ("hypervisor", _hypervisor),
    ("cpu", _cpu),
    ("pins", _pins),
)
