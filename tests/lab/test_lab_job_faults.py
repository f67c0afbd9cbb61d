"""What befalls a host in the middle of a job's step: it hangs, it loses power, its worker is killed.

However it goes, the job ends by itself with a reason; and when the host is back, what it left is either
completed or taken away.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from lab.fleet import Lab
from lab.fleet import Plan as LabPlan
from lab.jobsite import JobSite, begun, is_done, job_site
from virtfleet.jobs import executor
from virtfleet.model import HostState
from virtfleet.model.action import CreateSnapshot, DeleteVm, ResizeVm, TagVm
from virtfleet.model.job import Job, JobState, StepState

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

DEADLINE = 3.0
"""Seconds that the steps have here: who waits for a minute learns nothing more."""


@pytest.fixture(scope="module")
def small_lab(lab_machine: None) -> Iterator[Lab]:
    with Lab.start(LabPlan(hosts=1, guests=0, off=1, containers=0, shared=False)) as built:
        yield built


@pytest_asyncio.fixture
async def site(small_lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[JobSite]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    async with job_site(small_lab) as made:
        yield made
    small_lab.heal()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs wait for a lost host for two seconds."""
    monkeypatch.setattr(executor, "HOST_BACK", 2.0)


async def waits(site: JobSite, job: Job) -> str:
    """Until the job says that it waits for its host; the id of the step that is under way."""
    jobs = site.engine.jobs

    def step() -> str:
        now = jobs.get(job.id)
        under_way = [each.id for each in now.records if each.state is StepState.BEGUN]
        return under_way[0] if under_way and now.progress.text.startswith("waiting for hv1: ") else ""

    await site.watched.until(lambda: bool(step()), "the job waits", timeout=60)
    return step()


async def until_answers(site: JobSite) -> None:
    await site.watched.until_state("hv1", HostState.UP, timeout=60)
    await site.watched.until_fresh("hv1")


def is_whole(site: JobSite) -> bool:
    """Whether the image on the host is the one that was sent, byte for byte."""
    (name,) = [each for each in site.volumes() if each.startswith("virtfleet-")]
    sent = hashlib.sha256(site.lab.image.read_bytes()).hexdigest()
    return hashlib.sha256(site.host.inside(f"/srv/local/{name}").read_bytes()).hexdigest() == sent


def definition(site: JobSite, name: str) -> str:
    """Without the empty place that a claim leaves behind."""
    return site.xml(name).replace("  <metadata/>\n", "")


def moving(job: Job) -> bool:
    return job.progress.done > 0


async def test_frozen_in_three_steps_and_thawed_it_is_done_once(site: JobSite) -> None:
    names, volumes, _ = site.left()
    plan = await site.plan(site.creation("new"), DEADLINE)
    for step in ("image-0", "disk", "define"):
        site.when(begun(step), site.host.freeze_libvirtd)
    job = await site.engine.jobs.submit(plan)
    for step in ("image-0", "disk", "define"):
        assert await waits(site, job) == step
        site.host.thaw_libvirtd()
        await site.watched.until(lambda step=step: is_done(step)(site.engine.jobs.get(job.id)), "it goes on")  # type: ignore[misc]
    ended = await site.engine.jobs.wait(job.id)
    assert ended.state is JobState.DONE, ended.error
    assert is_whole(site)
    after, disks, claimed = site.left()
    assert after == names | {"new"}
    assert {each for each in disks - volumes if not each.startswith("virtfleet-")} == {
        "new.qcow2",
        "new-seed.iso",
    }
    assert claimed == []


Fault = Callable[[JobSite], None]
FAULTS: dict[str, tuple[Fault, Fault]] = {
    "frozen": (lambda site: site.host.freeze_libvirtd(), lambda site: site.host.thaw_libvirtd()),
    "off": (lambda site: site.host.power_off(), lambda site: site.host.power_on()),
}


@pytest.mark.parametrize(
    ("fault", "where"), [("frozen", "image-0"), ("frozen", "define"), ("off", "image-0"), ("off", "disk")]
)
async def test_a_host_that_stays_away_ends_the_job_and_nothing_is_left_when_it_is_back(
    site: JobSite, impatient: None, fault: str, where: str
) -> None:
    strike, mend = FAULTS[fault]
    before = site.left()
    plan = await site.plan(site.creation("new"), DEADLINE)
    if where == "image-0":
        site.host.slow_link(40_000)
    occasion = begun(where) if where != "image-0" else moving
    site.when(occasion, lambda: strike(site))
    job = await site.engine.jobs.submit(plan)
    ended = await site.engine.jobs.wait(job.id)
    assert ended.state is JobState.BROKEN
    assert ended.error.startswith("hv1 was not back within 2 s: ")
    assert "not all could be taken back" in ended.error
    assert f"job rollback {job.id}" in ended.cure
    mend(site)
    if where == "image-0":
        site.host.slow_link(None)
    await until_answers(site)
    await site.engine.jobs.roll_back(job.id)
    ended = await site.engine.jobs.wait(job.id)
    assert ended.state is JobState.CANCELLED, ended.error
    whole = {each for each in site.volumes() if each.startswith("virtfleet-")}
    names, volumes, claimed = site.left()
    assert (names, claimed) == (before[0], [])
    if where == "image-0":
        assert volumes == before[1]
    else:  # the image was there and whole: it is kept for the next
        assert volumes - whole == before[1] - whole
        assert is_whole(site)


