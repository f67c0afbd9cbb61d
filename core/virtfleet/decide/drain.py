"""Where the VMs of a host go when it is drained: all of them placed together, in which order, with what load.

The largest go first, while there is room; those of a group that must be
together go together, or none of them. What finds no place stays, and why is
said. A host that is promised more than it has may be drained as any other:
what leaves it asks it for nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace

from virtfleet.decide.ask import Ask
from virtfleet.decide.filters import FILTERS
from virtfleet.decide.ledger import Ledger, Promise
from virtfleet.decide.place import place_many, survivors
from virtfleet.decide.question import Question
from virtfleet.decide.weighers import Multipliers, weigh

_PATIENCE = 3
"""Times that VMs are placed anew since one can't be moved where it would go; then all hosts are asked about
it."""
_SHOWN = 4
"""Hosts of a small fleet, each of which is told about."""


class Leaving(NamedTuple):
    """A VM of a host that is to be drained."""

    host: str
    uuid: str
    name: str
    ask: Ask
    """What it needs elsewhere; `moving` itself."""
    promise: Promise
    """What it will take, host and pool yet empty."""
    active: bool = True
    stays: str = ""
    """Why it can't or shall not go anywhere; empty: it may."""
    busy: float | None = None
    """CPUs' worth that it uses now; None: not known."""


Barred = Callable[[Leaving, str], str]
"""Why a VM can't be moved to a host that placement would take for it; empty: it can."""


class Load(NamedTuple):
    """What a host would have given, and how busy it would be."""

    memory: float
    memory_limit: float
    """Bytes, after reserve and ratio; NaN: not known."""
    vcpus: float
    vcpus_limit: float
    vms: int
    cpu_pct: float | None
    """Of all its CPUs; None: not known."""


class Going(NamedTuple):
    vm: Leaving
    to: str
    wave: int
    """From 1; those of one wave may be under way at once."""
    here: Load
    there: Load
    """As both hosts will be when it has arrived, and all before it have."""


class Staying(NamedTuple):
    vm: Leaving
    why: str


class Drain(NamedTuple):
    going: tuple[Going, ...]
    """In the order in which they leave."""
    staying: tuple[Staying, ...]

    @property
    def waves(self) -> int:
        return max((each.wave for each in self.going), default=0)


def drain(
    ledger: Ledger,
    hosts: Collection[str],
    leaving: Iterable[Leaving],
    now: float,
    *,
    barred: Barred = lambda vm, host: "",
    per_host: int = 2,
    at_once: int = 8,
) -> Drain:
    """Plans the draining of `hosts`; the ledger is left as it was. `now`: CLOCK_MONOTONIC.

    `per_host` moves at once at either end, `at_once` in all.
    """
    everyone = sorted(leaving, key=lambda vm: (-vm.ask.memory, -vm.ask.vcpus, vm.name, vm.uuid))
    return _Planner(ledger, frozenset(hosts), now, barred).plan(everyone, per_host, at_once)


