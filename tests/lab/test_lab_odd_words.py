"""Words that somebody types are only words: quotes, line breaks, slashes. And what is gone is gone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from lxml import etree

from lab.fleet import Lab
from lab.fleet import Plan as LabPlan
from lab.jobsite import JobSite, job_site
from virtfleet.errors import VirtfleetError
from virtfleet.model.action import (
    Action,
    AssignVm,
    AttachNic,
    CloneVm,
    CreateSnapshot,
    DeleteVm,
    DescribeVm,
    EditVm,
    PowerOffVm,
    ProtectVm,
    RenameVm,
    ResizeVm,
    RevertSnapshot,
    SetAutostart,
    StartVm,
    TagVm,
    VmRef,
)
from virtfleet.model.job import JobState

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

NAME = "hv1-vm1"
ODD = """it's "<b>&$(reboot);`id`"""
EVIL = ("../x", "a/b", "a\nb", "..", "-rf", " a", "a\x1b[2J", "", "x" * 201)


@pytest.fixture(scope="module")
def small_lab(lab_machine: None) -> Iterator[Lab]:
    with Lab.start(LabPlan(hosts=1, guests=0, off=1, containers=0, shared=False)) as built:
        yield built


@pytest_asyncio.fixture
async def site(small_lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[JobSite]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    async with job_site(small_lab) as made:
        yield made
    host = small_lab.hosts["hv1"]
    for uuid in host.virsh("list --all --uuid").split():
        if host.virsh(f"domname {uuid}").strip() != NAME:
            host.virsh(f"undefine {uuid} --snapshots-metadata")
    small_lab.heal()


async def done(site: JobSite, action: Action) -> None:
    ended = await site.do(action)
    assert ended.state is JobState.DONE, ended.error


@pytest.mark.parametrize("name", EVIL)
async def test_no_vm_and_no_snapshot_is_called_so(site: JobSite, name: str) -> None:
    before = site.left()
    vm = site.ref(NAME)
    made: tuple[Action, ...] = (
        site.creation(name),
        CloneVm(vm=vm, name=name),
        RenameVm(vm=vm, name=name),
        CreateSnapshot(vm=vm, name=name),
    )
    for action in made:
        with pytest.raises(VirtfleetError, match="name"):
            await site.engine.plan(action)
    assert site.left() == before


async def test_an_odd_name_goes_through_every_verb(site: JobSite) -> None:
    before = site.left()
    await done(site, RenameVm(vm=site.ref(NAME), name=ODD))
    await site.shown(ODD)
    await done(site, CloneVm(vm=site.ref(ODD), name=f"{ODD}2"))
    await site.shown(ODD, f"{ODD}2")
    await done(site, CreateSnapshot(vm=site.ref(ODD), name=ODD, description=f"{ODD}\n]]>"))
    told = await site.engine.request("hv1", "vm.snapshots", {"uuid": site.vm(ODD).uuid}, 20.0)
    assert [each["name"] for each in told] == [ODD]
    await done(site, TagVm(vm=site.ref(ODD), add=("<x>", "&amp;", "'\"")))
    await done(site, DescribeVm(vm=site.ref(ODD), title=ODD, description=f"{ODD}\n../\n</description>"))
    await done(site, AssignVm(vm=site.ref(ODD), project=ODD))
    await site.watched.until(lambda: site.vm(ODD).info.project == ODD, "the project")
    info = site.vm(ODD).info
    assert set(info.tags) == {"<x>", "&amp;", "'\""}
    assert (info.title, info.description) == (ODD, f"{ODD} ../ </description>")  # shown on one line
    kept = etree.fromstring(site.xml(info.uuid)).findtext("description")
    assert kept == f"{ODD}\n../\n</description>"
    await site.watched.until(lambda: site.vm(ODD).info.snapshots == 1, "the snapshot")
    await done(site, RevertSnapshot(vm=site.ref(ODD), snapshot=ODD))
    for name in (f"{ODD}2", ODD):
        await site.watched.until(
            lambda name=name: all(  # type: ignore[misc]
                any(each.path == disk.source for each in site.watched.host("hv1").volumes)
                for disk in site.vm(name).info.disks
            ),
            "its disks",
        )
    await done(site, DeleteVm(vm=site.ref(f"{ODD}2"), volumes="own"))
    names, volumes, claimed = site.left()
    assert (names, claimed) == ({ODD}, [])
    assert volumes == before[1]


GONE: dict[str, Callable[[VmRef], Action]] = {
    "start": lambda vm: StartVm(vm=vm),
    "poweroff": lambda vm: PowerOffVm(vm=vm),
    "tag": lambda vm: TagVm(vm=vm, add=("x",)),
    "describe": lambda vm: DescribeVm(vm=vm, title="x"),
    "assign": lambda vm: AssignVm(vm=vm, project="x"),
    "protect": lambda vm: ProtectVm(vm=vm),
    "autostart": lambda vm: SetAutostart(vm=vm),
    "rename": lambda vm: RenameVm(vm=vm, name="other"),
    "resize": lambda vm: ResizeVm(vm=vm, vcpus=2),
    "snapshot": lambda vm: CreateSnapshot(vm=vm, name="s"),
    "nic": lambda vm: AttachNic(vm=vm, network="default"),
    "clone": lambda vm: CloneVm(vm=vm, name="copy"),
    "edit": lambda vm: EditVm(
        vm=vm, xml=f"<domain><name>{vm.name}</name><uuid>{vm.uuid}</uuid></domain>", was=""
    ),
    "delete": lambda vm: DeleteVm(vm=vm),
}


async def test_a_description_of_many_lines_is_set_back_as_it_was(site: JobSite) -> None:
    text = "one\ntwo\n\nthree"
    await done(site, DescribeVm(vm=site.ref(NAME), description=text))
    other = await site.do(DescribeVm(vm=site.ref(NAME), description="other"))
    undone = await site.engine.jobs.wait((await site.engine.jobs.undo(other.id)).id)
    assert undone.state is JobState.DONE, undone.error
    assert f"<description>{text}</description>" in site.xml(NAME)


async def test_a_vm_that_vanishes_at_the_last_moment(site: JobSite) -> None:
    """After the conditions were looked at: the host itself says so, and nothing comes of it."""
    vm = site.ref(NAME)
    plans = {name: await site.plan(make(vm)) for name, make in GONE.items()}
    site.host.virsh(f"undefine {NAME}")
    before = site.left()
    for name, plan in plans.items():
        if not plan.steps:
            continue
        ended = await site.engine.jobs.wait((await site.engine.jobs.submit(plan)).id)
        assert ended.state is JobState.FAILED, (name, ended.state, ended.error)
        assert "no longer" in ended.error or "gone" in ended.error, (name, ended.error)
        assert site.left() == before, name


async def test_another_vm_of_that_name_is_not_the_one_that_was_meant(site: JobSite) -> None:
    vm = site.ref(NAME)
    plans = {name: await site.plan(make(vm)) for name, make in GONE.items()}
    other = "11111111-2222-4333-8444-555555555555"
    xml = site.xml(NAME).replace(vm.uuid, other)
    site.host.virsh(f"undefine {NAME}")
    (site.host.folder / "tmp" / "vm.xml").write_text(xml)
    site.host.virsh("define /tmp/vm.xml")
    before, was = site.left(), site.xml(NAME)
    for name, plan in plans.items():
        if plan.steps:
            ended = await site.engine.jobs.wait((await site.engine.jobs.submit(plan)).id)
            assert ended.state is JobState.FAILED, (name, ended.state, ended.error)
    assert (site.left(), site.xml(NAME)) == (before, was)
