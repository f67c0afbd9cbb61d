"""Two operators, a hundred claims each, room for fewer: as many get in as fit, and never one more."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import libvirt
import pytest
import yaml

from lab.conftest import FreshLab
from lab.fleet import Lab
from lab.test_lab_transports import SOCKET, reached
from lab.watching import watching
from virtfleet.hypervisor.acts.promises import promised

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

MIB = 1 << 20
EACH = 100
ROOM = 30
VCPUS = 2
MEMORY = 16 * MIB


@pytest.fixture
def built(fresh_lab: FreshLab) -> Lab:
    return fresh_lab(hosts=1, guests=1, off=1, containers=0, shared=False, empty=True)


class Seen:
    """The host as it is, and the most that was ever promised on it."""

    def __init__(self, lab: Lab) -> None:
        self.host = libvirt.open(f"qemu+unix:///system?socket={lab.hosts['hv1'].inside(SOCKET)}")
        self.most = 0
        self.vcpus, self.memory = self.sums()

    def sums(self) -> tuple[int, int]:
        found = promised(self.host, marks=False)
        return sum(each.vcpus for each in found), sum(each.memory for each in found)

    async def watch(self) -> None:
        while True:
            vcpus, _ = await asyncio.to_thread(self.sums)
            self.most = max(self.most, vcpus)
            await asyncio.sleep(0.02)


async def race(folder: Path, fleet: Path, host: str, limits: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """How the claims of two operators ended that began at the same moment."""
    operators = [await _operator(folder / str(number), fleet, host, limits) for number in range(2)]
    try:
        for each in operators:
            assert each.stdin is not None
            each.stdin.write(b"\n")
        ends = [json.loads((await each.communicate())[0]) for each in operators]
    finally:
        for each in operators:
            with contextlib.suppress(ProcessLookupError):
                each.kill()
            await each.wait()
    return ends


async def _operator(
    folder: Path, fleet: Path, host: str, limits: dict[str, Any]
) -> asyncio.subprocess.Process:
    """A process of its own, connected and ready."""
    own = {}
    for variable in ("XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        (folder / variable).mkdir(mode=0o700, parents=True)
        own[variable] = str(folder / variable)
    made = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "lab.claiming",
        str(fleet), host, str(EACH), str(VCPUS), str(MEMORY), json.dumps(limits),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=MIB,
        env=os.environ | own | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert made.stdout is not None
    assert await made.stdout.readline() == b"ready\n"
    return made


def check(ends: list[list[dict[str, Any]]], seen: Seen, says: str) -> None:
    """As many as fit are there, and those that were told so; the others were told why not."""
    answers = [each for of_one in ends for each in of_one]
    assert len(answers) == 2 * EACH
    inside = {each["uuid"] for each in answers if each["code"] == ""}
    there = {
        domain.UUIDString() for domain in seen.host.listAllDomains() if domain.name().startswith("claim-")
    }
    assert inside == there
    assert len(inside) == ROOM
    assert {(each["code"], each["says"]) for each in answers if each["code"]} == {("no-room", says)}
    assert not [each for each in promised(seen.host, marks=True) if each.mark]


async def test_under_the_hosts_lock_it_is_never_over(built: Lab, tmp_path: Path) -> None:
    seen = Seen(built)
    limits = {"vcpus": seen.vcpus + ROOM * VCPUS + 1, "memory": seen.memory + 1000 * MEMORY}
    watch = asyncio.create_task(seen.watch())
    ends = await race(tmp_path, built.fleet_file, "hv1", limits)
    watch.cancel()
    assert seen.vcpus < seen.most <= limits["vcpus"]
    check(ends, seen, f"no room: 2 vCPU wanted, 1 of {limits['vcpus']} left")


async def test_a_group_is_kept_apart_under_the_lock(built: Lab, tmp_path: Path) -> None:
    ends = await race(tmp_path, built.fleet_file, "hv1", {"group": {"name": "web", "most": ROOM}})
    check(ends, Seen(built), f"no room: {ROOM} VMs of group web are there, of at most {ROOM}")


@contextlib.asynccontextmanager
async def without_a_lock(lab: Lab, folder: Path) -> AsyncIterator[Path]:
    """A fleet file by which the host is reached over TCP: no shell there, and so no lock."""
    async with reached(lab.hosts["hv1"], "tcp", folder) as uri:
        file = folder / "fleet.yaml"
        file.write_text(yaml.safe_dump({"hosts": {"near": {"uri": uri}}}))
        yield file


async def test_without_a_lock_it_is_not_over_and_not_all_step_back(built: Lab, tmp_path: Path) -> None:
    seen = Seen(built)
    limits = {"vcpus": 1000, "memory": seen.memory + ROOM * MEMORY}
    async with without_a_lock(built, tmp_path) as file:
        ends = await race(tmp_path, file, "near", limits)
    assert seen.sums()[1] == limits["memory"]
    left = f"{limits['memory'] / MIB:.4g} MiB"
    check(ends, seen, f"no room: 16 MiB of memory wanted, 0 MiB of {left} left")


async def test_a_qemu_that_does_not_answer_delays_no_claim(built: Lab) -> None:
    host = built.hosts["hv1"]
    host.freeze_vm("hv1-vm1")
    try:
        async with watching(built) as watched:
            spec = {
                "name": "new",
                "uuid": "8f7d5a64-0000-4000-8000-000000000001",
                "vcpus": 1,
                "memory": MEMORY,
            }
            args = {"spec": spec, "uuid": spec["uuid"], "job": "j", "who": "me", "limits": {"vms": 3}}
            await watched.engine.request("hv1", "vm.define", args, 5.0)
    finally:
        host.thaw_vm("hv1-vm1")
    assert "new" in host.virsh("list --all --name").split()
