"""What operators say of a host, on real ones: all see it, nothing is lost, and new VMs go elsewhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from lab.fleet import Lab, Plan
from lab.host import LabHost
from lab.watching import Watched, watching
from virtfleet.errors import NoValidHostError, RefusedError
from virtfleet.images.hashing import file_ref
from virtfleet.model import Maintenance
from virtfleet.model.action import CreateVm, DeleteVm, DisableHost, EnableHost, VmRef
from virtfleet.model.job import Job, JobState

pytestmark = [pytest.mark.lab, pytest.mark.timeout(200)]

GROUPS = ("stats", "facts", "pools", "volumes", "networks")
XML = (
    "<domain type='qemu'><name>x</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>"
    "<os><type arch='x86_64'>hvm</type></os></domain>"
)


@pytest.fixture(scope="module")
def site(lab_machine: None) -> Iterator[Lab]:
    with Lab.start(Plan(hosts=2, guests=0, off=0, containers=0, shared=False)) as lab:
        yield lab


@pytest.fixture
def clean(site: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """The lab with nothing said of its hosts."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for host in site.hosts.values():
        for each in folder(host).glob("host.json*"):
            each.unlink()
    return site


def folder(host: LabHost) -> Path:
    """Where the file is, seen from here."""
    found = host.inside("/var/lib/virtfleet")
    found.mkdir(exist_ok=True)
    return found


def text_of(host: LabHost) -> str:
    return (folder(host) / "host.json").read_text()


async def do(watched: Watched, action: DisableHost | EnableHost) -> Job:
    engine = watched.engine
    return await engine.jobs.wait((await engine.apply(await engine.plan(action))).id)


@asynccontextmanager
async def operators(lab: Lab) -> AsyncIterator[tuple[Watched, Watched]]:
    async with watching(lab) as one, watching(lab) as two:
        yield one, two


async def test_two_operators_see_what_the_other_says(clean: Lab) -> None:
    async with operators(clean) as (one, two):
        assert two.host("hv1").maintenance == Maintenance()
        job = await do(one, DisableHost(host="hv1", reason="new kernel"))
        assert job.state is JobState.DONE
        said = f"disabled for new VMs by {job.who}: new kernel"
        await one.until(lambda: one.host("hv1").closed == said, "he sees his own at once", 5.0)
        await two.until(lambda: two.host("hv1").closed == said, "the other sees it, too", 33.0)
        events = [each for each in two.engine.events if each.kind == "host" and each.what == "disabled"]
        assert [(each.host, each.detail) for each in events] == [("hv1", f"by {job.who}: new kernel")]
        again = await two.engine.plan(DisableHost(host="hv1"))
        assert again.steps == ()
        assert (await do(two, EnableHost(host="hv1"))).state is JobState.DONE
        assert json.loads(text_of(clean.hosts["hv1"])) == {}


