"""Two operators with a process each change one VM at once: nothing is lost, and nobody undoes the other."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from lab.fleet import Lab
from lab.fleet import Plan as LabPlan
from lab.jobsite import JobSite, job_site
from virtfleet.model.action import Action, AssignVm, DescribeVm, EditVm, TagVm
from virtfleet.model.job import JobState

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
NAME = "hv1-vm1"
COUNT = 50
_STRINGS = """<sysinfo type='smbios'><system><entry name='serial'>none</entry></system>
<chassis><entry name='asset'>none</entry></chassis></sysinfo></domain>"""


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


async def operator(site: JobSite, who: str, folder: Path) -> dict[str, object]:
    """Another machine's operator: a process, a journal and a worker of its own."""
    path = os.pathsep.join(str(ROOT / each) for each in ("core", "tui", "tests"))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "lab.racing", str(site.lab.fleet_file), site.vm(NAME).uuid, who, str(COUNT),
        env=os.environ | {"PYTHONPATH": path, "XDG_STATE_HOME": str(folder / who)},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 200)
    assert process.returncode == 0, err.decode()[-2000:]
    return dict(json.loads(out.splitlines()[-1]))


async def test_fifty_changes_each_and_all_of_them_are_there(site: JobSite, tmp_path: Path) -> None:
    xml = site.xml(NAME).replace("</domain>", _STRINGS)
    (site.host.folder / "tmp" / "vm.xml").write_text(xml)
    site.host.virsh("define /tmp/vm.xml")
    a, b = await asyncio.gather(*(operator(site, who, tmp_path) for who in "ab"))
    found = site.xml(NAME)
    tags = {f"{who}-{number}" for who in "ab" for number in range(0, COUNT, 4)}
    assert {tag for tag in tags if f"tag>{tag}<" in found} == tags
    last = {turn: max(number for number in range(COUNT) if number % 4 == turn) for turn in (1, 2, 3)}
    for what in (
        f"project>a-{last[1]}<",
        f"group>b-{last[1]}<",
        f"<title>a-{last[2]}<",
        f"<description>b-{last[2]}<",
        f"<entry name='serial'>a-{last[3]}<",
        f"<entry name='asset'>b-{last[3]}<",
    ):
        assert what in found, what
    assert "urn:virtfleet:job" not in found
    assert a["stale"] or b["stale"]  # they did meet


async def test_a_stale_edit_is_refused_with_what_changed(site: JobSite) -> None:
    given = await site.engine.request("hv1", "vm.edited", {"uuid": site.vm(NAME).uuid}, 20.0)
    assert (await site.do(TagVm(vm=site.ref(NAME), add=("theirs",)))).state is JobState.DONE
    new = given["xml"].replace("<on_crash>destroy</on_crash>", "<on_crash>restart</on_crash>")
    ended = await site.do(EditVm(vm=site.ref(NAME), xml=new, was=given["was"]))
    assert ended.state is JobState.FAILED
    assert "was changed by somebody else since you began to edit it: it has now" in ended.error
    assert ">theirs</" in ended.error
    assert ">theirs<" in site.xml(NAME)
    assert "<on_crash>destroy" in site.xml(NAME)


async def test_undoing_an_edit_does_not_undo_what_others_did_since(site: JobSite) -> None:
    given = await site.engine.request("hv1", "vm.edited", {"uuid": site.vm(NAME).uuid}, 20.0)
    new = given["xml"].replace("<on_crash>destroy</on_crash>", "<on_crash>restart</on_crash>")
    edit = await site.do(EditVm(vm=site.ref(NAME), xml=new, was=given["was"]))
    assert edit.state is JobState.DONE, edit.error
    tag = await site.do(TagVm(vm=site.ref(NAME), add=("theirs",)))
    jobs = site.engine.jobs
    undone = await jobs.wait((await jobs.undo(edit.id)).id)
    assert ">theirs<" in site.xml(NAME)
    assert undone.state is JobState.FAILED
    assert ">theirs</" in undone.error
    assert (await jobs.wait((await jobs.undo(tag.id)).id)).state is JobState.DONE
    undone = await jobs.wait((await jobs.undo(edit.id)).id)
    assert undone.state is JobState.DONE, undone.error
    assert "<on_crash>destroy" in site.xml(NAME)


async def test_undoing_a_tag_or_a_text_leaves_those_of_others(site: JobSite) -> None:
    """Also a tag that the other added while ours was being planned."""
    vm = site.ref(NAME)
    ours = await site.plan(TagVm(vm=vm, add=("both", "mine")))
    title = await site.plan(DescribeVm(vm=vm, title="mine"))
    jobs = site.engine.jobs
    assert (await site.do(TagVm(vm=vm, add=("both",)))).state is JobState.DONE
    assert (await site.do(DescribeVm(vm=vm, title="theirs"))).state is JobState.DONE
    done = [await jobs.wait((await jobs.submit(plan)).id) for plan in (ours, title)]
    assert [job.state for job in done] == [JobState.DONE, JobState.DONE]
    for job in done:
        undone = await jobs.wait((await jobs.undo(job.id)).id)
        assert undone.state is JobState.DONE, undone.error
    found = site.xml(NAME)
    assert ">both<" in found
    assert ">mine<" not in found
    assert "<title>theirs<" in found


async def test_undoing_what_somebody_else_has_set_anew_is_refused(site: JobSite) -> None:
    vm = site.ref(NAME)
    jobs = site.engine.jobs
    ours: list[Action] = [AssignVm(vm=vm, project="mine", group="mine"), DescribeVm(vm=vm, title="mine")]
    theirs: list[Action] = [AssignVm(vm=vm, project="theirs"), DescribeVm(vm=vm, title="theirs")]
    done = []
    for action in (*ours, *theirs):
        job = await jobs.submit(await site.plan(action))
        done.append(await jobs.wait(job.id))
        await site.watched.until_fresh("hv1")
    assert [job.state for job in done] == [JobState.DONE] * 4
    for job, says in zip(done[:2], ("its project is theirs now", "its title is theirs now"), strict=True):
        undone = await jobs.wait((await jobs.undo(job.id)).id)
        assert undone.state is JobState.FAILED
        assert says in undone.error
    found = site.xml(NAME)
    assert "project>theirs<" in found
    assert "<title>theirs<" in found
    assert "group>mine<" in found
