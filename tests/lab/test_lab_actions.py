"""Changing VMs on real hosts: created until SSH answers, refused where it must be, and never half-done."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec.structs import replace

from lab.conftest import FreshLab
from lab.fleet import Lab
from lab.watching import Watched, watching
from virtfleet.errors import RefusedError
from virtfleet.images.hashing import file_ref
from virtfleet.model import VmState
from virtfleet.model.action import Action, CreateVm, DescribeVm, Seed, ShutdownVm, StartVm, TagVm, VmRef
from virtfleet.model.job import Job, JobState

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

MIB = 1 << 20
GROUPS = ("stats", "facts", "pools", "volumes", "networks")


@pytest_asyncio.fixture
async def site(
    fresh_lab: FreshLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Lab, Watched]]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    built = fresh_lab(hosts=1, guests=0, off=1, containers=0, shared=False)
    async with watching(built, volumes_interval=1.0, pools_interval=1.0) as watched:
        await watched.engine.settled(GROUPS, timeout=30.0)
        yield built, watched


async def do(watched: Watched, action: Action) -> Job:
    engine = watched.engine
    return await engine.jobs.wait((await engine.apply(await engine.plan(action))).id)


def ref(watched: Watched, name: str) -> VmRef:
    return VmRef("hv1", watched.vm("hv1", name).uuid, name)


def creation(lab: Lab, name: str, **more: object) -> CreateVm:
    return CreateVm(name=name, host="hv1", memory=96 * MIB, image=str(lab.image), pool="local", **more)  # type: ignore[arg-type]


def sent(job: Job) -> dict[str, int]:
    """Bytes sent by each step."""
    results = {record.id: record.result for record in job.records}
    return {
        key: value["sent"] for key, value in results.items() if isinstance(value, dict) and "sent" in value
    }


def left(lab: Lab) -> set[str]:
    host = lab.hosts["hv1"]
    host.virsh("pool-refresh local")
    volumes = {line.split()[0] for line in host.virsh("vol-list local").splitlines() if line.split()}
    return volumes | set(host.virsh("list --all --name").split())


async def test_created_until_ssh_answers_and_the_second_sends_only_its_seed(
    site: tuple[Lab, Watched], tmp_path: Path
) -> None:
    lab, watched = site
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "k")], check=True)  # noqa: ASYNC221
    key = (tmp_path / "k.pub").read_text().strip()
    big = tmp_path / "user-data"
    big.write_text("#cloud-config\n" + "# filling\n" * 100_000)
    seed = Seed(ssh_keys=(key,), user_data=file_ref(str(big)))
    job = await do(watched, creation(lab, "first", seed=seed, ready="ssh", ready_within=120.0))
    assert job.state is JobState.DONE, job.error
    assert job.records[-2].result["address"].startswith("192.168.")
    assert sent(job)["image-0"] == lab.image.stat().st_size
    assert sent(job)["seed"] > big.stat().st_size
    again = await do(watched, creation(lab, "second", seed=Seed(ssh_keys=(key,)), start=False))
    assert again.state is JobState.DONE, again.error
    assert sent(again)["image-0"] == 0
    assert 0 < sent(again)["seed"] < 200_000
    hv = lab.hosts["hv1"]
    assert "running" in hv.virsh("domstate first")
    assert "/srv/local/first-seed.iso" in hv.virsh("domblklist first")


async def test_what_can_not_be_is_refused_before_anything_is_done(
    site: tuple[Lab, Watched], tmp_path: Path
) -> None:
    lab, watched = site
    before = left(lab)
    data = bytearray(lab.image.read_bytes())
    short = tmp_path / "short.qcow2"
    short.write_bytes(data[: len(data) // 2])
    evil = tmp_path / "evil.qcow2"
    name = b"/etc/shadow"
    data[8:20] = (1024).to_bytes(8, "big") + len(name).to_bytes(4, "big")
    data[1024 : 1024 + len(name)] = name
    evil.write_bytes(data)
    for action, says in (
        (creation(lab, "hv1-vm1"), "is on hv1 already"),
        (CreateVm(name="x", host="hv1", image=str(short)), "cut off"),
        (CreateVm(name="x", host="hv1", image=str(evil)), "/etc/shadow"),
        (creation(lab, "x/../../y"), "slash"),
        (creation(lab, "x\ny"), "line breaks"),
    ):
        with pytest.raises(RefusedError, match=says):
            await watched.engine.plan(action)
    assert left(lab) == before


async def test_an_image_that_changed_since_the_plan_is_not_used(
    site: tuple[Lab, Watched], tmp_path: Path
) -> None:
    lab, watched = site
    before = left(lab)
    image = tmp_path / "image.qcow2"
    image.write_bytes(lab.image.read_bytes())
    plan = await watched.engine.plan(replace(creation(lab, "x"), image=str(image)))
    with image.open("r+b") as file:  # of the same size
        last = bytes([image.read_bytes()[-1] ^ 1])
        file.seek(-1, 2)
        file.write(last)
    job = await watched.engine.jobs.wait((await watched.engine.apply(plan)).id)
    assert job.state is JobState.FAILED
    assert "has changed since it was planned" in job.error
    assert left(lab) == before


async def test_given_xml_becomes_a_vm_of_ours(site: tuple[Lab, Watched], tmp_path: Path) -> None:
    lab, watched = site
    given = tmp_path / "given.xml"
    given.write_text(
        "<domain type='qemu'><name>other</name><uuid>11111111-1111-4111-8111-111111111111</uuid>"
        "<metadata><a:note xmlns:a='urn:a'>kept</a:note></metadata>"
        "<memory unit='MiB'>96</memory><vcpu>2</vcpu><os><type arch='x86_64'>hvm</type></os>"
        "<devices><interface type='network'><source network='default'/></interface></devices></domain>"
    )
    ref_ = file_ref(str(given))
    action = CreateVm(name="mine", host="hv1", xml=ref_, start=False, project="web", tags=("t",), title="T")
    job = await do(watched, action)
    assert job.state is JobState.DONE, job.error
    await watched.until(lambda: "mine" in {vm.name for vm in watched.host("hv1").vms}, "it is seen")
    info = next(vm.info for vm in watched.host("hv1").vms if vm.name == "mine")
    assert (info.uuid, info.vcpus_max, info.memory_max) == (job.plan.uuid, 2, 96 * MIB)
    assert (info.project, info.tags, info.title) == ("web", ("t",), "T")
    assert info.nics[0].mac == job.plan.steps[0].args["macs"][0]
    assert ">kept</a:note>" in lab.hosts["hv1"].virsh("dumpxml mine")


async def test_names_with_quotes_are_only_names(site: tuple[Lab, Watched]) -> None:
    lab, watched = site
    job = await do(watched, creation(lab, """it's "<b>&$(reboot)""", start=False))
    assert job.state is JobState.DONE, job.error
    assert """it's "<b>&$(reboot)""" in lab.hosts["hv1"].virsh("list --all --name").splitlines()


