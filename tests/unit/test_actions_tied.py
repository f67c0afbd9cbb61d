"""Plans of VMs that have CPUs, pages and devices of their own: what they say, ask for, and never share."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from unit.plan_objects import GIB, NOW, fleet, host, ref, vm, world
from virtfleet.actions import planner
from virtfleet.actions.conditions import check
from virtfleet.actions.given import GivenXml
from virtfleet.actions.tying import tied_by
from virtfleet.actions.world import World
from virtfleet.config.settings import Flavor, FleetSettings, HostSettings, PciAlias
from virtfleet.errors import NoValidHostError, RefusedError
from virtfleet.hypervisor.builders.domain import domain_xml
from virtfleet.hypervisor.builders.offers import Offers
from virtfleet.hypervisor.views.domain import vm_info
from virtfleet.model import (
    CellPages,
    CpuPin,
    HostFacts,
    HostView,
    NumaCell,
    PciDevice,
    VmCell,
    VmState,
)
from virtfleet.model.action import CloneVm, CreateVm, FileRef, ResizeVm
from virtfleet.model.plan import Plan
from virtfleet.model.spec import CellSpec, Tied, VmSpec

MIB = 1 << 20
FLAVORS = {
    "plain": {},
    "own": {"hw:cpu_policy": "dedicated"},
    "quiet": {"hw:cpu_policy": "dedicated", "hw:cpu_thread_policy": "isolate"},
    "two": {"hw:cpu_policy": "dedicated", "hw:numa_nodes": 2},
    "uneven": {
        "hw:numa_nodes": 2,
        "hw:numa_cpus.0": "0",
        "hw:numa_mem.0": 256,
        "hw:numa_cpus.1": "1",
        "hw:numa_mem.1": 768,
    },
    "huge": {"hw:mem_page_size": "large"},
    "small": {"hw:mem_page_size": "small"},
    "card": {"pci_passthrough:alias": "gpu:1"},
    "all": {"hw:cpu_policy": "dedicated", "hw:mem_page_size": "2MiB", "pci_passthrough:alias": "gpu:1"},
}


def cell(number: int) -> NumaCell:
    """Four cores of two threads, 8 GiB, of which 2 stand as huge pages."""
    cpus = tuple(range(number * 8, number * 8 + 8))
    return NumaCell(
        id=number,
        memory=8 * GIB,
        cpus=8,
        cpu_ids=cpus,
        siblings=tuple((at, at + 1) for at in cpus[::2]),
        pages=(CellPages(4096, 6 * GIB // 4096), CellPages(2 * MIB, 1024)),
    )


def card(at: int) -> PciDevice:
    return PciDevice(f"0000:3b:00.{at}", "10de", "1eb8", numa=0, driver="vfio-pci", iommu_group=at // 2)


def big(name: str = "hv1", *vms: Any, **more: Any) -> HostView:
    facts = HostFacts(
        cpus=16, hypervisor="QEMU", arch="x86_64", memory=16 * GIB, numa=(cell(0), cell(1)),
        pci=(card(0), card(2), card(4)),
    )  # fmt: skip
    return host(name, *vms, **{"facts": facts, **more})


def of(*hosts: HostView, **more: Any) -> World:
    known = FleetSettings(
        hosts={each.name: HostSettings(name=each.name, uri="") for each in hosts},
        flavors={
            name: Flavor(vcpus=2, memory=GIB, extra_specs=specs)  # type: ignore[arg-type]
            for name, specs in FLAVORS.items()
        },
        pci_aliases={"gpu": PciAlias(vendor="10de", product="1eb8")},
    )
    return world(*hosts, settings=known, **more)


def create(flavor: str, name: str = "n") -> CreateVm:
    return CreateVm(name=name, flavor=flavor, image="i", start=False)


def spec_of(plan: Plan) -> VmSpec:
    step = next(each for each in plan.steps if each.op == "vm.define")
    return msgspec.convert(step.args["spec"], VmSpec)


def limits_of(plan: Plan) -> dict[str, Any]:
    return dict(next(each for each in plan.steps if each.op == "vm.define").args["limits"])


ONE = CellSpec(cpus=(0, 1), memory=GIB, host=0)


@pytest.mark.parametrize(
    ("flavor", "tied", "says"),
    [
        ("plain", Tied(), []),
        ("own", Tied(cells=(ONE,), pins=((0, 0), (1, 1))), ["pinned to CPUs 0-1 of cell 0"]),
        (
            "quiet",
            Tied(cells=(ONE,), pins=((0, 0), (1, 2)), kept_free=(1, 3)),
            ["pinned to CPUs 0,2 of cell 0", "CPUs 1,3, of the same cores, kept free"],
        ),
        (
            "two",
            Tied(
                cells=(
                    CellSpec(cpus=(0,), memory=GIB // 2, host=0),
                    CellSpec(cpus=(1,), memory=GIB // 2, host=1),
                ),
                pins=((0, 0), (1, 8)),
            ),
            ["its cell 0: pinned to CPU 0 of cell 0", "its cell 1: pinned to CPU 8 of cell 1"],
        ),
        (
            "uneven",
            Tied(
                cells=(
                    CellSpec(cpus=(0,), memory=256 * MIB, host=0, shared_cpus=tuple(range(8))),
                    CellSpec(cpus=(1,), memory=768 * MIB, host=1, shared_cpus=tuple(range(8, 16))),
                )
            ),
            ["its cell 0: shares CPUs 0-7 of cell 0", "its cell 1: shares CPUs 8-15 of cell 1"],
        ),
        (
            "huge",
            Tied(cells=(replace(ONE, page_size=2 * MIB, shared_cpus=tuple(range(8))),)),
            ["shares CPUs 0-7 of cell 0, 2 MiB pages"],
        ),
        (
            "small",
            Tied(cells=(replace(ONE, shared_cpus=tuple(range(8))),)),
            ["shares CPUs 0-7 of cell 0"],
        ),
        ("card", Tied(devices=("0000:3b:00.0",)), ["device 0000:3b:00.0"]),
        (
            "all",
            Tied(cells=(replace(ONE, page_size=2 * MIB),), pins=((0, 0), (1, 1)), devices=("0000:3b:00.0",)),
            ["pinned to CPUs 0-1 of cell 0, 2 MiB pages", "device 0000:3b:00.0"],
        ),
    ],
)
def test_from_the_flavor_to_the_xml(flavor: str, tied: Tied, says: list[str]) -> None:
    plan = planner.plan(create(flavor), of(big()))
    spec = spec_of(plan)
    assert spec.tied == tied
    assert [reason.text for reason in plan.reasons][1 : 1 + len(says)] == says
    paths = {(disk.pool, disk.volume): "/d" for disk in spec.disks}
    info = vm_info(domain_xml(spec, Offers(), paths, None))
    assert (info.dedicated, info.pci) == (tied.cpus, tied.devices)
    assert [each.host_cells for each in info.cells] == [(each.host,) for each in tied.cells]
    assert limits_of(plan).get("cpus", []) == list(tied.cpus)
    assert limits_of(plan).get("devices", []) == list(tied.devices)
    kinds = {each.kind for each in plan.conditions}
    assert ("cpus-free" in kinds, "devices-free" in kinds) == (bool(tied.cpus), bool(tied.devices))
    assert check(plan.conditions, fleet(big()), NOW) == []
    # The journal keeps the plan as JSON: a job that is found again counts the same.
    again = msgspec.json.decode(msgspec.json.encode(plan), type=Plan)
    assert tied_by(again) == tied


def test_what_was_given_away_since_is_seen_at_apply() -> None:
    plan = planner.plan(create("all"), of(big()))
    other = vm("other", VmState.SHUTOFF, pinned=(CpuPin((0,), (1,)), CpuPin((1,), (12,))))
    assert check(plan.conditions, fleet(big("hv1", other)), NOW) == ["other has CPU 1 of hv1 for itself now"]
    threads = vm("other", kept_free=(0, 1))
    assert check(plan.conditions, fleet(big("hv1", threads)), NOW) == [
        "other has CPU 0-1 of hv1 for itself now"
    ]
    taker = vm("other", pci=("0000:3b:00.0",))
    assert check(plan.conditions, fleet(big("hv1", taker)), NOW) == ["other has device 0000:3b:00.0 now"]
    facts = big().facts
    assert facts is not None
    driven = replace(facts, pci=(replace(card(0), driver="nvidia"),))
    assert check(plan.conditions, fleet(big(facts=driven)), NOW) == ["hv1 itself drives 0000:3b:00.0 now"]
    gone = replace(facts, pci=())
    assert check(plan.conditions, fleet(big(facts=gone)), NOW) == [
        "there is no device 0000:3b:00.0 on hv1 any more"
    ]
    # Its own definition, of the time before, is nobody else's.
    own = vm("n", uuid=plan.uuid, pinned=other.info.pinned, pci=("0000:3b:00.0",))
    tied = [each for each in plan.conditions if each.kind in ("cpus-free", "devices-free")]
    assert check(tied, fleet(big("hv1", own)), NOW) == []


def test_a_plan_beside_keeps_what_it_has_though_other_cpus_came_free() -> None:
    """The first plan got 2-3, since somebody had 0-1; who is gone when the second is made."""
    other = vm("other", pinned=(CpuPin((0,), (0,)), CpuPin((1,), (1,))))
    first = planner.plan(create("own", "a"), of(big("hv1", other)))
    assert spec_of(first).tied.cpus == (2, 3)
    for known in ({"beside": (first,)}, {"running": (first,)}):
        second = planner.plan(create("own", "b"), of(big(), new_uuid=lambda: "new-b", **known))
        assert spec_of(second).tied.cpus == (0, 1)
        third = planner.plan(create("own", "c"), of(big(), beside=(first, second)))
        assert spec_of(third).tied.cpus == (4, 5)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_plans_beside_each_other_never_share(seed: int) -> None:
    """On hosts that have VMs already, until no more fits."""
    rng = random.Random(seed)
    there = vm(
        "there",
        pinned=tuple(
            CpuPin((at,), (cpu,)) for at, cpu in enumerate(rng.sample(range(16), rng.randint(1, 4)))
        ),
        pci=("0000:3b:00.2",) if rng.random() < 0.5 else (),
    )
    hosts = (big("hv1", there), big("hv2"))
    plans: list[Plan] = []
    refused = 0
    while refused < 3 and len(plans) < 30:
        action = create(rng.choice(list(FLAVORS)), f"vm-{len(plans)}-{refused}")
        numbers = (f"new-{len(plans)}-{refused}-{more}" for more in range(9))
        around = of(*hosts, beside=tuple(plans), new_uuid=lambda names=numbers: next(names))
        try:
            plans.append(planner.plan(action, around))
        except NoValidHostError:
            refused += 1
    taken = [("hv1", each) for each in (*there.info.dedicated, *there.info.pci)]
    for plan in plans:
        tied = spec_of(plan).tied
        assert not set(tied.kept_free) & {cpu for _, cpu in tied.pins}
        taken += [(plan.host, each) for each in (*tied.cpus, *tied.devices)]
    assert len(taken) == len(set(taken))
    for name in ("hv1", "hv2"):
        for number in (0, 1):
            huge = [
                each.memory
                for plan in plans
                if plan.host == name
                for each in spec_of(plan).tied.cells
                if each.host == number and each.page_size
            ]
            assert sum(huge) <= 2 * GIB


def test_when_none_is_left_the_numbers_are_said() -> None:
    full = vm("full", pinned=tuple(CpuPin((at,), (at,)) for at in range(15)), vcpus_max=1)
    with pytest.raises(NoValidHostError, match=r"needs 2 CPUs, 0 of 8 are not pinned; cell 1: .* 1 of 8"):
        planner.plan(create("own"), of(big("hv1", full)))


def test_a_container_cant_have_them_and_given_xml_is_left_as_it_is() -> None:
    with pytest.raises(RefusedError, match="a container can't be given the CPUs, pages or devices that own"):
        planner.plan(CreateVm(name="n", flavor="own", root="/srv/root"), of(big()))
    file = FileRef("/x.xml", "ab", 1)
    told = GivenXml(vcpus=2, memory=GIB, nics=0, networks=(), disks=(), container=False)
    plan = planner.plan(CreateVm(name="n", flavor="own", xml=file), of(big(), given=told))
    assert [reason.text for reason in plan.reasons if reason.warning] == [
        "the CPUs, pages and devices that own asks for are not put into XML that was given"
    ]
    assert not [each for each in plan.conditions if each.kind == "cpus-free"]


def test_a_copy_of_a_vm_with_cpus_of_its_own_is_refused() -> None:
    own = vm("v", VmState.SHUTOFF, pinned=(CpuPin((0,), (3,)),), pci=("0000:3b:00.0",))
    view = big("hv1", own)
    with pytest.raises(RefusedError, match=r"v has CPU 3, device 0000:3b:00.0 for itself, which a copy"):
        planner.plan(CloneVm(vm=ref(view, "v"), name="w"), of(view))


def test_a_resize_says_what_it_does_not_change() -> None:
    view = big("hv1", vm("v", VmState.SHUTOFF, flavor="own", pinned=(CpuPin((0,), (3,)),)), vm("w"))

    def warnings(name: str, **more: Any) -> list[str]:
        plan = planner.plan(ResizeVm(vm=ref(view, name), **more), of(view))
        return [reason.text for reason in plan.reasons if reason.warning]

    assert warnings("v", flavor="quiet") == [
        "only vCPUs and memory change: what flavor quiet says of hw:cpu_thread_policy holds for new VMs alone"
    ]
    assert warnings("w", flavor="card") == [
        "only vCPUs and memory change: what flavor card says of pci_passthrough:alias holds for new VMs alone"
    ]
    assert warnings("v", flavor="plain", vcpus=1) == [
        "only vCPUs and memory change: what flavor plain says of hw:cpu_policy holds for new VMs alone"
    ]
    assert warnings("w", flavor="plain") == []
    cells = big("hv1", vm("c", VmState.SHUTOFF, cells=(VmCell(0, (0, 1), GIB, (0,)),)))
    assert planner.plan(ResizeVm(vm=ref(cells, "c"), vcpus=3), of(cells)).steps
    with pytest.raises(
        RefusedError, match="only its XML changes; its NUMA cells have 2 vCPUs, 1 are too few"
    ):
        planner.plan(ResizeVm(vm=ref(cells, "c"), vcpus=1, memory=2 * GIB), of(cells))
    assert warnings("v", vcpus=4) == ["it keeps CPU 3 for itself; more vCPUs have none of their own"]
