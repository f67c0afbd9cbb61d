"""The journal as a file: who may read it, where it may be, what it says when it can't be used."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest
from msgspec.structs import replace

from unit.job_worlds import World, make, plan
from virtfleet.config.settings import Store
from virtfleet.errors import ConfigError
from virtfleet.jobs.book import JobBook
from virtfleet.jobs.errors import StoreError, TakenError
from virtfleet.jobs.journal import Journal
from virtfleet.jobs.who import Numbers
from virtfleet.model.job import Job, JobState, Progress, StepRecord, StepState

JOB = Job(
    id="j1",
    plan=plan(make("a")),
    records=(StepRecord(id="a"),),
    progress=Progress(steps=1, share=1.0),
    created=1.0,
)


async def test_nobody_else_may_read_any_of_its_files(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        journal = Journal(tmp_path / "jobs.db")
        await journal.open()
        await journal.add(JOB, "me")
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        journal.close()
    finally:
        os.umask(before)
    assert modes == {"jobs.db": 0o600, "jobs.db-wal": 0o600, "jobs.db-shm": 0o600}


@pytest.mark.parametrize("name", ["a b", "100%", "why?", "#1", "ä%20ö", "a:b@c"])
async def test_its_folder_may_be_called_anything(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    journal = Journal(folder / "jobs.db")
    await journal.open()
    await journal.add(JOB, "me")
    assert (await journal.get("j1")).job == JOB
    journal.close()
    assert (folder / "jobs.db").stat().st_size > 0
    assert [each.name for each in tmp_path.iterdir()] == [name]


async def test_what_is_no_journal_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "jobs.db").write_bytes(b"something else entirely" * 100)
    with pytest.raises(ConfigError, match=r"jobs\.db: the journal can't be opened: file is not a database"):
        await JobBook(tmp_path, World()).open()


async def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file or directory"):
        await JobBook(tmp_path / "nowhere", World()).open()


@pytest.mark.parametrize("url", ["mysql://x@y/z", "nonsense", "postgresql+asyncpg2//"])
async def test_a_store_that_is_not_postgresql_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError):
        await JobBook(tmp_path, World(), store=Store(url=url)).open()


async def test_only_its_owner_writes_a_job(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "jobs.db")
    await journal.open()
    await journal.add(JOB, "me")
    begun = replace(JOB, records=(StepRecord(id="a", state=StepState.BEGUN),))
    stored = await journal.get("j1")
    assert [await journal.take("j1", who, stored) for who in ("you", "them")] == [True, False]
    with pytest.raises(TakenError):
        await journal.save(begun, (0,), "begun", 2.0, owner="me")
    assert (await journal.get("j1")).job.records[0].state is StepState.PENDING
    assert await journal.log("j1") == ()
    await journal.save(begun, (0,), "begun", 2.0, owner="you")
    assert (await journal.get("j1")).job.records[0].state is StepState.BEGUN
    journal.close()


async def test_a_broken_job_is_taken_once_also_by_who_has_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "jobs.db")
    await journal.open()
    await journal.add(JOB, "me")
    await journal.save(replace(JOB, state=JobState.BROKEN), owner="me")
    stored = await journal.get("j1")
    assert [await journal.take("j1", "me", stored) for _ in range(2)] == [True, False]
    journal.close()


async def test_a_closed_journal_says_so(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "jobs.db")
    await journal.open()
    journal.close()
    with pytest.raises(StoreError, match="closed"):
        await journal.load(1)


async def test_a_job_whose_journal_fails_stops_and_can_be_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    world.hold = asyncio.Event()
    book = JobBook(tmp_path, world)
    acts = asyncio.Event()
    book.subscribe(lambda job: acts.set() if job.records[0].state is StepState.BEGUN else None)
    job = await book.submit(plan(make("a"), make("b")))
    async with asyncio.timeout(20):
        await acts.wait()

    async def full(*args: object, **more: object) -> None:
        raise StoreError("the journal can't be used: disk full")

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "save", full)
        world.hold.set()
        job = await book.wait(job.id)
    assert (job.state, job.error) == (JobState.INTERRUPTED, "the journal can't be used: disk full")
    assert [name for _, name, *_ in world.calls] == ["a"]
    await book.open()
    assert book.get(job.id).state is JobState.INTERRUPTED
    await book.resume(job.id)
    assert (await book.wait(job.id)).state is JobState.DONE
    assert world.calls[1] == ("make", "a", True, False)
    await book.close()


def test_ids_differ_and_sort_by_time() -> None:
    ids = Numbers()
    made = [ids.next(1_700_000_000.0) for _ in range(2000)]
    assert len({each[:-2] for each in made}) == 2000
    assert made == sorted(made)
    assert made[-1] < Numbers().next(1_700_000_100.0)


async def test_many_that_open_a_new_one_at_once_all_do(tmp_path: Path) -> None:
    for number in range(20):
        journals = [Journal(tmp_path / f"{number}.db") for _ in range(6)]
        await asyncio.gather(*(journal.open() for journal in journals))
        for journal in journals:
            journal.close()
