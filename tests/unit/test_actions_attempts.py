"""A new VM whose host had no room after all: tried elsewhere, three times in all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from unit.job_worlds import make, plan
from virtfleet.actions.attempts import Attempts, New
from virtfleet.errors import NoValidHostError
from virtfleet.model.action import CreateVm
from virtfleet.model.job import Job, JobState, StepRecord


def job(number: str, host: str, code: str = "", state: JobState = JobState.FAILED, asked: str = "") -> Job:
    what = replace(plan(make("a")), action=CreateVm(name="a", host=asked), host=host)
    return Job(id=number, plan=what, state=state, records=(StepRecord(id="a", code=code),))


class World:
    """Each attempt ends as it is written down here."""

    def __init__(self, *ends: Job) -> None:
        self.ends = {each.id: each for each in ends}
        self.next = list(ends[1:])
        self.avoided: list[tuple[str, ...]] = []
        self.attempts = Attempts(self._wait, self._again)

    async def _wait(self, number: str) -> Job:
        await asyncio.sleep(0)
        return self.ends[number]

    async def _again(self, action: New, avoid: Sequence[str], before: Job) -> Job:
        self.avoided.append(tuple(avoid))
        if not self.next:
            raise NoValidHostError("nowhere")
        return self.next.pop(0)


@pytest.mark.parametrize(
    ("ends", "last", "avoided"),
    [
        ([job("1", "a", state=JobState.DONE)], "1", []),
        ([job("1", "a", "no-room"), job("2", "b", state=JobState.DONE)], "2", [("a",)]),
        (
            [job("1", "a", "no-room"), job("2", "b", "no-room"), job("3", "c", "no-room"), job("4", "d")],
            "3",
            [("a",), ("a", "b")],
        ),
        ([job("1", "a", "host")], "1", []),
        ([job("1", "a", "no-room")], "1", [("a",)]),
        ([job("1", "a", "no-room", asked="a"), job("2", "b")], "1", []),
    ],
)
async def test_attempts(ends: list[Job], last: str, avoided: list[tuple[str, ...]]) -> None:
    world = World(*ends)
    world.attempts.follow(ends[0])
    assert await world.attempts.final("1") == last
    assert world.avoided == avoided
