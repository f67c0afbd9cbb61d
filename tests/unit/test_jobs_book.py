"""All jobs of a journal, over processes: who runs what, what a crash leaves, what can be taken back."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from unit.job_worlds import World, destroy, make, plan
from virtfleet.errors import ConfigError, NotFoundError, RefusedError
from virtfleet.jobs.book import JobBook
from virtfleet.jobs.owners import Runner, is_alive
from virtfleet.jobs.who import origin_of, whoami
from virtfleet.model.job import JobState


async def test_a_job_is_done_logged_and_audited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "alice")
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.7 5000 192.0.2.1 22")
    book = JobBook(tmp_path, World())
    told: list[JobState] = []
    book.subscribe(lambda job: told.append(job.state))
    job = await book.wait((await book.submit(plan(make("a")), origin="console")).id)
    assert job.state is JobState.DONE
    assert told[0] is JobState.WAITING
    assert told[-1] is JobState.DONE
    assert [line.text for line in await book.log(job.id)] == ["begun", "make a", "done"]
    (entry,) = await book.audit()
    assert entry.who.startswith("alice@")
    assert entry.origin == "console, from 192.0.2.7"
    assert (entry.verb, entry.host, entry.name, entry.outcome) == ("vm.tag", "hv1", "web-1", "done")
    assert (entry.before, entry.after) == ("<domain>[]</domain>", "<domain>['a']</domain>")
    await book.close()
    assert stat.S_IMODE((tmp_path / "jobs.db").stat().st_mode) == 0o600


async def test_the_audit_log_can_only_grow(tmp_path: Path) -> None:
    book = JobBook(tmp_path, World())
    await book.wait((await book.submit(plan(make("a")))).id)
    await book.close()
    with sqlite3.connect(tmp_path / "jobs.db") as raw:
        for statement in ("UPDATE audit SET who = 'nobody'", "DELETE FROM audit"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                raw.execute(statement)
        assert raw.execute("SELECT count(*) FROM audit").fetchone() == (1,)


async def test_a_done_job_can_be_undone_as_a_job(tmp_path: Path) -> None:
    world = World()
    book = JobBook(tmp_path, world)
    job = await book.wait((await book.submit(plan(make("a"), make("b")))).id)
    undone = await book.wait((await book.undo(job.id)).id)
    assert (undone.state, world.things) == (JobState.DONE, set())
    assert undone.plan.title == "undo: a plan"
    other = await book.wait((await book.submit(plan(destroy("a"), verb="vm.delete"))).id)
    with pytest.raises(RefusedError, match=r"vm\.delete can't be undone"):
        await book.undo(other.id)
    await book.close()


async def test_what_can_not_be_gone_on_with_is_refused(tmp_path: Path) -> None:
    book = JobBook(tmp_path, World())
    job = await book.wait((await book.submit(plan(make("a")))).id)
    with pytest.raises(RefusedError, match="is done"):
        await book.resume(job.id)
    with pytest.raises(RefusedError, match="done already"):
        book.cancel(job.id)
    with pytest.raises(NotFoundError, match="no job xyz"):
        await book.find("xyz")
    assert (await book.find(job.id[:6])).id == job.id
    await book.close()


async def test_a_closed_console_leaves_its_jobs_to_the_next(tmp_path: Path) -> None:
    world = World()
    world.hold = asyncio.Event()
    book = JobBook(tmp_path, world)
    job = await book.submit(plan(make("a"), make("b")))
    await asyncio.sleep(0.1)
    await book.close()
    world.hold = None
    second = JobBook(tmp_path, world)
    await second.open()
    assert second.get(job.id).state is JobState.INTERRUPTED
    await second.resume(job.id)
    assert (await second.wait(job.id)).state is JobState.DONE
    assert world.things == {"a", "b"}
    await second.close()


async def test_a_job_is_handed_over_and_taken_once(tmp_path: Path) -> None:
    world = World()
    first, second, third = (JobBook(tmp_path, world) for _ in range(3))
    job = await first.submit(plan(make("a")), detached=True)
    assert world.calls == []
    await second.open()
    await third.open()
    await second.resume(job.id)
    with pytest.raises(RefusedError):
        await third.resume(job.id)
    assert (await first.wait(job.id)).state is JobState.DONE
    assert len(world.calls) == 1
    for book in (first, second, third):
        await book.close()


async def test_another_process_can_cancel(tmp_path: Path) -> None:
    world = World()
    world.hold = asyncio.Event()
    first, second = JobBook(tmp_path, world), JobBook(tmp_path, world)
    job = await first.submit(plan(make("a")))
    await asyncio.sleep(0.1)
    await second.open()
    assert second.get(job.id).state.active
    second.cancel(job.id)
    undoing = asyncio.Event()
    first.subscribe(lambda job: undoing.set() if job.state is JobState.UNDOING else None)
    async with asyncio.timeout(20):
        await undoing.wait()
        world.hold.set()
        assert (await second.wait(job.id)).state is JobState.CANCELLED
    await first.close()
    await second.close()


_SCRIPT = """
import asyncio, os, signal, sys
from pathlib import Path
from unit.job_worlds import World, make, plan
from virtfleet.jobs.book import JobBook

