"""What the plan of one action costs with 500 hosts of 20 VMs, in CPU time."""

from __future__ import annotations

import argparse
import statistics
import time

import msgspec

from bench.figures import Figure, run, say
from unit.query_objects import NOW, large_fleet
from virtfleet.actions import planner
from virtfleet.actions.conditions import check
from virtfleet.actions.world import World
from virtfleet.config.settings import FleetSettings, HostSettings
from virtfleet.images.facts import ImageFacts
from virtfleet.model import HostStats, Pool, PoolState
from virtfleet.model.action import Action, CreateVm, DeleteVm, ResizeVm, ShutdownVm, TagVm, VmRef

GIB = 1 << 30
IMAGE = ImageFacts(
    format="qcow2", size=GIB, virtual_size=8 * GIB, path="/i.qcow2", sha256="ab" * 32, name="i"
)


def _world() -> World:
    snapshot = large_fleet()
    pool = Pool(
        uuid="p", name="default", type="dir", state=PoolState.RUNNING, identity="p", capacity=GIB << 10,
        available=GIB << 9,
    )  # fmt: skip
    for view in list(snapshot.hosts.values()):
        stats = HostStats(cpu_pct=10.0, memory_used=8 * GIB, memory_total=64 * GIB)
        snapshot = snapshot.with_host(msgspec.structs.replace(view, stats=stats, pools=(pool,)))
    hosts = {name: HostSettings(name=name, uri="") for name in snapshot.hosts}
    return World(
        snapshot=snapshot,
        settings=FleetSettings(hosts=hosts),
        monotonic=NOW,
        now=0.0,
        stale_ok=True,
        images={"i": IMAGE},
    )


def measure(_: argparse.Namespace) -> list[Figure]:
    world = _world()
    host = next(view for view in world.snapshot.hosts.values() if view.state.answers and view.vms)
    vm = next(each for each in host.vms if each.state.active)
    ref = VmRef(host.name, vm.uuid, vm.name)
    actions: list[Action] = [
        ShutdownVm(vm=ref),
        TagVm(vm=ref, add=("new-tag",)),
        ResizeVm(vm=ref, vcpus=64),
        DeleteVm(vm=ref, volumes="own", force=True),
        CreateVm(name="a-new-one", image="i"),
    ]
    worst = 0.0
    for action in actions:
        taken = []
        for _round in range(15):
            began = time.process_time()
            plan = planner.plan(action, world)
            check(plan.conditions, world.snapshot, NOW, stale_ok=True)
            taken.append((time.process_time() - began) * 1000)
        middle = statistics.median(taken)
        worst = max(worst, middle)
        say(f"{middle:7.2f} ms  {plan.title}")
    vms = sum(len(view.vms) for view in world.snapshot.hosts.values())
    what = (
        f"plan of one action and the check of its conditions, {len(world.snapshot.hosts)} hosts, {vms:,} VMs"
    )
    return [Figure(what, "≤ 20 ms", f"{worst:.1f} ms (the slowest of {len(actions)} verbs)")]


if __name__ == "__main__":
    run(__doc__, measure)
