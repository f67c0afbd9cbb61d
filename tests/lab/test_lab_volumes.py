"""Volumes on a real host: made where there is room, grown, copied, brought and fetched, given to VMs; and the
faults that belong to that. The host has a second pool, on a small file system of its own."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from msgspec.structs import replace

from lab.fleet import Lab
from lab.fleet import Plan as LabPlan
from lab.jobsite import JobSite, job_site
from virtfleet.config.load import load
from virtfleet.config.settings import PoolSelector, Project, Quota, VolumeType
from virtfleet.engine import Engine
from virtfleet.errors import RefusedError
from virtfleet.model import Volume
from virtfleet.model.action import Action, FileRef
from virtfleet.model.action_volumes import (
    AttachVolume,
    CloneVolume,
    CreateVolume,
    DeleteVolume,
    DetachVolume,
    DownloadVolume,
    ExtendVolume,
    UploadVolume,
    VolumeRef,
)
from virtfleet.model.job import Job, JobState

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

MIB = 1 << 20
ROOT = Path(__file__).parents[2]
ON, OFF = "hv1-vm1", "hv1-vm2"
SMALL = 48 * MIB


@pytest.fixture(scope="module")
def volume_lab(lab_machine: None) -> Iterator[Lab]:
    with Lab.start(LabPlan(hosts=1, guests=1, off=1, containers=0, shared=False)) as built:
        host = built.hosts["hv1"]
        host.exec(["mkdir", "-p", "/srv/small"], check=True)
        host.exec(["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", "/srv/small"], check=True)
        host.virsh("pool-define-as small dir --target /srv/small", "pool-start small")
        yield built
        host.virsh("pool-destroy small", "pool-undefine small")
        host.exec(["umount", "/srv/small"], check=True)


@pytest_asyncio.fixture
async def site(volume_lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[JobSite]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    async with job_site(volume_lab) as made:
        made.engine.settings = replace(
            made.engine.settings,
            volume_types={
                "thin": VolumeType(pools=PoolSelector(names=("local",))),
                "thick": VolumeType(pools=PoolSelector(names=("small", "local")), provisioning="thick"),
                "small": VolumeType(pools=PoolSelector(names=("small",)), provisioning="thick"),
            },
            projects={"web": Project(quota=Quota(volumes=2, capacity=20 * MIB))},
        )
        before = made.volumes(), made.volumes("small")
        yield made
        for pool, kept in zip(("local", "small"), before, strict=True):
            for name in made.volumes(pool) - kept:
                for vm in (ON, OFF):
                    for flag in ("--config", "--live"):
                        words = ["virsh", "detach-disk", vm, f"/srv/{pool}/{name}", flag]
                        made.host.exec(words)
                made.host.virsh(f"vol-delete {name} --pool {pool}")


def ref(name: str, pool: str = "local") -> VolumeRef:
    return VolumeRef("hv1", pool, name)


def seen(site: JobSite, name: str, pool: str = "local") -> Volume | None:
    view = site.watched.host("hv1")
    return next((each for each in view.volumes if (each.pool, each.name) == (pool, name)), None)


async def shown(site: JobSite, name: str, pool: str = "local", size: int | None = None) -> None:
    await site.watched.until(
        lambda: (each := seen(site, name, pool)) is not None and size in (None, each.capacity),
        f"{pool}/{name} of {size} is seen",
    )


async def done(site: JobSite, action: Action) -> Job:
    job = await site.do(action)
    assert job.state is JobState.DONE, job.error
    return job


def size(site: JobSite, name: str, pool: str = "local") -> tuple[int, int]:
    """Capacity and allocation, as the host has them."""
    told = site.host.virsh(f"vol-info {name} --pool {pool} --bytes")
    found = [int(line.split()[1]) for line in told.splitlines() if line.split()[-1] == "bytes"]
    return found[0], found[1]


# ---- create


async def test_thin_and_thick_ones_of_both_formats(site: JobSite) -> None:
    for name, form, kind in (
        ("a", "qcow2", ""),
        ("b", "raw", ""),
        ("c", "raw", "thick"),
        ("d", "qcow2", "thick"),
    ):
        await done(
            site,
            CreateVolume(name=name, size=8 * MIB, pool="local", host="hv1", type=kind, format=form),  # type: ignore[arg-type]
        )
        capacity, allocation = size(site, name)
        assert capacity == 8 * MIB
        assert (allocation >= 8 * MIB) == (kind == "thick"), (name, allocation)
        assert f"type='{form}'" in site.host.virsh(f"vol-dumpxml {name} --pool local")


async def test_what_can_not_be_is_refused_with_the_reason(site: JobSite) -> None:
    local: dict[str, Any] = {"pool": "local", "host": "hv1"}
    for action, says in (
        (CreateVolume(name=f"{OFF}.qcow2", size=MIB, **local), "is in pool local on hv1 already"),
        (CreateVolume(name="a/b", size=MIB, **local), "slash"),
        (CreateVolume(name="x", size=1000, **local), "no whole sectors"),
        (
            CreateVolume(name="x", size=MIB, pool="nil", host="hv1"),
            "hv1 has no pool nil .there: local, small",
        ),
        (CreateVolume(name="x", size=MIB, type="nil"), "no volume type nil .there: thin, thick, small"),
        (CreateVolume(name="x", size=64 * MIB, type="small"), "hv1/small: 48.0M left, 64.0M asked for"),
        (CreateVolume(name="x", size=21 * MIB, project="web", **local), "20.0M of volumes"),
        (ExtendVolume(volume=ref(f"{OFF}.qcow2"), size=MIB), "extending never shrinks"),
        (DeleteVolume(volume=ref(f"{OFF}.qcow2")), f"{OFF}@hv1 has it"),
        (CloneVolume(volume=ref(f"{ON}.qcow2"), name="x"), f"{ON}@hv1 runs and writes to it"),
        (DownloadVolume(volume=ref(f"{ON}.qcow2"), path="/tmp/x"), "runs and writes to it"),
        (AttachVolume(vm=site.ref(ON), volume=ref(f"{OFF}.qcow2")), f"{OFF}@hv1 has it"),
    ):
        with pytest.raises(RefusedError, match=says):
            await site.engine.plan(action)


async def test_a_pool_that_fails_in_the_middle_gives_way_to_the_next(site: JobSite) -> None:
    """The small one is packed first; when its turn comes it is full, which nobody has seen yet."""
    weights = replace(site.engine.settings.scheduler.volume_weights, capacity=-1.0)
    scheduler = replace(site.engine.settings.scheduler, volume_weights=weights)
    site.engine.settings = replace(site.engine.settings, scheduler=scheduler)
    plan = await site.plan(CreateVolume(name="fall", size=30 * MIB, type="thick"))
    assert plan.title == "create volume fall in small on hv1"
    site.host.exec(["fallocate", "-l", str(30 * MIB), "/srv/small/filler"], check=True)
    try:
        first = await site.engine.apply(plan)
        ended = await site.engine.finished(first.id)
        assert ended.state is JobState.DONE, ended.error
        assert ended.title == "create volume fall in local on hv1"
        assert "small on hv1: " in ended.plan.reasons[0].text
        assert "full" in ended.plan.reasons[0].text
        assert "fall" not in site.volumes("small")
        assert "fall" in site.volumes()
    finally:
        site.host.exec(["rm", "/srv/small/filler"], check=True)


# ---- delete, clone, extend


async def test_delete_and_what_keeps_one(site: JobSite) -> None:
    await done(site, CreateVolume(name="base", size=MIB, pool="local", host="hv1"))
    await shown(site, "base")
    plan = await site.plan(DeleteVolume(volume=ref("base")))
    site.host.virsh(
        "vol-create-as local over 1M --format qcow2 --backing-vol base --backing-vol-format qcow2"
    )
    job = await site.engine.apply(plan)  # nobody of ours has seen the overlay yet
    ended = await site.engine.jobs.wait(job.id)
    assert (ended.state, "over stands on volume base" in ended.error) == (JobState.FAILED, True), ended.error
    await shown(site, "over")
    with pytest.raises(RefusedError, match="local/over stands on it"):
        await site.engine.plan(DeleteVolume(volume=ref("base")))
    await done(site, DeleteVolume(volume=ref("over")))
    await done_when_possible(site, DeleteVolume(volume=ref("base")))
    assert not {"base", "over"} & site.volumes()


async def done_when_possible(site: JobSite, action: DeleteVolume) -> None:
    await site.watched.until(lambda: seen(site, "over") is None, "the overlay is no longer seen")
    await done(site, action)


async def test_clone_flattens_and_keeps_what_is_in_it(site: JobSite) -> None:
    await done(site, CloneVolume(volume=ref(f"{OFF}.qcow2"), name="copy"))
    told = site.host.virsh("vol-dumpxml copy --pool local")
    assert "backingStore" not in told
    paths = [f"/srv/local/{OFF}.qcow2", "/srv/local/copy"]
    assert site.host.exec(["qemu-img", "compare", *paths]).returncode == 0


async def test_extend_off_and_while_a_vm_runs_on_it(site: JobSite) -> None:
    await done(site, CreateVolume(name="grow", size=4 * MIB, pool="local", host="hv1", format="raw"))
    await shown(site, "grow", size=4 * MIB)
    await done(site, ExtendVolume(volume=ref("grow"), size=8 * MIB))
    assert size(site, "grow")[0] == 8 * MIB
    await shown(site, "grow", size=8 * MIB)
    await done(site, AttachVolume(vm=site.ref(ON), volume=ref("grow")))
    path = "/srv/local/grow"
    await site.watched.until(lambda: path in [d.source for d in site.vm(ON).info.disks], "the disk is seen")
    job = await done(site, ExtendVolume(volume=ref("grow"), size=16 * MIB))
    assert job.records[0].result["through"] == ON
    target = next(disk.target for disk in site.vm(ON).info.disks if disk.source == path)
    assert f"{16 * MIB}" in site.host.virsh(f"domblkinfo {ON} {target}")
    assert size(site, "grow")[0] == 16 * MIB


async def test_of_two_operators_who_extend_one_volume_one_is_refused(site: JobSite, volume_lab: Lab) -> None:
    await done(site, CreateVolume(name="two", size=4 * MIB, pool="local", host="hv1"))
    await shown(site, "two", size=4 * MIB)
    other = Engine(load(volume_lab.fleet_file), keep_history=False)
    await other.start()
    try:
        await other.settled(("stats", "facts", "pools", "volumes", "networks"), timeout=30.0)
        sizes = (8 * MIB, 12 * MIB)
        engines = (site.engine, other)
        plans = [
            await engine.plan(ExtendVolume(volume=ref("two"), size=each))
            for engine, each in zip(engines, sizes, strict=True)
        ]
        jobs = [await engine.apply(plan) for engine, plan in zip(engines, plans, strict=True)]
        ended = [await engine.jobs.wait(job.id) for engine, job in zip(engines, jobs, strict=True)]
    finally:
        await other.stop()
    assert sorted(each.state.value for each in ended) == ["done", "failed"]
    won = next(each for each, job in zip(sizes, ended, strict=True) if job.state is JobState.DONE)
    lost = next(job for job in ended if job.state is JobState.FAILED)
    assert f"has {won} bytes now, not {4 * MIB}: somebody else has changed it" in lost.error
    assert size(site, "two")[0] == won


async def test_a_quota_holds_for_volumes_that_no_vm_has(site: JobSite) -> None:
    """Two plans that fit one by one, made of one snapshot: the second is refused when it is written down."""
    actions = [
        CreateVolume(name=name, size=12 * MIB, pool="local", host="hv1", project="web")
        for name in ("q1", "q2")
    ]
    plans = [await site.plan(each) for each in actions]
    first = await site.engine.apply(plans[0])
    with pytest.raises(RefusedError, match="project web may have"):
        await site.engine.apply(plans[1])
    assert (await site.engine.jobs.wait(first.id)).state is JobState.DONE
    await shown(site, "q1")
    with pytest.raises(RefusedError, match="project web may have"):
        await site.engine.plan(ExtendVolume(volume=ref("q1"), size=24 * MIB))
    await done(site, DeleteVolume(volume=ref("q1")))
    await site.watched.until(lambda: seen(site, "q1") is None, "it is no longer seen")
    await done(site, actions[1])


# ---- upload, download


def sparse(path: Path, length: int = 256 * MIB) -> str:
    """A file of two pieces of data and holes between and after; returns its SHA-256."""
    with path.open("wb") as file:
        file.write(os.urandom(3 * MIB))
        file.seek(100 * MIB)
        file.write(os.urandom(2 * MIB + 4096))
        file.truncate(length)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def upload(path: Path, name: str, pool: str = "local", **more: object) -> UploadVolume:
    file = FileRef(str(path), "", path.stat().st_size)
    return UploadVolume(file=file, name=name, pool=pool, host="hv1", **more)  # type: ignore[arg-type]


async def test_there_and_back_with_holes(site: JobSite, tmp_path: Path) -> None:
    source, back = tmp_path / "disk.raw", tmp_path / "back.raw"
    digest = sparse(source)
    job = await done(site, upload(source, "up", checksum=f"sha256:{digest.upper()}"))
    assert job.records[0].result["sha256"] == digest
    assert job.records[0].result["sent"] < 6 * MIB
    capacity, allocation = size(site, "up")
    assert capacity == 256 * MIB
    assert allocation < 7 * MIB
    assert site.host.exec(["sha256sum", "/srv/local/up"]).stdout.split()[0] == digest
    await shown(site, "up")
    job = await done(site, DownloadVolume(volume=ref("up"), path=str(back)))
    assert job.records[0].result["sha256"] == digest
    assert back.stat().st_size == 256 * MIB
    assert back.stat().st_blocks * 512 < 7 * MIB
    assert back.read_bytes() == source.read_bytes()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["back.raw", "disk.raw", "state"]
    with pytest.raises(RefusedError, match="is there already"):
        await site.engine.plan(DownloadVolume(volume=ref("up"), path=str(back)))


async def test_lying_images_are_not_uploaded(site: JobSite, tmp_path: Path, volume_lab: Lab) -> None:
    data = bytearray(volume_lab.image.read_bytes())
    short, evil, good = (tmp_path / f"{name}.img" for name in ("short", "evil", "good"))
    good.write_bytes(data)
    short.write_bytes(data[: len(data) // 2])
    name = b"/etc/shadow"
    data[8:20] = (1024).to_bytes(8, "big") + len(name).to_bytes(4, "big")
    data[1024 : 1024 + len(name)] = name
    evil.write_bytes(data)
    before = site.volumes()
    for action, says in (
        (upload(short, "x"), "cut off"),
        (upload(evil, "x"), "/etc/shadow"),
        (upload(good, "x", format="raw"), "was called raw, and its content says qcow2"),
        (upload(good, "x", checksum="abc"), "no checksum"),
    ):
        with pytest.raises(RefusedError, match=says):
            await site.engine.plan(action)
    job = await site.do(upload(good, "x", checksum="0" * 64))
    assert (job.state, "not the one that was asked for" in job.error) == (JobState.FAILED, True)
    assert site.volumes() == before


async def test_a_pool_that_is_full_in_the_middle_of_an_upload(site: JobSite, tmp_path: Path) -> None:
    source = tmp_path / "large.raw"
    source.write_bytes(os.urandom(40 * MIB))
    fill = ["fallocate", "-l", str(30 * MIB), "/srv/small/filler"]
    plan = await site.plan(upload(source, "half", pool="small"))
    jobs = site.engine.jobs
    filled: list[int] = []

    def told(job: Job) -> None:
        if not filled and "half" in job.progress.text and job.progress.fraction > 0.02:
            filled.append(site.host.exec(fill).returncode)

    leave = jobs.subscribe(told)
    site.host.slow_link(100_000)
    try:
        ended = await jobs.wait((await site.engine.apply(plan)).id)
    finally:
        leave()
        site.host.slow_link(None)
        site.host.exec(["rm", "-f", "/srv/small/filler"], check=True)
    assert filled
    assert ended.state is JobState.FAILED
    assert "pool small is full" in ended.error
    assert "half" not in site.volumes("small")


# ---- attach, detach


async def test_attach_with_a_serial_and_detach_and_who_uses_it(site: JobSite) -> None:
    from virtfleet.query.nouns import NOUNS

    noun = NOUNS["volume"]

    def told(name: str, field: str) -> object:
        row = next(each for each in noun.rows(site.engine.snapshot) if each.volume.name == name)
        return next(each for each in noun.fields if each.name == field).get(row)

    await done(site, CreateVolume(name="data", size=4 * MIB, pool="local", host="hv1", format="raw"))
    await shown(site, "data")
    assert (told("data", "users"), told("data", "orphan")) == (None, True)
    before = site.xml(OFF)
    await done(site, AttachVolume(vm=site.ref(OFF), volume=ref("data"), readonly=True))
    xml = site.xml(OFF)
    assert "<serial>data</serial>" in xml
    assert xml.count("<readonly/>") == before.count("<readonly/>") + 1
    path = "/srv/local/data"
    await site.watched.until(lambda: path in [d.source for d in site.vm(OFF).info.disks], "it is seen")
    assert (told("data", "users"), told("data", "orphan")) == ((f"{OFF}@hv1",), False)
    with pytest.raises(RefusedError, match=f"{OFF}@hv1 has it"):
        await site.engine.plan(DeleteVolume(volume=ref("data")))
    with pytest.raises(RefusedError, match=f"{OFF}@hv1 has it"):
        await site.engine.plan(AttachVolume(vm=site.ref(ON), volume=ref("data")))
    await done(site, AttachVolume(vm=site.ref(ON), volume=ref("data"), readonly=True))
    for live in (True, False):
        assert "<serial>data</serial>" in site.xml(ON, live=live)
    job = await done(site, DetachVolume(vm=site.ref(OFF), volume=ref("data")))
    assert path not in site.xml(OFF)
    assert site.xml(OFF).count("<disk ") == before.count("<disk ")
    undone = await site.engine.jobs.wait((await site.engine.jobs.undo(job.id)).id)
    assert undone.state is JobState.DONE, undone.error
    assert "<serial>data</serial>" in site.xml(OFF)


# ---- SIGKILL in every step


async def crashed(site: JobSite, action: Action, number: int, when: str) -> int:
    """The exit status of a process that is killed at its n-th word."""
    path = os.pathsep.join(str(ROOT / each) for each in ("core", "tui", "tests"))
    words = [str(site.lab.fleet_file), msgspec.json.encode(action).decode(), str(number), when]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "lab.crashing", *words, env=os.environ | {"PYTHONPATH": path},
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    return await asyncio.wait_for(process.wait(), 120)


async def test_killed_in_the_middle_it_is_gone_on_with_or_taken_back(site: JobSite, tmp_path: Path) -> None:
    """After the word that begins the step, and before the one that ends it: resumed, and rolled back."""
    source = tmp_path / "disk.raw"
    sparse(source, 128 * MIB)
    back = tmp_path / "back.raw"
    await done(site, CreateVolume(name="there", size=4 * MIB, pool="local", host="hv1", format="raw"))
    book = site.engine.jobs
    local: dict[str, Any] = {"size": 4 * MIB, "pool": "local", "host": "hv1"}
    fetch = DownloadVolume(volume=ref("there"), path=str(back))
    cases: list[tuple[Action, int, bool, bool]] = [
        # Word 2 begins the only step, word 3 ends it; the last says whether it is there afterwards.
        (CreateVolume(name="k1", **local), 3, True, True),
        (CreateVolume(name="k2", **local), 3, False, False),
        (upload(source, "k3"), 3, True, True),
        (upload(source, "k4"), 3, False, False),
        (fetch, 3, False, False),
        (fetch, 5, False, False),
        (fetch, 5, True, True),
        (ExtendVolume(volume=ref("there"), size=8 * MIB), 3, True, True),
    ]
    for action, word, forward, left in cases:
        await book.open()
        known = {each.id for each in book.jobs}
        status = await crashed(site, action, word, "before")
        assert status == -signal.SIGKILL, action
        await book.open()
        (job,) = [each for each in book.jobs if each.id not in known]
        assert job.state is JobState.INTERRUPTED
        await (book.resume(job.id) if forward else book.roll_back(job.id))
        ended = await book.wait(job.id)
        assert ended.state is (JobState.DONE if forward else JobState.CANCELLED), (action, ended.error)
        if isinstance(action, CreateVolume | UploadVolume):
            assert (action.name in site.volumes()) == left, action
        elif isinstance(action, DownloadVolume):
            assert back.exists() == left
            assert not list(tmp_path.glob(".*.part"))
        else:
            assert size(site, "there")[0] == 8 * MIB


async def test_what_somebody_else_made_meanwhile_is_left_alone(site: JobSite, tmp_path: Path) -> None:
    """Killed after the word that begins the step: it has not acted, and another has made one of that name."""
    source = tmp_path / "disk.raw"
    sparse(source, 128 * MIB)
    book = site.engine.jobs
    for name, forward in (("t1", True), ("t2", False)):
        await book.open()
        known = {each.id for each in book.jobs}
        assert await crashed(site, upload(source, name), 2, "after") == -signal.SIGKILL
        site.host.exec(["sh", "-c", f"head -c 1048576 /dev/urandom > /srv/local/{name}"], check=True)
        site.host.virsh("pool-refresh local")
        await book.open()
        (job,) = [each for each in book.jobs if each.id not in known]
        await (book.resume(job.id) if forward else book.roll_back(job.id))
        ended = await book.wait(job.id)
        assert ended.state is (JobState.FAILED if forward else JobState.CANCELLED), ended.error
        assert size(site, name)[0] == MIB


async def test_cancelled_in_the_middle_of_an_upload_nothing_stays(site: JobSite, tmp_path: Path) -> None:
    source = tmp_path / "large.raw"
    source.write_bytes(os.urandom(40 * MIB))
    jobs = site.engine.jobs
    job = await site.begin(upload(source, "gone"))
    leave = jobs.subscribe(
        lambda each: (
            jobs.cancel(each.id)
            if each.id == job.id and each.state is JobState.RUNNING and each.progress.fraction > 0.05
            else None
        )
    )
    try:
        ended = await jobs.wait(job.id)
    finally:
        leave()
    assert ended.state is JobState.CANCELLED
    assert "gone" not in site.volumes()
