"""Where plans are made: keeps what is dear to make, and plans things that belong together."""

from __future__ import annotations

import time
from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING, Protocol

from virtfleet.actions import planner
from virtfleet.actions.prepare import world_for
from virtfleet.actions.world import World
from virtfleet.config.settings import FleetSettings
from virtfleet.errors import NoValidHostError, VirtfleetError
from virtfleet.model import FleetSnapshot, HostView, Vm
from virtfleet.model.action import Action, CloneVm, CreateVm, DrainHosts, MigrateVm, ResizeVm, VmRef
from virtfleet.model.action_volumes import AttachVolume, CloneVolume, CreateVolume, ExtendVolume, UploadVolume
from virtfleet.model.job import Job, JobState
from virtfleet.model.plan import Plan

if TYPE_CHECKING:
    from virtfleet.decide.drain import Drain
    from virtfleet.decide.explain import Explanation
    from virtfleet.decide.ledger import Ledger
    from virtfleet.decide.migration import Way
    from virtfleet.decide.pool_table import PoolTable
    from virtfleet.decide.quotas import Room

_ON_VOLUMES = CreateVolume | CloneVolume | ExtendVolume | UploadVolume | AttachVolume
_FAILED_LATELY = 600.0
"""Seconds for which a build that failed counts against its host."""


class Fleet(Protocol):
    """What of the engine is needed."""

    stale_ok: bool

    @property
    def snapshot(self) -> FleetSnapshot: ...
    @property
    def settings(self) -> FleetSettings: ...


