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
from typing import Any

import pytest
from msgspec.structs import replace

from unit.job_worlds import World, destroy, make, plan
from virtfleet.config.settings import FleetSettings
from virtfleet.engine import Engine
from virtfleet.errors import ConfigError, HostError, NotFoundError, RefusedError
from virtfleet.jobs import vigil
from virtfleet.jobs.book import JobBook
from virtfleet.jobs.errors import StoreError
from virtfleet.jobs.journal import Journal
from virtfleet.jobs.owners import Owner, is_alive
from virtfleet.jobs.who import origin_of, whoami
from virtfleet.model.job import Job, JobState
from virtfleet.model.plan import Condition, Step


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
        for statement in (
            "UPDATE audit SET who = 'nobody'",
            "DELETE FROM audit",
            "INSERT OR REPLACE INTO audit SELECT * FROM audit",
        ):
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
    process = _python(_SCRIPT, str(tmp_path))
    out, problems = await asyncio.to_thread(process.communicate, None, 60)
    assert process.returncode == -signal.SIGKILL, problems
    world = World()
    world.things, world.mine = {"a"}, {"a", "b"}
    book = JobBook(tmp_path, world)
    await book.open()
    number = out.strip()
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


def test_an_owner_is_alive_as_long_as_its_process_holds_the_file(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    assert is_alive(owner.token, tmp_path, None, 0.0)
    assert is_alive(owner.token, tmp_path, {owner.token: 0.0}, 1000.0)
    owner.close()
    assert not is_alive(owner.token, tmp_path, None, 0.0)
    (tmp_path / f"runner-{owner.token}").touch()
    assert not is_alive(owner.token, tmp_path, {owner.token: 1000.0}, 1000.0)
    assert is_alive("elsewhere:1:ab", tmp_path, {"elsewhere:1:ab": 100.0}, 130.0)
    assert not is_alive("elsewhere:1:ab", tmp_path, {"elsewhere:1:ab": 100.0}, 170.0)
    assert not is_alive("elsewhere:1:ab", tmp_path, None, 100.0)


async def test_what_was_refused_is_in_the_audit_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    engine = Engine(FleetSettings())
    stale = replace(plan(make("a")), conditions=(Condition(kind="host-answers", host="hv1"),))
    with pytest.raises(RefusedError, match="hv1 is no longer in the fleet"):
        await engine.apply(stale, origin="console")
    (entry,) = await engine.jobs.audit()
    assert (entry.outcome, entry.job, entry.origin) == ("refused", "", "console")
    assert entry.detail == "a plan; hv1 is no longer in the fleet"
    assert engine.jobs.jobs == ()
    await engine.stop()


async def test_each_end_of_a_job_is_in_the_audit_log_with_what_was_before_it_began(tmp_path: Path) -> None:
    world = World()
    world.faults[2] = ("after", lambda: HostError("it broke"))
    book = JobBook(tmp_path, world)
    await book.wait((await book.submit(plan(make("a"), make("b")))).id)
    world.hold = asyncio.Event()
    job = await book.submit(plan(make("c"), destroy("c")))
    await asyncio.sleep(0.1)
    await book.close()
    world.hold = None
    second = JobBook(tmp_path, world)
    await second.open()
    await second.resume(job.id)
    await second.wait(job.id)
    entries = await second.audit()
    assert [(entry.outcome, entry.before, entry.after) for entry in entries] == [
        ("failed", "<domain>[]</domain>", "<domain>[]</domain>"),
        ("done", "<domain>[]</domain>", "<domain>[]</domain>"),
    ]
    assert entries[0].detail == "a plan; it broke"
    await second.close()


async def test_who_only_reads_changes_nothing(tmp_path: Path) -> None:
    world = World()
    world.hold = asyncio.Event()
    book, reader = JobBook(tmp_path, world), JobBook(tmp_path, world, read_only=True)
    job = await book.submit(plan(make("a")))
    await reader.open()
    with pytest.raises(RefusedError, match="read-only"):
        reader.cancel(job.id)
    for attempt in (reader.resume, reader.roll_back, reader.undo):
        with pytest.raises(RefusedError, match="read-only"):
            await attempt(job.id)
    with pytest.raises(RefusedError, match="read-only"):
        await reader.submit(plan(make("b")))
    world.hold.set()
    assert (await reader.wait(job.id)).state is JobState.DONE
    await book.close()
    await reader.close()


async def test_an_undone_job_is_claimed_anew_and_done_again_when_undoing_fails(tmp_path: Path) -> None:
    world = World()
    claim = Step(id="claim", op="vm.claim", host="hv1", title="claim", args={"who": "somebody"})
    release = Step(id="release", op="vm.release", host="hv1", title="release")
    book = JobBook(tmp_path, world)
    job = await book.wait((await book.submit(plan(claim, make("a"), make("b"), release))).id)
    assert world.things == {"a", "b"}
    del world.calls[:]
    world.faults[3] = ("before", lambda: HostError("it broke"))
    undone = await book.wait((await book.undo(job.id)).id)
    assert [op for op, _, _, _ in world.calls] == ["vm.claim", "unmake", "unmake", "make", "make"]
    assert undone.plan.steps[0].args["who"] == whoami()
    assert (undone.state, undone.error, world.things) == (JobState.FAILED, "it broke", {"a", "b"})
    await book.close()


async def test_a_job_that_nobody_has_taken_yet_can_be_cancelled(tmp_path: Path) -> None:
    world = World()
    book = JobBook(tmp_path, world)
    job = await book.submit(plan(make("a")), detached=True)
    book.cancel(job.id)
    assert (await book.wait(job.id)).state is JobState.CANCELLED
    assert world.calls == []
    await book.close()


async def test_who_looks_sees_what_other_processes_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vigil, "WATCH_EVERY", 0.01)
    world = World()
    first, second = JobBook(tmp_path, world), JobBook(tmp_path, world)
    await second.open()
    seen: list[tuple[str, JobState]] = []
    over = asyncio.Event()

    def told(job: Job) -> None:
        seen.append((job.id, job.state))
        if job.state is JobState.DONE:
            over.set()

    second.subscribe(told)
    job = await first.submit(plan(make("a")))
    async with asyncio.timeout(20):
        await over.wait()
    assert seen[-1] == (job.id, JobState.DONE)
    await first.close()
    await second.close()