class Dying(World):
    async def run(self, host, op, args, timeout, on_progress):
        if args.get("name") == "b":
            os.kill(os.getpid(), signal.SIGKILL)
        return await super().run(host, op, args, timeout, on_progress)

async def main():
    book = JobBook(Path(sys.argv[1]), Dying())
    job = await book.submit(plan(make("a"), make("b"), make("c")))
    print(job.id, flush=True)
    await book.wait(job.id)

asyncio.run(main())
"""


@pytest.mark.parametrize("how", ["resume", "roll_back"])
async def test_a_killed_process_leaves_an_interrupted_job(tmp_path: Path, how: str) -> None:
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(root / each) for each in ("core", "tests"))}
    ended = subprocess.run(  # noqa: ASYNC221 - nothing else goes on here
        [sys.executable, "-c", textwrap.dedent(_SCRIPT), str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    world = World()
    world.things, world.mine = {"a"}, {"a", "b"}
    book = JobBook(tmp_path, world)
    await book.open()
    number = ended.stdout.strip()
    assert book.get(number).state is JobState.INTERRUPTED
    await getattr(book, how)(number)
    job = await book.wait(number)
    if how == "resume":
        assert (job.state, world.things) == (JobState.DONE, {"a", "b", "c"})
        assert world.calls[0] == ("make", "b", True, False)
    else:
        assert (job.state, world.things) == (JobState.CANCELLED, set())
    await book.close()


async def test_a_journal_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    book = JobBook(tmp_path, World())
    await book.open()
    await book.close()
    with sqlite3.connect(tmp_path / "jobs.db") as raw:
        raw.execute("UPDATE virtfleet_version SET version = 99")
    with pytest.raises(ConfigError, match="of version 99"):
        await JobBook(tmp_path, World()).open()


def test_a_runner_is_alive_as_long_as_its_process_holds_the_file(tmp_path: Path) -> None:
    runner = Runner(tmp_path)
    assert is_alive(runner.token, tmp_path, {}, 0.0)
    runner.close()
    (tmp_path / "jobs.db").touch()
    assert not is_alive(runner.token, tmp_path, {}, 0.0)
    assert is_alive("elsewhere:1:ab", tmp_path, {"elsewhere:1:ab": ("elsewhere", 100.0)}, 130.0)
    assert not is_alive("elsewhere:1:ab", tmp_path, {"elsewhere:1:ab": ("elsewhere", 100.0)}, 170.0)


def test_who_asks_is_a_person_also_behind_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "bob")
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    assert whoami().startswith("bob@")
    assert origin_of("command line") == "command line"