class Desk:
    """One of an engine; `jobs`: those that are known, newest last."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._ledger: Ledger | None = None
        self._pools: PoolTable | None = None
        seed = fleet.settings.scheduler.seed
        self._dice = Random(seed)  # noqa: S311 - no secret

    async def plan(
        self,
        action: Action,
        beside: Sequence[Plan],
        jobs: Sequence[Job],
        avoid: Sequence[str] = (),
        place_on: str = "",
    ) -> Plan:
        """NotFoundError; RefusedError with all reasons why it can't be done."""
        return planner.plan(action, await self._world(action, beside, jobs, tuple(avoid), place_on))

    async def plan_all(
        self, actions: Sequence[Action], jobs: Sequence[Job], *, partial: bool
    ) -> tuple[list[Plan], list[VirtfleetError]]:
        """Plans that are to be carried out together, and why others can't be.

        New VMs are placed together; unless `partial`, all of them are planned or none.
        """
        hosts = await self._place(actions, jobs, partial=partial)
        plans: list[Plan] = []
        errors: list[VirtfleetError] = []
        for action, host in zip(actions, hosts, strict=True):
            try:
                plans.append(await self.plan(action, plans, jobs, place_on=host))
            except VirtfleetError as error:
                errors.append(error)
        if errors and not partial and any(isinstance(action, CreateVm) for action in actions):
            plans = [plan for plan in plans if not isinstance(plan.action, CreateVm)]
        return plans, errors

    async def _place(self, actions: Sequence[Action], jobs: Sequence[Job], *, partial: bool) -> list[str]:
        """For each action the host that was chosen beside all the others; empty: chosen when planned."""
        found = [""] * len(actions)
        new = [n for n, each in enumerate(actions) if isinstance(each, CreateVm) and not each.host]
        wanted = [action for n in new if isinstance(action := actions[n], CreateVm)]
        if len(wanted) < 2 or any(_material(each) != _material(wanted[0]) for each in wanted):
            return found  # of several images: one after another
        from virtfleet.actions.create import sizes_of
        from virtfleet.actions.placing import choose_many

        world = await self._world(wanted[0], (), jobs)
        sizes = [sizes_of(each, world) for each in wanted]
        try:
            hosts = choose_many(wanted, world, sizes, partial=partial)
        except NoValidHostError as error:
            text = f"create {len(wanted)} VMs: {error.message}"
            raise NoValidHostError(text, error.refused, error.cure) from None
        for n, host in zip(new, hosts, strict=True):
            found[n] = host or ""
        return found

    async def explain(self, action: CreateVm, jobs: Sequence[Job]) -> Explanation:
        """Each host's case for a new VM. RefusedError: its image or flavor can't be used."""
        from virtfleet.actions.create import sizes_of
        from virtfleet.actions.placing import ask_of, explained

        world = await self._world(action, (), jobs)
        return explained(ask_of(action, world, sizes_of(action, world)), world)

    async def explain_for(self, host: HostView, vm: Vm, jobs: Sequence[Job]) -> Explanation:
        """Each host's case for a VM that is there; where it is, its own use does not count."""
        from virtfleet.actions.placing import ask_for, explained

        world = await self._world(CreateVm(name=vm.name), (), jobs)
        return explained(ask_for(host, vm, world), world)

    async def ways(self, host: HostView, vm: Vm, jobs: Sequence[Job]) -> tuple[Way, ...]:
        """Each other host as a place for a VM that is there."""
        from virtfleet.actions.moving import matrix

        world = await self._world(MigrateVm(vm=VmRef(host.name, vm.uuid, vm.name)), (), jobs)
        return matrix(host, vm, world)

    async def drain(self, action: DrainHosts, jobs: Sequence[Job]) -> Drain:
        """Where the VMs of these hosts would go now. NotFoundError, RefusedError."""
        from virtfleet.actions.draining import decided

        return decided(action, await self._world(action, (), jobs))

    def ledger(self, jobs: Sequence[Job]) -> Ledger:
        """As of the snapshot."""
        if self._ledger is None:
            from virtfleet.decide.ledger import Ledger

            self._ledger = Ledger(self._fleet.settings)
        self._ledger.failures = _failures(jobs, time.time())
        self._ledger.follow(self._fleet.snapshot)
        return self._ledger

    def room(self, plan: Plan) -> Room | None:
        """What the project of a plan may have and has; None: there is no quota to keep to."""
        for claim in plan.claims:
            settings = self._fleet.settings.projects.get(claim.project)
            if settings is not None:
                from virtfleet.decide.quotas import Room, uses, volumes_seen

                have = uses(self._fleet.snapshot, self._fleet.settings, claim.project)
                return Room(claim.project, settings.quota, have, *volumes_seen(self._fleet.snapshot))
        return None

    async def _world(
        self,
        action: Action,
        beside: Sequence[Plan],
        jobs: Sequence[Job],
        avoid: tuple[str, ...] = (),
        place_on: str = "",
    ) -> World:
        world = await world_for(action, self._fleet, beside, stale_ok=self._fleet.stale_ok)
        if isinstance(action, _ON_VOLUMES):
            table = self._pools
            if table is None:
                from virtfleet.decide.pool_table import PoolTable

                table = self._pools = PoolTable(self._fleet.settings)
            return world.with_pools(table, _running(jobs), avoid, _owners(jobs))
        if not isinstance(action, CreateVm | CloneVm | ResizeVm | MigrateVm | DrainHosts):
            return world
        return world.with_fleet(self.ledger(jobs), _running(jobs), avoid, place_on, self._dice)


def _running(jobs: Sequence[Job]) -> tuple[Plan, ...]:
    return tuple(job.plan for job in jobs if job.state.active)


def _owners(jobs: Sequence[Job]) -> dict[str, str]:
    """For which project each volume was made, as far as these jobs tell."""
    return {
        claim.uuid: claim.project
        for job in jobs
        if job.state is JobState.DONE and job.plan.kind == "volume"
        for claim in job.plan.claims
        if claim.uuid == job.plan.uuid
    }


def _material(action: CreateVm) -> tuple[object, ...]:
    """What had to be looked at to know what it needs."""
    return (action.image, action.iso, action.xml, action.checksum)


def _failures(jobs: Sequence[Job], now: float) -> dict[str, int]:
    """Builds that failed on each host since the last that did not."""
    found: dict[str, int] = {}
    for job in jobs:
        if job.plan.verb != "vm.create" or job.ended is None or now - job.ended > _FAILED_LATELY:
            continue
        if job.state is JobState.DONE:
            found.pop(job.plan.host, None)
        elif job.state in (JobState.FAILED, JobState.BROKEN):
            found[job.plan.host] = found.get(job.plan.host, 0) + 1
    return found
