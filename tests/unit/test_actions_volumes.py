"""Plans of volumes: what is refused and why, what each changes, and that what was planned still holds."""

from __future__ import annotations

from dataclasses import replace as changed
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from unit.plan_objects import GIB, NOW, disk, fleet, host, pool, ref, vm, world
from virtfleet.actions import planner
from virtfleet.actions.conditions import check
from virtfleet.actions.world import World
from virtfleet.config.settings import PoolSelector, Project, Quota, VolumeType
from virtfleet.decide.quotas import volumes_seen
from virtfleet.errors import NotFoundError, RefusedError
from virtfleet.model import HostView, Vm, VmState, Volume
from virtfleet.model.action import Action
from virtfleet.model.action_volumes import (
    AttachVolume,
    CloneVolume,
    CreateVolume,
    DeleteVolume,
    DetachVolume,
    ExtendVolume,
    VolumeRef,
)
from virtfleet.model.plan import Danger, Plan
from virtfleet.model.project import Use, VolumeUse, volume_id
from virtfleet.query.rows import volume_rows
from virtfleet.query.volumes import FIELDS

GET = {field.name: field.get for field in FIELDS}


def volume(name: str, size: int = 10 * GIB, **more: Any) -> Volume:
    given: dict[str, Any] = {"pool": "default", "path": f"/p/{name}", "format": "raw", **more}
    return Volume(name=name, capacity=size, allocation=0, **given)


def at(name: str, view: str = "hv1", pool_: str = "default") -> VolumeRef:
    return VolumeRef(view, pool_, name)


def plan(action: Action, *views: HostView, **more: Any) -> Plan:
    return planner.plan(action, world(*views, **more))


def typed(made: World, **types: VolumeType) -> World:
    return changed(made, settings=replace(made.settings, volume_types=types))


# ---- properties


_vms = st.builds(
    lambda name, state, path, readonly: vm(name, state, (disk(path, readonly=readonly),)),
    st.sampled_from(["a", "b"]),
    st.sampled_from([VmState.RUNNING, VmState.SHUTOFF, VmState.PAUSED]),
    st.sampled_from(["/p/v", "/p/w", "/p/other"]),
    st.booleans(),
)
_volumes = st.lists(
    st.builds(
        volume,
        st.sampled_from(["v", "w", "x"]),
        st.sampled_from([GIB, 10 * GIB, 400 * GIB]),
        backing=st.sampled_from(["", "", "/p/v"]),
        format=st.sampled_from(["raw", "qcow2", "iso"]),
    ),
    max_size=3,
    unique_by=lambda each: each.name,
)
_sizes = st.sampled_from([0, 1000, GIB, 11 * GIB, 3000 * GIB])
_actions = st.one_of(
    st.builds(
        CreateVolume, name=st.sampled_from(["v", "new", "../x"]), size=_sizes, type=st.sampled_from(["", "t"])
    ),
    st.builds(DeleteVolume, volume=st.just(at("v"))),
    st.builds(CloneVolume, volume=st.just(at("v")), name=st.sampled_from(["v", "w", "new"])),
    st.builds(ExtendVolume, volume=st.just(at("v")), size=_sizes),
    st.builds(
        AttachVolume,
        volume=st.just(at("v")),
        vm=st.just(ref(host("hv1"), "a")),
        readonly=st.booleans(),
        shareable=st.booleans(),
    ),
    st.builds(DetachVolume, volume=st.just(at("v")), vm=st.just(ref(host("hv1"), "a"))),
)


@settings(max_examples=200)
@given(st.lists(_vms, max_size=2, unique_by=lambda each: each.name), _volumes, _actions)
def test_a_plan_holds_when_it_is_made_and_never_touches_what_others_have(
    vms: list[Vm], volumes: list[Volume], action: Action
) -> None:
    view = host("hv1", *vms, volumes=tuple(volumes))
    made = typed(world(view), t=VolumeType(provisioning="thick"))
    try:
        found = planner.plan(action, made)
    except (RefusedError, NotFoundError):
        return
    assert check(found.conditions, made.snapshot, NOW) == []
    assert all(step.final or step.undo or step.op.startswith("vm.") for step in found.steps)
    named = {each.name: each for each in volumes}
    on_v = [each for each in vms if each.info.disks[0].source == "/p/v"]
    match action:
        case CreateVolume():
            assert action.name not in named
            assert found.claims[0].use.capacity == action.size
        case DeleteVolume():
            assert not on_v
            assert not any(each.backing == "/p/v" and each.name != "v" for each in volumes)
            assert found.danger is Danger.IRREVERSIBLE
        case CloneVolume():
            assert action.name not in named
            assert not any(each.state.active and not each.info.disks[0].readonly for each in on_v)
        case ExtendVolume():
            assert action.size >= (named["v"].capacity or 0)
            assert sum(each.state.active for each in on_v) <= 1
        case AttachVolume():
            others = [each for each in on_v if each.name != "a"]
            assert all(each.info.disks[0].readonly and action.readonly for each in others)
        case DetachVolume():
            assert [each.name for each in on_v if each.name == "a"] == ["a"]


# ---- single cases


def test_the_best_pool_and_the_next_when_that_was_tried() -> None:
    view = host("hv1", pools=(pool("a", left=10 * GIB), pool("b", left=40 * GIB), pool("c", left=30 * GIB)))
    kind = VolumeType(provisioning="thick", pools=PoolSelector(names=("b", "c")))
    made = typed(world(view), t=kind)
    action = CreateVolume(name="n", size=20 * GIB, type="t")
    first = planner.plan(action, made)
    assert first.steps[0].args == {
        "pool": "b",
        "name": "n",
        "capacity": 20 * GIB,
        "format": "raw",
        "allocation": 20 * GIB,
        "preallocate": False,
    }
    assert [each.text for each in first.reasons] == [
        "hv1/b: best of 2 that fit, then hv1/c",
        "not hv1/a: type t is only for pools called b, c",
    ]
    table = made.followed_pools()
    second = planner.plan(action, made.with_pools(table, (), ("hv1/b",), {}))
    assert second.steps[0].args["pool"] == "c"
    assert "not hv1/b: was tried already" in second.reasons[1].text
    with pytest.raises(RefusedError, match="no pool can take it: hv1/a: type t is only for"):
        planner.plan(action, made.with_pools(table, (), ("hv1/b", "hv1/c"), {}))


