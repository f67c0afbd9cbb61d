"""How many more VMs fit: of each flavor, on each host, in each zone and in all; and if any one host died.

A VM counts with what it was promised. For the death of a host its VMs are
placed on the others, the largest first, as the scheduler would where it may;
disks are not looked at: whether one can be had elsewhere is evacuation's
question.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from virtfleet.config.extra_specs import Specs, parse
from virtfleet.config.settings import Flavor
from virtfleet.decide.ask import Ask
from virtfleet.decide.filters import FILTERS
from virtfleet.decide.ledger import Bools, Floats, Ledger
from virtfleet.decide.question import Question
from virtfleet.model import VmInfo

_MOST = 1_000_000
"""Of a flavor that takes nothing that is limited."""
_COUNTED = frozenset({"vcpus", "memory", "disk", "vms", "io", "group"})
"""Filters whose answer is counted here, not asked."""


class FlavorRoom(NamedTuple):
    """How many more VMs of a flavor fit."""

    flavor: str
    by_host: NDArray[np.int64]
    """In the order of the ledger's rows."""
    total: int
    """In the fleet: storages that hosts share count once."""
    after_death: int | None
    """So many could be added and the death of any one host still be borne; None: not asked."""


class Homeless(NamedTuple):
    """A VM that would find no place if its host died."""

    host: str
    uuid: str
    name: str
    vcpus: int
    memory: int


class Deaths(NamedTuple):
    """What the death of each host would mean."""

    homeless: tuple[Homeless, ...]
    after: Mapping[str, int]
    """By flavor: how many would fit on the others, after the worst death."""


def room(ledger: Ledger, flavors: Mapping[str, Flavor], now: float) -> list[FlavorRoom]:
    """For each flavor; `now` is CLOCK_MONOTONIC."""
    found = []
    for name, flavor in flavors.items():
        ask = _ask(flavor)
        by_host, by_pool = _more(ledger, ask, _may(ledger, ask, now))
        found.append(FlavorRoom(name, by_host, by_pool, None))
    return found


def _ask(flavor: Flavor) -> Ask:
    try:
        specs = parse(flavor.extra_specs, flavor.vcpus, flavor.memory)
    except ValueError:  # said when the file was read
        specs = Specs()
    return Ask(vcpus=flavor.vcpus, memory=flavor.memory, disk=flavor.disk, specs=specs)


def _may(ledger: Ledger, ask: Ask, now: float) -> Bools:
    """Hosts that every filter lets through but those of room."""
    left = np.ones(len(ledger), bool)
    q = Question(ledger, ask, now)
    for each in FILTERS:
        if each.name not in _COUNTED and (mask := each.mask(q)) is not None:
            left &= mask
    return left


def _times(capacity: Floats, used: Floats, each: float) -> Floats:
    """How often `each` fits into what is left; unknown: never."""
    if each <= 0:
        return np.full(len(capacity), float(_MOST))
    return np.floor(np.nan_to_num(np.clip(capacity - used, 0.0, None), nan=0.0) / each)


def _more(ledger: Ledger, ask: Ask, may: Bools) -> tuple[NDArray[np.int64], int]:
    """How many fit on each host, and in all."""
    fit = np.minimum(
        _times(ledger.vcpus, ledger.vcpus_used, ask.vcpus),
        _times(ledger.memory, ledger.memory_used, ask.memory),
    )
    fit = np.minimum(fit, np.clip(ledger.settings.scheduler.max_vms_per_host - ledger.vm_count, 0.0, None))
    fit *= may
    if not ask.disk:
        return fit.astype(np.int64), int(fit.sum())
    best, storage = ledger.pools.best(ask.disk)
    fit = np.minimum(fit, best)
    # Hosts that share a storage share what is left of it.
    most = np.zeros(int(storage.max(initial=-1)) + 2)
    np.maximum.at(most, storage + 1, best)
    wanted = np.bincount(storage + 1, fit, len(most))
    return fit.astype(np.int64), int(np.minimum(wanted, most).sum())


# ---- the death of a host


class _Kind(NamedTuple):
    """What decides, besides room, where a VM may go."""

    flavor: str
    project: str
    container: bool
    networks: tuple[str, ...]
    arch: str


