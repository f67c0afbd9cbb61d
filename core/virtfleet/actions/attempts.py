"""A new VM whose host had no room after all goes to the next: somebody else was quicker.

A plan is made from what hosts showed; the claim is made on the host, under its
lock. When that refuses, what was made for the VM is taken back, and it is
planned anew without that host, three times in all (as Nova does).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from virtfleet.errors import NoRoomError, VirtfleetError
from virtfleet.model.action import CreateVm
from virtfleet.model.job import Job, JobState
from virtfleet.model.plan import Plan

log = logging.getLogger(__name__)

_ATTEMPTS = 3
Again = Callable[[CreateVm, Sequence[str], Job], Awaitable[Job]]
"""Plans it anew without these hosts and begins it."""


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
            if not isinstance(action, CreateVm) or not had_no_room(ended):
                return
            hosts = (*refused, job.plan.host)
            made = await self._again(action, hosts, ended)
        except VirtfleetError as error:
            log.info("no other host for %s: %s", job.plan.name, error)
        else:
            self._next[job.id] = made.id
            self.follow(made, hosts)


def is_ours_to_place(plan: Plan) -> bool:
    return isinstance(plan.action, CreateVm) and not plan.action.host


def had_no_room(job: Job) -> bool:
    return job.state is JobState.FAILED and any(each.code == NoRoomError.code for each in job.records)