async def test_concurrent_changes_lose_nothing(clean: Lab) -> None:
    host = clean.hosts["hv1"]
    (folder(host) / "host.json").write_text('{"note": [1, 2]}')

    async def say(watched: Watched, key: str, number: int) -> None:
        mark = {"by": "x@y", "since": float(number), "reason": key}
        await watched.engine.request("hv1", "host.mark", {"set": {key: mark}}, timeout=60.0)

    async with operators(clean) as (one, two):
        for number in range(4):
            await asyncio.gather(say(one, "disabled", number), say(two, "draining", number))
            found = json.loads(text_of(host))
            assert found["note"] == [1, 2]
            assert (found["disabled"]["since"], found["draining"]["since"]) == (number, number)
        # Both say the same thing at once: one is first, the other is told who was.
        await one.engine.request(
            "hv1", "host.mark", {"set": {"disabled": None, "draining": None}}, timeout=60.0
        )
        for each in (one, two):
            each.engine.reconnect("hv1")
            await each.until(lambda each=each: each.host("hv1").closed == "", "nothing is said")  # type: ignore[misc]
            await each.until_fresh("hv1")
        plans = [
            await each.engine.plan(DisableHost(host="hv1", reason=name))
            for each, name in ((one, "one"), (two, "two"))
        ]
        jobs = [await each.engine.apply(plan) for each, plan in zip((one, two), plans, strict=True)]
        ended = [await each.engine.jobs.wait(job.id) for each, job in zip((one, two), jobs, strict=True)]
        assert sorted(job.state for job in ended) == [JobState.DONE, JobState.FAILED]
        winner = plans[[job.state for job in ended].index(JobState.DONE)].action
        assert isinstance(winner, DisableHost)
        loser = next(job for job in ended if job.state is JobState.FAILED)
        assert f"meanwhile it was marked disabled by {loser.who}: {winner.reason}" in loser.error
        found = json.loads(text_of(host))
        assert (found["note"], found["disabled"]["reason"]) == ([1, 2], winner.reason)
        assert {each.name for each in folder(host).iterdir()} == {"host.json", "locks"}


async def test_a_bad_file_is_told_and_kept(clean: Lab, tmp_path: Path) -> None:
    host = clean.hosts["hv1"]
    bad = '{"disabled": tr\x1b[2J'
    (folder(host) / "host.json").write_text(bad)
    async with watching(clean) as watched:
        await watched.engine.settled(GROUPS, timeout=30.0)
        said = watched.host("hv1").maintenance
        assert said is not None
        assert said.problem.startswith("host.json is no JSON: ")
        assert said.problem.isprintable()
        with pytest.raises(RefusedError, match=r"disable hv1: host\.json is no JSON"):
            await watched.engine.plan(DisableHost(host="hv1"))
        with pytest.raises(NoValidHostError, match=r"hv1: may be disabled: host\.json is no JSON"):
            await watched.engine.plan(creation(tmp_path, host="hv1"))
        job = await do(watched, EnableHost(host="hv1"))
        assert job.state is JobState.DONE
        await watched.until(lambda: watched.host("hv1").closed == "", "it takes new VMs", 5.0)
    assert [each.read_text() for each in folder(host).glob("host.json.bad-*")] == [bad]


def creation(where: Path, **more: str) -> CreateVm:
    """A VM without disks: quick to make."""
    file = where / "small.xml"
    file.write_text(XML)
    return CreateVm(name="new", xml=file_ref(str(file)), start=False, **more)  # type: ignore[arg-type]


async def test_new_vms_go_elsewhere(clean: Lab, tmp_path: Path) -> None:
    async with watching(clean) as watched:
        engine = watched.engine
        await engine.settled(GROUPS, timeout=30.0)
        planned = await engine.plan(creation(tmp_path, host="hv1"))
        job = await do(watched, DisableHost(host="hv1", reason="new kernel"))
        await watched.until(lambda: watched.host("hv1").closed != "", "it is disabled", 5.0)
        with pytest.raises(RefusedError, match=f"hv1 is disabled for new VMs by {job.who}: new kernel"):
            await engine.apply(planned)
        with pytest.raises(NoValidHostError, match=f"hv1: disabled for new VMs by {job.who}: new kernel"):
            await engine.plan(creation(tmp_path, host="hv1"))
        plan = await engine.plan(creation(tmp_path))
        assert plan.host == "hv2"
        made = await engine.finished((await engine.apply(plan)).id)
        assert made.state is JobState.DONE
        assert clean.hosts["hv1"].virsh("list --all --name").split() == []
        assert clean.hosts["hv2"].virsh("list --all --name").split() == ["new"]
        await watched.until(lambda: len(watched.host("hv2").vms) == 1, "it is seen")
        gone = await engine.plan(DeleteVm(vm=VmRef("hv2", made.plan.uuid, "new")))
        assert (await engine.finished((await engine.apply(gone)).id)).state is JobState.DONE
