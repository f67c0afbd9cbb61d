"""From the VMs that shall be to actions; and that the second time there are none."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from virtfleet.actions.batch import Wanted
from virtfleet.actions.desired import changes
from virtfleet.config.settings import Flavor
from virtfleet.errors import AmbiguousError, ConfigError
from virtfleet.model import FleetSnapshot, HostState, HostView, Vm, VmInfo, VmNic, VmState, VmStats
from virtfleet.model.action import (
    Action,
    AssignVm,
    CreateVm,
    DeleteVm,
    DescribeVm,
    ProtectVm,
    ResizeVm,
    SetAutostart,
    ShutdownVm,
    StartVm,
    TagVm,
    VmRef,
)

GIB = 1 << 30
FLAVORS = {"small": Flavor(vcpus=1, memory=GIB), "big": Flavor(vcpus=8, memory=16 * GIB)}


def vm(name: str, state: VmState = VmState.RUNNING, **info: object) -> Vm:
    made = VmInfo(uuid=f"uuid-{name}", name=name, vcpus_max=1, memory_max=GIB)
    return Vm(replace(made, **info), VmStats(f"uuid-{name}", state))


def fleet(**hosts: tuple[Vm, ...]) -> FleetSnapshot:
    views = {name: HostView(name=name, uri="", state=HostState.UP, vms=vms) for name, vms in hosts.items()}
    return FleetSnapshot(1, MappingProxyType(views))


def want(name: str, state: str = "", host: str = "", **fields: Any) -> Wanted:
    create = CreateVm(name=name, host=host, **fields)
    given = frozenset(fields) | ({"host"} if host else set())
    return Wanted(create=create, state=state, given=given, where="f:1")  # type: ignore[arg-type]


def never(host: HostView, vm: Vm) -> bool:
    return False


def test_what_lacks_is_created_and_what_is_there_is_left() -> None:
    found = changes([want("a"), want("b")], fleet(hv1=(vm("a"),)), FLAVORS, never)
    assert found.create == (CreateVm(name="b"),)
    assert (found.change, found.delete, found.notes) == ((), (), ())


def test_each_difference_is_an_action() -> None:
    ref = VmRef("hv1", "uuid-a", "a")
    wanted = want(
        "a",
        "shutoff",
        flavor="big",
        tags=("x", "z"),
        title="T",
        project="p",
        protected=True,
        autostart=True,
    )
    found = changes([wanted], fleet(hv1=(vm("a", tags=("x", "y")),)), FLAVORS, never)
    assert found.change == (
        (
            ResizeVm(vm=ref, flavor="big"),
            TagVm(vm=ref, add=("z",), remove=("y",)),
            DescribeVm(vm=ref, title="T"),
            AssignVm(vm=ref, project="p"),
            ProtectVm(vm=ref, on=True),
            SetAutostart(vm=ref, on=True),
            ShutdownVm(vm=ref),
        ),
    )


def test_a_wanted_state_starts_what_is_off() -> None:
    found = changes([want("a", "running")], fleet(hv1=(vm("a", VmState.SHUTOFF),)), FLAVORS, never)
    assert found.change == ((StartVm(vm=VmRef("hv1", "uuid-a", "a")),),)


def test_only_what_may_be_pruned_is_deleted() -> None:
    snapshot = fleet(hv1=(vm("a", tags=("t",)), vm("old", tags=("t",)), vm("mine")))
    found = changes([want("a")], snapshot, FLAVORS, lambda host, each: "t" in each.info.tags)
    assert found.delete == (DeleteVm(vm=VmRef("hv1", "uuid-old", "old"), volumes="own", force=True),)


def test_two_of_one_name_are_never_guessed() -> None:
    snapshot = fleet(hv1=(vm("a"),), hv2=(vm("a"),))
    with pytest.raises(AmbiguousError, match="2 VMs are called a, on hv1, hv2"):
        changes([want("a")], snapshot, FLAVORS, never)
    found = changes([want("a", host="hv2", tags=("x",))], snapshot, FLAVORS, never)
    assert found.change == ((TagVm(vm=VmRef("hv2", "uuid-a", "a"), add=("x",)),),)


def test_an_unknown_flavor_is_named() -> None:
    with pytest.raises(ConfigError, match="f:1: no flavor 'huge'"):
        changes([want("a", flavor="huge")], fleet(hv1=(vm("a"),)), FLAVORS, never)


def test_what_no_action_can_change_is_said() -> None:
    found = changes(
        [want("a", networks=("default", "dmz"))],
        fleet(hv1=(vm("a", nics=(VmNic(mac="m", source="default"),)),)),
        FLAVORS,
        never,
    )
    assert found.change == ()
    assert found.notes == ("a has no NIC on dmz; `vm nic attach` gives it one",)


def done(each: Vm, actions: tuple[Action, ...]) -> Vm:
    """The VM as these actions leave it."""
    info, state = each.info, each.stats.state
    for action in actions:
        match action:
            case ResizeVm():
                flavor = FLAVORS.get(action.flavor)
                vcpus = action.vcpus or (flavor.vcpus if flavor else info.vcpus_max)
                memory = action.memory or (flavor.memory if flavor else info.memory_max)
                info = replace(info, vcpus_max=vcpus, memory_max=memory, flavor=action.flavor or info.flavor)
            case TagVm():
                kept = tuple(tag for tag in info.tags if tag not in action.remove)
                info = replace(info, tags=(*kept, *action.add))
            case DescribeVm():
                info = replace(
                    info,
                    title=info.title if action.title is None else action.title,
                    description=info.description if action.description is None else action.description,
                )
            case AssignVm():
                info = replace(
                    info,
                    project=info.project if action.project is None else action.project,
                    group=info.group if action.group is None else action.group,
                )
            case ProtectVm():
                info = replace(info, protected=action.on)
            case SetAutostart():
                info = replace(info, autostart=action.on)
            case StartVm():
                state = VmState.RUNNING
            case ShutdownVm():
                state = VmState.SHUTOFF
            case _:
                raise AssertionError(action)
    return Vm(info, replace(each.stats, state=state))


_TEXT = st.sampled_from(["", "p", "q"])
_TAGS = st.lists(st.sampled_from("abc"), max_size=4).map(tuple)


_NOW = st.fixed_dictionaries(
    {
        "tags": _TAGS.map(lambda tags: tuple(dict.fromkeys(tags))),
        "title": _TEXT,
        "project": _TEXT,
        "protected": st.booleans(),
        "autostart": st.booleans(),
        "flavor": st.sampled_from(["", "small", "big"]),
    }
)
_WANTED = st.fixed_dictionaries(
    {},
    optional={
        "tags": _TAGS,
        "title": _TEXT,
        "project": _TEXT,
        "group": _TEXT,
        "protected": st.booleans(),
        "autostart": st.booleans(),
        "flavor": st.sampled_from(["small", "big"]),
        "vcpus": st.integers(1, 4),
        "memory": st.sampled_from([GIB, 2 * GIB]),
    },
)


@given(
    now=_NOW,
    fields=_WANTED,
    state=st.sampled_from(["", "running", "shutoff"]),
    before=st.sampled_from([VmState.RUNNING, VmState.SHUTOFF]),
)
def test_the_second_run_changes_nothing(
    now: dict[str, Any], fields: dict[str, Any], state: str, before: VmState
) -> None:
    each = vm("a", before, **now)
    wanted = want("a", state, **fields)
    found = changes([wanted], fleet(hv1=(each,)), FLAVORS, never)
    after = done(each, tuple(action for actions in found.change for action in actions))
    assert changes([wanted], fleet(hv1=(after,)), FLAVORS, never).change == ()
