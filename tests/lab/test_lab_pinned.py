"""CPUs that VMs have for themselves, on a real host of two CPUs: each is given once, whoever asks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
import yaml

from lab.fleet import Lab
from lab.fleet import Plan as LabPlan
from lab.jobsite import MIB, JobSite, job_site
from virtfleet.errors import NoValidHostError, RefusedError
from virtfleet.hypervisor.views.domain import vm_info
from virtfleet.model.job import JobState
from virtfleet.model.spec import CellSpec, Tied, VmSpec

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

OFF = "hv1-vm1"


@pytest.fixture(scope="module")
def small_lab(lab_machine: None) -> Iterator[Lab]:
    with Lab.start(LabPlan(hosts=1, guests=0, off=1, containers=0, shared=False)) as built:
        fleet = yaml.safe_load(built.fleet_file.read_text())
        fleet["flavors"]["own"] = {
            "vcpus": 1,
            "memory": "32MiB",
            "extra_specs": {"hw:cpu_policy": "dedicated"},
        }
        fleet["defaults"]["allocation_ratio"] = {"cpu": 8}
        built.fleet_file.write_text(yaml.safe_dump(fleet))
        yield built


@pytest_asyncio.fixture
async def site(small_lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[JobSite]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    async with job_site(small_lab) as made:
        facts = made.watched.host("hv1").facts
        assert facts is not None
        if not facts.numa or len(facts.numa[0].cpu_ids) != facts.cpus:
            pytest.skip("this machine has several NUMA cells, or tells nothing of them")
        yield made
    for name in made.names() - {OFF}:
        with contextlib.suppress(Exception):
            small_lab.hosts["hv1"].virsh(f"destroy {name}")
        small_lab.hosts["hv1"].virsh(f"undefine --nvram {name}")
    small_lab.heal()


def pins(site: JobSite, name: str) -> list[int]:
    """The CPUs of its vCPUs, as libvirt has them: those of a running one as the host carries them out."""
    table = site.host.virsh(f"vcpupin {name}")
    return [int(cpu) for cpu in re.findall(r"^\s*\d+\s+(\d+)\s*$", table, re.MULTILINE)]


async def fill(site: JobSite, leave: int) -> list[str]:
    """Gives away all CPUs but `leave`, one VM each; the first of them runs."""
    names = []
    for number in range((os.cpu_count() or 1) - leave):
        name = f"own-{number}"
        ended = await site.do(site.creation(name, flavor="own", memory=0, seed=None, start=number == 0))
        assert ended.state is JobState.DONE, ended.error
        names.append(name)
        await site.shown(OFF, *names)
    return names


async def test_each_has_a_cpu_of_its_own_and_one_too_many_is_refused(site: JobSite) -> None:
    names = await fill(site, leave=0)
    count = len(names)
    taken = [cpu for name in names for cpu in pins(site, name)]
    assert sorted(taken) == list(range(count))
    for name, cpu in zip(names, taken, strict=True):
        assert f"emulatorpin cpuset='{cpu}'" in site.xml(name)
        assert site.vm(name).info.dedicated == (cpu,)
    with pytest.raises(NoValidHostError) as caught:
        await site.plan(site.creation("more", flavor="own", memory=0, seed=None))
    assert f"needs 1 CPUs, 0 of {count} are not pinned" in caught.value.message
    # Of no CPU of its own there is room.
    await site.plan(site.creation("tiny", flavor="tiny", memory=0, seed=None))


async def test_a_plan_that_is_old_is_refused_when_it_is_applied(site: JobSite) -> None:
    old = await site.plan(site.creation("late", flavor="own", memory=0, seed=None))
    names = await fill(site, leave=0)
    with pytest.raises(RefusedError, match=f"{names[0]} has CPU 0 of hv1 for itself now"):
        await site.engine.apply(old)


async def test_of_two_operators_who_want_the_last_cpu_one_gets_it(site: JobSite, tmp_path: Path) -> None:
    names = await fill(site, leave=1)
    last = (os.cpu_count() or 1) - 1
    others = [await _operator(site, name, tmp_path / name) for name in ("left", "right")]
    try:
        for each in others:
            assert each.stdin is not None
            each.stdin.write(b"\n")
        ends = [json.loads((await each.communicate())[0]) for each in others]
    finally:
        for each in others:
            with contextlib.suppress(ProcessLookupError):
                each.kill()
            await each.wait()
    assert [end["cpus"] for end in ends] == [[last], [last]], "both planned with the same CPU"
    (winner,) = site.names() - {OFF, *names}
    won, lost = sorted(ends, key=lambda end: end["state"] != "done")
    assert won["state"] == "done"
    assert lost["state"] == "failed"
    assert f"no room: {winner} has CPU {last} for itself" in lost["error"]
    assert pins(site, winner) == [last]
    assert {each.removesuffix(".qcow2") for each in site.volumes()} & {"left", "right"} == {winner}


async def _operator(site: JobSite, name: str, folder: Path) -> asyncio.subprocess.Process:
    """A process of its own, with its plan made."""
    own = {}
    for variable in ("XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        (folder / variable).mkdir(mode=0o700, parents=True)
        own[variable] = str(folder / variable)
    made = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "lab.pinning",
        str(site.lab.fleet_file), "hv1", str(site.lab.image), name, "own",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | own | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert made.stdout is not None
    assert await made.stdout.readline() == b"ready\n"
    return made


HALF = 32 * MIB
SPECS = {
    "cells": Tied(
        cells=(
            CellSpec(cpus=(0,), memory=HALF, host=0, shared_cpus=(0, 1)),
            CellSpec(cpus=(1,), memory=HALF, host=0, shared_cpus=(0, 1)),
        )
    ),
    "pages": Tied(
        cells=(CellSpec(cpus=(0, 1), memory=2 * HALF, host=0, page_size=2 * MIB, shared_cpus=(0,)),)
    ),
    "device": Tied(devices=("0000:3b:00.0",)),
    "all": Tied(
        cells=(CellSpec(cpus=(0, 1), memory=2 * HALF, host=0, page_size=2 * MIB),),
        pins=((0, 0), (1, 1)),
        kept_free=(2, 3),
        devices=("0000:3b:00.0",),
    ),
}


@pytest.mark.parametrize("name", SPECS)
async def test_what_this_machine_lacks_is_valid_for_its_libvirt(site: JobSite, name: str) -> None:
    """Huge pages, more cells, PCI devices: defined, never started; libvirt's schema accepts them."""
    spec = VmSpec(name=name, uuid=str(uuid.uuid4()), vcpus=2, memory=2 * HALF, tied=SPECS[name])
    args: dict[str, Any] = {"spec": msgspec.to_builtins(spec), "uuid": spec.uuid}
    await site.engine.request("hv1", "vm.define", args, 20.0)
    xml = site.xml(name)
    (site.host.folder / "tmp" / "vm.xml").write_text(xml)
    site.host.virsh("define --validate /tmp/vm.xml")  # an error if it is not
    info = vm_info(xml)
    assert (info.dedicated, info.pci) == (spec.tied.cpus, spec.tied.devices)
    assert [cell.page_size or 0 for cell in info.cells] == [cell.page_size for cell in spec.tied.cells]
