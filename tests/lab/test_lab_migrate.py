"""Moves between real hosts: over shared storage and with copies, given up in the middle, and with everything
dying in the middle. Whatever happens the VM runs on exactly one host, and nothing is left on the other.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from lab import guest, settings
from lab.fleet import Lab
from lab.fleet import Plan as LabPlan
from lab.host import LabHost
from lab.jobsite import JobSite, job_site
from lab.run import wait_until
from virtfleet.errors import NoValidHostError, RefusedError
from virtfleet.model.action import AssignVm, MigrateVm, ResumeVm, SetAutostart, SettleVm, TagVm, VmRef
from virtfleet.model.job import Job, JobState

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
MIB = 1 << 20
DISK = 24 * MIB
SLOW = 30_000
"""kbit/s at which the disk takes seven seconds."""
XML = """<domain type='qemu'><name>{name}</name><uuid>{uuid}</uuid>
<memory unit='MiB'>32</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os><devices>
<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{disk}'/>
<target dev='vda' bus='virtio'/></disk><controller type='usb' model='none'/><memballoon model='none'/>
</devices></domain>"""


@pytest.fixture(scope="module")
def two_hosts(lab_machine: None) -> Iterator[Lab]:
    with Lab.start(LabPlan(hosts=2, guests=0, off=0, containers=0)) as built:
        yield built


@pytest_asyncio.fixture
async def site(two_hosts: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[JobSite]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    async with job_site(two_hosts) as made:
        yield made
    two_hosts.heal()


def disk_of(pool: str) -> str:
    return f"/srv/{pool}/mover.img"


async def mover(site: JobSite, pool: str, *, running: bool = True) -> VmRef:
    """A VM on the first host, seen with its disk."""
    host = site.host
    host.inside(disk_of(pool)).write_bytes(os.urandom(DISK))
    uuid = settings.stable_uuid(host.record, "mover")
    host.inside("/tmp/mover.xml").write_text(XML.format(name="mover", uuid=uuid, disk=disk_of(pool)))
    for each in site.lab.hosts.values():
        each.virsh(f"pool-refresh {pool}")
    host.virsh("define /tmp/mover.xml", *(["start mover"] if running else []))
    guest.step_back(host)
    engine = site.engine

    def seen() -> bool:
        here, there = engine.snapshot.hosts["hv1"], engine.snapshot.hosts["hv2"]
        holders = [here, there] if pool == "shared" else [here]
        disks = all(any(each.path == disk_of(pool) for each in view.volumes) for view in holders)
        identities = {each.identity for view in (here, there) for each in view.pools if each.name == "shared"}
        states = [vm.state.active for vm in here.vms if vm.name == "mover"]
        return disks and len(identities) == 1 and states == [running] and not there.vms

    await site.watched.until(seen, "the VM and its disk")
    return site.ref("mover")


def digest(host: LabHost, pool: str) -> str:
    return hashlib.sha256(host.inside(disk_of(pool)).read_bytes()).hexdigest()


def where(site: JobSite) -> dict[str, list[str]]:
    """State of each VM by host, as the hosts say."""
    found = {}
    for name, host in site.lab.hosts.items():
        vms = host.virsh("list --all --name").split()
        found[name] = [f"{vm} {host.virsh(f'domstate {vm}').strip()}" for vm in vms]
    return found


def images(host: LabHost, pool: str = "local") -> list[str]:
    return sorted(each.name for each in host.inside(f"/srv/{pool}").iterdir() if each.suffix == ".img")


THERE = {"hv1": [], "hv2": ["mover running"]}
HERE = {"hv1": ["mover running"], "hv2": []}


async def ended(site: JobSite, job: Job) -> Job:
    return await site.engine.jobs.wait(job.id)


async def copying(site: JobSite, job: Job) -> None:
    """Until bytes of the disk have gone over."""
    jobs = site.engine.jobs
    await site.watched.until(
        lambda: "copying disks" in jobs.get(job.id).progress.text and jobs.get(job.id).progress.done > MIB,
        "its disk is being copied",
    )


async def test_live_over_shared_storage_with_all_that_belongs_to_it(site: JobSite) -> None:
    vm = await mover(site, "shared")
    for action in (
        TagVm(vm=vm, add=("a", "b")),
        AssignVm(vm=vm, project="web", group="g"),
        SetAutostart(vm=vm, on=True),
    ):
        assert (await site.do(action)).state is JobState.DONE
    await site.watched.until(lambda: site.vm("mover").info.autostart, "its autostart is seen")
    pid = site.host.qemu_pid("mover")
    plan = await site.plan(MigrateVm(vm=vm))
    assert [step.op for step in plan.steps] == ["vm.claim", "vm.departure", "vm.room", "vm.move", "vm.arrive"]
    job = await ended(site, await site.engine.apply(plan))
    assert (job.state, job.error) == (JobState.DONE, "")
    assert where(site) == THERE
    assert pid not in site.host.pids("qemu-system-x86_64")
    other = site.lab.hosts["hv2"]
    told = dict(line.split(":", 1) for line in other.virsh("dominfo mover").splitlines() if ":" in line)
    assert [told[key].strip() for key in ("UUID", "Persistent", "Autostart")] == [vm.uuid, "yes", "enable"]
    await site.watched.until(
        lambda: any(vm.info.autostart and vm.info.persistent for vm in site.watched.host("hv2").vms),
        "it is seen there as it was",
    )
    info = site.watched.vm("hv2", "mover").info
    assert (info.tags, info.project, info.group) == (("a", "b"), "web", "g")
    for text in (other.virsh("dumpxml mover"), other.virsh("dumpxml --inactive mover")):
        assert "urn:virtfleet:job:1" not in text
        assert "<virtfleet:tag>b" in text
    assert images(site.host, "shared") == ["mover.img"]


async def test_with_its_disk_copied_and_the_old_one_deleted(site: JobSite) -> None:
    vm = await mover(site, "local")
    with pytest.raises(NoValidHostError, match=r"does not see vda \(24.0M\): a copy would be needed"):
        await site.plan(MigrateVm(vm=vm))
    before = digest(site.host, "local")
    job = await site.do(MigrateVm(vm=vm, copy="all"))
    assert (job.state, job.error) == (JobState.DONE, "")
    assert where(site) == THERE
    assert digest(site.lab.hosts["hv2"], "local") == before
    assert images(site.host) == []


async def test_one_that_is_off_by_its_definition(site: JobSite) -> None:
    vm = await mover(site, "shared", running=False)
    job = await site.do(MigrateVm(vm=vm, to="hv2"))
    assert (job.state, job.error) == (JobState.DONE, "")
    assert where(site) == {"hv1": [], "hv2": ["mover shut off"]}


async def test_a_stranger_of_its_name_is_left_alone(site: JobSite) -> None:
    vm = await mover(site, "shared")
    other = site.lab.hosts["hv2"]
    uuid = settings.stable_uuid(other.record, "stranger")
    other.inside("/tmp/s.xml").write_text(XML.format(name="mover", uuid=uuid, disk="/srv/local/other.img"))
    args = {
        "uuid": vm.uuid,
        "name": "mover",
        "keeper": uuid[:-1] + "0",
        "vcpus": 1,
        "memory": MIB,
        "job": "j",
    }
    other.virsh("define /tmp/s.xml")
    before = other.virsh("dumpxml mover")
    # The host itself refuses, whatever was planned when the stranger was not yet seen.
    with pytest.raises(RefusedError, match=f"there is a VM of its name already: mover, {uuid}"):
        await site.engine.request("hv2", "vm.room", args, 20.0)
    await site.watched.until(lambda: bool(site.watched.host("hv2").vms), "it is seen")
    with pytest.raises(NoValidHostError, match="hv2: a VM called mover is there"):
        await site.plan(MigrateVm(vm=vm))
    assert other.virsh("dumpxml mover") == before
    assert where(site) == {"hv1": ["mover running"], "hv2": ["mover shut off"]}


async def test_cancelled_in_mid_copy_it_runs_on_here(site: JobSite) -> None:
    vm = await mover(site, "local")
    before = digest(site.host, "local")
    site.host.slow_link(SLOW)
    job = await site.begin(MigrateVm(vm=vm, copy="all"))
    await copying(site, job)
    site.engine.jobs.cancel(job.id)
    found = await ended(site, job)
    assert (found.state, found.error) == (JobState.CANCELLED, "")
    assert where(site) == HERE
    assert (images(site.lab.hosts["hv2"]), digest(site.host, "local")) == ([], before)
    assert "urn:virtfleet:job:1" not in site.xml("mover", live=True)


@pytest.mark.parametrize("victim", ["hv1", "hv2"])
async def test_a_libvirtd_killed_in_mid_copy(site: JobSite, victim: str) -> None:
    """It may come to its goal by a second attempt, or stay: on one host alone, and the other has nothing."""
    vm = await mover(site, "local")
    before = digest(site.host, "local")
    site.host.slow_link(SLOW)
    job = await site.begin(MigrateVm(vm=vm, copy="all"))
    await copying(site, job)
    host = site.lab.hosts[victim]
    host.kill_libvirtd()
    site.host.slow_link(None)
    await asyncio.sleep(1.0)
    await asyncio.to_thread(host.start_libvirtd)
    found = await ended(site, job)
    assert found.state in (JobState.DONE, JobState.FAILED), found.error
    there = found.state is JobState.DONE
    assert where(site) == (THERE if there else HERE)
    at, without = ("hv2", "hv1") if there else ("hv1", "hv2")
    assert digest(site.lab.hosts[at], "local") == before
    assert images(site.lab.hosts[without]) == []
    assert site.lab.hosts[without].pids("qemu-system-x86_64") == []


async def killed_in_mid_copy(site: JobSite, vm: VmRef) -> Job:
    """A process that moves it is killed; its job as the journal has it."""
    words = [msgspec.json.encode(MigrateVm(vm=vm, copy="all")).decode(), "0", "after"]
    paths = os.pathsep.join(str(ROOT / each) for each in ("core", "tui", "tests"))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "lab.crashing",
        str(site.lab.fleet_file),
        *words,
        env=os.environ | {"PYTHONPATH": paths},
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        # It has begun to send: libvirt says of the VM that a job is under way.
        await asyncio.to_thread(
            wait_until,
            lambda: "File total" in site.host.virsh("domjobinfo mover"),
            "it is copied",
            timeout=30,
        )
    finally:
        process.kill()
        await process.wait()
    book = site.engine.jobs
    await book.open()
    (job,) = book.jobs
    assert job.state is JobState.INTERRUPTED
    return job


@pytest.mark.parametrize("over", [False, True])
async def test_its_process_killed_and_the_job_resumed(site: JobSite, over: bool) -> None:
    """While libvirt is still at it, and after it has ended."""
    vm = await mover(site, "local")
    before = digest(site.host, "local")
    site.host.slow_link(SLOW)
    job = await killed_in_mid_copy(site, vm)
    if over:
        site.host.slow_link(None)
        gone = lambda: "mover" not in site.host.virsh("list --all --name")  # noqa: E731 - one look
        await asyncio.to_thread(wait_until, gone, "libvirt has moved it", timeout=30)
    await site.engine.jobs.resume(job.id)
    found = await ended(site, job)
    assert (found.state, found.error) == (JobState.DONE, "")
    assert where(site) == THERE
    assert digest(site.lab.hosts["hv2"], "local") == before
    assert images(site.host) == []


@pytest.mark.parametrize("over", [False, True])
async def test_its_process_killed_and_the_job_rolled_back(site: JobSite, over: bool) -> None:
    """What is under way is given up; what is over stays where it is, with its disk."""
    vm = await mover(site, "local")
    before = digest(site.host, "local")
    site.host.slow_link(SLOW)
    job = await killed_in_mid_copy(site, vm)
    if over:
        site.host.slow_link(None)
        gone = lambda: "mover" not in site.host.virsh("list --all --name")  # noqa: E731 - one look
        await asyncio.to_thread(wait_until, gone, "libvirt has moved it", timeout=30)
    await site.engine.jobs.roll_back(job.id)
    found = await ended(site, job)
    assert found.state is JobState.CANCELLED, found.error
    assert where(site) == (THERE if over else HERE)
    at = site.lab.hosts["hv2" if over else "hv1"]
    assert digest(at, "local") == before
    assert images(site.lab.hosts["hv2"]) == (["mover.img"] if over else [])
    assert "urn:virtfleet:job:1" not in at.virsh("dumpxml mover")


async def test_one_that_stands_in_a_migration_is_not_resumed_but_settled(site: JobSite) -> None:
    """Moved by somebody else's client, which died between the hosts: paused here, perhaps running there."""
    vm = await mover(site, "local")
    before = digest(site.host, "local")
    site.host.slow_link(SLOW)
    other = site.lab.hosts["hv2"]
    process = await asyncio.create_subprocess_exec(
        *site.host.enter(120.0),
        *f"virsh migrate --live --persistent --undefinesource --copy-storage-all --migrate-disks vda mover "
        f"qemu+ssh://root@{other.address}/system tcp://{other.address}".split(),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await asyncio.to_thread(
            wait_until,
            lambda: "File total" in site.host.virsh("domjobinfo mover"),
            "it is copied",
            timeout=30,
        )
        other.freeze_libvirtd()
        site.host.slow_link(None)
        paused = lambda: "(migrating)" in site.host.virsh("domstate mover --reason")  # noqa: E731 - one look
        await asyncio.to_thread(wait_until, paused, "it stands here", timeout=30)
        await asyncio.sleep(1.0)  # its client asks the other host, which does not answer
    finally:
        for pid in site.host.pids("virsh"):
            os.kill(pid, signal.SIGKILL)
        await process.wait()
    other.thaw_libvirtd()
    with pytest.raises(RefusedError, match="mover stands in a migration"):
        await site.engine.request("hv1", "vm.resume", {"uuid": vm.uuid}, 20.0)
    await site.watched.until(lambda: site.vm("mover").stats.reason == "migrating", "it is seen so")
    with pytest.raises(RefusedError, match="it might run on two hosts"):
        await site.plan(ResumeVm(vm=vm))
    job = await site.do(SettleVm(vm=vm, other="hv2"))
    assert (job.state, job.error) == (JobState.DONE, "")
    here, there = where(site)["hv1"], where(site)["hv2"]
    assert sorted([*here, *there]) == ["mover running"]
    assert digest(other if there else site.host, "local") == before


async def test_on_the_command_line(site: JobSite) -> None:
    await mover(site, "shared")
    words = [
        sys.executable,
        "-m",
        "virtfleet_tui",
        "--fleet",
        str(site.lab.fleet_file),
        "vm",
        "migrate",
        "mover",
    ]
    paths = os.pathsep.join(str(ROOT / each) for each in ("core", "tui", "tests"))

    async def run(*more: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            *words,
            *more,
            env=os.environ | {"PYTHONPATH": paths},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        return process.returncode, said.decode()

    code, said = await run("--explain", "--output", "json")
    (row,) = json.loads(said)["items"]
    assert (code, row["vm"], row["host"], row["state"], row["copies"]) == (0, "mover", "hv2", "fits", None)
    code, said = await run("--dry-run")
    assert code == 0
    assert "mover host: hv1 → hv2" in said
    assert where(site) == HERE
    code, said = await run("--to", "hv1")
    assert (code, "it is on hv1 already" in said) == (4, True)
    code, said = await run("--to", "hv2")
    assert (code, where(site)) == (0, THERE), said
