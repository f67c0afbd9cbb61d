"""One job against a small world: whatever fails wherever, it ends in the goal or where it began."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unit.job_worlds import ERRORS, DyingJournal, Killed, World, destroy, make, plan
from virtfleet.config.settings import JobLimits
from virtfleet.errors import HostError, RefusedError, UnreachableError
from virtfleet.jobs.executor import Execution, resolved
from virtfleet.jobs.journal import Journal
from virtfleet.jobs.limits import Gates
from virtfleet.model.job import Job, JobState, StepRecord, StepState
from virtfleet.model.plan import Plan, Step


def job_of(what: Plan) -> Job:
    return Job(id="j1", plan=what, records=tuple(StepRecord(id=step.id) for step in what.steps))


async def begun(folder: Path, what: Plan, world: World, journal: Journal | None = None) -> Execution:
    journal = journal or Journal(folder / "jobs.db")
    await journal.open()
    job = job_of(what)
    await journal.add(job, "me")
    return Execution(job, journal, world, Gates(JobLimits()), lambda job: None)


async def done(folder: Path, what: Plan, world: World) -> Job:
    execution = await begun(folder, what, world)
    await execution.forward()
    return execution.job


async def test_steps_run_in_order_and_results_reach_later_ones(tmp_path: Path) -> None:
    world = World()
    last = Step(
        id="use", op="make", host="hv1", title="use", args={"name": {"$from": "a", "key": "path"}, "keep": 1}
    )
    job = await done(tmp_path, plan(make("a"), last), world)
    assert job.state is JobState.DONE
    assert world.calls == [("make", "a", False, False), ("make", "/a", False, False)]
    assert [record.state for record in job.records] == [StepState.DONE, StepState.DONE]
    assert job.records[0].result == {"path": "/a"}


async def test_a_failure_takes_back_what_was_done_in_reverse(tmp_path: Path) -> None:
    world = World()
    world.faults[3] = ("before", lambda: HostError("it broke"))
    job = await done(tmp_path, plan(make("a"), make("b"), make("c")), world)
    assert (job.state, job.error) == (JobState.FAILED, "it broke")
    assert world.things == set()
    assert world.calls[3:] == [
        ("unmake", "c", False, True),
        ("unmake", "b", False, False),
        ("unmake", "a", False, False),
    ]


async def test_what_refused_had_not_acted_and_is_not_undone(tmp_path: Path) -> None:
    world = World()
    world.things = {"b"}
    job = await done(tmp_path, plan(make("a"), make("b")), world)
    assert (job.state, job.error) == (JobState.FAILED, "there is a b already")
    assert world.things == {"b"}
    assert ("unmake", "b", False, True) not in world.calls


async def test_a_lost_host_is_awaited_and_the_step_begun_again(tmp_path: Path) -> None:
    world = World()
    world.faults[1] = ("after", lambda: UnreachableError("gone"))
    job = await done(tmp_path, plan(make("a"), make("b")), world)
    assert job.state is JobState.DONE
    assert world.calls[:2] == [("make", "a", False, False), ("make", "a", True, False)]


async def test_a_host_that_stays_away_leaves_a_job_that_can_be_gone_on_with(tmp_path: Path) -> None:
    world = World()
    world.answering = False
    world.faults = {n: ("before", lambda: UnreachableError("gone")) for n in range(2, 20)}
    execution = await begun(tmp_path, plan(make("a"), make("b")), world)
    await execution.forward()
    assert execution.job.state is JobState.BROKEN
    assert "make a on hv1: gone" in execution.job.error
    world.faults, world.answering = {}, True
    await execution.backward()
    assert (execution.job.state, world.things) == (JobState.CANCELLED, set())


async def test_after_a_final_step_there_is_only_forward(tmp_path: Path) -> None:
    world = World()
    world.things = {"x", "y"}
    world.faults[3] = ("before", lambda: HostError("it broke"))
    execution = await begun(tmp_path, plan(make("a"), destroy("x"), destroy("y")), world)
    await execution.forward()
    assert execution.job.state is JobState.BROKEN
    assert "there is no way back" in execution.job.error
    await execution.backward()
    assert world.things == {"a", "y"}
    await execution.forward()
    assert (execution.job.state, world.things) == (JobState.DONE, {"a"})


async def test_cancelled_in_a_step_it_takes_back_all(tmp_path: Path) -> None:
    world = World()
    execution = await begun(tmp_path, plan(make("a"), make("b"), make("c")), world)
    world.hold = asyncio.Event()
    task = asyncio.ensure_future(execution.forward())
    await asyncio.sleep(0.1)
    execution.cancel()
    world.hold.set()
    world.hold = None
    await task
    assert (execution.job.state, world.things) == (JobState.CANCELLED, set())


async def test_one_word_in_lock_keeps_steps_apart(tmp_path: Path) -> None:
    world = World()
    gates = Gates(JobLimits(per_host=8))
    journal = Journal(tmp_path / "jobs.db")
    await journal.open()
    tasks = []
    for number in range(5):
        job = Job(
            id=f"j{number}",
            plan=plan(make(f"t{number}", lock="same")),
            records=(StepRecord(id=f"t{number}"),),
        )
        await journal.add(job, "me")
        tasks.append(Execution(job, journal, world, gates, lambda job: None).forward())
    await asyncio.gather(*tasks)
    assert (world.most, len(world.things)) == (1, 5)


async def test_no_more_steps_at_once_on_a_host_than_allowed(tmp_path: Path) -> None:
    world = World()
    world.takes = 0.05
    gates = Gates(JobLimits(per_host=2))
    journal = Journal(tmp_path / "jobs.db")
    await journal.open()
    tasks = []
    for number in range(8):
        job = Job(id=f"j{number}", plan=plan(make(f"t{number}")), records=(StepRecord(id=f"t{number}"),))
        await journal.add(job, "me")
        tasks.append(Execution(job, journal, world, gates, lambda job: None).forward())
    await asyncio.gather(*tasks)
    assert (world.most, len(world.things)) == (2, 8)


def test_references_are_resolved_also_inside() -> None:
    ref = {"$from": "a", "key": "path"}
    args = {"x": ref, "deep": {"y": ref, "z": 1}, "many": [ref, 2]}
    assert resolved(args, {"a": {"path": "/p"}}) == {
        "x": "/p",
        "deep": {"y": "/p", "z": 1},
        "many": ["/p", 2],
    }
    assert resolved({"x": ref, "z": 1}, {}, lenient=True) == {"z": 1}
    with pytest.raises(RefusedError, match="a gave no path"):
        resolved({"x": ref}, {})


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 4),
    taken=st.sets(st.integers(0, 3), max_size=1),
    fault=st.none()
    | st.tuples(st.integers(1, 8), st.sampled_from(["before", "after"]), st.sampled_from(sorted(ERRORS))),
    dies_at=st.integers(0, 14),
    after=st.booleans(),
    forward=st.booleans(),
)
async def test_wherever_it_is_killed_it_ends_in_the_goal_or_where_it_began(
    count: int, taken: set[int], fault: tuple[int, str, str] | None, dies_at: int, after: bool, forward: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World()
        start = {f"t{number}" for number in taken}
        world.things = set(start)
        # Refused means that nothing was done: an operation that acts and then refuses breaks its word.
        if fault is not None and fault[1:] != ("after", "refused"):
            world.faults[fault[0]] = (fault[1], ERRORS[fault[2]])
        what = plan(*(make(f"t{number}") for number in range(count)))
        goal = start | {f"t{number}" for number in range(count)}
        journal = DyingJournal(Path(folder) / "jobs.db", dies_at=dies_at, after=after)
        execution = await begun(Path(folder), what, world, journal)
        try:
            await execution.forward()
            ended = execution.job
        except Killed:
            journal.close()
            world.faults = {}
            again = Journal(Path(folder) / "jobs.db")
            await again.open()
            stored = (await again.get("j1")).job
            second = Execution(stored, again, world, Gates(JobLimits()), lambda job: None)
            await (second.forward() if forward else second.backward())
            ended = second.job
            again.close()
        journal.close()
        assert ended.state in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)
        assert world.things == (goal if ended.state is JobState.DONE else start)
