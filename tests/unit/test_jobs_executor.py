"""One job against a small world: whatever fails wherever, it ends in the goal or where it began."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unit.job_worlds import ERRORS, DyingJournal, Killed, World, change, destroy, make, plan
from virtfleet.config.settings import JobLimits
from virtfleet.errors import HostError, NotFoundError, RefusedError, UnreachableError
from virtfleet.jobs.errors import TakenError
from virtfleet.jobs.executor import Execution
from virtfleet.jobs.journal import Journal
from virtfleet.jobs.limits import Gates
from virtfleet.jobs.progress import Meter
from virtfleet.jobs.references import resolved
from virtfleet.model.job import Job, JobState, Progress, StepRecord, StepState
from virtfleet.model.plan import Plan, Step


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not what():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.001)


async def recovered(folder: Path, world: World) -> Execution:
    """The job as another process finds it."""
    world.faults = {}
    journal = Journal(folder / "jobs.db")
    await journal.open()
    job = (await journal.get("j1")).job
    return Execution(job, journal, world, Gates(JobLimits()), lambda job: None, owner="me")


def job_of(what: Plan) -> Job:
    return Job(id="j1", plan=what, records=tuple(StepRecord(id=step.id) for step in what.steps))


async def begun(folder: Path, what: Plan, world: World, journal: Journal | None = None) -> Execution:
    journal = journal or Journal(folder / "jobs.db")
    await journal.open()
    job = job_of(what)
    await journal.add(job, "me")
    return Execution(job, journal, world, Gates(JobLimits()), lambda job: None, owner="me")


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
    assert execution.job.error.startswith("hv1 was not back within 60 s: gone; not all could be taken back: ")
    assert "make a on hv1: it still does not answer" in execution.job.error
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
        tasks.append(Execution(job, journal, world, gates, lambda job: None, owner="me").forward())
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
        tasks.append(Execution(job, journal, world, gates, lambda job: None, owner="me").forward())
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


async def test_what_was_being_taken_back_is_not_taken_for_done(tmp_path: Path) -> None:
    """Killed when its undo had acted and that was not written: going forward, it is begun again."""
    world = World()
    world.faults = {2: ("before", lambda: HostError("it broke")), 4: ("after", Killed)}
    execution = await begun(tmp_path, plan(make("a"), make("b")), world)
    with pytest.raises(Killed):
        await execution.forward()
    assert world.things == set()
    again = await recovered(tmp_path, world)
    assert [record.state for record in again.job.records] == [StepState.UNDOING, StepState.UNDONE]
    await again.forward()
    assert (again.job.state, world.things) == (JobState.DONE, {"a", "b"})


async def test_a_step_that_perhaps_acted_is_undone_though_it_refused_later(tmp_path: Path) -> None:
    world = World()
    world.faults = {1: ("after", lambda: UnreachableError("gone")), 2: ("before", lambda: RefusedError("no"))}
    job = await done(tmp_path, plan(make("a")), world)
    assert (job.state, job.error, world.things) == (JobState.FAILED, "no", set())
    assert world.calls[-1] == ("unmake", "a", False, True)


async def test_a_host_that_is_away_is_waited_for_once(tmp_path: Path) -> None:
    world = World()
    asked: list[str] = []

    async def answers(host: str, within: float) -> bool:
        asked.extend([host] if within else [])
        return False

    world.answers = answers  # type: ignore[method-assign] # counted
    world.faults = {n: ("before", lambda: UnreachableError("gone")) for n in range(3, 20)}
    job = await done(tmp_path, plan(make("a"), make("b"), make("c")), world)
    assert (job.state, asked) == (JobState.BROKEN, ["hv1"])
    assert job.error.count("on hv1: it still does not answer") == 3
    assert len(world.calls) == 3  # undoing does not try each step in vain
    assert job.cure == "`job rollback j1` tries again"


async def test_what_is_gone_needs_no_undoing(tmp_path: Path) -> None:
    world = World()
    world.faults = {
        2: ("before", lambda: HostError("it broke")),
        4: ("before", lambda: NotFoundError("no a")),
    }
    execution = await begun(tmp_path, plan(make("a"), make("b")), world)
    await execution.forward()
    assert (execution.job.state, execution.job.error) == (JobState.FAILED, "it broke")


async def test_hostile_words_of_a_host_are_harmless_in_the_journal(tmp_path: Path) -> None:
    world = World()
    world.faults[1] = ("before", lambda: HostError("\x1b[2J\x00 no\nroom \udc80"))
    job = await done(tmp_path, plan(make("a")), world)
    assert job.error == "\ufffd[2J\ufffd no room \ufffd"


async def test_a_mistake_of_ours_is_taken_back_too(tmp_path: Path) -> None:
    world = World()
    world.faults[2] = ("after", lambda: KeyError("x"))
    job = await done(tmp_path, plan(make("a"), make("b")), world)
    assert (job.state, job.error, world.things) == (JobState.FAILED, "make: KeyError: 'x'", set())


async def test_who_has_lost_a_job_does_nothing_more_to_it(tmp_path: Path) -> None:
    world = World()
    journal = Journal(tmp_path / "jobs.db")
    execution = await begun(tmp_path, plan(make("a"), make("b")), world, journal)
    world.hold = asyncio.Event()
    task = asyncio.ensure_future(execution.forward())
    await until(lambda: bool(world.calls))
    assert await journal.take("j1", "another", await journal.get("j1"))
    world.hold.set()
    with pytest.raises(TakenError):
        await task
    assert world.calls == [("make", "a", False, False)]
    assert (await journal.get("j1")).job.records[0].state is StepState.BEGUN
    journal.close()


@pytest.mark.parametrize("phase", ["its turn", "the host", "the lock", "the host to come back"])
async def test_cancelled_while_it_waits(tmp_path: Path, phase: str) -> None:
    world, gates = World(), Gates(JobLimits(total=1, per_host=1))
    step = make("a", lock="same")
    execution = await begun(tmp_path, plan(step), world)
    execution._gates = gates
    if phase == "the host to come back":
        world.faults[1] = ("before", lambda: UnreachableError("gone"))
        waiting = asyncio.Event()

        async def answers(host: str, within: float) -> bool:
            waiting.set()
            return await asyncio.Event().wait()

        world.answers = answers  # type: ignore[method-assign] # it never comes back
        task = asyncio.ensure_future(execution.forward())
        await waiting.wait()
        execution.cancel()
        await task
    else:
        other = step if phase == "the lock" else make("b")
        busy = gates.jobs if phase == "its turn" else gates.step(other)
        async with busy:
            task = asyncio.ensure_future(execution.forward())
            if phase != "its turn":
                await until(lambda: execution.job.state is JobState.RUNNING)
            execution.cancel()
            await task
    assert (execution.job.state, world.things) == (JobState.CANCELLED, set())
    assert gates.jobs._value == 1


async def test_cancelled_between_and_in_final_steps_it_says_what_is_left(tmp_path: Path) -> None:
    world = World()
    world.things = {"x", "y"}
    execution = await begun(tmp_path, plan(destroy("x"), destroy("y")), world)
    world.hold = asyncio.Event()
    task = asyncio.ensure_future(execution.forward())
    await until(lambda: bool(world.calls))
    execution.cancel()
    world.hold.set()
    await task
    assert (execution.job.state, world.things) == (JobState.BROKEN, {"y"})
    assert execution.job.error == (
        "cancelled; data was being deleted, so there is no way back; not done: destroy y"
    )
    again = await recovered(tmp_path, world)
    await again.forward()
    assert (again.job.state, world.things) == (JobState.DONE, set())


async def test_cancelled_while_it_takes_back_it_goes_on_taking_back(tmp_path: Path) -> None:
    world = World()
    world.faults[2] = ("before", lambda: HostError("it broke"))
    execution = await begun(tmp_path, plan(make("a"), make("b")), world)
    execution._tell = lambda job: execution.cancel() if job.state is JobState.UNDOING else None
    await execution.forward()
    assert (execution.job.state, world.things) == (JobState.FAILED, set())


async def test_bytes_weigh_in_progress(tmp_path: Path) -> None:
    world = World()
    told: list[float] = []
    execution = await begun(tmp_path, plan(make("a"), make("b", bytes=9 * 64 << 20), make("c")), world)
    execution._tell = lambda job: told.append(job.progress.fraction)
    await execution.forward()
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0)
    halves = {round(each * 12, 3) for each in told}
    assert {0.0, 1.0, 11.0, 12.0} <= halves


def test_a_meter_measures_over_the_last_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("virtfleet.jobs.progress.time.monotonic", lambda: now[0])
    meter, progress = Meter(), Progress(steps=1)
    progress = meter.measured(progress, 0, 1000, "up", 500)
    assert (progress.rate, progress.eta, progress.text) == (None, None, "up")
    for done in (100, 200, 300):
        now[0] += 1.0
        progress = meter.measured(progress, done, 1000, "", 500)
    assert (progress.rate, progress.eta, progress.text) == (100.0, 12.0, "up")
    now[0] += 10.0
    progress = meter.measured(progress, 300, 1000, "", 500)
    assert progress.rate == 0.0
    assert progress.eta is None


@settings(max_examples=100, deadline=None)
@given(data=st.data())
async def test_wherever_it_is_killed_it_ends_in_the_goal_or_where_it_began(data: st.DataObject) -> None:
    """Any plan, any fault before, in or after an operation, killed at any word, also while it recovers."""
    steps: list[Step] = []
    for number, kind in enumerate(data.draw(st.lists(st.sampled_from(["make", "change"]), max_size=3))):
        steps += [make(f"t{number}")] if kind == "make" else change(f"v{number}")
    steps += [destroy(f"x{number}") for number in range(data.draw(st.integers(0, 2)))]
    world = World()
    world.things = {"x0", "x1"} | data.draw(st.sets(st.sampled_from(["t0", "t2"]), max_size=1))
    world.values = {f"v{number}": "old" for number in range(3)}
    start = world.state
    goal = (
        world.things.union(step.id for step in steps if step.op == "make")
        - {str(step.args["name"]) for step in steps if step.op == "destroy"},
        set[str](),
        world.values | {str(step.args["name"]): "new" for step in steps if step.op == "set"},
    )
    faults = st.tuples(st.sampled_from(["before", "half", "after"]), st.sampled_from(sorted(ERRORS)))
    for number, (when, error) in data.draw(st.dictionaries(st.integers(1, 12), faults, max_size=3)).items():
        world.faults[number] = ("before" if error == "refused" else when, ERRORS[error])
    world.answering = data.draw(st.booleans())
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "jobs.db"
        journal = Journal(place)
        await journal.open()
        await journal.add(job_of(plan(*steps)), "me")
        journal.close()
        for attempt in range(4):
            last = attempt == 3
            forward = attempt == 0 or data.draw(st.booleans())
            dies_at = 0 if last else data.draw(st.integers(0, 16))
            journal = DyingJournal(place, dies_at=dies_at, after=data.draw(st.booleans()))
            await journal.open()
            if last:
                world.faults, world.answering = {}, True
            job = (await journal.get("j1")).job
            execution = Execution(job, journal, world, Gates(JobLimits()), lambda job: None, owner="me")
            with contextlib.suppress(Killed):
                await (execution.forward() if forward else execution.backward())
            job = (await journal.get("j1")).job
            journal.close()
            if not job.state.active and job.state is not JobState.BROKEN:
                break
            if last and job.state is JobState.BROKEN and "no way back" in job.error:
                journal = Journal(place)
                await journal.open()
                execution = Execution(job, journal, world, Gates(JobLimits()), lambda job: None, owner="me")
                await execution.forward()
                job = execution.job
                journal.close()
        assert job.state in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)
        assert world.state == (goal if job.state is JobState.DONE else start)


async def test_a_claim_is_renewed_as_long_as_its_job_runs(tmp_path: Path) -> None:
    world = World()
    asked: list[tuple[str, Any]] = []

    class Renewing(World):
        async def run(self, host: str, op: str, args: dict[str, Any], *more: Any) -> Any:
            if op == "vm.renew":
                asked.append((host, args))
                return {"renewed": True}
            if op == "vm.claim":
                return {}
            return await world.run(host, op, args, *more)

    claim = Step(
        id="claim", op="vm.claim", host="hv1", title="", args={"uuid": "u", "who": "me", "seconds": 0.06}
    )
    world.hold = asyncio.Event()
    execution = await begun(tmp_path, plan(claim, make("a")), Renewing())
    running = asyncio.ensure_future(execution.forward())
    await until(lambda: len(asked) >= 3)
    world.hold.set()
    await running
    assert execution.job.state is JobState.DONE
    assert asked[0] == ("hv1", {"uuid": "u", "of": "j1", "seconds": 0.06})
    before = len(asked)
    await asyncio.sleep(0.1)
    assert len(asked) == before
