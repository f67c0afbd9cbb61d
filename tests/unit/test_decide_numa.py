"""Guest cells and devices onto host cells: each rule by a case, the search against all permutations."""

from __future__ import annotations

from itertools import permutations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from virtfleet.config.extra_specs import Affinity, GuestCell, PageSize, PciRequest, ThreadPolicy, parse
from virtfleet.config.settings import PciAlias
from virtfleet.decide import numa, pci
from virtfleet.decide.numa import CellFit, HostCell, NumaAsk, Pages
from virtfleet.decide.pci import HostPci, PciNeed

KIB = 1024
MIB = 1024**2
GIB = 1024**3


def ask(
    *cells: tuple[int, int],
    dedicated: bool = False,
    policy: ThreadPolicy = "",
    page: PageSize = "",
) -> NumaAsk:
    """Cells of so many vCPUs and GiB."""
    made, at = [], 0
    for cpus, gib in cells:
        made.append(GuestCell(tuple(range(at, at + cpus)), gib * GIB))
        at += cpus
    return NumaAsk(tuple(made), dedicated, policy, page)


def cell(
    number: int = 0,
    cpus: int = 8,
    gib: int = 16,
    *,
    threads: int = 1,
    pinned: tuple[int, ...] = (),
    shared: int = 0,
    used: int = 0,
    pages: tuple[Pages, ...] = (),
) -> HostCell:
    """CPUs from `number` × 100; a core has `threads` that follow each other."""
    all_of_it = range(number * 100, number * 100 + cpus)
    siblings = tuple(frozenset(all_of_it[at : at + threads]) for at in range(0, cpus, threads))
    return HostCell(
        id=number, cpus=frozenset(all_of_it), memory=gib * GIB, siblings=siblings, shared=shared,
        pinned=frozenset(number * 100 + each for each in pinned), memory_used=used * GIB, pages=pages,
    )  # fmt: skip


def hosts_of(found: tuple[CellFit, ...] | None) -> list[int] | None:
    return None if found is None else [each.host for each in found]


def pins_of(found: tuple[CellFit, ...] | None) -> list[tuple[int, int]] | None:
    return None if found is None else [pin for each in found for pin in each.pins]