def test_what_runs_and_is_planned_beside_is_promised() -> None:
    view = host("hv1", pools=(pool("a", left=40 * GIB),))
    kind = {"t": VolumeType(provisioning="thick")}
    made = typed(world(view), **kind)
    action = CreateVolume(name="n", size=30 * GIB, type="t")
    first = planner.plan(action, made)
    second = CreateVolume(name="m", size=20 * GIB, type="t")
    assert planner.plan(second, made).steps
    beside = typed(world(view, beside=(first,)), **kind)
    with pytest.raises(RefusedError, match=r"hv1/a: 10\.0G left, 20\.0G asked for"):
        planner.plan(second, beside)


def test_a_running_vm_grows_its_volume_through_its_own_host() -> None:
    shared = {"pools": (pool("s", identity="one"),)}
    here = host("hv1", volumes=(volume("v", pool="s"),), **shared)
    there = host("hv2", vm("a", disks=(disk("/p/v"),)), volumes=(volume("v", pool="s"),), **shared)
    found = plan(ExtendVolume(volume=at("v", pool_="s"), size=20 * GIB), here, there)
    assert (found.host, found.steps[0].host) == ("hv2", "hv2")
    assert [each.uuid for each in found.claims] == ["u-a"]
    assert found.claims[0].use.capacity == 20 * GIB
    off = host("hv2", vm("a", VmState.SHUTOFF, (disk("/p/v"),)), volumes=(volume("v", pool="s"),), **shared)
    assert check(found.conditions, fleet(here, off), NOW) == ["no VM that runs has v now"]


def test_a_running_vm_that_only_reads_a_volume_keeps_it_as_it_is() -> None:
    for state, readonly, fits in (
        (VmState.RUNNING, True, False),
        (VmState.RUNNING, False, True),
        (VmState.SHUTOFF, True, True),
    ):
        view = host("hv1", vm("a", state, (disk("/p/v", readonly=readonly),)), volumes=(volume("v"),))
        action = ExtendVolume(volume=at("v"), size=20 * GIB)
        if fits:
            assert plan(action, view).steps
        else:
            with pytest.raises(RefusedError, match="a@hv1 runs and has it read-only"):
                plan(action, view)


def test_who_has_what_across_hosts() -> None:
    shared = {"pools": (pool("s", identity="one"),)}
    here = host("hv1", volumes=(volume("v", pool="s"), volume("free", pool="s")), **shared)
    over = volume("over", pool="s", path="/q/over", backing="/q/v")
    there = host(
        "hv2",
        vm("a", disks=(disk("/q/v"),)),
        volumes=(volume("v", pool="s", path="/q/v"), volume("free", pool="s", path="/q/free"), over),
        **shared,
    )
    rows = {row.volume.name: row for row in volume_rows(fleet(here, there))}
    assert {name: GET["users"](row) for name, row in rows.items()} == {
        "v": ("a@hv2", "s/over"),
        "free": None,
        "over": None,
    }
    assert {name: GET["orphan"](row) for name, row in rows.items()} == {
        "v": False,
        "free": True,
        "over": True,
    }
    silent = replace(there, state=type(there.state).HUNG)
    rows = {row.volume.name: row for row in volume_rows(fleet(here, silent))}
    assert GET["orphan"](rows["free"]) is None


def test_attaching_takes_of_the_quota_of_the_vm() -> None:
    view = host("hv1", vm("a", project="web"), volumes=(volume("v"),))
    action = AttachVolume(volume=at("v"), vm=ref(view, "a"))
    made = world(view)
    found = planner.plan(action, made)
    assert found.claims[0].use == Use(vms=1, vcpus=2, memory=GIB, volumes=1, capacity=10 * GIB)
    assert found.steps[1].args["serial"] == "v"
    uuid = volume_id("local:hv1", "v")
    ours = made.with_pools(made.followed_pools(), (), (), {uuid: "web"})
    assert planner.plan(action, ours).claims == ()
    assert volumes_seen(made.snapshot) == (frozenset(), frozenset({uuid}))
    poor = replace(made.settings, projects={"web": Project(quota=Quota(volumes=0))})
    with pytest.raises(RefusedError, match="project web may have 0 volumes, has 0, 1 more are asked for"):
        planner.plan(action, changed(made, settings=poor))


def test_the_claim_of_a_volume_names_its_type() -> None:
    view = host("hv1")
    made = typed(world(view), t=VolumeType())
    found = planner.plan(CreateVolume(name="n", size=GIB, type="t", project="web"), made)
    assert found.claims[0].use == Use(volumes=1, capacity=GIB, types={"t": VolumeUse(1, GIB)})
    assert (found.uuid, found.kind) == (volume_id("local:hv1", "n"), "volume")


def test_only_raw_ones_are_shared_and_serials_have_to_fit() -> None:
    view = host("hv1", vm("a"), volumes=(volume("v", format="qcow2"),))
    action = AttachVolume(volume=at("v"), vm=ref(view, "a"), shareable=True, serial="x" * 21)
    with pytest.raises(RefusedError, match=r"only raw volumes can be shared: .*is no serial: up to 20"):
        plan(action, view)
