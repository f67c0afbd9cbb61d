"""Jobs without end, for bench_jobs.py: so many are always under way, and as one ends the next begins.

Each is what an operator does, through the same plan, journal and worker as any job: tags and
titles put on and taken off, VMs suspended and resumed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from virtfleet.errors import VirtfleetError
from virtfleet.model.action import (
    Action,
    DescribeVm,
    ResumeVm,
    SuspendVm,
    TagVm,
    VmRef,
)
from virtfleet.model.job import JobState

if TYPE_CHECKING:
    from virtfleet.engine import Engine
    from virtfleet.model import Vm
    from virtfleet.model.job import Job


def deeds(vm: VmRef) -> Iterator[Action]:
    """What is done to one VM, over and over; each is possible after the one before."""
    while True:
        yield TagVm(vm=vm, add=("bench",))
        yield DescribeVm(vm=vm, title="bench")
        yield SuspendVm(vm=vm)
        yield ResumeVm(vm=vm)
        yield TagVm(vm=vm, remove=("bench",))
        yield DescribeVm(vm=vm, title="")


class Labour:
    """`count` jobs at once, each on a VM of its own, spread over all hosts."""

    def __init__(self, engine: Engine, count: int) -> None:
        self._engine = engine
        self._count = count
        self._tasks: list[asyncio.Task[None]] = []
        self._done = 0
        self._changes = 0
        self._refused = 0
        self._failed: list[str] = []

    def begin(self) -> None:
        """Once; a second time does nothing."""
        if self._tasks:
            return
        views = self._engine.snapshot.hosts.values()
        running = [[(view.name, vm) for vm in view.vms if vm.state.active] for view in views]
        chosen = [each for some in zip(*running, strict=False) for each in some][: self._count]
        self._engine.jobs.subscribe(self._changed)
        self._tasks = [asyncio.create_task(self._work(host, vm)) for host, vm in chosen]

    def told(self) -> dict[str, Any]:
        """Since the beginning: jobs done, their changes that were told, plans refused, what went wrong."""
        return {
            "done": self._done,
            "changes": self._changes,
            "refused": self._refused,
            "failed": self._failed[:5],
        }

    def _changed(self, job: Job) -> None:
        self._changes += 1

    async def _work(self, host: str, vm: Vm) -> None:
        for action in deeds(VmRef(host, vm.uuid, vm.name)):
            job = None
            while job is None:
                job = await self._begun(action)
            ended = await self._engine.jobs.wait(job.id)
            if ended.state is JobState.DONE:
                self._done += 1
            else:
                self._failed.append(f"{ended.title}: {ended.error}")

    async def _begun(self, action: Action) -> Job | None:
        """None: not yet, because what is known of the VM is a moment older than the last job."""
        try:
            return await self._engine.apply(await self._engine.plan(action), origin="bench")
        except VirtfleetError:
            self._refused += 1
            await asyncio.sleep(0.1)
            return None
