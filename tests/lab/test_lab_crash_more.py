"""SIGKILL of the console in every step of an edit and of a snapshot's making, reverting and deleting."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from lab.fleet import Lab
from lab.fleet import Plan as LabPlan
from lab.jobsite import JobSite, job_site
from virtfleet.errors import RefusedError
from virtfleet.model.action import (
    Action,
    CreateSnapshot,
    DeleteSnapshot,
    EditVm,
    RevertSnapshot,
    SetAutostart,
    TagVm,
)
from virtfleet.model.job import Job, JobState, StepState

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
NAME = "hv1-vm1"
_MOST = 24


@pytest.fixture(scope="module")
def small_lab(lab_machine: None) -> Iterator[Lab]:
    with Lab.start(LabPlan(hosts=1, guests=0, off=1, containers=0, shared=False)) as built:
        yield built


@pytest_asyncio.fixture
async def site(small_lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[JobSite]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    async with job_site(small_lab) as made:
        yield made
    for name in snapshots(made):
        made.host.virsh(f"snapshot-delete {NAME} {name}")
    small_lab.heal()


def snapshots(site: JobSite) -> list[str]:
    return sorted(site.host.virsh(f"snapshot-list {NAME} --name").split())


def in_disk(site: JobSite) -> list[str]:
    """Snapshots that the disk itself has: one without a definition would be an orphan."""
    listed = site.host.exec(["qemu-img", "snapshot", "-l", f"/srv/local/{NAME}.qcow2"], check=True).stdout
    return sorted(line.split()[1] for line in listed.splitlines()[2:])


def definition(site: JobSite) -> str:
    return site.xml(NAME).replace("  <metadata/>\n", "")


async def crashed(site: JobSite, action: Action, number: int, when: str) -> int:
    """The exit status of a process that is killed at its n-th word."""
    path = os.pathsep.join(str(ROOT / each) for each in ("core", "tui", "tests"))
    words = [str(site.lab.fleet_file), msgspec.json.encode(action).decode(), str(number), when]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "lab.crashing", *words, env=os.environ | {"PYTHONPATH": path},
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    return await asyncio.wait_for(process.wait(), 120)


async def at_every_word(
    site: JobSite,
    make: Callable[[], Awaitable[Action]],
    start: Callable[[], Awaitable[None]],
    judge: Callable[[str], None],
) -> set[tuple[JobState, bool]]:
    """Kills it before and after each word, then resumes or rolls back; `judge("goal")` or `judge("start")`.

    Between the word that a step begins and the word that it is done, both are
    tried. Returns how its jobs ended, and whether they went forward.
    """
    book = site.engine.jobs
    seen: set[tuple[JobState, bool]] = set()
    for number in range(1, _MOST):
        # Killed after a word that begins a step, it has not acted; before the word that ends it, it has.
        when = "after" if number % 2 == 0 else "before"
        directions = [number % 4 < 2]
        while directions:
            forward = directions.pop()
            await start()
            known = {each.id for each in book.jobs}
            status = await crashed(site, await make(), number, when)
            await book.open()
            if status == 0:  # it has not so many words
                judge("goal")
                return seen
            assert status == -signal.SIGKILL
            (job,) = [each for each in book.jobs if each.id not in known]
            if job.state is JobState.DONE:  # its last word was written
                judge("goal")
                continue
            assert job.state is JobState.INTERRUPTED, (number, when)
            final = _is_final(job)
            if _is_uncertain(job) and forward == (number % 4 < 2):
                directions.append(not forward)
            if final and not forward:
                with pytest.raises(RefusedError, match="no way back"):
                    await book.roll_back(job.id)
            goal = forward or final
            await (book.resume(job.id) if goal else book.roll_back(job.id))
            ended = await book.wait(job.id)
            wanted = JobState.DONE if goal else JobState.CANCELLED
            assert ended.state is wanted, (number, when, forward, ended.error)
            judge("goal" if goal else "start")
            assert site.left()[2] == []
            seen.add((ended.state, goal))
    raise AssertionError("it never ended by itself")


def _is_final(job: Job) -> bool:
    steps = zip(job.plan.steps, job.records, strict=True)
    return any(step.final and record.state is not StepState.PENDING for step, record in steps)


def _is_uncertain(job: Job) -> bool:
    """Whether nobody knows if the step that it is about has acted."""
    steps = zip(job.plan.steps, job.records, strict=True)
    return any(
        record.state is StepState.BEGUN and step.op not in ("vm.claim", "vm.release")
        for step, record in steps
    )


BOTH = {(JobState.DONE, True), (JobState.CANCELLED, False)}


async def edited(site: JobSite, old: str, new: str) -> EditVm:
    given = await site.engine.request("hv1", "vm.edited", {"uuid": site.vm(NAME).uuid}, 20.0)
    assert old in given["xml"]
    return EditVm(vm=site.ref(NAME), xml=given["xml"].replace(old, new), was=given["was"])


async def test_edit(site: JobSite) -> None:
    was = definition(site)
    old, new = "<on_crash>destroy</on_crash>", "<on_crash>restart</on_crash>"

    async def start() -> None:
        if definition(site) != was:
            assert (await site.do(await edited(site, new, old))).state is JobState.DONE
        assert definition(site) == was

    def judge(where: str) -> None:
        assert definition(site) == (was if where == "start" else was.replace(old, new))

    assert await at_every_word(site, lambda: edited(site, old, new), start, judge) == BOTH


async def test_snapshot_create(site: JobSite) -> None:
    async def start() -> None:
        for name in snapshots(site):
            site.host.virsh(f"snapshot-delete {NAME} {name}")

    async def make() -> Action:
        return CreateSnapshot(vm=site.ref(NAME), name="s")

    def judge(where: str) -> None:
        assert snapshots(site) == in_disk(site) == (["s"] if where == "goal" else [])

    assert await at_every_word(site, make, start, judge) == BOTH


async def test_snapshot_delete(site: JobSite) -> None:
    async def start() -> None:
        if not snapshots(site):
            site.host.virsh(f"snapshot-create-as {NAME} s")

    async def make() -> Action:
        return DeleteSnapshot(vm=site.ref(NAME), snapshot="s")

    def judge(where: str) -> None:
        assert snapshots(site) == in_disk(site) == ([] if where == "goal" else ["s"])

    assert await at_every_word(site, make, start, judge) == BOTH


async def test_snapshot_revert(site: JobSite) -> None:
    """The disk is as it was then; what virtfleet itself knows of the VM stays as it is now."""
    site.host.virsh(f"snapshot-create-as {NAME} s")
    assert (await site.do(TagVm(vm=site.ref(NAME), add=("later",)))).state is JobState.DONE

    def disk(command: str) -> str:
        argv = ["qemu-io", "-c", f"{command} -P 120 0 512", f"/srv/local/{NAME}.qcow2"]
        return site.host.exec(argv).stdout

    async def start() -> None:
        assert "wrote 512" in disk("write")

    async def make() -> Action:
        return RevertSnapshot(vm=site.ref(NAME), snapshot="s")

    def judge(where: str) -> None:
        assert ("Pattern verification failed" in disk("read")) == (where == "goal")
        assert ">later<" in site.xml(NAME)

    assert await at_every_word(site, make, start, judge) == BOTH


async def test_reverting_does_not_bring_back_a_claim_nor_an_older_project(site: JobSite) -> None:
    assert (await site.do(CreateSnapshot(vm=site.ref(NAME), name="s"))).state is JobState.DONE
    assert (await site.do(TagVm(vm=site.ref(NAME), add=("later",)))).state is JobState.DONE
    await site.watched.until(lambda: site.vm(NAME).info.snapshots == 1, "the snapshot is seen")
    reverted = await site.do(RevertSnapshot(vm=site.ref(NAME), snapshot="s"))
    assert reverted.state is JobState.DONE, reverted.error
    assert site.left()[2] == []
    assert ">later<" in site.xml(NAME)
    after = await site.do(SetAutostart(vm=site.ref(NAME), on=False))
    assert after.state is JobState.DONE, after.error


async def test_a_snapshot_of_that_name_that_was_there_is_not_ours(site: JobSite) -> None:
    """Killed between the word and the deed, neither resuming nor rolling back takes it for its own."""
    site.host.virsh(f"snapshot-create-as {NAME} mine --description precious")
    for forward in (False, True):
        words = 0
        for number in range(2, 12, 2):
            book = site.engine.jobs
            await book.open()
            known = {each.id for each in book.jobs}
            status = await crashed(site, CreateSnapshot(vm=site.ref(NAME), name="mine"), number, "after")
            if status != -signal.SIGKILL:
                break
            words += 1
            await book.open()
            (job,) = [each for each in book.jobs if each.id not in known]
            if job.state is JobState.INTERRUPTED:
                await (book.resume(job.id) if forward else book.roll_back(job.id))
                ended = await book.wait(job.id)
                assert ended.state is (JobState.FAILED if forward else JobState.CANCELLED)
            assert snapshots(site) == ["mine"]
            assert "precious" in site.host.virsh(f"snapshot-dumpxml {NAME} mine")
        assert words >= 2


async def test_deleting_or_reverting_to_one_that_is_not_there_is_refused(site: JobSite) -> None:
    site.host.virsh(f"snapshot-create-as {NAME} s")
    assert (await site.do(TagVm(vm=site.ref(NAME), add=("look",)))).state is JobState.DONE
    await site.watched.until(lambda: bool(site.vm(NAME).info.snapshots), "the snapshot is seen")
    for action in (
        DeleteSnapshot(vm=site.ref(NAME), snapshot="../s"),
        RevertSnapshot(vm=site.ref(NAME), snapshot='it\'s\n"s"'),
    ):
        ended = await site.do(action)
        assert ended.state is JobState.FAILED
        assert "has no snapshot" in ended.error
    assert snapshots(site) == ["s"]
