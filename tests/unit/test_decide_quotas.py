"""What a project uses and whether it may use more; groups and their rules."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from unit.plan_objects import GIB, disk, fleet, host, vm
from virtfleet.config.settings import (
    FleetSettings,
    GroupSettings,
    PoolSelector,
    Project,
    Quota,
    TypeQuota,
    VolumeType,
)
from virtfleet.decide import quotas
from virtfleet.model import Vm, VmState, Volume
from virtfleet.model.project import Claim, Use, VolumeUse
from virtfleet.query import groups


def volume(name: str, capacity: int = 10 * GIB) -> Volume:
    return Volume(pool="default", name=name, path=f"/p/{name}", capacity=capacity)


def web(name: str, **more: object) -> Vm:
    return vm(name, project="web", **more)  # type: ignore[arg-type]


def claim(uuid: str, vcpus: int, memory: int) -> Claim:
    return Claim(project="web", uuid=uuid, use=Use(vms=1, vcpus=vcpus, memory=memory))


# ---- use


def test_the_use_of_a_project() -> None:
    seed = replace(disk("/p/seed.iso"), device="cdrom")
    one = host(
        "hv1",
        web("a", disks=(disk("/p/a.qcow2"), seed), vcpus_max=4, memory_max=3 * GIB),
        vm("b", disks=(disk("/p/b.qcow2"),)),
        volumes=(volume("a.qcow2"), volume("b.qcow2", 7 * GIB), volume("seed.iso")),
    )
    two = host("hv2", web("c", state=VmState.SHUTOFF, disks=(disk("/elsewhere/c.img"),)))
    assert quotas.usage(fleet(one, two), FleetSettings(projects={"idle": Project()})) == {
        "idle": Use(),
        "web": Use(vms=2, vcpus=6, memory=4 * GIB, volumes=1, capacity=10 * GIB),
        "default": Use(vms=1, vcpus=2, memory=GIB, volumes=1, capacity=7 * GIB),
    }


def test_a_vm_that_is_being_moved_counts_once() -> None:
    here, there = host("hv1", web("a", vcpus_max=2)), host("hv2", web("a", vcpus_max=3))
    assert quotas.uses(fleet(here, there), FleetSettings(), "web") == {
        "u-a": Use(vms=1, vcpus=3, memory=GIB),
    }


def test_volume_types() -> None:
    kinds = {
        "fast": VolumeType(pools=PoolSelector(traits=("ssd",))),
        "any": VolumeType(pools=PoolSelector(names=("default",))),
    }
    a = host("hv1", web("a", disks=(disk("/p/a"),)), volumes=(volume("a"),), traits=("ssd",))
    b = host("hv2", web("b", disks=(disk("/p/b"),)), volumes=(volume("b", GIB),))
    use = quotas.usage(fleet(a, b), FleetSettings(volume_types=kinds))["web"]
    assert use.types == {"fast": VolumeUse(1, 10 * GIB), "any": VolumeUse(1, GIB)}
    assert (use.volumes, use.capacity) == (2, 11 * GIB)


# ---- limits

QUOTA = Quota(vms=3, vcpus=4, memory=4 * GIB, volume_types={"fast": TypeQuota(capacity=GIB)})
HAVE = {"u-a": Use(vms=1, vcpus=2, memory=GIB), "u-b": Use(vms=1, vcpus=1, memory=GIB)}


def test_what_fits() -> None:
    assert quotas.excess("web", HAVE, [claim("new", 1, 2 * GIB)], QUOTA) == []


def test_what_does_not_says_each_figure() -> None:
    asked = Claim(
        project="web",
        uuid="new",
        use=Use(vms=1, vcpus=2, memory=3 * GIB, types={"fast": VolumeUse(1, 2 * GIB)}),
    )
    assert quotas.excess("web", HAVE, [asked], QUOTA) == [
        "project web may have 4 vCPUs, has 3, 2 more are asked for",
        "project web may have 4.0G of memory, has 2.0G, 3.0G more are asked for",
        "project web may have 1.0G of capacity of type fast, has 0, 2.0G more are asked for",
    ]


def test_a_claim_that_a_vm_meets_counts_once() -> None:
    seen = {**HAVE, "new": Use(vms=1, vcpus=1, memory=GIB)}
    assert quotas.excess("web", seen, [claim("new", 1, GIB)], QUOTA) == []
    assert quotas.excess("web", seen, [claim("new", 2, GIB)], QUOTA) == [
        "project web may have 4 vCPUs, has 4, 1 more are asked for"
    ]


def test_who_is_over_may_shrink() -> None:
    much = {"u-a": Use(vms=1, vcpus=9, memory=GIB)}
    assert quotas.excess("web", much, [claim("u-a", 8, GIB)], QUOTA) == []


_USES = st.builds(Use, vms=st.integers(0, 3), vcpus=st.integers(0, 9), memory=st.integers(0, 99))


@settings(max_examples=100)
@given(
    st.dictionaries(st.sampled_from("abcdef"), _USES),
    st.lists(st.tuples(st.sampled_from("abcdefgh"), _USES)),
    st.integers(0, 20),
)
def test_excess_is_what_adding_up_says(have: dict[str, Use], asked: list[tuple[str, Use]], most: int) -> None:
    claims = [Claim(project="p", uuid=uuid, use=use) for uuid, use in asked]
    vcpus = {uuid: use.vcpus for uuid, use in have.items()}
    before = sum(vcpus.values())
    for uuid, use in asked:
        vcpus[uuid] = max(vcpus.get(uuid, 0), use.vcpus)
    after = sum(vcpus.values())
    refused = bool(quotas.excess("p", have, claims, Quota(vcpus=most)))
    assert refused == (after > most and after > before)


# ---- groups


def test_rules_that_are_broken() -> None:
    rules = {
        "apart": GroupSettings(policy="anti-affinity"),
        "pairs": GroupSettings(policy="soft-anti-affinity", max_per_host=2),
        "together": GroupSettings(policy="affinity"),
        "empty": GroupSettings(policy="affinity"),
    }
    one = host(
        "hv1",
        *(vm(name, group="apart") for name in ("a1", "a2")),
        *(vm(name, group="pairs") for name in ("p1", "p2")),
        *(vm(name, group="together") for name in ("t1", "t2")),
        vm("x", group="unknown"),
        vm("y", group="unknown"),
    )
    two = host("hv2", vm("a3", group="apart"), vm("t3", group="together", state=VmState.SHUTOFF))
    found = groups.violations(fleet(one, two), rules)
    assert [(each.group, each.soft, each.text, each.host, each.uuid) for each in found] == [
        ("apart", False, "2 of them on hv1, at most 1: a1, a2", "hv1", "u-a2"),
        ("together", False, "on 2 hosts: most on hv1, not t3@hv2", "hv2", "u-t3"),
    ]


def test_a_member_on_two_hosts_counts_where_it_runs() -> None:
    off, on = vm("a", group="g", state=VmState.SHUTOFF), vm("a", group="g")
    snapshot = fleet(host("hv1", off), host("hv2", on))
    assert [each.host for each in groups.members(snapshot)["g"]] == ["hv2"]
    assert groups.violations(snapshot, {"g": GroupSettings(policy="affinity")}) == []
