"""New VMs on real hosts: placed by groups, zones and quotas; two operators at once never take too much."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lab.fleet import Lab, Plan
from lab.watching import Watched, watching
from virtfleet.errors import NoValidHostError
from virtfleet.images.hashing import file_ref
from virtfleet.model.action import CreateVm, DeleteVm, VmRef
from virtfleet.model.job import JobState

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

MIB = 1 << 20
GROUPS = ("stats", "facts", "pools", "volumes", "networks")
XML = (
    "<domain type='qemu'><name>x</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>"
    "<os><type arch='x86_64'>hvm</type></os></domain>"
)


@pytest.fixture(scope="module")
def site(lab_machine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, Path]]:
    """Three hosts in two zones, with groups and a project; the fleet file that says so."""
    plan = Plan(hosts=3, guests=0, off=0, containers=0, shared=False)
    with Lab.start(plan) as lab:
        fleet = yaml.safe_load(lab.fleet_file.read_text())
        for name, zone in (("hv1", "a"), ("hv2", "a"), ("hv3", "b")):
            fleet["hosts"][name]["zone"] = zone
        fleet |= {
            "groups": {"apart": {"policy": "anti-affinity"}, "near": {"policy": "affinity"}},
            "projects": {"web": {"quota": {"vms": 3}}},
            "flavors": {"mini": {"vcpus": 1, "memory": "64MiB"}},
        }
        file = lab.fleet_file.with_name("placement.yaml")
        file.write_text(yaml.safe_dump(fleet))
        yield lab, file


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def defined(lab: Lab) -> dict[str, list[str]]:
    return {name: host.virsh("list --all --name").split() for name, host in lab.hosts.items()}


def given(folder: Path) -> Path:
    """XML of a VM without disks: quick to make, and it takes its place all the same."""
    file = folder / "small.xml"
    file.write_text(XML)
    return file


def seen(watched: Watched) -> set[str]:
    return {vm.name for host in watched.engine.snapshot.hosts.values() for vm in host.vms}


async def clear(watched: Watched) -> None:
    engine = watched.engine
    for host in engine.snapshot.hosts.values():
        for vm in host.vms:
            action = DeleteVm(vm=VmRef(host.name, vm.uuid, vm.name), force=True)
            await engine.jobs.wait((await engine.apply(await engine.plan(action))).id)
    await watched.until(lambda: not any(h.vms for h in engine.snapshot.hosts.values()), "all are gone")


async def create(watched: Watched, actions: list[CreateVm], *, partial: bool = False) -> dict[str, str]:
    """Where each VM went."""
    engine = watched.engine
    plans, errors = await engine.plan_all(actions, partial=partial)
    assert not errors
    jobs = [await engine.finished((await engine.apply(plan)).id) for plan in plans]
    assert {job.state for job in jobs} == {JobState.DONE}, [job.error for job in jobs]
    await watched.until(
        lambda: (
            {plan.name for plan in plans} <= {v.name for h in engine.snapshot.hosts.values() for v in h.vms}
        ),
        "they are seen",
    )
    return {job.plan.name: job.plan.host for job in jobs}


def wanted(xml: Path, name: str, count: int, **more: object) -> list[CreateVm]:
    file = file_ref(str(xml))
    return [CreateVm(name=f"{name}{n}", xml=file, start=False, **more) for n in range(count)]  # type: ignore[arg-type]


async def test_groups_zones_and_quotas_decide(site: tuple[Lab, Path], state: None, tmp_path: Path) -> None:
    lab, file = site
    xml = given(tmp_path)
    async with watching(replace_fleet(lab, file), volumes_interval=1.0) as watched:
        engine = watched.engine
        await engine.settled(GROUPS, timeout=30.0)
        where = await create(watched, wanted(xml, "a", 3, group="apart"))
        assert sorted(where.values()) == ["hv1", "hv2", "hv3"]
        with pytest.raises(NoValidHostError, match="has 1 of group apart, at most 1 may be together"):
            await engine.plan(wanted(xml, "b", 1, group="apart")[0])
        near = await create(watched, wanted(xml, "n", 2, group="near", zone="b"))
        assert set(near.values()) == {"hv3"}
        with pytest.raises(NoValidHostError, match=r"group near is on hv3"):
            await engine.plan(wanted(xml, "m", 1, group="near", zone="a")[0])
        await create(watched, wanted(xml, "w", 2, project="web"))
        plans, errors = await engine.plan_all(wanted(xml, "q", 2, project="web"))
        assert plans == []
        assert "project web may have 3 VMs, has 3, 1 more are asked for" in errors[0].message
        some, errors = await engine.plan_all(wanted(xml, "q", 2, project="web"), partial=True)
        assert [plan.name for plan in some] == ["q0"]
        assert "project web may have 3 VMs, has 3, 1 more are asked for" in errors[0].message
        assert sum(map(len, defined(lab).values())) == 7
        await clear(watched)


async def test_two_operators_at_once_never_take_more_than_there_is(
    site: tuple[Lab, Path], tmp_path: Path
) -> None:
    """Room for 4 VMs on each host: of 2 × 10 twelve are made, some on the next host, and not one more."""
    lab, file = site
    fleet = yaml.safe_load(file.read_text())
    fleet["scheduler"] = {"max_vms_per_host": 4}
    small = file.with_name("race.yaml")
    small.write_text(yaml.safe_dump(fleet))
    operators = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "virtfleet_tui", "--fleet", str(small), "--no-input", "--yes"),
            *("vm", "create", f"race{number}-%02d", "-n", "10", "--xml", str(given(tmp_path))),
            *("--no-start", "--partial", "-o", "json"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "XDG_STATE_HOME": str(tmp_path / str(number))},
        )
        for number in range(2)
    ]
    ends = await asyncio.gather(*(each.communicate() for each in operators))
    found = [json.loads(out) for out, _ in ends]
    done = [item for each in found for item in each["items"] if item["state"] == "done"]
    assert {name: len(vms) for name, vms in defined(lab).items()} == {"hv1": 4, "hv2": 4, "hv3": 4}, ends
    assert len({item["name"] for item in done}) == 12
    assert {each.returncode for each in operators} <= {0, 3}
    async with watching(lab) as watched:
        await clear(watched)


def replace_fleet(lab: Lab, file: Path) -> Lab:
    """The lab with another fleet file."""
    other = copy.copy(lab)
    other.fleet_file = file
    return other
