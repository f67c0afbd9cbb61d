"""SIGKILL of the console at every word to the journal, on a real host: a job is resumed to its goal, or
rolled back to where it began; no volume, seed or definition is left over, and none is lost that was not ours.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
import pytest_asyncio

from lab.conftest import FreshLab
from lab.fleet import Lab
from lab.host import LabHost
from lab.watching import watching
from virtfleet.engine import Engine
from virtfleet.model.action import Action, CloneVm, CreateVm, DeleteVm, ResizeVm, Seed, VmRef
from virtfleet.model.job import JobState, StepState

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
MIB = 1 << 20
_MOST = 40
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ9b0Z8l1Z0kq0eF3p0nZq7m0YV8oK5w0Q2c5r1y7x3b me@here"


Things = tuple[set[str], set[str]]


class Site(NamedTuple):
    lab: Lab
    host: LabHost
    engine: Engine


@pytest_asyncio.fixture
async def site(fresh_lab: FreshLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    """One host, one VM that is off, and an engine that outlives those that are killed."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    built = fresh_lab(hosts=1, guests=0, off=1, containers=0, shared=False)
    async with watching(built, volumes_interval=1.0, pools_interval=1.0) as watched:
        await watched.engine.settled(("stats", "facts", "pools", "volumes", "networks"), timeout=30.0)
        yield Site(built, built.hosts["hv1"], watched.engine)


def things(host: LabHost) -> Things:
    """Names of VMs with their sizes, and of volumes but for cached images, as the host itself has them."""
    names = host.virsh("list --all --name").split()
    vms = set()
    for name in names:
        info = dict(line.split(":", 1) for line in host.virsh(f"dominfo {name}").splitlines() if ":" in line)
        vms.add(f"{name} {info['CPU(s)'].strip()} {info['Max memory'].strip()}")
    host.virsh("pool-refresh local")
    lines = host.virsh("vol-list local").splitlines()
    return vms, {line.split()[0] for line in lines if line.split() and not line.startswith(" virtfleet-")}


def crash(site: Site, action: Action, number: int, when: str) -> int:
    """The exit status of a process that is killed at its n-th word."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(str(ROOT / each) for each in ("core", "tui", "tests"))
    }
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "lab.crashing",
            str(site.lab.fleet_file),
            msgspec.json.encode(action).decode(),
            str(number),
            when,
        ],
        env=environment,
        capture_output=True,
        timeout=120,
        check=False,
    ).returncode


async def at_every_word(
    site: Site, make: Callable[[], Action], goal: Things, back: Callable[[], Action] | None
) -> int:
    """Kills it at every word, before and after it is written; resumes the one half and rolls the other back.

    `back`: what makes the start of the goal again. Returns how many times it was killed.
    """
    start = things(site.host)
    book = site.engine.jobs
    await book.open()
    known = {each.id for each in book.jobs}
    kills = 0
    for number in range(1, _MOST):
        for when in ("before", "after"):
            status = crash(site, make(), number, when)
            if status == 0:  # it has not so many words
                assert things(site.host) == goal
                return kills
            assert status == -signal.SIGKILL
            await book.open()
            (job,) = [each for each in book.jobs if each.id not in known]
            known |= {each.id for each in book.jobs}
            kills += 1
            if job.state is JobState.DONE:  # its last word was written
                assert things(site.host) == goal
                if back is not None:
                    await seen(site)
                    await do(site, back())
                await seen(site)
                known |= {each.id for each in book.jobs}
                continue
            assert job.state is JobState.INTERRUPTED
            steps = zip(job.plan.steps, job.records, strict=True)
            final = any(step.final and record.state is not StepState.PENDING for step, record in steps)
            forward = final or (number + (when == "after")) % 2 == 0
            await (book.resume(job.id) if forward else book.roll_back(job.id))
            ended = await book.wait(job.id)
            where = (number, when, forward, ended.error)
            if not forward:
                assert (ended.state, things(site.host)) == (JobState.CANCELLED, start), where
            else:
                assert (ended.state, things(site.host)) == (JobState.DONE, goal), where
                if back is not None:
                    await seen(site)
                    await do(site, back())
                    assert things(site.host) == start, where
            await seen(site)
            known |= {each.id for each in book.jobs}
    raise AssertionError("it never ended by itself")


async def do(site: Site, action: Action) -> None:
    """Carries an action out."""
    ended = await site.engine.jobs.wait((await site.engine.apply(await site.engine.plan(action))).id)
    assert ended.state is JobState.DONE, ended.error


async def seen(site: Site) -> None:
    """Until the engine sees what the host has."""
    vms, volumes = things(site.host)
    for _ in range(400):
        view = site.engine.snapshot.hosts["hv1"]
        there = {f"{vm.name} {vm.info.vcpus_max} {vm.info.memory_max >> 10} KiB" for vm in view.vms}
        if (
            there == vms
            and {each.name for each in view.volumes if not each.name.startswith("virtfleet-")} == volumes
        ):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"the engine does not see what the host has: {vms} {volumes}")


def ref(site: Site, name: str) -> VmRef:
    vm = next(vm for vm in site.engine.snapshot.hosts["hv1"].vms if vm.name == name)
    return VmRef("hv1", vm.uuid, vm.name)


def creation(site: Site, name: str) -> CreateVm:
    return CreateVm(
        name=name,
        host="hv1",
        memory=64 * MIB,
        image=str(site.lab.image),
        pool="local",
        start=False,
        seed=Seed(ssh_keys=(KEY,)),
    )


async def test_create(site: Site) -> None:
    vms, volumes = things(site.host)
    goal = vms | {"new 1 65536 KiB"}, volumes | {"new.qcow2", "new-seed.iso"}
    kills = await at_every_word(
        site, lambda: creation(site, "new"), goal, lambda: DeleteVm(vm=ref(site, "new"), volumes="own")
    )
    assert kills >= 20


async def test_delete(site: Site) -> None:
    goal = things(site.host)
    await do(site, creation(site, "doomed"))
    await seen(site)
    kills = await at_every_word(
        site,
        lambda: DeleteVm(vm=ref(site, "doomed"), volumes="own"),
        goal,
        lambda: creation(site, "doomed"),
    )
    assert kills >= 8


async def test_clone(site: Site) -> None:
    await do(site, creation(site, "first"))
    await seen(site)
    vms, volumes = things(site.host)
    goal = vms | {"copy 1 65536 KiB"}, volumes | {"copy.qcow2", "copy-seed.iso"}
    kills = await at_every_word(
        site,
        lambda: CloneVm(vm=ref(site, "first"), name="copy"),
        goal,
        lambda: DeleteVm(vm=ref(site, "copy"), volumes="own"),
    )
    assert kills >= 10


async def test_resize(site: Site) -> None:
    name = site.engine.snapshot.hosts["hv1"].vms[0].name
    vms, volumes = things(site.host)
    before = next(each for each in vms if each.startswith(name))
    _, vcpus, memory, _ = before.split()
    goal = (vms - {before}) | {f"{name} 2 131072 KiB"}, volumes
    kills = await at_every_word(
        site,
        lambda: ResizeVm(vm=ref(site, name), vcpus=2, memory=128 * MIB),
        goal,
        lambda: ResizeVm(vm=ref(site, name), vcpus=int(vcpus), memory=int(memory) << 10),
    )
    assert kills >= 8