async def test_a_journal_that_fails_stops_its_jobs_and_they_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    book = JobBook(tmp_path, world)
    await book.open()
    save = Journal.save

    async def failing(self: Journal, job: Job, *args: Any, **more: Any) -> None:
        if world.calls:
            raise StoreError("the journal can't be used: disk full")
        await save(self, job, *args, **more)

    monkeypatch.setattr(Journal, "save", failing)
    job = await book.wait((await book.submit(plan(make("a"), make("b")))).id)
    assert (job.state, job.error) == (JobState.INTERRUPTED, "the journal can't be used: disk full")
    assert world.things == {"a"}
    monkeypatch.setattr(Journal, "save", save)
    await book.resume(job.id)
    assert (await book.wait(job.id)).state is JobState.DONE
    assert world.things == {"a", "b"}
    await book.close()


async def test_a_journal_of_the_version_before_is_made_new(tmp_path: Path) -> None:
    book = JobBook(tmp_path, World())
    job = await book.wait((await book.submit(plan(make("a")))).id)
    await book.close()
    with sqlite3.connect(tmp_path / "jobs.db") as raw:
        raw.executescript(
            "ALTER TABLE jobs DROP COLUMN before; DROP TRIGGER audit_no_replace; DROP TABLE claims;"
            "UPDATE virtfleet_version SET version = 1"
        )
    book = JobBook(tmp_path, World())
    await book.open()
    assert book.get(job.id) == job
    with (
        sqlite3.connect(tmp_path / "jobs.db") as raw,
        pytest.raises(sqlite3.IntegrityError, match="append-only"),
    ):
        raw.execute("INSERT OR REPLACE INTO audit SELECT * FROM audit")
    await book.close()


async def test_text_that_can_not_be_written_down_is_refused(tmp_path: Path) -> None:
    book = JobBook(tmp_path, World())
    with pytest.raises(RefusedError, match="not Unicode"):
        await book.submit(plan(make("\udc80")))
    assert book.jobs == ()
    await book.close()


_TAKER = """
import asyncio, sys
from pathlib import Path
from unit.job_worlds import World
from virtfleet.errors import RefusedError
from virtfleet.jobs.book import JobBook

async def main():
    world = World()
    book = JobBook(Path(sys.argv[1]), world)
    await book.open()
    sys.stdin.readline()
    try:
        await book.resume(sys.argv[2])
    except RefusedError:
        pass
    print(len(world.calls), (await book.wait(sys.argv[2])).state, len(world.calls), flush=True)
    await book.close()

asyncio.run(main())
"""


def _python(script: str, *args: str) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(root / each) for each in ("core", "tests"))}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *args],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def test_of_many_processes_that_want_a_job_one_runs_it(tmp_path: Path) -> None:
    book = JobBook(tmp_path, World())
    job = await book.submit(plan(make("a"), make("b")), detached=True)
    await book.close()
    takers = [_python(_TAKER, str(tmp_path), job.id) for _ in range(4)]
    answers = await asyncio.gather(*(asyncio.to_thread(each.communicate, "go\n", 120) for each in takers))
    words = [out.split() for out, _ in answers]
    assert [each.returncode for each in takers] == [0] * 4, answers
    assert [word[1] for word in words] == ["done"] * 4
    assert sorted(int(word[2]) for word in words) == [0, 0, 0, 2]


def test_who_asks_is_a_person_also_behind_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "bob")
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    assert whoami().startswith("bob@")
    assert origin_of("command line") == "command line"
