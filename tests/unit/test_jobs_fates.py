"""Whatever befalls a job, and however often: in the end all of it is done or nothing of it is."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unit.job_fates import (
    HALF,
    Fate,
    Town,
    change,
    destroy,
    goal_of,
    journals_share_its_fate,
    live,
    make,
    plan_of,
)
from virtfleet.errors import RefusedError
from virtfleet.jobs.book import JobBook
from virtfleet.model.job import Job, JobState, StepState
from virtfleet.model.plan import Plan

START = {"old": "as it was", "other": "as it was", "doomed": "as it was"}
ENDED = (JobState.DONE, JobState.FAILED, JobState.CANCELLED)
WHOLE = plan_of(make("a"), *change("old"), make("b"))
LAST_MOMENT = 40
"""Later than any of WHOLE and its undoing."""


async def _go_on(book: JobBook, number: str, *, forward: bool) -> Job:
    if forward:
        return await book.resume(number)
    try:
        return await book.roll_back(number)
    except RefusedError:
        job = book.get(number)
        begun = zip(job.plan.steps, job.records, strict=True)
        assert any(step.final and record.state is not StepState.PENDING for step, record in begun)
        return await book.resume(number)


async def _to_its_end(folder: Path, town: Town, what: Plan, fates: list[tuple[dict[int, str], bool]]) -> Job:
    """The job over its lives, the last of which is a quiet one."""
    number = ""

    async def submit(book: JobBook) -> Job:
        nonlocal number
        job = await book.submit(what)
        number = job.id
        return job

    with journals_share_its_fate(town):
        job = await live(folder, town, Fate(fates[0][0] if fates else {}), submit)
        for moments, forward in [*fates[1:], ({}, True), ({}, False)]:
            if job is not None and job.state in ENDED:
                break
            if moments == {}:
                town.faults, town.host_comes_back = {}, True

            async def go_on(book: JobBook, forward: bool = forward) -> Job:
                left = book.get(number)
                if left.state in ENDED:  # its last word was written
                    return left
                assert left.state in (JobState.INTERRUPTED, JobState.BROKEN)
                return await _go_on(book, number, forward=forward)

            job = await live(folder, town, Fate(moments), go_on)
    assert job is not None
    town.fate = Fate()
    book = JobBook(folder, town)
    outcomes = [entry.outcome for entry in await book.audit(job=number)]
    await book.close()
    assert [each for each in outcomes if each != "broken"] == [job.state.value]
    return job


def _check(job: Job, town: Town) -> None:
    assert job.state in ENDED, job
    assert HALF not in town.things.values()
    assert town.things == (goal_of(job.plan, START) if job.state is JobState.DONE else START)


@pytest.mark.parametrize("forward", [True, False])
async def test_killed_at_every_moment(tmp_path: Path, forward: bool) -> None:
    for moment in range(1, LAST_MOMENT):
        town = Town(START)
        job = await _to_its_end(tmp_path, town, WHOLE, [({moment: "kill"}, True), ({}, forward)])
        _check(job, town)


async def test_killed_at_every_moment_of_taking_back(tmp_path: Path) -> None:
    for moment in range(1, LAST_MOMENT):
        for forward in (True, False):
            town = Town(START)
            town.faults = {4: ("half", "broken")}
            job = await _to_its_end(tmp_path, town, WHOLE, [({moment: "kill"}, True), ({}, forward)])
            _check(job, town)


async def test_cancelled_at_every_moment(tmp_path: Path) -> None:
    seen = set()
    for moment in range(1, LAST_MOMENT):
        town = Town(START)
        job = await _to_its_end(tmp_path, town, WHOLE, [({moment: "cancel"}, True)])
        seen.add(job.state)
        _check(job, town)
    assert seen == {JobState.DONE, JobState.CANCELLED}


async def test_cancelled_at_every_moment_while_data_is_deleted(tmp_path: Path) -> None:
    what = plan_of(make("a"), destroy("doomed"), destroy("other"), make("b"))
    for moment in range(1, LAST_MOMENT):
        town = Town(START)
        job = await _to_its_end(tmp_path, town, what, [({moment: "cancel"}, True)])
        _check(job, town)


_MOMENTS = st.dictionaries(
    st.integers(1, LAST_MOMENT), st.sampled_from(["kill", "kill", "cancel"]), max_size=2
)


@st.composite
def _plans(draw: st.DrawFn) -> Plan:
    """Some of them can't be: `doomed` is there already."""
    steps: list[Any] = []
    for name in draw(
        st.lists(st.sampled_from(["a", "b", "old", "other", "doomed"]), unique=True, max_size=4)
    ):
        steps += change(name) if name in ("old", "other") else [make(name)]
    if draw(st.booleans()):
        steps += [destroy(name) for name in draw(st.sets(st.sampled_from(["doomed", "other"])))]
    ids = [step.id for step in steps]
    return plan_of(*(step for n, step in enumerate(steps) if step.id not in ids[:n]))


_FAULT = st.sampled_from(
    [("before", "refused")]
    + [(when, fault) for when in ("before", "half", "after") for fault in ("broken", "lost", "mistake")]
)


@settings(max_examples=60, deadline=None)
@given(
    what=_plans(),
    faults=st.dictionaries(st.integers(1, 14), _FAULT, max_size=3),
    comes_back=st.booleans(),
    fates=st.lists(st.tuples(_MOMENTS, st.booleans()), max_size=4),
)
async def test_all_of_it_or_nothing(
    what: Plan,
    faults: dict[int, tuple[str, str]],
    comes_back: bool,
    fates: list[tuple[dict[int, str], bool]],
) -> None:
    town = Town(START)
    town.faults, town.host_comes_back = faults, comes_back
    with tempfile.TemporaryDirectory() as folder:
        job = await _to_its_end(Path(folder), town, what, fates)
    _check(job, town)
