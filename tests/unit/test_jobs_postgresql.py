"""The journal in a real PostgreSQL: what a team shares, and what happens when one of them is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from unit import postgres
from unit.job_worlds import World, make, plan
from unit.test_jobs_quotas import room, wants
from virtfleet.config.secret import Secret
from virtfleet.config.settings import Store
from virtfleet.errors import ConfigError, RefusedError
from virtfleet.jobs import owners, vigil
from virtfleet.jobs.book import JobBook
from virtfleet.jobs.journal import Journal
from virtfleet.model.job import Job, JobState

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Postgres]:
    with postgres.server() as running:
        yield running


Books = Callable[..., JobBook]


@pytest_asyncio.fixture
async def books(
    server: postgres.Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Books]:
    """A factory of books that share the server, each in a state folder of its own: `books(world)`."""
    monkeypatch.setenv("STORE_PASSWORD", postgres.PASSWORD)
    with server.connect() as raw:
        raw.execute(
            "DROP TABLE IF EXISTS jobs, steps, log, runners, audit, claims, virtfleet_version CASCADE;"
            "DROP FUNCTION IF EXISTS audit_is_append_only"
        )
    made: list[JobBook] = []

    def make_book(world: World, **more: Any) -> JobBook:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        secret = Secret.parse("env:STORE_PASSWORD", tmp_path)
        made.append(JobBook(folder, world, store=Store(url=server.url, password=secret), **more))
        return made[-1]

    yield make_book
    for book in made:
        await book.close()


async def _until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not what():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


async def test_a_job_is_done_logged_and_audited(books: Books) -> None:
    book = books(World())
    job = await book.wait((await book.submit(plan(make("a"), make("b")), origin="console")).id)
    assert job.state is JobState.DONE
    assert [line.text for line in await book.log(job.id)] == ["begun", "make a", "make b", "done"]
    (entry,) = await book.audit()
    assert (entry.job, entry.outcome, entry.before) == (job.id, "done", "<domain>[]</domain>")
    assert entry.after == "<domain>['a', 'b']</domain>"
    other = books(World())
    await other.open()
    assert other.get(job.id) == job


async def test_the_audit_log_can_only_grow(server: postgres.Postgres, books: Books) -> None:
    book = books(World())
    await book.wait((await book.submit(plan(make("a")))).id)
    with server.connect() as raw:
        for statement in (
            "UPDATE audit SET who = 'nobody'",
            "DELETE FROM audit",
            "TRUNCATE audit",
            "INSERT INTO audit SELECT * FROM audit ON CONFLICT (n) DO UPDATE SET who = 'nobody'",
        ):
            with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
                raw.execute(statement)
        assert raw.execute("SELECT count(*), min(who) FROM audit").fetchone() == (
            1,
            (await book.audit())[0].who,
        )


async def test_many_that_start_at_once_make_the_tables_once(books: Books) -> None:
    many = [books(World()) for _ in range(4)]
    await asyncio.gather(*(book.open() for book in many))
    jobs = await asyncio.gather(*(book.submit(plan(make("a"))) for book in many))
    assert len({job.id for job in jobs}) == 4
    for book, job in zip(many, jobs, strict=True):
        assert (await book.wait(job.id)).state is JobState.DONE


async def test_another_machine_sees_it_and_can_cancel_it_but_not_take_it(books: Books) -> None:
    world = World()
    world.hold = asyncio.Event()
    first, second = books(world), books(world)
    job = await first.submit(plan(make("a"), make("b")))
    await _until(lambda: bool(world.calls))
    await second.open()
    assert second.get(job.id).state is JobState.RUNNING
    with pytest.raises(RefusedError, match="is running"):
        await second.resume(job.id)
    second.cancel(job.id)
    await _until(lambda: first.get(job.id).state in (JobState.CANCELLING, JobState.UNDOING))
    world.hold.set()
    assert (await second.wait(job.id)).state is JobState.CANCELLED
    assert world.things == set()


async def test_of_a_machine_that_fell_silent_another_takes_the_job_and_the_first_keeps_off(
    server: postgres.Postgres, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent, world = World(), World()
    silent.hold = asyncio.Event()
    first, second = books(silent), books(world)
    job = await first.submit(plan(make("a"), make("b")))
    await _until(lambda: bool(silent.calls))
    assert first._beating is not None
    first._beating.cancel()
    with server.connect() as raw:
        raw.execute("UPDATE runners SET beat = beat - 1000")
    await second.open()
    assert second.get(job.id).state is JobState.INTERRUPTED
    await second.resume(job.id)
    assert (await second.wait(job.id)).state is JobState.DONE
    assert world.calls[0] == ("make", "a", True, False)
    silent.hold.set()
    await _until(lambda: not first.active)
    assert [name for op, name, _, _ in silent.calls] == ["a"]
    assert (await first.wait(job.id)).state is JobState.DONE


async def test_who_can_not_say_that_it_lives_lets_go_in_time(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vigil, "LISTEN_EVERY", 0.01)
    world = World()
    world.hold = asyncio.Event()
    first, second = books(world), books(world)
    job = await first.submit(plan(make("a")))
    await _until(lambda: bool(world.calls))
    up = vigil._up()
    monkeypatch.setattr(vigil, "_up", lambda: up + owners.DEAD_AFTER)  # as after a machine has slept
    await _until(lambda: first.get(job.id).state is JobState.INTERRUPTED)
    await second.open()
    assert second.get(job.id).state is JobState.INTERRUPTED
    world.hold.set()
    await second.roll_back(job.id)
    assert (await second.wait(job.id)).state is JobState.CANCELLED


async def test_without_its_journal_a_job_does_nothing_more(server: postgres.Postgres, books: Books) -> None:
    world = World()
    world.hold = asyncio.Event()
    book = books(world)
    job = await book.submit(plan(make("a"), make("b")))
    await _until(lambda: bool(world.calls))
    server.stop()
    world.hold.set()
    ended = await book.wait(job.id)
    assert ended.state is JobState.INTERRUPTED
    assert "the journal can't be used" in ended.error
    assert [name for _, name, _, _ in world.calls] == ["a"]
    server.start()
    await book.resume(job.id)
    assert (await book.wait(job.id)).state is JobState.DONE
    assert world.things == {"a", "b"}


async def test_operators_at_once_can_not_exceed_a_quota_together(books: Books) -> None:
    team = [books(World()) for _ in range(4)]
    asked = [team[n % 4].submit(wants(f"vm{n}", 1), room=room()) for n in range(20)]
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(each, Job) for each in found) == 4
    assert all(isinstance(each, Job | RefusedError) for each in found)


async def test_what_is_wrong_with_the_store_is_said_without_its_password(
    server: postgres.Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failure(url: str, **more: Any) -> str:
        with pytest.raises(ConfigError) as caught:
            await JobBook(tmp_path, World(), store=Store(url=url, **more)).open()
        return str(caught.value)

    monkeypatch.setenv("WRONG", "hunter2")
    wrong = await failure(server.url, password=Secret.parse("env:WRONG", tmp_path))
    assert "authentication failed" in wrong
    assert "hunter2" not in wrong
    inside = await failure("postgresql://me:hunter2@/x?host=/nowhere")
    assert "the URL holds a password (not shown)" in inside
    assert "hunter2" not in inside
    assert "hunter2" not in await failure("postgresql://me@/x?host=/nowhere&password=hunter2")
    assert "No such file" in await failure("postgresql://me@/x?host=/nowhere")
    asked = await failure(server.url, password=Secret.parse("prompt", tmp_path))
    assert "can't be asked for" in asked


async def test_a_journal_of_the_version_before_is_made_new(server: postgres.Postgres, books: Books) -> None:
    book = books(World())
    job = await book.wait((await book.submit(plan(make("a")))).id)
    await book.close()
    with server.connect() as raw:
        raw.execute(
            "ALTER TABLE jobs DROP COLUMN before; DROP TABLE claims;UPDATE virtfleet_version SET version = 1"
        )
    journal = Journal(server.url, postgres.PASSWORD)
    await journal.open()
    assert (await journal.get(job.id)).job == job
    assert await journal.before(job.id) == ""
    journal.close()
