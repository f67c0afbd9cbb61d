"""A live migration of a 128 MiB guest over shared storage, against `virsh migrate` with the same options.

Both in turns, there and back, in one run. virsh runs on the source itself, through its own socket, and so
pays for no connection; ours is all that an operator waits for: plan, journal, claim, room, move, and the look
at both hosts.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time

from bench.figures import Figure, run, say, spread
from lab import guest
from lab.fleet import Lab, Plan
from lab.host import LabHost
from lab.run import wait_until
from lab.watching import Watched, watching
from virtfleet.model.action import MigrateVm, VmRef
from virtfleet.model.job import JobState

MEMORY = 128
ROUNDS = 10
NAME = "mover"


def _make(lab: Lab) -> None:
    """A guest that has booted, on storage that both hosts see."""
    host = lab.hosts["hv1"]
    disk = "/srv/shared/mover.qcow2"
    guest.copy_disk(host, lab.image, disk)
    made = guest.os_guest(host, NAME, 98, disk, memory=MEMORY)
    host.inside("/tmp/mover.xml").write_text(made.xml)
    host.virsh("define /tmp/mover.xml", f"start {NAME}")
    wait_until(lambda: "login" in guest.console_text(host, NAME).lower(), "the guest has booted", timeout=90)
    for each in lab.hosts.values():
        each.virsh("pool-refresh shared")


def _virsh(source: LabHost, target: LabHost) -> float:
    uri = f"qemu+ssh://root@{target.address}/system"
    began = time.monotonic()
    source.virsh(
        f"migrate --live --p2p --persistent --undefinesource {NAME} {uri} tcp://{target.address}", timeout=120
    )
    return time.monotonic() - began


async def _ours(watched: Watched, source: str, target: str) -> float:
    engine = watched.engine
    vm = watched.vm(source, NAME)
    began = time.monotonic()
    plan = await engine.plan(MigrateVm(vm=VmRef(source, vm.uuid, NAME), to=target))
    job = await engine.jobs.wait((await engine.apply(plan)).id)
    took = time.monotonic() - began
    assert job.state is JobState.DONE, job.error
    steps = [f"{each.id} {(each.ended or 0) - (each.began or 0):.3f}" for each in job.records]
    say(f"ours {took:.2f} s: {', '.join(steps)}")
    return took


async def _there_and_back(lab: Lab, rounds: int) -> tuple[list[float], list[float]]:
    virsh: list[float] = []
    ours: list[float] = []
    async with watching(lab, volumes_interval=2.0, pools_interval=2.0) as watched:
        await watched.engine.settled(("stats", "facts", "pools", "volumes", "networks"), timeout=30.0)
        at, other = "hv1", "hv2"
        for number in range(2 * rounds):
            await watched.until(lambda at=at, other=other: _is_at(watched, at, other), f"{NAME} on {at}")  # type: ignore[misc] # mypy can't tell
            guest.step_back(lab.hosts[at])
            # Each goes both ways, and neither is always second.
            if number % 4 in (0, 3):
                virsh.append(await asyncio.to_thread(_virsh, lab.hosts[at], lab.hosts[other]))
                say(f"virsh {virsh[-1]:.2f} s")
            else:
                ours.append(await _ours(watched, at, other))
            at, other = other, at
    return virsh, ours


def _is_at(watched: Watched, at: str, other: str) -> bool:
    """Seen there as it shall be, with its disk, and nowhere else."""
    here, there = watched.host(at), watched.host(other)
    seen = [vm for vm in here.vms if vm.name == NAME]
    disk = any(each.name == "mover.qcow2" for each in here.volumes)
    whole = bool(seen) and seen[0].info.persistent and seen[0].state.value == "running"
    return whole and disk and not any(vm.name == NAME for vm in there.vms)


def measure(options: argparse.Namespace) -> list[Figure]:
    with (
        tempfile.TemporaryDirectory() as folder,
        Lab.start(Plan(hosts=2, guests=0, off=1, containers=0)) as lab,
    ):
        os.environ["XDG_STATE_HOME"] = folder
        _make(lab)
        virsh, ours = asyncio.run(_there_and_back(lab, 2 if options.quick else ROUNDS))
    ratio = sorted(ours)[len(ours) // 2] / sorted(virsh)[len(virsh) // 2]
    return [
        Figure(
            f"live migration of a {MEMORY} MiB guest, against virsh migrate with the same options",
            "≤ 1.1",
            f"{ratio:.2f} ({spread(ours)} against {spread(virsh)})",
        )
    ]


if __name__ == "__main__":
    run(__doc__, measure)