class _Planner:
    def __init__(self, ledger: Ledger, hosts: frozenset[str], now: float, barred: Barred) -> None:
        self._ledger = ledger
        self._hosts = hosts
        self._now = now
        self._barred = barred
        self._rows = [ledger.rows[name] for name in hosts if name in ledger.rows]
        self._found: dict[str, str] = {}
        """The host of each VM that has one."""
        self._why: dict[str, str] = {}
        self._closed: dict[str, dict[str, str]] = {}
        """By VM: hosts that it can't be moved to, and why."""

    def plan(self, everyone: Sequence[Leaving], per_host: int, at_once: int) -> Drain:
        self._why = {vm.uuid: vm.stays for vm in everyone if vm.stays}
        together, alone = self._split(everyone)
        with ExitStack() as held:
            for members in together:
                if self._place_together(members):
                    held.enter_context(self._ledger.beside([self._promise(vm) for vm in members]))
            self._place(alone)
            taken = [self._promise(vm) for vm in alone if vm.uuid in self._found]
            with self._ledger.beside(taken):
                for vm in alone:
                    if vm.uuid not in self._found:
                        self._why[vm.uuid] = self._refusal(vm, vm.ask)
        # Those that belong together leave one after the other: they are apart as short as can be.
        order = [vm for members in together for vm in members] + list(alone)
        going = self._steps([vm for vm in order if vm.uuid in self._found], per_host, at_once)
        staying = [Staying(vm, self._why[vm.uuid]) for vm in everyone if vm.uuid not in self._found]
        return Drain(tuple(going), tuple(staying))

    # ---- who goes with whom

    def _split(self, everyone: Sequence[Leaving]) -> tuple[list[list[Leaving]], list[Leaving]]:
        """Groups that must be together and are nowhere else; and all others that may go."""
        groups: dict[str, list[Leaving]] = {}
        for vm in everyone:
            if self._must_be_together(vm.ask.group):
                groups.setdefault(vm.ask.group, []).append(vm)
        whole = []
        for name, members in groups.items():
            stuck = [vm for vm in members if vm.stays]
            if stuck:
                why = f"group {name} stays together, and {stuck[0].name} stays: {stuck[0].stays}"
                self._why |= {vm.uuid: why for vm in members if not vm.stays}
            else:
                whole.append(members)
        inside = {vm.uuid for members in groups.values() for vm in members}
        return whole, [vm for vm in everyone if vm.uuid not in inside and not vm.stays]

    def _must_be_together(self, group: str) -> bool:
        rule = self._ledger.settings.groups.get(group)
        if rule is None or rule.policy != "affinity":
            return False
        members = self._ledger.groups.get(group)
        if members is None:
            return True
        # Where others of it are, the rule itself says where these go.
        return int(members.sum()) == int(members[self._rows].sum())

    # ---- where to

    def _ask(self, vm: Leaving) -> Ask:
        avoid = (*vm.ask.avoid, *sorted(self._hosts), *self._closed.get(vm.uuid, ()))
        return replace(vm.ask, avoid=avoid)

    def _promise(self, vm: Leaving) -> Promise:
        # What moves is not all under way at once: waves see to it.
        return vm.promise._replace(host=self._found.get(vm.uuid, ""), specs=vm.ask.specs, io=0)

    def _place(self, vms: Sequence[Leaving]) -> None:
        """Each where it is best, with all others counted. One that can't be moved there is placed anew."""
        for turn in itertools.count(1):
            asks = [self._ask(vm) for vm in vms]
            promises = [self._promise(vm) for vm in vms]
            chosen = place_many(self._ledger, asks, promises, self._now, partial=True)
            found = {vm.uuid: each.host for vm, each in zip(vms, chosen, strict=True) if each is not None}
            refused = [
                (vm, host, why)
                for vm in vms
                if (host := found.get(vm.uuid)) is not None and (why := self._barred(vm, host))
            ]
            if not refused:
                self._found |= found
                return
            for vm, host, why in refused:
                self._closed.setdefault(vm.uuid, {})[host] = why
                if turn > _PATIENCE:
                    self._close_all(vm)

    def _close_all(self, vm: Leaving) -> None:
        closed = self._closed.setdefault(vm.uuid, {})
        for name in self._ledger.names:
            if name not in self._hosts and name not in closed and (why := self._barred(vm, name)):
                closed[name] = why

    def _place_together(self, members: Sequence[Leaving]) -> bool:
        """All of a group on the best host that takes them all."""
        ledger = self._ledger
        for vm in members:
            self._close_all(vm)
        asks = [replace(self._ask(vm), group="") for vm in members]
        whole = Ask(vcpus=sum(each.vcpus for each in asks), memory=sum(each.memory for each in asks))
        left = np.ones(len(ledger), bool)
        for ask in asks:
            left &= survivors(Question(ledger, ask, self._now))
        rows = np.flatnonzero(left)
        if len(rows):
            multipliers = Multipliers(ledger)
            scores = weigh(Question(ledger, whole, self._now), rows, multipliers)
            for row in rows[np.argsort(-scores, kind="stable")]:
                if self._fit_on(int(row), members, asks):
                    self._found |= {vm.uuid: ledger.names[row] for vm in members}
                    return True
        group = members[0].ask.group
        why = f"group {group} stays together, and no host has room for all {len(members)} of it"
        for vm, ask in zip(members, asks, strict=True):
            if not survivors(Question(ledger, ask, self._now)).any():
                why = f"group {group} stays together; {vm.name}: {self._refusal(vm, ask)}"
                break
        self._why |= {vm.uuid: why for vm in members}
        return False

    def _fit_on(self, row: int, members: Sequence[Leaving], asks: Sequence[Ask]) -> bool:
        ledger = self._ledger
        with ExitStack() as held:
            for vm, ask in zip(members, asks, strict=True):
                if not survivors(Question(ledger, ask, self._now))[row]:
                    return False
                promise = vm.promise._replace(host=ledger.names[row], specs=ask.specs, io=0)
                held.enter_context(ledger.beside([promise]))
        return True

    # ---- what is said of it

    def _refusal(self, vm: Leaving, ask: Ask) -> str:
        """Why no host takes it: of a few each with the reason, of many how many each rule refused."""
        ledger, closed = self._ledger, self._closed.get(vm.uuid, {})
        q = Question(ledger, replace(ask, avoid=vm.ask.avoid), self._now)
        left = np.ones(len(ledger), bool)
        left[self._rows] = False
        others = int(left.sum())
        if not others:
            return "there is no other host"
        refused: dict[str, int] = {}
        said: list[str] = []
        for each in FILTERS:
            mask = each.mask(q)
            if mask is None:
                continue
            out = np.flatnonzero(left & ~mask)
            if len(out):
                refused[each.name] = len(out)
                said += [f"{ledger.names[row]}: {each.why(q, int(row))}" for row in out[:_SHOWN]]
            left &= mask
        last = [ledger.names[row] for row in np.flatnonzero(left)]
        if last:
            refused["move"] = len(last)
            said += [f"{name}: {closed.get(name) or 'taken by others that leave'}" for name in last[:_SHOWN]]
        if others <= _SHOWN:
            return "; ".join(said)
        words = ", ".join(f"{name} {count}" for name, count in refused.items())
        return f"{others} hosts refused by {words}; {said[-1]}"

    # ---- in which order

    def _steps(self, vms: Sequence[Leaving], per_host: int, at_once: int) -> list[Going]:
        loads = _Loads(self._ledger)
        turns: dict[str, list[int]] = {}
        full: list[int] = []
        found = []
        for vm in vms:
            to = self._found[vm.uuid]
            wave = _first_free(turns, full, (vm.host, to), per_host, at_once)
            found.append((wave, vm, to))
        found.sort(key=lambda each: each[0])  # stable: within a wave as before
        return [Going(vm, to, wave + 1, *loads.moved(vm, to)) for wave, vm, to in found]


