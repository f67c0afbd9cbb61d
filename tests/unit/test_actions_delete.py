"""Deleting VMs: nothing that somebody else needs ever goes, and it is said what goes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unit.plan_objects import NOW, disk, fleet, host, pool, ref, vm, volume, world
from virtfleet.actions import planner
from virtfleet.actions.conditions import check
from virtfleet.errors import RefusedError
from virtfleet.model import Freshness, HostState, HostView, VmDisk, VmState
from virtfleet.model.action import CloneVm, CreateVm, DeleteVm, EditVm, RevertSnapshot, Seed, StartVm
from virtfleet.model.plan import Plan

SHARED = pool("nfs", identity="netfs:server:/export", type_="netfs")


def plan_of(hv: HostView, *others: HostView, **fields: Any) -> Plan:
    return planner.plan(DeleteVm(vm=ref(hv, "a"), **fields), world(hv, *others))


def texts(plan: Plan) -> str:
    return "; ".join(reason.text for reason in plan.reasons)


def test_a_plain_one_keeps_its_disks_and_can_be_undone_until_they_go() -> None:
    hv = host("hv1", vm("a", VmState.SHUTOFF, (disk("/default/a.qcow2"),)), volumes=(volume("a.qcow2"),))
    plan = plan_of(hv)
    assert [step.op for step in plan.steps] == ["vm.claim", "vm.remember", "vm.undefine"]
    assert [step.final for step in plan.steps] == [False, False, False]
    assert texts(plan) == "vda: default/a.qcow2 stays"
    plan = plan_of(hv, volumes="own")
    assert [(step.op, step.final) for step in plan.steps[2:]] == [
        ("vm.undefine", False),
        ("volume.delete", True),
    ]
    assert plan.title == "delete a on hv1 and 1 of its volumes"


@pytest.mark.parametrize("kept", [{"snapshots": 2}, {"managed_save": True}, {"firmware": "efi"}])
def test_what_only_the_definition_knows_makes_it_final(kept: dict[str, Any]) -> None:
    hv = host("hv1", vm("a", VmState.SHUTOFF, **kept))
    plan = plan_of(hv)
    assert [(step.op, step.final, step.undo) for step in plan.steps[1:]] == [("vm.undefine", True, None)]


def test_running_and_protected_are_told_at_once() -> None:
    hv = host("hv1", vm("a", protected=True))
    with pytest.raises(RefusedError) as caught:
        plan_of(hv, volumes=("vdz",))
    assert caught.value.message == "delete a: a is protected; a is running; a has no disk vdz"


def test_force_powers_off_after_the_definition_was_remembered() -> None:
    plan = plan_of(host("hv1", vm("a")), force=True)
    assert [step.op for step in plan.steps] == ["vm.claim", "vm.remember", "vm.poweroff", "vm.undefine"]


def test_a_transient_one_is_powered_off_and_there_is_no_way_back() -> None:
    hv = host(
        "hv1", vm("a", disks=(disk("/default/a.qcow2"),), persistent=False), volumes=(volume("a.qcow2"),)
    )
    plan = plan_of(hv, force=True, volumes="own")
    assert [(step.op, step.final) for step in plan.steps] == [
        ("vm.claim", False),
        ("vm.poweroff", True),
        ("volume.delete", True),
    ]


def test_volumes_that_are_not_known_yet_are_no_reason_to_leave_them() -> None:
    hv = host("hv1", vm("a", VmState.SHUTOFF), freshness=Freshness(NOW, NOW, None, NOW))
    with pytest.raises(RefusedError, match="volumes of hv1 are not known yet"):
        plan_of(hv, volumes="own")
    assert plan_of(hv).steps  # it is not about them


def test_one_volume_on_two_targets_is_deleted_once() -> None:
    disks = (disk("/default/a.qcow2"), VmDisk(target="vdb", source="/default/a.qcow2"))
    hv = host("hv1", vm("a", VmState.SHUTOFF, disks), volumes=(volume("a.qcow2"),))
    assert [step.op for step in plan_of(hv, volumes="own").steps].count("volume.delete") == 1


def test_a_shared_disk_stays_and_silent_hosts_are_warned_of() -> None:
    disks = (disk("/nfs/a.qcow2"), VmDisk(target="vdb", source="/nfs/both.qcow2", shareable=True))
    hv = host(
        "hv1",
        vm("a", VmState.SHUTOFF, disks),
        pools=(SHARED,),
        volumes=(volume("a.qcow2", "nfs"), volume("both.qcow2", "nfs")),
    )
    plan = plan_of(hv, host("hv2", pools=(), state=HostState.UNREACHABLE), volumes="own")
    assert [step.args["name"] for step in plan.steps if step.op == "volume.delete"] == ["a.qcow2"]
    assert "vdb: nfs/both.qcow2 stays: it is shared" in texts(plan)
    assert "hv2 may see these volumes, too" in texts(plan)


def test_what_changes_between_plan_and_deed_stops_it() -> None:
    doomed = vm("a", VmState.SHUTOFF, (disk("/default/a.qcow2"),), snapshots=0)
    volumes = (volume("a.qcow2"),)
    hv = host("hv1", doomed, volumes=volumes)
    plan = plan_of(hv, volumes="own")

    def now(*vms: Any, **more: Any) -> list[str]:
        return check(plan.conditions, fleet(host("hv1", *vms, **{"volumes": volumes, **more})), NOW)

    def but(**info: Any) -> Any:
        return msgspec.structs.replace(doomed, info=msgspec.structs.replace(doomed.info, **info))

    assert now(doomed) == []
    assert now(but(snapshots=1)) == ["a has 1 snapshots, and had 0"]
    assert now(but(protected=True)) == ["a is protected now"]
    assert now(but(disks=())) == ["the disks of a are others now"]
    other = vm("b", disks=(disk("/default/a.qcow2"),))
    assert now(doomed, other) == ["b@hv1 stands on default/a.qcow2 now"]
    over = (*volumes, volume("o.qcow2", backing="default/a.qcow2"))
    assert now(doomed, volumes=over) == ["default/o.qcow2 stands on default/a.qcow2 now"]


@given(
    disks=st.lists(
        st.tuples(st.integers(0, 3), st.booleans(), st.sampled_from(["disk", "cdrom"]), st.integers(0, 3)),
        max_size=8,
    ),
    backing=st.dictionaries(st.integers(0, 3), st.integers(0, 3), max_size=4),
    wanted=st.sampled_from(["none", "own"]),
)
def test_across_hosts_nothing_that_is_needed_goes_and_each_disk_has_its_word(
    disks: list[tuple[int, bool, str, int]], backing: dict[int, int], wanted: Any
) -> None:
    """Four volumes on one storage; VMs on two hosts that see it have some of them, here or there."""
    volumes = tuple(
        volume(f"v{n}", "nfs", backing=f"nfs/v{backing[n]}" if n in backing else "") for n in range(4)
    )
    made: dict[int, list[VmDisk]] = {0: [], 1: [], 2: [], 3: []}
    for number, (which, shared, device, owner) in enumerate(disks):
        made[owner].append(
            VmDisk(target=f"vd{number}", source=f"/nfs/v{which}", shareable=shared, device=device)
        )
    hosts = [
        host(
            f"hv{at}",
            *(vm(name, VmState.SHUTOFF, tuple(made[owner])) for name, owner in whose),
            pools=(SHARED,),
            volumes=volumes,
        )
        for at, whose in enumerate([(("a", 0), ("b", 1)), (("c", 2), ("d", 3))])
    ]
    plan = plan_of(*hosts, volumes=wanted)
    gone = {step.args["path"] for step in plan.steps if step.op == "volume.delete"}
    others = {each.source for owner in (1, 2, 3) for each in made[owner]}
    bases = {f"/nfs/v{base}" for over, base in backing.items() if over != base}
    mine = {each.source for each in made[0] if each.device == "disk" and not each.shareable}
    assert gone == (mine - others - bases if wanted == "own" else set())
    assert len(texts(plan).split("; ")) >= len(made[0])
    assert check(plan.conditions, world(*hosts).snapshot, NOW) == []


def test_the_original_of_a_linked_clone_is_neither_started_nor_reverted() -> None:
    volumes = (volume("a.qcow2"), volume("c.qcow2", backing="default/a.qcow2"))
    origin = vm("a", VmState.SHUTOFF, (disk("/default/a.qcow2"),), snapshots=1)
    hv = host("hv1", origin, vm("c", disks=(disk("/default/c.qcow2"),)), volumes=volumes)
    for action in (StartVm(vm=ref(hv, "a")), RevertSnapshot(vm=ref(hv, "a"), snapshot="s")):
        with pytest.raises(RefusedError, match="the disk of c@hv1 stands on its disk vda"):
            planner.plan(action, world(hv))
    unused = host("hv1", origin, volumes=volumes)
    plan = planner.plan(StartVm(vm=ref(unused, "a")), world(unused))
    assert [reason.text for reason in plan.reasons if reason.warning] == [
        "default/c.qcow2 stands on its disk vda: what it writes ruins that"
    ]


def test_passwords_in_edited_xml_reach_no_plan() -> None:
    hv = host("hv1", vm("a"))
    xml = "<domain><devices><graphics type='vnc' passwd='hunter2'/></devices></domain>"
    with pytest.raises(RefusedError) as caught:
        planner.plan(EditVm(vm=ref(hv, "a"), xml=xml, was="x"), world(hv))
    assert "password" in caught.value.message
    assert "hunter2" not in repr(caught.value)


def test_a_vm_is_made_of_exactly_one_thing() -> None:
    for action in (CreateVm(name="n"), CreateVm(name="n", image="i", iso="i")):
        with pytest.raises(RefusedError, match="one of image, ISO, XML and root makes a VM"):
            planner.plan(action, world(host("hv1")))


def test_a_clone_gets_a_seed_only_where_there_is_a_drive_for_it() -> None:
    hv = host("hv1", vm("a", VmState.SHUTOFF, (disk("/default/a.qcow2"),)), volumes=(volume("a.qcow2"),))
    with pytest.raises(RefusedError, match="no empty CD-ROM drive, which a seed needs"):
        planner.plan(CloneVm(vm=ref(hv, "a"), name="c", seed=Seed()), world(hv))
