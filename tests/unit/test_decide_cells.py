"""What hosts tell of cells and devices, what VMs and promises take of them, and who fits what is left."""

from __future__ import annotations

import random
from types import MappingProxyType

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from virtfleet.config.extra_specs import parse
from virtfleet.config.settings import AllocationRatio, Flavor, FleetSettings, HostSettings, PciAlias
from virtfleet.decide.ask import Ask
from virtfleet.decide.explain import explain
from virtfleet.decide.filters_cells import tied_at
from virtfleet.decide.host_cells import host_cells, host_devices
from virtfleet.decide.ledger import Ledger, Promise
from virtfleet.decide.numa import HostCell, Pages, fit, numa_ask, take
from virtfleet.decide.place import place, place_many
from virtfleet.decide.question import Question
from virtfleet.decide.tied import shown_as
from virtfleet.errors import NoValidHostError
from virtfleet.model import (
    CellPages,
    CpuPin,
    FleetSnapshot,
    HostFacts,
    HostState,
    HostView,
    NumaCell,
    PciDevice,
    Vm,
    VmCell,
    VmInfo,
    VmState,
    VmStats,
)

KIB, MIB, GIB = 1024, 1024**2, 1024**3
SMALL, HUGE = 4 * KIB, 2 * MIB


def cell(number: int, *, huge: int = 0) -> NumaCell:
    """Four cores of two threads, 8 GiB, of which so many MiB stand as huge pages."""
    cpus = tuple(range(number * 8, number * 8 + 8))
    return NumaCell(
        id=number,
        memory=8 * GIB,
        cpus=8,
        cpu_ids=cpus,
        siblings=tuple((at, at + 1) for at in cpus[::2]),
        pages=(
            CellPages(SMALL, (8 * GIB - huge * MIB) // SMALL),
            CellPages(HUGE, huge * MIB // HUGE),
        ),
    )


def vm(uuid: str, vcpus: int = 2, memory: int = GIB, **more: object) -> VmInfo:
    return VmInfo(uuid=uuid, name=f"vm-{uuid}", vcpus_max=vcpus, memory_max=memory, **more)  # type: ignore[arg-type]


def facts(*cells: NumaCell, pci: tuple[PciDevice, ...] | None = None) -> HostFacts:
    return HostFacts(hypervisor="QEMU", cpus=8 * len(cells), memory=8 * GIB * len(cells), numa=cells, pci=pci)


def used(found: HostCell) -> tuple[set[int], int, int, list[int]]:
    """Pinned CPUs, shared vCPUs, ordinary memory, pages used of each size."""
    return set(found.pinned), found.shared, found.memory_used, [each.used for each in found.pages]


def test_cells_as_they_are_told() -> None:
    assert host_cells(None, (), {}) == ()
    assert host_cells(HostFacts(), (), {}) == ()
    assert host_cells(facts(NumaCell(0, GIB, 8)), (), {}) == ()
    assert host_cells(facts(cell(1, huge=1024)), (), {}) == (
        HostCell(
            id=1,
            cpus=frozenset(range(8, 16)),
            memory=7 * GIB,
            siblings=tuple(frozenset((at, at + 1)) for at in range(8, 16, 2)),
            pages=(Pages(SMALL, 7 * GIB // SMALL, 0), Pages(HUGE, 512, 0)),
        ),
    )
    # Without pages a cell has what it has.
    assert host_cells(facts(NumaCell(0, GIB, 1, (0,))), (), {})[0].memory == GIB


def test_pinned_cpus_are_taken_and_isolated_ones_with_their_siblings() -> None:
    pinned = vm("1", pinned=(CpuPin((0,), (2,)), CpuPin((1,), (8,))), flavor="quiet")
    quiet = Flavor(vcpus=2, memory=GIB, extra_specs={"hw:cpu_thread_policy": "isolate"})
    there = facts(cell(0), cell(1))
    assert [used(each)[0] for each in host_cells(there, (pinned,), {})] == [{2}, {8}]
    assert [used(each)[0] for each in host_cells(there, (pinned,), {"quiet": quiet})] == [{2, 3}, {8, 9}]


def test_vcpus_that_share_the_cpus_of_one_cell() -> None:
    vms = (
        vm("1", 4, cpuset=(0, 1, 2)),
        vm("2", 3, pinned=(CpuPin((0, 1), (8, 9)), CpuPin((2,), (0,)))),
        vm("3", 4, cpuset=(0, 8)),  # on both: bound to none
        vm("4", 4),
    )
    found = host_cells(facts(cell(0), cell(1)), vms, {})
    assert [used(each)[:2] for each in found] == [({0}, 4), (set(), 2)]


def test_memory_that_is_bound_to_cells() -> None:
    there = facts(cell(0, huge=2048), cell(1, huge=2048))

    def taken(info: VmInfo) -> list[tuple[int, list[int]]]:
        return [used(each)[2:] for each in host_cells(there, (info,), {})]

    free = (0, [0, 0])
    assert taken(vm("1")) == [free, free]
    assert taken(vm("1", memory_cells=(1,))) == [free, (GIB, [GIB // SMALL, 0])]
    half = (GIB // 2, [GIB // 2 // SMALL, 0])
    assert taken(vm("1", memory_cells=(0, 1))) == [half, half]
    assert taken(vm("1", memory_cells=(1,), page_size=HUGE)) == [free, (0, [0, 512])]
    assert taken(vm("1", memory_cells=(1,), page_size=0)) == [free, (0, [0, 512])]
    # Huge pages of no cell may be of any.
    assert taken(vm("1", page_size=HUGE)) == [(0, [0, 256]), (0, [0, 256])]
    cells = (VmCell(0, (0,), GIB // 2, (1,), HUGE), VmCell(1, (1,), GIB // 2, (0,)))
    assert taken(vm("1", cells=cells)) == [half, (0, [0, 256])]


def card(at: str, *, driver: str = "vfio-pci", group: int | None = None, physical: str = "") -> PciDevice:
    return PciDevice(at, "10de", "1eb8", numa=0, driver=driver, iommu_group=group, physical=physical)


def users(*devices: PciDevice, vms: tuple[VmInfo, ...] = ()) -> dict[str, str]:
    return {each.address: each.user for each in host_devices(facts(pci=devices), vms) or ()}


def test_who_has_the_devices() -> None:
    assert host_devices(None, ()) is None
    assert host_devices(facts(), ()) is None
    assert users() == {}
    assert users(card("a"), card("b", driver=""), card("c", driver="ixgbe"), vms=(vm("1", pci=("a",)),)) == {
        "a": "1",
        "b": "",
        "c": "host",
    }
    # A VM that is off has its device, though the host drives it meanwhile.
    assert users(card("a", driver="nvidia"), vms=(vm("1", pci=("a",)),)) == {"a": "1"}


def test_devices_that_cant_be_parted() -> None:
    alone, found = vm("1", pci=("a",)), users(card("a", group=0), card("b", group=0), card("c"))
    assert found == {"a": "", "b": "", "c": ""}
    found = users(card("a", group=0), card("b", group=0), card("c"), vms=(alone,))
    assert found == {"a": "1", "b": "1", "c": ""}
    found = users(card("a", group=0, driver="snd"), card("b", group=0))
    assert found == {"a": "host", "b": "host"}
    # The card that virtual functions are of goes with none of them; they do not go without it.
    functions = (card("pf", driver="ixgbe"), card("a", physical="pf"), card("b", physical="pf"))
    assert users(*functions, vms=(alone,)) == {"pf": "host", "a": "1", "b": ""}
    whole = (card("pf"), card("a", physical="pf"))
    assert users(*whole, vms=(alone,)) == {"pf": "1", "a": "1"}
    assert users(*whole, vms=(vm("2", pci=("pf",)),)) == {"pf": "2", "a": "2"}


FLEET = FleetSettings(
    hosts={
        name: HostSettings(
            name=name, uri="qemu:///system", allocation_ratio=AllocationRatio(cpu=4.0, memory=1.0)
        )
        for name in ("hv1", "hv2")
    },
    pci_aliases={"gpu": PciAlias(vendor="10de", product="1eb8")},
)
KEYS = {
    "policy": "hw:cpu_policy",
    "threads": "hw:cpu_thread_policy",
    "cells": "hw:numa_nodes",
    "page": "hw:mem_page_size",
    "alias": "pci_passthrough:alias",
    "near": "hw:pci_numa_affinity_policy",
}


def ask(vcpus: int = 2, memory: int = GIB, **specs: str) -> Ask:
    parsed = parse({KEYS[name]: text for name, text in specs.items()}, vcpus, memory)
    return Ask(vcpus=vcpus, memory=memory, specs=parsed, stale_ok=True)


def ledger_of(**hosts: tuple[HostFacts, tuple[VmInfo, ...]]) -> Ledger:
    ledger = Ledger(FLEET)
    follow(ledger, **hosts)
    return ledger


def follow(ledger: Ledger, **hosts: tuple[HostFacts, tuple[VmInfo, ...]]) -> None:
    views = {
        name: HostView(
            name,
            "qemu:///system",
            state=HostState.UP,
            facts=told,
            vms=tuple(Vm(info, VmStats(info.uuid, VmState.SHUTOFF)) for info in infos),
        )
        for name, (told, infos) in hosts.items()
    }
    ledger.follow(FleetSnapshot(1, MappingProxyType(views)))


def answer(ledger: Ledger, asked: Ask) -> tuple[list[str], list[str]]:
    """Hosts that fit, and why the others do not."""
    cases = explain(ledger, asked, 0.0).cases
    return (
        sorted(case.host for case in cases if not case.refusals),
        [f"{case.host} {each.filter}: {each.why}" for case in cases for each in case.refusals],
    )


def test_which_hosts_fit() -> None:
    full = vm("9", 8, pinned=tuple(CpuPin((at,), (at,)) for at in range(7)))
    gpu = (card("a"), card("b", driver="nvidia"))
    told = facts(cell(0), cell(1), pci=gpu[:1])
    ledger = ledger_of(hv1=(told, ()), hv2=(facts(cell(0), pci=gpu), (full,)))
    pinned = "hv2 numa: the guest's cell 0 cell 0: needs 2 CPUs, 1 of 8 are not pinned"
    assert answer(ledger, ask()) == (["hv1", "hv2"], [])
    assert answer(ledger, ask(policy="dedicated")) == (["hv1"], [pinned])
    assert answer(ledger, ask(alias="gpu:1")) == (["hv1", "hv2"], [])
    assert answer(ledger, ask(alias="gpu:2")) == (
        [],
        [
            "hv1 pci: needs 2 × gpu (10de:1eb8), 1 free of 1",
            "hv2 pci: needs 2 × gpu (10de:1eb8), 1 free of 2, 1 driven by the host (not vfio-pci)",
        ],
    )
    assert answer(ledger, ask(cells="2")) == (["hv1"], ["hv2 numa: needs 2 NUMA cells, the host has 1"])
    near = ask(policy="dedicated", alias="gpu:1", near="required")
    assert answer(ledger, near) == (["hv1"], [pinned])
    # The cell that the card is at is full now.
    busy = vm("8", 7, pinned=tuple(CpuPin((at,), (at,)) for at in range(7)))
    follow(ledger, hv1=(told, (busy,)), hv2=(facts(cell(0), pci=gpu), (full,)))
    assert answer(ledger, near) == (
        [],
        ["hv1 numa: its devices are not at the NUMA cells that are free", pinned],
    )


def test_a_vm_that_moves_does_not_stand_in_its_own_way() -> None:
    own = vm("1", 8, pinned=tuple(CpuPin((at,), (at,)) for at in range(8)), pci=("a",))
    ledger = ledger_of(hv1=(facts(cell(0), pci=(card("a"),)), (own,)))
    new = ask(8, policy="dedicated", alias="gpu:1")
    assert answer(ledger, new)[0] == []
    assert answer(ledger, msgspec.structs.replace(new, moving="1"))[0] == ["hv1"]
    assert answer(ledger, new)[0] == []


def test_promises_take_cpus_pages_and_devices() -> None:
    told = facts(cell(0, huge=1024), pci=(card("a"),))
    ledger = ledger_of(hv1=(told, ()))
    asks = {
        "cpus": ask(8, policy="dedicated"),
        "pages": ask(1, GIB, page="large"),
        "device": ask(1, alias="gpu:1"),
    }
    for wanted in asks.values():
        promise = Promise("hv1", "p", "p", wanted.vcpus, wanted.memory, specs=wanted.specs)
        assert place(ledger, wanted, 0.0).host == "hv1"
        with ledger.beside([promise]), pytest.raises(NoValidHostError):
            place(ledger, wanted, 0.0)
        assert place(ledger, wanted, 0.0).host == "hv1"


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_many_at_once_have_cpus_pages_and_devices_of_their_own(seed: int) -> None:
    """However many come together, nothing is given twice."""
    rng = random.Random(seed)
    devices = tuple(card(f"d{number}") for number in range(3))
    ledger = ledger_of(
        hv1=(facts(cell(0, huge=1024), cell(1), pci=devices), ()), hv2=(facts(cell(0), pci=devices[:1]), ())
    )
    kinds = [
        ask(2, policy="dedicated"),
        ask(2, policy="dedicated", threads="isolate"),
        ask(4, 2 * GIB, policy="dedicated", cells="2"),
        ask(1, GIB // 2, page="large"),
        ask(1, alias="gpu:1"),
        ask(1),
    ]
    asks = [rng.choice(kinds) for _ in range(rng.randint(1, 14))]
    promises = [Promise("", f"p{at}", f"p{at}", each.vcpus, each.memory) for at, each in enumerate(asks)]
    found = place_many(ledger, asks, promises, 0.0, partial=True)
    cpus = {"hv1": 16, "hv2": 8}
    for host in cpus:
        here = [each for each, chosen in zip(asks, found, strict=True) if chosen and chosen.host == host]
        alone = [each for each in here if each.specs.dedicated]
        cores = sum(each.vcpus * (2 if each.specs.thread_policy else 1) for each in alone)
        assert cores <= cpus[host]
        assert sum(each.memory for each in here if each.specs.page_size) <= (GIB if host == "hv1" else 0)
        assert sum(bool(each.specs.pci) for each in here) <= (3 if host == "hv1" else 1)
    # One that was refused finds no place beside those that were placed.
    placed = [
        promise._replace(host=chosen.host, specs=each.specs)
        for promise, each, chosen in zip(promises, asks, found, strict=True)
        if chosen
    ]
    with ledger.beside(placed):
        for each, chosen in zip(asks, found, strict=True):
            if chosen is None and len(set(asks)) == 1:
                with pytest.raises(NoValidHostError):
                    place(ledger, each, 0.0)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_what_a_vm_is_given_counts_as_what_its_host_will_show(seed: int) -> None:
    """Promised, planned or defined: the cells have the same left."""
    rng = random.Random(seed)
    told = facts(cell(0, huge=1024), cell(1, huge=2048), pci=tuple(card(f"d{number}") for number in range(3)))
    kinds = [
        ask(2, policy="dedicated"),
        ask(2, policy="dedicated", threads="isolate", page="any"),
        ask(4, 2 * GIB, policy="dedicated", cells="2"),
        ask(4, GIB, cells="2"),
        ask(1, GIB // 2, page="large"),
        ask(2, page="small", alias="gpu:1"),
    ]
    infos: tuple[VmInfo, ...] = ()
    for number in range(rng.randint(1, 8)):
        asked = rng.choice(kinds)
        ledger = ledger_of(hv1=(told, infos))
        if answer(ledger, asked)[0] == []:
            continue
        tied = tied_at(Question(ledger, asked, 0.0), 0)
        before, wanted = host_cells(told, infos, {}), numa_ask(asked.specs)
        assert wanted is not None
        fits = fit(wanted, before, cpu_ratio=4.0)
        assert fits is not None
        assert [each.host for each in tied.cells] == [each.host for each in fits]
        infos = (*infos, shown_as(tied, f"u{number}", f"n{number}", asked.vcpus, asked.memory))
        assert host_cells(told, infos, {}) == take(before, fits, wanted)
        users = {each.address: each.user for each in host_devices(told, infos) or ()}
        assert all(users[address] == f"u{number}" for address in tied.devices)
