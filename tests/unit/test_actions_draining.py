"""Plans of draining, and how moves take turns; hosts and moves that go wrong among them."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from unit.plan_objects import fleet, host, vm, world
from virtfleet.actions import planner
from virtfleet.actions.drainer import Carry, carry, home, with_home
from virtfleet.actions.draining import homecomers
from virtfleet.errors import NotFoundError, NoValidHostError, RefusedError
from virtfleet.hypervisor.views.home import homes
from virtfleet.model import FleetSnapshot, HostFacts, Maintenance, Mark, Vm, VmState
from virtfleet.model.action import DrainHosts, MigrateVm, UndrainHosts, VmRef
from virtfleet.model.job import Job, JobState
from virtfleet.model.plan import Danger, Plan, Step

GIB = 1 << 30
MARK = Mark("ann@desk", 5.0, "new kernel")


def machine(name: str, memory: int = 1, state: VmState = VmState.RUNNING, **info: Any) -> Vm:
    return vm(name, state, vcpus_max=1, memory_max=memory * GIB, **info)


def hypervisor(name: str, *vms: Vm, **more: Any) -> Any:
    facts = HostFacts(hypervisor="QEMU", hypervisor_version="7.2.0", cpus=16, memory=64 * GIB)
    return host(name, *vms, facts=facts, **more)


def test_a_plan_says_who_goes_where_and_who_stays_why() -> None:
    here = hypervisor(
        "hv1", machine("small", 1), machine("large", 8), machine("off", 1, VmState.SHUTOFF),
        machine("card", 1, pci=("0000:3b:00.0",)),
    )  # fmt: skip
    plan = planner.plan(DrainHosts(hosts=("hv1",), reason="new kernel"), world(here, hypervisor("hv2")))
    assert [(step.op, step.host) for step in plan.steps] == [("host.mark", "hv1")]
    marks = plan.steps[0].args
    assert marks["expect"] == {"draining": None, "disabled": None}
    assert {each["reason"] for each in marks["set"].values()} == {"new kernel"}
    assert plan.danger is Danger.CONFIRM
    texts = [reason.text for reason in plan.reasons]
    assert texts[0].startswith("1. large (8.0G) from hv1 to hv2: ")
    assert texts[1].startswith("1. small (1.0G) from hv1 to hv2: ")
    assert "card stays on hv1: it has PCI devices of its host: 0000:3b:00.0" in texts
    assert "off stays on hv1: it is off; `--off move` takes it along" in texts
    assert texts[-1] == "2 of 4 VMs go, in 1 wave"
    assert [(each.what, each.after - each.before) for each in plan.effects] == [
        ("memory promised on hv2", 9 * GIB)
    ]


def test_what_is_wrong_is_refused() -> None:
    odd = hypervisor("hv1", maintenance=Maintenance(problem="host.json is no JSON"))
    with pytest.raises(RefusedError, match=r"drain hv1: host\.json is no JSON"):
        planner.plan(DrainHosts(hosts=("hv1",)), world(odd))
    with pytest.raises(RefusedError, match=r"undrain hv1: host\.json is no JSON"):
        planner.plan(UndrainHosts(hosts=("hv1",)), world(odd))
    with pytest.raises(NotFoundError, match="no host 'hv9'"):
        planner.plan(DrainHosts(hosts=("hv1", "hv9")), world(hypervisor("hv1")))


def test_exactly_those_that_left_come_home() -> None:
    drained = hypervisor("hv1", machine("back", drained_from=("hv1",)), maintenance=Maintenance(MARK, MARK))
    other = hypervisor(
        "hv2", machine("a", 2, drained_from=("hv1",)), machine("b", 1, drained_from=("hv3", "hv1", "hv3")),
        machine("c", 1, drained_from=("hv3",)), machine("d"),
    )  # fmt: skip
    found = homecomers(fleet(drained, other), ["hv1"])
    assert [(each.vm.name, each.here.name, each.to) for each in found] == [
        ("a", "hv2", "hv1"),
        ("b", "hv2", "hv1"),
    ]
    moves = home(found, copy=False, groups=frozenset())
    assert [(each.action.vm.name, each.action.to, each.homes) for each in moves] == [
        ("a", "hv1", ()),
        ("b", "hv1", ("hv3",)),
    ]
    plan = planner.plan(UndrainHosts(hosts=("hv1",), bring=True), world(drained, other))
    assert plan.steps[0].args["set"] == {"draining": None, "disabled": None}
    assert plan.danger is Danger.CONFIRM
    assert "a (2.0G) from hv2 home to hv1" in [reason.text for reason in plan.reasons]


@pytest.mark.parametrize(
    ("xml", "says"),
    [
        (None, ()),
        ("nonsense", ()),
        ("<move/>", ()),
        (
            '<move><drained from="hv1"/><drained/><other from="x"/><drained from="a&#x202e;b"/></move>',
            ("hv1", "ab"),
        ),
        ("<move><!-- x --></move>", ()),
        ("<move>" + '<drained from="h"/>' * 99 + "</move>", ("h",) * 16),
    ],
    ids=["none", "no XML", "empty", "odd", "comment", "many"],
)
def test_metadata_that_anybody_may_have_written(xml: str | None, says: tuple[str, ...]) -> None:
    assert homes(xml) == says


# ---- taking turns


class Fleet:
    """Remembers how much was under way at once."""

    def __init__(self, full: frozenset[str] = frozenset()) -> None:
        self.snapshot = FleetSnapshot(0, {})
        self.full = full
        self.busy: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.asked: list[tuple[str, str]] = []
        self._jobs: dict[str, Job] = {}

    async def plan(self, action: MigrateVm) -> Plan:
        self.asked.append((action.vm.name, action.to))
        if action.to in self.full:
            raise NoValidHostError(f"{action.to} is full")
        steps = tuple(
            Step(id=each, op=f"vm.{each}", host=action.vm.host, title=each) for each in ("room", "move")
        )
        return Plan(
            action=action, title=action.vm.name, verb="vm.migrate", host=action.vm.host, uuid=action.vm.uuid,
            steps=steps,
        )  # fmt: skip

    async def apply(self, plan: Plan, *, origin: str = "", batch: str = "") -> Job:
        assert [each.id for each in plan.steps] == ["room", "home", "move"]
        assert isinstance(plan.action, MigrateVm)
        for end in (plan.host, plan.action.to):
            self.busy[end] += 1
            self.most[end] = max(self.most[end], self.busy[end])
        job = Job(id=str(len(self._jobs)), plan=plan, state=JobState.RUNNING, origin=origin, batch=batch)
        self._jobs[job.id] = job
        return job

    async def finished(self, number: str) -> Job:
        for _ in range(int(number) % 4 + 1):
            await asyncio.sleep(0)
        job = self._jobs[number]
        assert isinstance(job.plan.action, MigrateVm)
        for end in (job.plan.host, job.plan.action.to):
            self.busy[end] -= 1
        return replace(job, state=JobState.DONE)


def carries(ends: list[tuple[int, int]], elsewhere: bool = True) -> list[Carry]:
    return [
        Carry(MigrateVm(vm=VmRef(f"a{here}", f"u{n}", f"v{n}"), to=f"b{there}"), (), (f"a{here}",), elsewhere)
        for n, (here, there) in enumerate(ends)
    ]


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), max_size=15), st.integers(1, 4))
def test_all_are_moved_and_few_at_once(ends: list[tuple[int, int]], per_host: int) -> None:
    hosts = Fleet()
    told: list[str] = []
    done = asyncio.run(
        carry(hosts, carries(ends), per_host=per_host, origin="t", told=lambda job: told.append(job.id))
    )
    assert sorted(job.plan.uuid for job in done.jobs) == sorted(f"u{n}" for n in range(len(ends)))
    assert len(told) == len(ends)
    assert all(count <= per_host for count in hosts.most.values())


def test_who_finds_the_host_full_is_tried_again_when_all_others_are_done() -> None:
    hosts = Fleet(frozenset({"b1"}))
    done = asyncio.run(carry(hosts, carries([(0, 1), (0, 2), (0, 2)]), per_host=1, origin="t"))
    assert hosts.asked == [("v0", "b1"), ("v1", "b2"), ("v2", "b2"), ("v0", "")]
    assert len(done.jobs) == 3
    alone = Fleet(frozenset({"b1"}))
    done = asyncio.run(carry(alone, carries([(0, 1)], elsewhere=False), per_host=1, origin="t"))
    assert alone.asked == [("v0", "b1"), ("v0", "b1")]
    assert [str(each) for each in done.errors] == ["b1 is full"]


def test_what_a_move_writes_it_can_take_back() -> None:
    plan = asyncio.run(Fleet().plan(carries([(0, 1)])[0].action))
    step = with_home(plan, carries([(0, 1)])[0]).steps[1]
    assert (step.args["set"], step.args["expect"]) == (["a0"], [])
    assert step.undo is not None
    assert (step.undo.args["set"], step.undo.args["expect"]) == ([], ["a0"])
