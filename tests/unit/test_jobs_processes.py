"""Several processes on one journal."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from unit.job_worlds import World, make, plan
from virtfleet.errors import RefusedError
from virtfleet.jobs.book import JobBook
from virtfleet.model.job import JobState, StepState

ROOT = Path(__file__).parents[2]


def _start(folder: Path, *words: str) -> subprocess.Popen[str]:
    path = os.pathsep.join(str(ROOT / each) for each in ("core", "tests"))
    return subprocess.Popen(
        [sys.executable, "-m", "unit.job_process", str(folder), *words],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _ends(process: subprocess.Popen[str]) -> str:
    told, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return told


def _until(holds: Callable[[], bool]) -> None:
    """The time limit of the test ends it otherwise."""
    while not holds():
        time.sleep(0.02)


def _held(folder: Path) -> tuple[subprocess.Popen[str], str]:
    """A process in the midst of its job's second step, and the job's id."""
    process = _start(folder, "hold")
    assert process.stdout is not None
    number = process.stdout.readline().strip()
    _until((folder / "held").exists)
    return process, number


def _kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)


def test_many_that_begin_at_once_share_a_new_journal(tmp_path: Path) -> None:
    processes = [_start(tmp_path, "submit", "5") for _ in range(4)]
    told = [_ends(process).split() for process in processes]
    assert {words[0] for words in told} == {"done"}
    ids = [number for words in told for number in words[1:]]
    assert len(ids) == len(set(ids)) == 20
    assert len((tmp_path / "deeds").read_text().splitlines()) == 20


def test_an_interrupted_job_is_gone_on_with_by_one_of_many(tmp_path: Path) -> None:
    process, number = _held(tmp_path)
    _kill(process)
    (tmp_path / "deeds").unlink()
    rivals = [_start(tmp_path, "resume", number) for _ in range(4)]
    _until((tmp_path / "deeds").exists)
    _until(lambda: sum(rival.poll() is not None for rival in rivals) == 3)
    winner = next(rival for rival in rivals if rival.poll() is None)
    assert [_ends(rival).strip() for rival in rivals if rival is not winner] == ["refused"] * 3
    assert (tmp_path / "deeds").read_text().splitlines() == ["make held"]
    _kill(winner)


async def test_a_job_of_a_killed_process_is_taken_back(tmp_path: Path) -> None:
    process, number = _held(tmp_path)
    book = JobBook(tmp_path, World())
    await book.open()
    assert book.get(number).state is JobState.RUNNING
    with pytest.raises(RefusedError, match="is running"):
        await book.roll_back(number)
    _kill(process)
    await book.open()
    assert book.get(number).state is JobState.INTERRUPTED
    await book.roll_back(number)
    assert (await book.wait(number)).state is JobState.CANCELLED
    await book.close()


def test_another_process_cancels(tmp_path: Path) -> None:
    process, number = _held(tmp_path)
    _ends(_start(tmp_path, "cancel", number))
    assert _ends(process).strip() == "cancelled"
    assert (tmp_path / "deeds").read_text().splitlines()[2:] == ["unmake held", "unmake first"]
    assert not (tmp_path / "first").exists()


async def test_a_job_that_nobody_took_yet_is_cancelled_by_whoever_asks(tmp_path: Path) -> None:
    world = World()
    first, second = JobBook(tmp_path, world), JobBook(tmp_path, world)
    job = await first.submit(plan(make("a")), detached=True)
    await second.find(job.id)
    second.cancel(job.id)
    assert (await first.wait(job.id)).state is JobState.CANCELLED
    assert world.calls == []
    await first.close()
    await second.close()


async def test_a_job_that_another_process_took_is_left_alone(tmp_path: Path) -> None:
    """As after a machine slept so long that it counted as gone."""
    world, other = World(), World()
    world.hold = asyncio.Event()
    first, second = JobBook(tmp_path, world), JobBook(tmp_path, other)
    acts = asyncio.Event()
    first.subscribe(lambda job: acts.set() if job.records[0].state is StepState.BEGUN else None)
    job = await first.submit(plan(make("a"), make("b")))
    await acts.wait()
    assert first._owner is not None
    first._owner.close()  # nobody holds its file any more
    await second.open()
    await second.resume(job.id)
    assert (await second.wait(job.id)).state is JobState.DONE
    world.hold.set()
    assert (await first.wait(job.id)).state is JobState.DONE
    assert [name for _, name, *_ in world.calls] == ["a"]
    await first.close()
    await second.close()
