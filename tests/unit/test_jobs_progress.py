"""How far a job is, how fast it goes, when it will be done; and what of it can wait and be cancelled."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from unit.job_worlds import World, destroy, make, plan
from virtfleet.config.settings import JobLimits
from virtfleet.errors import RefusedError
from virtfleet.jobs.book import JobBook
from virtfleet.jobs.executor import Execution
from virtfleet.jobs.journal import Journal
from virtfleet.jobs.limits import Gates
from virtfleet.model.job import Job, JobState, StepRecord, StepState


def _measured(monkeypatch: pytest.MonkeyPatch, reports: list[tuple[float, int, int]]) -> Job:
    """A job whose step reports (time, done, total)."""
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    job = Job(id="j1", plan=plan(make("a")), records=(StepRecord(id="a"),))
    execution = Execution(
        job, Journal(Path("none")), World(), Gates(JobLimits()), lambda job: None, owner="me"
    )
    for now, done, total in reports:  # noqa: B007 - the clock reads it
        execution._progressed(done, total, "")
    return execution.job


def test_rate_and_time_left_are_of_the_last_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    slow_then_fast = [(float(second), 10 * second, 1000) for second in range(11)]
    slow_then_fast += [(10.0 + second, 100 + 50 * second, 1000) for second in range(1, 11)]
    progress = _measured(monkeypatch, slow_then_fast).progress
    assert (progress.done, progress.total) == (600, 1000)
    assert progress.rate == pytest.approx(50.0)
    assert progress.eta == pytest.approx(8.0)


def test_the_first_moment_has_no_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    progress = _measured(monkeypatch, [(0.0, 0, 1000), (0.1, 500, 1000)]).progress
    assert (progress.rate, progress.eta) == (None, None)


def test_more_than_was_said_leaves_no_time_and_an_unknown_whole_tells_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert _measured(monkeypatch, [(0.0, 0, 10), (1.0, 20, 10)]).progress.eta == 0
    progress = _measured(monkeypatch, [(0.0, 0, 0), (1.0, 20, 0)]).progress
    assert (progress.rate, progress.eta) == (20.0, None)


async def _acting(book: JobBook, number: str) -> None:
    """Returns when its step is begun."""
    begun = asyncio.Event()

    def look(job: Job) -> None:
        if job.id == number and job.records[0].state is StepState.BEGUN:
            begun.set()

    stop = book.subscribe(look)
    look(book.get(number))
    async with asyncio.timeout(20):
        await begun.wait()
    stop()


@pytest.mark.parametrize(
    ("limits", "lock"), [(JobLimits(total=1), ""), (JobLimits(per_host=1), ""), (JobLimits(), "same")]
)
async def test_who_waits_for_another_is_cancelled_at_once(
    tmp_path: Path, limits: JobLimits, lock: str
) -> None:
    world = World()
    world.hold = asyncio.Event()
    book = JobBook(tmp_path, world, limits=limits)
    first = await book.submit(plan(make("a", lock=lock)))
    await _acting(book, first.id)
    second = await book.submit(plan(make("b", lock=lock)))
    await asyncio.sleep(0.05)
    book.cancel(second.id)
    async with asyncio.timeout(20):
        assert (await book.wait(second.id)).state is JobState.CANCELLED
    assert book.get(first.id).state is JobState.RUNNING
    world.hold.set()
    assert (await book.wait(first.id)).state is JobState.DONE
    third = await book.submit(plan(make("c", lock=lock)))
    assert (await book.wait(third.id)).state is JobState.DONE  # the room it waited for is free
    assert world.things == {"a", "c"}
    await book.close()


async def test_no_more_transfers_into_a_pool_than_allowed(tmp_path: Path) -> None:
    world = World()
    world.takes = 0.05
    book = JobBook(tmp_path, world, limits=JobLimits(per_host=8, per_pool=2))
    jobs = [await book.submit(plan(make(f"t{n}", pool="default"))) for n in range(6)]
    ended = [(await book.wait(job.id)).state for job in jobs]
    assert (set(ended), world.most, len(world.things)) == ({JobState.DONE}, 2, 6)
    await book.close()


async def test_who_is_cancelled_while_it_deletes_can_only_go_on(tmp_path: Path) -> None:
    world = World()
    world.things, world.hold = {"x"}, asyncio.Event()
    book = JobBook(tmp_path, world)
    job = await book.submit(plan(destroy("x"), make("a"), verb="vm.delete"))
    await _acting(book, job.id)
    book.cancel(job.id)
    world.hold.set()
    job = await book.wait(job.id)
    assert (job.state, world.things) == (JobState.BROKEN, set())
    with pytest.raises(RefusedError, match="no way back"):
        await book.roll_back(job.id)
    await book.resume(job.id)
    assert (await book.wait(job.id)).state is JobState.DONE
    assert world.things == {"a"}
    await book.close()


async def test_a_plan_without_steps_is_done(tmp_path: Path) -> None:
    book = JobBook(tmp_path, World())
    assert (await book.wait((await book.submit(plan())).id)).state is JobState.DONE
    await book.close()


async def test_a_mistake_in_an_operation_is_a_failure_and_taken_back(tmp_path: Path) -> None:
    world = World()
    world.faults[2] = ("after", lambda: KeyError("oops"))
    book = JobBook(tmp_path, world)
    job = await book.wait((await book.submit(plan(make("a"), make("b")))).id)
    assert (job.state, job.error, world.things) == (JobState.FAILED, "make: KeyError: 'oops'", set())
    await book.close()


async def test_a_repeated_step_that_is_refused_had_perhaps_acted(tmp_path: Path) -> None:
    from virtfleet.errors import UnreachableError

    world = World()
    world.faults = {1: ("after", lambda: UnreachableError("gone")), 2: ("before", lambda: RefusedError("no"))}
    book = JobBook(tmp_path, world)
    job = await book.wait((await book.submit(plan(make("a")))).id)
    assert (job.state, world.things) == (JobState.FAILED, set())
    assert world.calls[-1] == ("unmake", "a", False, True)
    await book.close()