async def test_power_lost_in_an_upload_and_back_in_time_it_goes_on(site: JobSite) -> None:
    site.host.slow_link(40_000)
    site.when(moving, site.host.power_off)
    job = await site.begin(site.creation("new"), DEADLINE)
    await waits(site, job)
    site.host.power_on()
    ended = await site.engine.jobs.wait(job.id)
    assert ended.state is JobState.DONE, ended.error
    assert is_whole(site)
    assert "new" in site.names()
    assert site.left()[2] == []


async def test_power_lost_in_a_change_the_vm_is_as_it_was_or_as_it_shall_be(
    site: JobSite, impatient: None
) -> None:
    """And a claim that stood there when the host died does not keep its owner out."""
    (name,) = site.names()
    was = definition(site, name)
    for action, step in (
        (ResizeVm(vm=site.ref(name), vcpus=2), "resize"),
        (CreateSnapshot(vm=site.ref(name), name="s"), "snapshot"),
    ):
        site.when(begun(step), site.host.power_off)
        job = await site.begin(action, DEADLINE)
        ended = await site.engine.jobs.wait(job.id)
        assert ended.state is JobState.BROKEN
        site.host.power_on()
        await until_answers(site)
        await site.engine.jobs.roll_back(job.id)
        ended = await site.engine.jobs.wait(job.id)
        assert ended.state is JobState.CANCELLED, ended.error
        assert definition(site, name) == was
        assert site.host.virsh(f"snapshot-list {name} --name").split() == []


async def test_a_deletion_that_the_host_interrupts_is_resumed(site: JobSite, impatient: None) -> None:
    before = site.left()
    assert (await site.do(site.creation("doomed"))).state is JobState.DONE
    await site.watched.until(lambda: len(site.watched.host("hv1").vms) == 2, "it is seen")
    await site.watched.until(
        lambda: any(each.name == "doomed.qcow2" for each in site.watched.host("hv1").volumes), "its disk"
    )
    plan = await site.plan(DeleteVm(vm=site.ref("doomed"), volumes="own"), DEADLINE)
    final = next(step for step in plan.steps if step.final)
    site.when(begun(final.id), site.host.power_off)
    job = await site.engine.jobs.submit(plan)
    ended = await site.engine.jobs.wait(job.id)
    assert ended.state is JobState.BROKEN
    assert ended.error.startswith("hv1 was not back within 2 s: ")
    site.host.power_on()
    await until_answers(site)
    await site.engine.jobs.resume(job.id)
    ended = await site.engine.jobs.wait(job.id)
    assert ended.state is JobState.DONE, ended.error
    names, volumes, _ = site.left()
    assert names == before[0]
    assert {each for each in volumes if not each.startswith("virtfleet-")} == before[1]


async def test_a_worker_that_is_killed_in_every_step_costs_time_alone(site: JobSite) -> None:
    names, volumes, _ = site.left()
    plan = await site.plan(site.creation("new"))
    loop = asyncio.get_running_loop()
    for step in plan.steps:
        site.when(begun(step.id), lambda: loop.call_later(0.01, site.kill_worker))
    ended = await site.engine.jobs.wait((await site.engine.jobs.submit(plan)).id)
    assert ended.state is JobState.DONE, ended.error
    after, disks, claimed = site.left()
    assert (after, claimed) == (names | {"new"}, [])
    assert {each for each in disks - volumes if not each.startswith("virtfleet-")} == {
        "new.qcow2",
        "new-seed.iso",
    }
    assert is_whole(site)


async def test_a_vm_that_vanishes_between_two_steps_is_told_so(site: JobSite) -> None:
    (name,) = site.names()
    site.when(begun("metadata"), lambda: site.host.virsh(f"undefine {name}"))
    ended = await site.do(TagVm(vm=site.ref(name), add=("x",)))
    assert ended.state is JobState.FAILED
    assert "the VM is no longer on this host" in ended.error
    assert site.names() == set()