def _first_free(
    turns: dict[str, list[int]], full: list[int], ends: tuple[str, str], per_host: int, at_once: int
) -> int:
    """The first wave, from 0, in which both ends have a turn left; it is taken."""
    wave = 0
    while True:
        for line in (full, *(turns.setdefault(end, []) for end in ends)):
            while len(line) <= wave:
                line.append(0)
        if full[wave] < at_once and all(turns[end][wave] < per_host for end in ends):
            full[wave] += 1
            for end in ends:
                turns[end][wave] += 1
            return wave
        wave += 1


class _Loads:
    """What hosts will have given, move after move."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._now: dict[str, Load] = {}

    def moved(self, vm: Leaving, to: str) -> tuple[Load, Load]:
        here = self._now[vm.host] = self._changed(vm.host, vm, -1)
        there = self._now[to] = self._changed(to, vm, 1)
        return here, there

    def _changed(self, host: str, vm: Leaving, sign: int) -> Load:
        load = self._now.get(host) or self._first(host)
        cpu = load.cpu_pct
        if vm.active and cpu is not None:
            facts = self._ledger.views[self._ledger.rows[host]].facts
            cpus = facts.cpus if facts is not None else 0
            known = vm.busy is not None and cpus
            cpu = max(0.0, cpu + sign * 100.0 * (vm.busy or 0.0) / cpus) if known else None
        return load._replace(
            memory=load.memory + sign * vm.promise.memory,
            vcpus=load.vcpus + sign * vm.promise.vcpus,
            vms=load.vms + sign,
            cpu_pct=cpu,
        )

    def _first(self, host: str) -> Load:
        ledger, row = self._ledger, self._ledger.rows[host]
        cpu = float(ledger.cpu_pct[row])
        return Load(
            memory=float(ledger.memory_used[row]),
            memory_limit=float(ledger.memory[row]),
            vcpus=float(ledger.vcpus_used[row]),
            vcpus_limit=float(ledger.vcpus[row]),
            vms=int(ledger.vm_count[row]),
            cpu_pct=None if np.isnan(cpu) else cpu,
        )


def by_host(going: Iterable[Going]) -> Mapping[str, list[Going]]:
    """The moves by where they go."""
    found: dict[str, list[Going]] = {}
    for each in going:
        found.setdefault(each.to, []).append(each)
    return found