class _Free:
    """What the hosts have left while the VMs of a dead one are placed."""

    def __init__(self, ledger: Ledger) -> None:
        self.vcpus = np.nan_to_num(ledger.vcpus - ledger.vcpus_used, nan=0.0)
        self.memory = np.nan_to_num(ledger.memory - ledger.memory_used, nan=0.0)
        self.vms = ledger.settings.scheduler.max_vms_per_host - ledger.vm_count

    def fits(self, vm: VmInfo, may: Bools) -> Bools:
        found: Bools = (self.memory >= vm.memory_max) & (self.vcpus >= vm.vcpus_max) & (self.vms >= 1) & may
        return found

    def take(self, row: int, vm: VmInfo) -> None:
        self.memory[row] -= vm.memory_max
        self.vcpus[row] -= vm.vcpus_max
        self.vms[row] -= 1

    def copy(self) -> _Free:
        other = _Free.__new__(_Free)
        other.vcpus, other.memory, other.vms = self.vcpus.copy(), self.memory.copy(), self.vms.copy()
        return other


def deaths(ledger: Ledger, flavors: Mapping[str, Flavor], now: float) -> Deaths:
    """N+1: of every host that has VMs, whether the others can take them."""
    kinds: dict[_Kind, Bools] = {}
    asks = {name: _ask(flavor) for name, flavor in flavors.items()}
    allowed = {name: _may(ledger, ask, now) for name, ask in asks.items()}
    after = dict.fromkeys(flavors, _MOST)
    homeless: list[Homeless] = []
    start = _Free(ledger)
    for dead in range(len(ledger)):
        if not ledger.up[dead] and not ledger.infos(dead):
            continue
        free, left = _evacuated(ledger, dead, start, kinds, now)
        host = ledger.names[dead]
        homeless += [Homeless(host, vm.uuid, vm.name, vm.vcpus_max, vm.memory_max) for vm in left]
        for name, ask in asks.items():
            many = np.minimum(
                np.floor(np.clip(free.memory, 0.0, None) / ask.memory) if ask.memory else float(_MOST),
                np.floor(np.clip(free.vcpus, 0.0, None) / ask.vcpus),
            )
            many = np.minimum(many, np.clip(free.vms, 0.0, None)) * allowed[name]
            many[dead] = 0.0
            after[name] = 0 if left else min(after[name], int(many.sum()))
    if len(ledger) < 2:
        after = dict.fromkeys(flavors, 0)
    return Deaths(tuple(homeless), after)


def _evacuated(
    ledger: Ledger, dead: int, start: _Free, kinds: dict[_Kind, Bools], now: float
) -> tuple[_Free, list[VmInfo]]:
    """What is left on the others, and the VMs for which there was no place."""
    vms = sorted(ledger.infos(dead), key=lambda vm: (-vm.memory_max, -vm.vcpus_max, vm.uuid))
    groups = {vm.group for vm in vms if vm.group}
    best: tuple[_Free, list[VmInfo]] | None = None
    # Spread as the scheduler does; if that leaves one without a place, fill the fullest first.
    for spread in (True, False):
        free, left = start.copy(), []
        members = {group: ledger.groups[group].astype(float) for group in groups if group in ledger.groups}
        for vm in vms:
            fits = free.fits(vm, _allowed(ledger, vm, kinds, now))
            fits[dead] = False
            _keep_apart(ledger, vm, members, fits)
            if not fits.any():
                left.append(vm)
                continue
            memory = np.where(fits, free.memory, -np.inf if spread else np.inf)
            row = int(np.argmax(memory) if spread else np.argmin(memory))
            free.take(row, vm)
            if vm.group in members:
                members[vm.group][row] += 1
        if best is None or len(left) < len(best[1]):
            best = (free, left)
        if not left:
            break
    assert best is not None  # noqa: S101 - one of two was made
    return best


def _allowed(ledger: Ledger, vm: VmInfo, kinds: dict[_Kind, Bools], now: float) -> Bools:
    networks = tuple(sorted({nic.source for nic in vm.nics if nic.type == "network"}))
    kind = _Kind(vm.flavor, vm.project, vm.os_type == "exe", networks, vm.arch)
    if kind not in kinds:
        flavor = ledger.settings.flavors.get(vm.flavor)
        ask = _ask(flavor) if flavor is not None else Ask(vcpus=0, memory=0)
        kinds[kind] = _may(
            ledger,
            Ask(
                vcpus=0,
                memory=0,
                kind="container" if kind.container else "machine",
                arch=kind.arch,
                project=kind.project,
                networks=networks,
                specs=ask.specs,
            ),
            now,
        )
    return kinds[kind]


def _keep_apart(ledger: Ledger, vm: VmInfo, members: Mapping[str, Floats], fits: Bools) -> None:
    rule = ledger.settings.groups.get(vm.group)
    if rule is not None and rule.policy == "anti-affinity" and vm.group in members:
        fits &= members[vm.group] < rule.max_per_host
