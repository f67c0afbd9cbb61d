"""Moves many VMs, each by a job of its own: few at once at any host, and what fails does not stop the others.

Each job writes into its VM which host it leaves, or takes that away when it
comes home. Begun again after a crash it finds what is still to be moved: that
is whatever is still there.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from msgspec.structs import replace

from virtfleet.actions.draining import Home
from virtfleet.config.settings import FleetSettings
from virtfleet.decide.drain import Drain
from virtfleet.errors import NoValidHostError, VirtfleetError
from virtfleet.model import FleetSnapshot
from virtfleet.model.action import MigrateVm, VmRef
from virtfleet.model.job import Job
from virtfleet.model.plan import Plan, Step, Undo

_BEFORE = frozenset({"move"})


class Fleet(Protocol):
    """What of the engine is needed."""

    @property
    def snapshot(self) -> FleetSnapshot: ...
    async def plan(self, action: MigrateVm) -> Plan: ...
    async def apply(self, plan: Plan, *, origin: str = "", batch: str = "") -> Job: ...
    async def finished(self, number: str) -> Job: ...


class Carry(NamedTuple):
    """A VM to be moved."""

    action: MigrateVm
    was: tuple[str, ...]
    """The hosts that its metadata says it left."""
    homes: tuple[str, ...]
    """And shall say."""
    elsewhere: bool = False
    """Another host will do if this one has no room any more."""


@dataclass
class Carried:
    jobs: list[Job] = field(default_factory=list)
    """In the order in which they ended."""
    errors: list[VirtfleetError] = field(default_factory=list)
    """Of VMs that could not even be planned to move."""


def away(found: Drain, snapshot: FleetSnapshot, *, copy: bool, groups: frozenset[str]) -> list[Carry]:
    """The moves of a drain. `groups`: those whose members must be together."""
    moves = []
    for each in found.going:
        vm = next(vm for vm in snapshot.hosts[each.vm.host].vms if vm.uuid == each.vm.uuid)
        whole = vm.info.group in groups
        action = MigrateVm(
            vm=VmRef(each.vm.host, vm.uuid, vm.name),
            to=each.to,
            copy="all" if copy and vm.state.active else "none",
            with_group=whole,
        )
        was = vm.info.drained_from
        moves.append(Carry(action, was, (*was, each.vm.host), elsewhere=not whole))
    return moves


def home(found: Sequence[Home], *, copy: bool, groups: frozenset[str]) -> list[Carry]:
    """The moves of those that come home. What they left after that host is forgotten with it."""
    moves = []
    for each in found:
        info = each.vm.info
        action = MigrateVm(
            vm=VmRef(each.here.name, info.uuid, info.name),
            to=each.to,
            copy="all" if copy and each.vm.state.active else "none",
            with_group=info.group in groups,
        )
        last = max(n for n, name in enumerate(info.drained_from) if name == each.to)
        moves.append(Carry(action, info.drained_from, info.drained_from[:last]))
    return moves


def together(settings: FleetSettings) -> frozenset[str]:
    """Groups whose members must be on one host."""
    return frozenset(name for name, rule in settings.groups.items() if rule.policy == "affinity")


async def carry(
    fleet: Fleet,
    moves: Sequence[Carry],
    *,
    per_host: int,
    origin: str,
    batch: str = "",
    told: Callable[[Job], None] = lambda job: None,
) -> Carried:
    """Moves them all; `told(job)` as each begins. Cancelled: the jobs that run are left to the caller."""
    result = Carried()
    late: list[Carry] = []

    async def one(move: Carry, last: bool) -> None:
        try:
            plan = with_home(await fleet.plan(move.action), move)
            job = await fleet.apply(plan, origin=origin, batch=batch)
        except NoValidHostError as error:
            # What others that are on their way take twice is free when they have arrived.
            if last:
                result.errors.append(error)
            else:
                late.append(move)
        except VirtfleetError as error:
            result.errors.append(error)
        else:
            told(job)
            result.jobs.append(await fleet.finished(job.id))

    await _in_turns(moves, per_host, lambda move: one(move, False))
    again = [each._replace(action=replace(each.action, to="")) if each.elsewhere else each for each in late]
    for move in again:
        await one(move, True)
    return result


async def _in_turns(
    moves: Sequence[Carry], per_host: int, work: Callable[[Carry], Coroutine[Any, Any, None]]
) -> None:
    """In their order as far as both ends have a turn left."""
    pending = list(moves)
    busy: Counter[str] = Counter()
    running: dict[asyncio.Task[None], Carry] = {}
    try:
        while pending or running:
            for move in tuple(pending):
                ends = {move.action.vm.host, move.action.to}
                if all(busy[end] < per_host for end in ends):
                    pending.remove(move)
                    busy.update(ends)
                    running[asyncio.ensure_future(work(move))] = move
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                move = running.pop(task)
                busy.subtract({move.action.vm.host, move.action.to})
                task.result()
    finally:
        for task in running:
            task.cancel()


def with_home(plan: Plan, move: Carry) -> Plan:
    """The plan of a move, which first writes into the VM what it leaves: it takes that along."""
    args = {"uuid": plan.uuid, "set": list(move.homes), "expect": list(move.was)}
    left = len(move.homes) > len(move.was)
    title = "write into it where it comes from" if left else "write into it that it is home again"
    step = Step(
        id="home",
        op="vm.home",
        host=plan.host,
        title=title,
        args=args,
        timeout=40.0,
        undo=Undo(
            op="vm.home",
            args={**args, "set": args["expect"], "expect": args["set"], "undo": True},
            title="put back what it said of where it comes from",
        ),
    )
    at = next(n for n, each in enumerate(plan.steps) if each.id in _BEFORE)
    return replace(plan, steps=(*plan.steps[:at], step, *plan.steps[at:]))
