"""A new VM whose host had no room after all goes to the next, a new volume whose pool failed likewise.

A plan is made from what hosts showed; the claim is made on the host, under its
lock. When that refuses, what was made for the VM is taken back, and it is
planned anew without that host, three times in all (as Nova does). A pool may
fail in the middle (full, gone): what was made is taken back, and the next one
is tried, if it was ours to choose (as Cinder does).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from virtfleet.errors import NoRoomError, VirtfleetError
from virtfleet.model.action import CreateVm
from virtfleet.model.action_volumes import CloneVolume, CreateVolume
from virtfleet.model.job import Job, JobState
from virtfleet.model.plan import Plan

log = logging.getLogger(__name__)

_ATTEMPTS = 3
New = CreateVm | CreateVolume | CloneVolume
Again = Callable[[New, Sequence[str], Job], Awaitable[Job]]
"""Plans it anew without these hosts, or pools as HOST/POOL, and begins it."""


class Attempts:
    """Of one engine's jobs. `wait(number)`: the job when it has ended; `again` makes the next attempt."""

    def __init__(self, wait: Callable[[str], Awaitable[Job]], again: Again) -> None:
        self._wait = wait
        self._again = again
        self._next: dict[str, str] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def follow(self, job: Job, refused: tuple[str, ...] = ()) -> None:
        """Sees to it that a VM whose host we chose is tried elsewhere if that has no room for it."""
        if is_ours_to_place(job.plan) and len(refused) + 1 < _ATTEMPTS:
            self._tasks[job.id] = asyncio.ensure_future(self._see(job, refused))

    async def final(self, number: str) -> str:
        """The id of the last attempt, once it is known that there is no other."""
        while True:
            task = self._tasks.get(number)
            if task is not None:
                await asyncio.shield(task)
            if number not in self._next:
                return number
            number = self._next[number]

    def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()

    async def _see(self, job: Job, refused: tuple[str, ...]) -> None:
        try:
            ended = await self._wait(job.id)
            action = job.plan.action
            if not isinstance(action, New) or not may_go_on(ended):
                return
            places = (*refused, place_of(job.plan))
            made = await self._again(action, places, ended)
        except VirtfleetError as error:
            log.info("no other place for %s: %s", job.plan.name, error)
        else:
            self._next[job.id] = made.id
            self.follow(made, places)


def is_ours_to_place(plan: Plan) -> bool:
    action = plan.action
    if isinstance(action, CreateVm):
        return not action.host
    if isinstance(action, CloneVolume):
        return bool(action.type and not action.pool)
    return isinstance(action, CreateVolume) and not action.pool


def place_of(plan: Plan) -> str:
    """The host of a VM, HOST/POOL of a volume."""
    return f"{plan.host}/{plan.steps[0].args['pool']}" if plan.kind == "volume" else plan.host


def may_go_on(job: Job) -> bool:
    """Whether it is to be tried elsewhere: all of it was taken back, and it was the place that failed."""
    if job.state is not JobState.FAILED:
        return False
    return job.plan.kind == "volume" or any(each.code == NoRoomError.code for each in job.records)
