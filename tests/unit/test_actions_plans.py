"""Plans: what they do, refuse and say; and that two VMs of one name are never mixed up."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unit.plan_objects import GIB, NOW, disk, host, ref, vm, world
from virtfleet.actions import planner
from virtfleet.actions.common import name_problem
from virtfleet.actions.conditions import check
from virtfleet.actions.create import expand
from virtfleet.actions.verbs import VERBS
from virtfleet.errors import ConfigError, NotFoundError, RefusedError
from virtfleet.model import Freshness, HostState, VmDisk, VmState, Volume
from virtfleet.model import action as actions
from virtfleet.model.action import Action, CreateVm, DeleteVm, VmRef
from virtfleet.model.plan import Danger
from virtfleet.query.rows import VmRow


def test_a_plan_claims_acts_and_releases() -> None:
    hv = host("hv1", vm("a", VmState.SHUTOFF))
    plan = planner.plan(actions.StartVm(vm=ref(hv, "a")), world(hv))
    assert [step.op for step in plan.steps] == ["vm.claim", "vm.start", "vm.release"]
    assert (plan.title, plan.danger) == ("start a on hv1", Danger.NONE)
    assert (plan.effects[0].before, plan.effects[0].after) == ("shutoff", "running")


def test_what_is_so_already_is_no_step_and_says_why() -> None:
    hv = host("hv1", vm("a"))
    plan = planner.plan(actions.StartVm(vm=ref(hv, "a")), world(hv))
    assert plan.steps == ()
    assert plan.reasons[0].text == "a is running already"


def test_a_protected_vm_refuses_what_hurts() -> None:
    hv = host("hv1", vm("a", protected=True, snapshots=1))
    vm_ref = ref(hv, "a")
    for action in (
        actions.PowerOffVm(vm=vm_ref),
        actions.ResetVm(vm=vm_ref),
        DeleteVm(vm=vm_ref, force=True),
        actions.RevertSnapshot(vm=vm_ref, snapshot="s"),
    ):
        with pytest.raises(RefusedError, match="a is protected"):
            planner.plan(action, world(hv))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"state": HostState.HUNG, "reason": "libvirtd is stopped"}, "hv1 is hung: libvirtd is stopped"),
        ({"freshness": Freshness(NOW - 60)}, "last heard 60 s ago"),
        ({"state": HostState.DISABLED}, "hv1 is disabled"),
    ],
)
def test_nobody_acts_on_a_host_that_is_not_known_to_be_well(change: dict[str, Any], says: str) -> None:
    hv = host("hv1", vm("a"), **change)
    with pytest.raises(RefusedError, match=says):
        planner.plan(actions.SuspendVm(vm=ref(hv, "a")), world(hv))


def test_a_vm_that_moved_is_found_for_the_operator() -> None:
    first, second = host("hv1"), host("hv2", vm("a"))
    with pytest.raises(NotFoundError) as caught:
        planner.plan(actions.SuspendVm(vm=VmRef("hv1", "u-a", "a")), world(first, second))
    assert caught.value.cure == "it is on hv2 now"


def test_delete_keeps_what_others_stand_on() -> None:
    volumes = (
        Volume(pool="default", name="a.qcow2", path="/p/a.qcow2", allocation=5),
        Volume(pool="default", name="base.qcow2", path="/p/base.qcow2"),
        Volume(pool="default", name="over.qcow2", path="/p/over.qcow2", backing="/p/base.qcow2"),
        Volume(pool="default", name="both.qcow2", path="/p/both.qcow2"),
        Volume(pool="default", name="cd.iso", path="/p/cd.iso"),
    )
    disks = (
        disk("/p/a.qcow2"),
        VmDisk(target="vdb", source="/p/base.qcow2"),
        VmDisk(target="vdc", source="/p/both.qcow2"),
        VmDisk(target="sda", device="cdrom", source="/p/cd.iso"),
        VmDisk(target="vdd", source="/elsewhere"),
    )
    hv = host(
        "hv1", vm("a", VmState.SHUTOFF, disks), vm("b", disks=(disk("/p/both.qcow2"),)), volumes=volumes
    )
    plan = planner.plan(DeleteVm(vm=ref(hv, "a"), volumes="own"), world(hv))
    deleted = [step.args["name"] for step in plan.steps if step.op == "volume.delete"]
    assert deleted == ["a.qcow2"]
    assert plan.danger is Danger.IRREVERSIBLE
    text = "; ".join(reason.text for reason in plan.reasons)
    assert "default/base.qcow2 stays: default/over.qcow2 stands on it" in text
    assert "default/both.qcow2 stays: b@hv1 uses it" in text
    assert "cd.iso stays: a medium" in text
    assert "/elsewhere stays: it is no volume" in text


@given(
    uses=st.lists(st.sets(st.integers(0, 4), max_size=4), min_size=1, max_size=4),
    backing=st.dictionaries(st.integers(0, 4), st.integers(0, 4), max_size=4),
)
def test_no_volume_that_another_vm_or_volume_stands_on_is_ever_deleted(
    uses: list[set[int]], backing: dict[int, int]
) -> None:
    volumes = tuple(
        Volume(
            pool="default", name=f"v{n}", path=f"/p/v{n}", backing=f"/p/v{backing[n]}" if n in backing else ""
        )
        for n in range(5)
    )
    vms = [
        vm(f"m{at}", VmState.SHUTOFF, tuple(VmDisk(target=f"vd{n}", source=f"/p/v{n}") for n in sorted(used)))
        for at, used in enumerate(uses)
    ]
    hv = host("hv1", *vms, volumes=volumes)
    plan = planner.plan(DeleteVm(vm=ref(hv, "m0"), volumes="own"), world(hv))
    deleted = {step.args["path"] for step in plan.steps if step.op == "volume.delete"}
    others = {f"/p/v{n}" for used in uses[1:] for n in used}
    bases = {f"/p/v{base}" for over, base in backing.items() if over != base}
    assert deleted == {f"/p/v{n}" for n in uses[0]} - others - bases


def test_create_says_why_this_host_and_not_the_others() -> None:
    small = host("hv1", vm("a", VmState.SHUTOFF, memory_max=31 * GIB))
    big, hung = host("hv2"), host("hv3", state=HostState.HUNG)
    plan = planner.plan(CreateVm(name="n", image="i", memory=2 * GIB), world(small, big, hung))
    assert plan.host == "hv2"
    texts = [reason.text for reason in plan.reasons]
    assert texts[0] == "hv2: the only one that fits, 32.0G of memory not promised"
    assert texts[1] == "not hv1: needs 2.0G, free 1.0G of 32.0G after ratio 1; hv3: hung"
    assert [step.op for step in plan.steps] == [
        "image.ensure", "volume.create", "vm.define", "vm.start", "vm.release"
    ]  # fmt: skip
    with pytest.raises(
        RefusedError, match=r"no valid host: hv1: needs 99.0G, free 1.0G of 32.0G after ratio 1"
    ):
        planner.plan(CreateVm(name="n", image="i", memory=99 * GIB), world(small, big))


def test_vms_planned_together_see_each_other() -> None:
    first, second = host("hv1"), host("hv2")
    before = planner.plan(CreateVm(name="m", image="i", host="hv1"), world(first, second))
    plan = planner.plan(CreateVm(name="n", image="i"), world(first, second, beside=(before,)))
    assert plan.host == "hv2"


@pytest.mark.parametrize(
    "name", ["", "a/b", "../x", "a\nb", "-x", ".x", "x" * 201, "ü" * 101, "a\x1b[2J", " a"]
)
def test_bad_names_are_refused(name: str) -> None:
    assert name_problem(name)
    with pytest.raises(RefusedError):
        planner.plan(CreateVm(name=name, image="i"), world(host("hv1")))


@pytest.mark.parametrize("name", ["web-01", "a'b", 'a"b', "[red]x", "{{x}}", "ü", "a b"])
def test_odd_names_are_only_names(name: str) -> None:
    plan = planner.plan(CreateVm(name=name, image="i"), world(host("hv1")))
    assert plan.name == name


def test_a_pattern_makes_many_and_needs_a_place_for_a_number() -> None:
    names = [each.name for each in expand(CreateVm(name="web-%02d"), 3, 9)]
    assert names == ["web-09", "web-10", "web-11"]
    with pytest.raises(ConfigError, match="no place for a number"):
        expand(CreateVm(name="web"), 2)


def test_a_plan_whose_world_has_changed_says_what() -> None:
    hv = host("hv1", vm("a"))
    plan = planner.plan(actions.PowerOffVm(vm=ref(hv, "a")), world(hv))
    same = world(hv).snapshot
    assert check(plan.conditions, same, NOW) == []
    assert check(plan.conditions, world(host("hv1")).snapshot, NOW) == ["a is no longer on hv1"]
    off = world(host("hv1", vm("a", VmState.SHUTOFF))).snapshot
    assert check(plan.conditions, off, NOW) == ["a is shutoff, and was on"]
    protected = world(host("hv1", vm("a", protected=True))).snapshot
    assert check(plan.conditions, protected, NOW) == ["a is protected now"]
    assert "hv1 has not been heard" in check(plan.conditions, same, NOW + 60)[0]


_SIMPLE: list[Any] = [
    actions.StartVm,
    actions.ShutdownVm,
    actions.RebootVm,
    actions.ResetVm,
    actions.PowerOffVm,
    actions.SuspendVm,
    actions.ResumeVm,
    actions.SaveVm,
    actions.RestoreVm,
    actions.SetAutostart,
    actions.ProtectVm,
    DeleteVm,
]


@given(
    kind=st.sampled_from(_SIMPLE),
    states=st.lists(st.sampled_from(list(VmState)), min_size=2, max_size=2),
    saved=st.booleans(),
    which=st.integers(0, 1),
)
def test_two_vms_of_one_name_are_never_mixed_up(
    kind: Any, states: list[VmState], saved: bool, which: int
) -> None:
    twins = [vm("twin", state, managed_save=saved, uuid=f"u{at}") for at, state in enumerate(states)]
    views = [host(f"hv{at}", twin) for at, twin in enumerate(twins)]
    action: Action = kind(vm=VmRef(f"hv{which}", f"u{which}", "twin"))
    try:
        plan = planner.plan(action, world(*views))
    except RefusedError:
        return
    assert plan == planner.plan(action, world(*views))
    assert {step.host for step in plan.steps} <= {f"hv{which}"}
    assert {step.args["uuid"] for step in plan.steps} <= {f"u{which}"}
    assert check(plan.conditions, world(*views).snapshot, NOW) == []


def test_every_verb_says_whether_it_applies() -> None:
    for state in VmState:
        row = VmRow(host("hv1"), vm("a", state))
        for verb in VERBS:
            reason = verb.applies(row)
            assert not reason or "a" in reason
    dead = VmRow(host("hv1", state=HostState.HUNG), vm("a"))
    assert {verb.applies(dead) for verb in VERBS if verb.applies(dead)} >= {"hv1 is hung"}
