"""Draining on paper: everybody once, never too much anywhere, rules kept, and a reason for who stays."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unit.placement_fleets import GIB, NOW, easy, make_settings, make_snapshot, snapshot_of
from unit.test_decide_place import figures, ledger_of
from virtfleet.config.settings import FleetSettings, GroupSettings, HostSettings
from virtfleet.decide.ask import Ask
from virtfleet.decide.drain import Barred, Drain, Leaving, drain
from virtfleet.decide.ledger import Ledger, Promise
from virtfleet.decide.place import survivors
from virtfleet.decide.question import Question
from virtfleet.model import (
    FleetSnapshot,
    HostFacts,
    HostStats,
    HostView,
    Maintenance,
    Mark,
    Vm,
    VmInfo,
    VmState,
    VmStats,
)

SEEDS = st.integers(0, 2**32 - 1)


def leaving(view: HostView, vm: Vm, stays: str = "") -> Leaving:
    info = vm.info
    ask = Ask(name=vm.name, vcpus=info.vcpus_max, memory=info.memory_max, group=info.group, moving=vm.uuid)
    promise = Promise("", vm.uuid, vm.name, info.vcpus_max, info.memory_max, group=info.group)
    busy = None if vm.stats.cpu_pct is None else vm.stats.cpu_pct * info.vcpus_max / 100
    return Leaving(view.name, vm.uuid, vm.name, ask, promise, vm.state.active, stays, busy)


def all_of(snapshot: FleetSnapshot, *hosts: str) -> list[Leaving]:
    return [leaving(snapshot.hosts[name], vm) for name in hosts for vm in snapshot.hosts[name].vms]


@settings(max_examples=150, deadline=None)
@given(SEEDS)
def test_everybody_once_and_never_too_much(seed: int) -> None:
    rng = random.Random(seed)
    fleet = make_settings(rng)
    snapshot = make_snapshot(rng, fleet)
    hosts = rng.sample(list(snapshot.hosts), rng.choice([1, 1, min(2, len(snapshot.hosts))]))
    everyone = [
        each._replace(stays="it has a device") if rng.random() < 0.1 else each
        for each in all_of(snapshot, *hosts)
    ]
    walls = {(vm.uuid, name) for vm in everyone for name in snapshot.hosts if rng.random() < 0.15}

    def barred(vm: Leaving, host: str) -> str:
        return "it can't" if (vm.uuid, host) in walls else ""

    ledger = ledger_of(fleet, snapshot)
    before = figures(ledger)
    per_host, at_once = rng.randint(1, 3), rng.randint(1, 4)
    found = drain(ledger, hosts, everyone, NOW, barred=barred, per_host=per_host, at_once=at_once)
    assert figures(ledger) == before
    again = drain(ledger, hosts, everyone[::-1], NOW, barred=barred, per_host=per_host, at_once=at_once)
    assert [(each.vm.uuid, each.to) for each in again.going] == [
        (each.vm.uuid, each.to) for each in found.going
    ]
    names = [each.vm.uuid for each in found.going] + [each.vm.uuid for each in found.staying]
    assert sorted(names) == sorted(each.uuid for each in everyone)
    assert all(each.why for each in found.staying)
    for each in found.going:
        assert not each.vm.stays
        assert each.to not in hosts
        assert (each.vm.uuid, each.to) not in walls
        view = snapshot.hosts[each.to]
        assert view.state.answers
        assert not view.closed
    check_room(ledger, found)
    check_groups(fleet, snapshot, found)
    check_nobody_stays_in_vain(fleet, ledger, hosts, found, barred)
    check_waves(found, per_host, at_once)


def check_room(ledger: Ledger, found: Drain) -> None:
    for name in {each.to for each in found.going}:
        row = ledger.rows[name]
        came = [each for each in found.going if each.to == name]
        vcpus, memory = (sum(getattr(each.vm.promise, what) for each in came) for what in ("vcpus", "memory"))
        assert ledger.vcpus_used[row] + vcpus <= ledger.vcpus[row]
        assert ledger.memory_used[row] + memory <= ledger.memory[row]
        assert ledger.vm_count[row] + len(came) <= ledger.settings.scheduler.max_vms_per_host
        last = came[-1].there
        assert (last.vcpus, last.memory) == (ledger.vcpus_used[row] + vcpus, ledger.memory_used[row] + memory)
        assert last.vms == ledger.vm_count[row] + len(came)
    for name in {each.vm.host for each in found.going}:
        went = [each for each in found.going if each.vm.host == name]
        assert went[-1].here.vms == ledger.vm_count[ledger.rows[name]] - len(went)


def check_groups(fleet: FleetSettings, snapshot: FleetSnapshot, found: Drain) -> None:
    moved = {each.vm.uuid: each.to for each in found.going}
    places: dict[str, Counter[str]] = {}
    for view in snapshot.hosts.values():
        for vm in view.vms:
            where = moved.get(vm.uuid, view.name)
            places.setdefault(vm.info.group, Counter())[where] += 1
    for group, rule in fleet.groups.items():
        came = {each.to for each in found.going if each.vm.ask.group == group}
        now = places.get(group, Counter())
        if rule.policy == "anti-affinity":
            assert all(now[name] <= rule.max_per_host for name in came)
        if rule.policy == "affinity" and came:
            was = {
                view.name for view in snapshot.hosts.values() if any(v.info.group == group for v in view.vms)
            }
            # Nobody was made to be alone: all went to one place, or to where others of it are.
            gone = {each.vm.host for each in found.going if each.vm.ask.group == group}
            assert len(came) == 1 or came <= was - gone


def check_nobody_stays_in_vain(
    fleet: FleetSettings, ledger: Ledger, hosts: list[str], found: Drain, barred: Barred
) -> None:
    """With all others where they go, no host would take it. A soft rule refuses nobody."""
    taken = [each.vm.promise._replace(host=each.to, io=0) for each in found.going]
    with ledger.beside(taken):
        for each in found.staying:
            rule = fleet.groups.get(each.vm.ask.group)
            if each.vm.stays or (rule is not None and rule.policy == "affinity"):
                continue
            left = survivors(Question(ledger, each.vm.ask, NOW))
            free = [name for name, fits in zip(ledger.names, left, strict=True) if fits and name not in hosts]
            assert all(barred(each.vm, name) for name in free)
            if rule is None or rule.policy.startswith("soft-"):
                assert "of group" not in each.why


def check_waves(found: Drain, per_host: int, at_once: int) -> None:
    assert [each.wave for each in found.going] == sorted(each.wave for each in found.going)
    for wave in range(1, found.waves + 1):
        those = [each for each in found.going if each.wave == wave]
        assert 1 <= len(those) <= at_once
        ends = Counter(end for each in those for end in (each.vm.host, each.to))
        assert max(ends.values()) <= per_host


# ---- single cases


def view(name: str, *vms: Vm, memory: int = 16, cpus: int = 16, cpu_pct: float | None = 10.0) -> HostView:
    stats = HostStats(cpu_pct=cpu_pct, memory_total=memory * GIB)
    return easy(HostView(name, "", facts=HostFacts(hypervisor="QEMU", cpus=cpus), stats=stats, vms=vms))


def vm(name: str, memory: int = 1, group: str = "", cpu_pct: float | None = 50.0) -> Vm:
    info = VmInfo(uuid=f"u-{name}", name=name, vcpus_max=2, memory_max=memory * GIB, group=group)
    return Vm(info, VmStats(info.uuid, VmState.RUNNING, cpu_pct=cpu_pct))


def drained(*views: HostView, groups: dict[str, GroupSettings] | None = None, **more: object) -> Drain:
    """The first is drained."""
    snapshot = snapshot_of({each.name: each for each in views})
    fleet = FleetSettings(
        hosts={each.name: HostSettings(name=each.name, uri="") for each in views}, groups=groups or {}
    )
    ledger = ledger_of(fleet, snapshot)
    return drain(ledger, [views[0].name], all_of(snapshot, views[0].name), NOW, **more)  # type: ignore[arg-type]


def where(found: Drain) -> dict[str, str]:
    return {each.vm.name: each.to for each in found.going}


def test_a_host_that_is_promised_far_too_much_can_be_drained() -> None:
    vms = [vm(f"v{number}", memory=8) for number in range(6)]
    found = drained(view("hv1", *vms, memory=16), view("hv2", memory=64), view("hv3", memory=64))
    assert len(found.going) == 6
    assert found.staying == ()
    assert found.going[0].here.memory == 40 * GIB


def test_the_largest_goes_first_and_who_finds_no_place_stays_with_the_numbers() -> None:
    found = drained(view("hv1", vm("small", 2), vm("large", 9)), view("hv2", vm("old", 6)))
    assert where(found) == {"large": "hv2"}
    assert [(each.vm.name, each.why) for each in found.staying] == [
        ("small", "hv2: needs 2.0G, free 1.0G of 16.0G after ratio 1")
    ]


def test_a_group_that_must_be_together_goes_together_or_not_at_all() -> None:
    groups = {"db": GroupSettings(policy="affinity")}
    members = [vm(f"db{number}", 4, "db") for number in range(3)]
    # hv2 is the emptier one, but too small for all.
    found = drained(
        view("hv1", *members, vm("web")), view("hv2", memory=11), view("hv3", vm("x", 4), memory=16),
        groups=groups,
    )  # fmt: skip
    assert where(found) == {"db0": "hv3", "db1": "hv3", "db2": "hv3", "web": "hv2"}
    tight = drained(view("hv1", *members, vm("web")), view("hv2", memory=11), groups=groups)
    assert where(tight) == {"web": "hv2"}
    assert {each.why for each in tight.staying} == {
        "group db stays together, and no host has room for all 3 of it"
    }
    wall = drained(
        view("hv1", *members), view("hv2", memory=64), groups=groups,
        barred=lambda each, host: "its disk is not seen there" if each.name == "db1" else "",
    )  # fmt: skip
    assert wall.going == ()
    assert {each.why for each in wall.staying} == {
        "group db stays together; db1: hv2: its disk is not seen there"
    }


def test_a_group_goes_to_where_its_others_are() -> None:
    groups = {"db": GroupSettings(policy="affinity")}
    found = drained(
        view("hv1", vm("a", 1, "db")), view("hv2", memory=64), view("hv3", vm("b", 1, "db")), groups=groups
    )
    assert where(found) == {"a": "hv3"}


@pytest.mark.parametrize("policy", ["soft-affinity", "soft-anti-affinity"])
def test_a_soft_rule_refuses_nobody(policy: str) -> None:
    groups = {"web": GroupSettings(policy=policy)}  # type: ignore[arg-type]
    found = drained(
        view("hv1", *(vm(f"w{number}", 1, "web") for number in range(4))),
        view("hv2", vm("w9", 1, "web")),
        groups=groups,
    )
    assert Counter(where(found).values()) == {"hv2": 4}


def test_nothing_goes_to_a_host_that_is_disabled() -> None:
    closed = view("hv2")
    closed = HostView(
        **{name: getattr(closed, name) for name in HostView.__struct_fields__}
        | {"maintenance": Maintenance(disabled=Mark("ann", 1.0, "new kernel"))}
    )
    found = drained(view("hv1", vm("a")), closed)
    assert found.staying[0].why == "hv2: disabled for new VMs by ann: new kernel"
    assert drained(view("hv1", vm("a"))).staying[0].why == "there is no other host"


def test_load_is_predicted_move_by_move() -> None:
    found = drained(view("hv1", vm("a", 2), vm("b", 1)), view("hv2", vm("c", 4), cpu_pct=20.0))
    assert [each.vm.name for each in found.going] == ["a", "b"]
    first, second = (each.there for each in found.going)
    # Two vCPUs half busy are one CPU of sixteen.
    assert (first.cpu_pct, second.cpu_pct) == (26.25, 32.5)
    assert (first.memory, second.memory) == (6 * GIB, 7 * GIB)
    assert (first.memory_limit, first.vcpus, first.vms) == (16 * GIB, 4, 2)
    assert np.isclose(found.going[1].here.cpu_pct or 0.0, 0.0)
    silent = drained(view("hv1", vm("a", cpu_pct=None)), view("hv2"))
    assert silent.going[0].there.cpu_pct is None
