"""The shape of a guest that runs: size, network interfaces, media; in its XML, now and at the next boot."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from lxml import etree

from lab.fleet import Lab
from lab.fleet import Plan as LabPlan
from lab.jobsite import MIB, JobSite, job_site
from lab.test_lab_reaching import until_up
from virtfleet.errors import RefusedError
from virtfleet.model.action import AttachNic, DetachNic, EjectMedia, InsertMedia, ResizeVm
from virtfleet.model.job import Job, JobState
from virtfleet.model.plan import Plan

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

NAME = "hv1-vm1"
MAC = "52:54:00:12:34:56"


@pytest.fixture(scope="module")
def small_lab(lab_machine: None) -> Iterator[Lab]:
    with Lab.start(LabPlan(hosts=1, guests=1, off=0, containers=0, shared=False)) as built:
        yield built


@pytest_asyncio.fixture
async def site(small_lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[JobSite]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    async with job_site(small_lab) as made:
        until_up(made.host, NAME)
        yield made
    small_lab.heal()


def tree(site: JobSite, *, live: bool, name: str = NAME) -> etree._Element:
    return etree.fromstring(site.xml(name, live=live))


def size(site: JobSite, *, live: bool) -> tuple[int, int, int, int]:
    """vCPUs now and at most; memory now and at most, in MiB."""
    root = tree(site, live=live)
    vcpu = root.find("vcpu")
    assert vcpu is not None
    assert vcpu.text is not None
    most = int(vcpu.text)
    now, limit = root.findtext("currentMemory"), root.findtext("memory")
    assert now is not None
    assert limit is not None
    return int(vcpu.get("current", most)), most, int(now) >> 10, int(limit) >> 10


def macs(site: JobSite, *, live: bool) -> set[str]:
    return {str(each.get("address")) for each in tree(site, live=live).iterfind("devices/interface/mac")}


def medium(site: JobSite, name: str, *, live: bool) -> str:
    for disk in tree(site, live=live, name=name).iterfind("devices/disk[@device='cdrom']"):
        source = disk.find("source")
        return "" if source is None else str(source.get("file", ""))
    raise AssertionError("no drive")


async def carried_out(site: JobSite, plan: Plan) -> Job:
    ended = await site.engine.jobs.wait((await site.engine.jobs.submit(plan)).id)
    assert ended.state is JobState.DONE, ended.error
    return ended


def reasons(plan: Plan) -> str:
    return "; ".join(reason.text for reason in plan.reasons)


async def test_more_than_it_has_only_at_the_next_boot_and_the_plan_says_so(site: JobSite) -> None:
    vcpus, _, memory, _ = size(site, live=True)
    plan = await site.plan(ResizeVm(vm=site.ref(NAME), vcpus=2, memory=128 * MIB))
    assert "more than 1 vCPUs only at the next boot" in reasons(plan)
    assert "more than 96.0M of memory only at the next boot" in reasons(plan)
    done = await carried_out(site, plan)
    assert size(site, live=True) == (vcpus, 1, memory, 96)
    assert size(site, live=False) == (2, 2, 128, 128)
    told = next(each.result for each in done.records if each.id == "resize")
    assert told == {"live": [], "next_boot": ["vcpus", "memory"]}
    undone = await site.engine.jobs.wait((await site.engine.jobs.undo(done.id)).id)
    assert undone.state is JobState.DONE, undone.error
    assert size(site, live=False) == (1, 1, 96, 96)


async def test_less_memory_at_once(site: JobSite) -> None:
    plan = await site.plan(ResizeVm(vm=site.ref(NAME), memory=80 * MIB))
    assert "less memory now, by its balloon" in reasons(plan)
    done = await carried_out(site, plan)
    told = next(each.result for each in done.records if each.id == "resize")
    assert told["live"] == ["memory"]
    assert size(site, live=False)[2:] == (80, 80)
    await site.watched.until(lambda: size(site, live=True)[2:] == (80, 96), "the balloon takes it")


async def test_a_nic_comes_and_goes_in_the_guest_that_runs_and_in_its_definition(site: JobSite) -> None:
    before = macs(site, live=True)
    await carried_out(site, await site.plan(AttachNic(vm=site.ref(NAME), network="default", mac=MAC.upper())))
    assert macs(site, live=True) == macs(site, live=False) == before | {MAC}
    (found,) = [
        each
        for each in tree(site, live=True).iterfind("devices/interface")
        if each.find("mac").get("address") == MAC  # type: ignore[union-attr] # each has one
    ]
    assert found.find("source").get("network") == "default"  # type: ignore[union-attr] # it is a network's
    assert found.find("model").get("type") == "virtio"  # type: ignore[union-attr] # as its first
    await site.watched.until(lambda: len(site.vm(NAME).info.nics) == 2, "it is seen")
    with pytest.raises(RefusedError, match="belongs to hv1-vm1@hv1"):
        await site.plan(AttachNic(vm=site.ref(NAME), network="default", mac=MAC))
    done = await carried_out(site, await site.plan(DetachNic(vm=site.ref(NAME), mac=MAC)))
    assert macs(site, live=False) == before
    await site.watched.until(lambda: macs(site, live=True) == before, "the guest lets it go")
    undone = await site.engine.jobs.wait((await site.engine.jobs.undo(done.id)).id)
    assert undone.state is JobState.DONE, undone.error
    assert macs(site, live=False) == before | {MAC}
    assert macs(site, live=True) == before | {MAC}
    await site.watched.until(lambda: len(site.vm(NAME).info.nics) == 2, "it is seen")
    await carried_out(site, await site.plan(DetachNic(vm=site.ref(NAME), mac=MAC)))
    await site.watched.until(lambda: macs(site, live=True) == before, "the guest lets it go")


async def test_a_guest_that_does_not_let_go_of_a_nic_keeps_it_and_that_is_told(site: JobSite) -> None:
    (mac,) = before = macs(site, live=True)
    site.host.virsh(f"suspend {NAME}")
    ended = await site.do(DetachNic(vm=site.ref(NAME), mac=mac))
    assert ended.state is JobState.FAILED
    assert f"its guest does not let go of {mac}" in ended.error
    assert macs(site, live=True) == macs(site, live=False) == before


async def test_a_medium_goes_in_and_out_of_a_guest_that_runs(site: JobSite) -> None:
    made = await site.do(site.creation("tray", start=True))
    assert made.state is JobState.DONE, made.error
    await site.shown(NAME, "tray")
    seed = "/srv/local/tray-seed.iso"
    assert medium(site, "tray", live=True) == medium(site, "tray", live=False) == seed
    site.host.virsh("vol-create-as local other.iso 1M")
    await site.watched.until(
        lambda: {"other.iso", "tray-seed.iso"} <= {each.name for each in site.watched.host("hv1").volumes},
        "the volumes",
    )
    await carried_out(site, await site.plan(EjectMedia(vm=site.ref("tray"))))
    assert medium(site, "tray", live=True) == medium(site, "tray", live=False) == ""
    await site.watched.until(
        lambda: not any(disk.source for disk in site.vm("tray").info.disks if disk.device == "cdrom"), "empty"
    )
    done = await carried_out(
        site, await site.plan(InsertMedia(vm=site.ref("tray"), pool="local", volume="other.iso"))
    )
    other = "/srv/local/other.iso"
    assert medium(site, "tray", live=True) == medium(site, "tray", live=False) == other
    undone = await site.engine.jobs.wait((await site.engine.jobs.undo(done.id)).id)
    assert undone.state is JobState.DONE, undone.error
    assert medium(site, "tray", live=True) == medium(site, "tray", live=False) == ""
    with pytest.raises(RefusedError, match=r"there is no volume local/\.\./\.\./etc/shadow on hv1"):
        await site.plan(InsertMedia(vm=site.ref("tray"), pool="local", volume="../../etc/shadow"))


async def test_undoing_an_insertion_leaves_what_somebody_else_has_put_in_since(site: JobSite) -> None:
    made = await site.do(site.creation("tray"))
    assert made.state is JobState.DONE, made.error
    await site.shown(NAME, "tray")
    for name in ("one.iso", "two.iso"):
        site.host.virsh(f"vol-create-as local {name} 1M")
    await site.watched.until(
        lambda: (
            {"one.iso", "two.iso", "tray-seed.iso"}
            <= {each.name for each in site.watched.host("hv1").volumes}
        ),
        "the volumes",
    )
    ours = await carried_out(
        site, await site.plan(InsertMedia(vm=site.ref("tray"), pool="local", volume="one.iso"))
    )
    await site.watched.until(
        lambda: any(disk.source.endswith("one.iso") for disk in site.vm("tray").info.disks), "it is in"
    )
    await carried_out(site, await site.plan(InsertMedia(vm=site.ref("tray"), pool="local", volume="two.iso")))
    undone = await site.engine.jobs.wait((await site.engine.jobs.undo(ours.id)).id)
    assert undone.state is JobState.FAILED
    assert "two.iso" in undone.error
    assert medium(site, "tray", live=False) == "/srv/local/two.iso"