async def test_a_pool_that_fills_up_leaves_nothing_half(site: tuple[Lab, Watched]) -> None:
    lab, watched = site
    before = left(lab)
    plan = await watched.engine.plan(creation(lab, "big"))
    lab.hosts["hv1"].fill_pool("local", leave_bytes=4 * MIB)
    job = await watched.engine.jobs.submit(plan)
    ended = await watched.engine.jobs.wait(job.id)
    assert ended.state is JobState.FAILED
    assert "is full: 18 MiB are needed" in ended.error
    lab.hosts["hv1"].empty_pool("local")
    assert left(lab) == before


async def test_cancelled_in_an_upload_nothing_is_left(site: tuple[Lab, Watched]) -> None:
    lab, watched = site
    before = left(lab)
    lab.hosts["hv1"].slow_link(20_000)
    engine = watched.engine
    job = await engine.apply(await engine.plan(creation(lab, "slow")))
    await watched.until(lambda: engine.jobs.get(job.id).progress.done > 0, "bytes move")
    engine.jobs.cancel(job.id)
    ended = await engine.jobs.wait(job.id)
    lab.hosts["hv1"].slow_link(None)
    assert ended.state is JobState.CANCELLED
    assert left(lab) == before


async def test_a_vm_that_vanished_meanwhile_is_not_acted_on(site: tuple[Lab, Watched]) -> None:
    lab, watched = site
    plan = await watched.engine.plan(StartVm(vm=ref(watched, "hv1-vm1")))
    lab.hosts["hv1"].virsh("undefine hv1-vm1")
    await watched.until(lambda: not watched.host("hv1").vms, "the VM is gone")
    with pytest.raises(RefusedError, match="hv1-vm1 is no longer on hv1"):
        await watched.engine.apply(plan)


async def test_a_worker_that_is_killed_in_a_step_costs_time_alone(site: tuple[Lab, Watched]) -> None:
    lab, watched = site
    engine = watched.engine
    job = await do(watched, StartVm(vm=ref(watched, "hv1-vm1")))
    assert job.state is JobState.DONE, job.error
    await watched.until(lambda: watched.vm("hv1", "hv1-vm1").state is VmState.RUNNING, "it runs")
    job = await engine.apply(await engine.plan(ShutdownVm(vm=ref(watched, "hv1-vm1"), wait=20.0, force=True)))
    await watched.until(lambda: engine.jobs.get(job.id).progress.step == 1, "the step has begun")
    await asyncio.sleep(0.5)
    supervisor = engine._supervisor
    assert supervisor is not None
    link = supervisor.hosts["hv1"].link
    assert link is not None
    assert link.pid is not None
    os.kill(link.pid, 9)
    ended = await engine.jobs.wait(job.id)
    assert ended.state is JobState.DONE, ended.error
    assert "shut off" in lab.hosts["hv1"].virsh("domstate hv1-vm1")


async def test_two_operators_lose_nothing(site: tuple[Lab, Watched]) -> None:
    lab, watched = site
    vm = ref(watched, "hv1-vm1")
    async with watching(lab) as second:
        changes = [
            each.engine.request(
                "hv1", "vm.metadata", {"uuid": vm.uuid, "change": {"add_tags": [f"{who}-{number}"]}}, 240.0
            )
            for number in range(50)
            for who, each in (("a", watched), ("b", second))
        ]
        await asyncio.gather(*changes)
    xml = lab.hosts["hv1"].virsh("dumpxml hv1-vm1")
    assert all(f">{who}-{number}<" in xml for who in "ab" for number in range(50))


async def test_the_second_operator_is_told_who_is_working_on_it(site: tuple[Lab, Watched]) -> None:
    _, watched = site
    vm = ref(watched, "hv1-vm1")
    claim = {"uuid": vm.uuid, "verb": "vm.resize", "who": "alice@laptop", "seconds": 600, "job": "j1"}
    await watched.engine.request("hv1", "vm.claim", claim, 20.0)
    job = await do(watched, TagVm(vm=vm, add=("x",)))
    assert job.state is JobState.FAILED
    assert "alice@laptop is working on it: vm.resize, job j1" in job.error
    assert "x" not in watched.vm("hv1", "hv1-vm1").info.tags
    await watched.engine.request("hv1", "vm.release", {"uuid": vm.uuid, "job": "j1"}, 20.0)
    assert (await do(watched, DescribeVm(vm=vm, title="T"))).state is JobState.DONE