def test_what_a_flavor_asks() -> None:
    assert numa.numa_ask(parse({"trait:ssd": "required"}, 2, GIB)) is None
    specs = parse({"hw:cpu_policy": "dedicated", "hw:mem_page_size": "2MiB", "hw:numa_nodes": 2}, 2, GIB)
    assert numa.numa_ask(specs) == NumaAsk(
        (GuestCell((0,), GIB // 2), GuestCell((1,), GIB // 2)), True, "", 2 * MIB
    )


def test_each_guest_cell_has_a_host_cell_of_its_own() -> None:
    two = ask((2, 4), (2, 4))
    assert hosts_of(numa.fit(two, [cell(0), cell(1)])) == [0, 1]
    assert numa.fit(two, [cell(0)]) is None
    assert numa.why(two, [cell(0)]) == "needs 2 NUMA cells, the host has 1"
    assert numa.why(two, []) == "the host's NUMA cells are not known"
    # The large one can only be where the small one would be put first.
    assert hosts_of(numa.fit(ask((2, 4), (2, 12)), [cell(0), cell(1, gib=8)])) == [1, 0]
    big = ask((2, 12), (2, 12))
    assert numa.fit(big, [cell(0), cell(1, gib=8)]) is None
    assert numa.why(big, [cell(0), cell(1, gib=8)]) == (
        "its 2 cells fit one by one, but not on 2 different host cells"
    )


def test_ratios_and_what_is_used() -> None:
    full = cell(shared=8, used=16)
    assert numa.fit(ask((2, 4)), [full]) is None
    assert numa.why(ask((2, 4)), [full]) == (
        "the guest's cell 0 cell 0: needs 4096 MiB, 16384 MiB of 16384 MiB × 1 used"
    )
    assert numa.fit(ask((2, 4)), [full], memory_ratio=1.25) is None
    assert numa.why(ask((2, 4)), [full], memory_ratio=1.25) == (
        "the guest's cell 0 cell 0: needs 2 vCPUs, 8 of 8 × 1 used"
    )
    assert hosts_of(numa.fit(ask((2, 4)), [full], memory_ratio=1.25, cpu_ratio=1.25)) == [0]
    assert numa.fit(ask((3, 4)), [full], memory_ratio=1.25, cpu_ratio=1.25) is None


def test_a_guest_does_not_overcommit_against_itself() -> None:
    assert numa.fit(ask((9, 1)), [cell()], cpu_ratio=16) is None
    assert numa.fit(ask((1, 17)), [cell()], memory_ratio=16) is None
    assert numa.fit(ask((8, 16)), [cell()], cpu_ratio=16, memory_ratio=16) is not None
    assert numa.fit(ask((7, 1)), [cell(pinned=(0, 1))], cpu_ratio=16) is None


def test_dedicated_cpus_are_never_shared_and_never_overcommitted() -> None:
    found = numa.fit(ask((2, 4), dedicated=True), [cell(pinned=(0, 2))], cpu_ratio=16, memory_ratio=4)
    assert pins_of(found) == [(0, 1), (1, 3)]
    assert found is not None
    assert found[0].taken == {1, 3}
    assert numa.fit(ask((7, 4), dedicated=True), [cell(pinned=(0, 2))], cpu_ratio=16) is None
    assert numa.fit(ask((2, 4), dedicated=True), [cell(used=13)], memory_ratio=4) is None
    # Those that share must keep enough.
    assert numa.fit(ask((6, 4), dedicated=True), [cell(shared=8)], cpu_ratio=4) is not None
    assert numa.fit(ask((7, 4), dedicated=True), [cell(shared=8)], cpu_ratio=4) is None
    assert numa.why(ask((7, 4), dedicated=True), [cell(shared=8)], cpu_ratio=4) == (
        "the guest's cell 0 cell 0: needs 7 CPUs for itself, 8 vCPUs share the 8 there"
    )


def test_threads_preferred() -> None:
    """As many siblings together as there are; else one by one, else what is left."""
    assert pins_of(numa.fit(ask((4, 1), dedicated=True), [cell(threads=2)])) == [
        (0, 0),
        (1, 1),
        (2, 2),
        (3, 3),
    ]
    broken = cell(threads=2, pinned=(0, 2, 4))
    assert pins_of(numa.fit(ask((2, 1), dedicated=True, policy="prefer"), [broken])) == [(0, 6), (1, 7)]
    assert pins_of(numa.fit(ask((4, 1), dedicated=True), [broken])) == [(0, 1), (1, 3), (2, 5), (3, 6)]
    assert pins_of(numa.fit(ask((5, 1), dedicated=True), [broken])) == [
        (0, 1), (1, 3), (2, 5), (3, 6), (4, 7),
    ]  # fmt: skip


def test_threads_required() -> None:
    def required(count: int) -> NumaAsk:
        return ask((count, 1), dedicated=True, policy="require")

    broken = cell(threads=2, pinned=(0, 2, 4))
    assert pins_of(numa.fit(required(2), [broken])) == [(0, 6), (1, 7)]
    assert numa.fit(required(4), [broken]) is None
    assert numa.why(required(4), [broken]).endswith("cell 0: needs 4 CPUs beside a sibling, 2 are free")
    assert numa.fit(required(1), [cell(threads=1)]) is None
    assert numa.why(required(1), [cell(threads=1)]).endswith(
        "have one thread each, the flavor requires siblings"
    )


def test_threads_isolated() -> None:
    def isolated(count: int) -> NumaAsk:
        return ask((count, 1), dedicated=True, policy="isolate")

    broken = cell(threads=2, pinned=(0,))
    found = numa.fit(isolated(2), [broken])
    assert pins_of(found) == [(0, 2), (1, 4)]
    assert found is not None
    assert found[0].taken == {2, 3, 4, 5}
    assert numa.fit(isolated(3), [broken]) is not None
    assert numa.why(isolated(4), [broken]).endswith("needs 4 whole cores, 3 of 4 are free")
    # Without threads every CPU is a core.
    assert pins_of(numa.fit(isolated(8), [cell(threads=1)])) == [(at, at) for at in range(8)]


SMALL, HUGE, GIANT = (
    Pages(4 * KIB, GIB // (4 * KIB), 0),
    Pages(2 * MIB, 2048, 1536),
    Pages(GIB, 4, 3),
)


@pytest.mark.parametrize(
    ("page", "memory", "size"),
    [
        ("small", GIB, 4 * KIB),
        ("small", 2 * GIB, None),
        ("large", GIB, GIB),  # the largest that fits
        ("large", GIB // 2, 2 * MIB),
        ("large", 3 * MIB, None),
        ("any", 3 * MIB, 4 * KIB),
        ("any", GIB, GIB),
        ("any", 2 * GIB, None),
        (2 * MIB, GIB, 2 * MIB),
        (2 * MIB, GIB + 2 * MIB, None),
        (GIB, GIB, GIB),
        (GIB, 2 * GIB, None),
        (16 * MIB, GIB, None),
    ],
)
def test_pages(page: PageSize, memory: int, size: int | None) -> None:
    host = cell(pages=(GIANT, SMALL, HUGE))
    found = numa.fit(NumaAsk((GuestCell((0,), memory),), page_size=page), [host])
    assert (None if found is None else found[0].page_size) == size


def test_why_pages() -> None:
    host = cell(pages=(SMALL, HUGE))
    assert numa.why(ask((1, 2), page="large"), [host]).endswith(
        "needs 2048 MiB in large pages, free: 512 of 2048 KiB"
    )
    assert numa.why(ask((1, 2), page=GIB), [host]).endswith("cell 0: has no 1048576 KiB pages")
    # Pages are there or not, whatever else is used.
    assert numa.fit(ask((1, 1), page=2 * MIB), [cell(used=16, pages=(SMALL, HUGE))]) is not None


def test_what_a_guest_takes() -> None:
    wanted = ask((2, 1), dedicated=True, policy="isolate", page=2 * MIB)
    before = (cell(0, threads=2, pages=(SMALL, HUGE)), cell(1))
    found = numa.fit(wanted, before)
    assert found is not None
    after = numa.take(before, found, wanted)
    assert after[0] == msgspec.structs.replace(
        before[0], pinned=frozenset({0, 1, 2, 3}),
        pages=(SMALL, msgspec.structs.replace(HUGE, used=2048)),
    )  # fmt: skip
    assert after[1] == before[1]
    assert numa.fit(wanted, after[:1]) is None
    shared = ask((3, 1))
    found = numa.fit(shared, before)
    assert found is not None
    after = numa.take(before, found, shared)
    # Ordinary memory is of ordinary pages.
    assert (after[0].shared, after[0].memory_used, after[0].pages[0].used) == (3, GIB, GIB // (4 * KIB))
    assert after[0].pages[1] == HUGE


HOSTS = st.lists(
    st.builds(
        cell,
        cpus=st.sampled_from([2, 4, 8]),
        gib=st.integers(1, 6),
        threads=st.sampled_from([1, 2]),
        pinned=st.sets(st.integers(0, 1)).map(lambda found: tuple(sorted(found))),
        shared=st.integers(0, 6),
        used=st.integers(0, 4),
        pages=st.sampled_from([(), (SMALL, HUGE), (SMALL, GIANT)]),
    ),
    max_size=4,
).map(
    lambda cells: [
        msgspec.structs.replace(
            each,
            id=number,
            cpus=frozenset(at + number * 100 for at in each.cpus),
            pinned=frozenset(at + number * 100 for at in each.pinned),
            siblings=tuple(frozenset(at + number * 100 for at in core) for core in each.siblings),
        )
        for number, each in enumerate(cells)
    ]
)
POLICIES: st.SearchStrategy[ThreadPolicy] = st.sampled_from(["", "prefer", "isolate", "require"])
PAGE_SIZES: st.SearchStrategy[PageSize] = st.sampled_from(["", "", "small", "large", "any", 2 * MIB])
ASKS = st.builds(
    lambda cells, dedicated, policy, page: ask(
        *cells, dedicated=dedicated, policy=policy if dedicated else "", page=page
    ),
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=3),
    st.booleans(),
    POLICIES,
    PAGE_SIZES,
)
RATIOS = st.sampled_from([1.0, 1.5, 4.0])


@settings(deadline=None, max_examples=200)
@given(ASKS, HOSTS, RATIOS, RATIOS)
def test_the_first_of_all_permutations(
    wanted: NumaAsk, host: list[HostCell], cpu: float, memory: float
) -> None:
    """Each guest cell alone is asked of each host cell, then all orders are tried, as Nova does."""

    def alone(number: int, at: int) -> bool:
        single = msgspec.structs.replace(wanted, cells=(wanted.cells[number],))
        return numa.fit(single, [host[at]], cpu_ratio=cpu, memory_ratio=memory) is not None

    count = len(wanted.cells)
    good = [order for order in permutations(range(len(host)), count) if all(map(alone, range(count), order))]
    found = numa.fit(wanted, host, cpu_ratio=cpu, memory_ratio=memory)
    assert hosts_of(found) == (list(good[0]) if good else None)
    assert (numa.why(wanted, host, cpu_ratio=cpu, memory_ratio=memory) == "") == bool(good)
    # What other things than cells decide is asked of every pairing.
    last = numa.fit(
        wanted, host, cpu_ratio=cpu, memory_ratio=memory, accept=lambda ids: set(ids) == {len(host) - 1}
    )
    assert hosts_of(last) == ([len(host) - 1] if (len(host) - 1,) in good else None)


@settings(deadline=None, max_examples=200)
@given(st.lists(ASKS, max_size=6), HOSTS, RATIOS, RATIOS)
def test_no_cell_is_ever_over_full(
    asks: list[NumaAsk], host: list[HostCell], cpu: float, memory: float
) -> None:
    # What was there before may be too much already; what comes must not add to it.
    cells = tuple(msgspec.structs.replace(each, shared=0, memory_used=0) for each in host)
    owners: dict[int, int] = {}
    for number, wanted in enumerate(asks):
        found = numa.fit(wanted, cells, cpu_ratio=cpu, memory_ratio=memory)
        if found is None:
            continue
        assert len({each.host for each in found}) == len(wanted.cells)
        for each in found:
            there = next(one for one in cells if one.id == each.host)
            assert each.taken <= there.free
            assert {at for _, at in each.pins} <= each.taken
            assert [vcpu for vcpu, _ in each.pins] == (
                list(wanted.cells[each.guest].cpus) if wanted.dedicated else []
            )
            for at in each.taken:
                assert owners.setdefault(at, number) == number
        cells = numa.take(cells, found, wanted)
    for after in cells:
        assert after.shared <= len(after.free) * cpu
        # Ordinary memory may be promised more than once.
        assert all(each.used <= each.total for each in after.pages if each.size > 4 * KIB)


def test_many_cells_take_no_factorial() -> None:
    """Sixteen cells, of which the last two want the same place: 16! orders would never end."""
    wide = ask(*[(1, 1)] * 14, (4, 1), (4, 1))
    host = [cell(number, cpus=2) for number in range(15)] + [cell(15, cpus=4)]
    assert numa.fit(wide, host) is None
    assert hosts_of(numa.fit(wide, [*host, cell(16, cpus=4)])) == [*range(14), 15, 16]


GPU = PciNeed("gpu", 2, "10de", "1eb8")
CARDS = (
    HostPci("0000:3b:00.0", "10de", "1eb8", 0),
    HostPci("0000:3c:00.0", "10DE", "1EB8", 0, "8f0e"),
    HostPci("0000:af:00.0", "10de", "1eb8", 1),
    HostPci("0000:b0:00.0", "10de", "1eb8", None),
    HostPci("0000:18:00.0", "8086", "1572", 0),
)


def test_devices_by_alias() -> None:
    aliases = {"gpu": PciAlias(vendor="10DE", product="1EB8"), "nic": PciAlias(vendor="8086", product="1572")}
    wanted = pci.needs((PciRequest("gpu", 2), PciRequest("nic", 1)), aliases)
    assert wanted == (GPU, PciNeed("nic", 1, "8086", "1572"))
    assert pci.fit(wanted, CARDS) == ("0000:3b:00.0", "0000:af:00.0", "0000:18:00.0")
    assert pci.why(wanted, CARDS) == ""
    assert pci.fit((), ()) == ()
    more = (PciNeed("gpu", 4, "10de", "1eb8"),)
    assert pci.fit(more, CARDS) is None
    assert pci.why(more, CARDS) == "needs 4 × gpu (10de:1eb8), 3 free of 4"
    with pytest.raises(KeyError):
        pci.needs((PciRequest("fpga", 1),), aliases)


def test_two_aliases_of_the_same_device_share_what_is_there() -> None:
    both = (GPU, PciNeed("card", 2, "10de", "1eb8"))
    assert pci.fit(both, CARDS) is None
    assert pci.why(both, CARDS) == "needs 4 × card (10de:1eb8), 3 free of 4"


@pytest.mark.parametrize(
    ("affinity", "cells", "found"),
    [
        ("legacy", {0}, ("0000:3b:00.0", "0000:b0:00.0")),
        ("legacy", {7}, None),
        ("required", {0}, None),
        ("required", {0, 1}, ("0000:3b:00.0", "0000:af:00.0")),
        ("preferred", {1}, ("0000:af:00.0", "0000:b0:00.0")),
        ("preferred", {7}, ("0000:b0:00.0", "0000:3b:00.0")),
        ("required", None, ("0000:3b:00.0", "0000:af:00.0")),
    ],
)
def test_devices_near_the_guest(
    affinity: Affinity, cells: set[int] | None, found: tuple[str, ...] | None
) -> None:
    assert pci.fit((GPU,), CARDS, affinity=affinity, cells=cells) == found
    reason = pci.why((GPU,), CARDS, affinity=affinity, cells=cells)
    assert (reason == "") == (found is not None)


def test_why_devices_are_too_far() -> None:
    assert pci.why((GPU,), CARDS, affinity="required", cells={0}) == (
        "needs 2 × gpu (10de:1eb8), 3 free of 4, 1 at the NUMA cells of the guest"
    )


def test_cells_are_chosen_where_the_devices_are() -> None:
    cards = (HostPci("0000:af:00.0", "10de", "1eb8", 1),)
    one = (PciNeed("gpu", 1, "10de", "1eb8"),)
    found = numa.fit(
        ask((2, 2)),
        [cell(0), cell(1)],
        accept=lambda cells: pci.fit(one, cards, affinity="required", cells=cells) is not None,
    )
    assert hosts_of(found) == [1]
