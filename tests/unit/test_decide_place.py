"""Placement over arrays against the slow, obvious reference: same hosts, same order, never too much."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unit.placement_fleets import (
    GIB,
    NOW,
    easy,
    make_ask,
    make_promises,
    make_settings,
    make_snapshot,
    make_view,
    make_vm,
    snapshot_of,
)
from unit.placement_reference import Reference
from virtfleet.config.extra_specs import parse
from virtfleet.config.settings import FleetSettings, HostSettings, PciAlias
from virtfleet.decide.ask import Ask
from virtfleet.decide.explain import explain
from virtfleet.decide.filters import FILTERS
from virtfleet.decide.filters_room import pool_for
from virtfleet.decide.ledger import Ledger, Promise
from virtfleet.decide.place import place, place_many, survivors
from virtfleet.decide.question import Question
from virtfleet.errors import NoValidHostError
from virtfleet.model import FleetSnapshot, HostFacts, HostView

SEEDS = st.integers(0, 2**32 - 1)
RULES = {
    "up", "hosts", "zone", "name", "image", "capabilities", "traits", "isolation", "networks", "same-host",
    "different-host", "vms", "io", "group", "vcpus", "memory", "disk",
}  # fmt: skip


def close(one: float, two: float) -> bool:
    return math.isclose(one, two, rel_tol=1e-9, abs_tol=1e-9)


def ledger_of(fleet: FleetSettings, snapshot: FleetSnapshot) -> Ledger:
    ledger = Ledger(fleet)
    ledger.follow(snapshot)
    return ledger


def figures(ledger: Ledger) -> dict[str, object]:
    """All that placing could leave behind."""
    arrays = ("vcpus", "vcpus_used", "memory", "memory_used", "vm_count", "io")
    return {name: np.nan_to_num(getattr(ledger, name), nan=-1.0).tolist() for name in arrays} | {
        "vms": {uuid: set(rows) for uuid, rows in ledger.vms.items()},
        "names": {name: set(rows) for name, rows in ledger.vm_names.items()},
        "groups": {name: found.tolist() for name, found in ledger.groups.items() if found.any()},
        "pools": ledger.pools.free().tolist(),
        "taken": [ledger.pools.taken(each.pool) for pools in ledger.pools.known for each in pools],
    }


def refusals(ledger: Ledger, ask: Ask) -> dict[str, set[str]]:
    """The rules that refuse each host."""
    return {case.host: {each.filter for each in case.refusals} for case in explain(ledger, ask, NOW).cases}


def check(ledger: Ledger, reference: Reference, ask: Ask) -> None:
    """The same hosts are refused for the same reasons; the others have the same score and order."""
    scores = reference.scores(ask)
    left = survivors(Question(ledger, ask, NOW))
    assert [name for name, fits in zip(ledger.names, left, strict=True) if fits] == list(scores)
    explained = explain(ledger, ask, NOW)
    for case in explained.cases:
        refusals = reference.refusals(reference.snapshot.hosts[case.host], ask)
        assert {each.filter for each in case.refusals} & RULES == set(refusals), case.host
        assert all(each.why for each in case.refusals)
        assert (case.score is None) == bool(refusals)
        if case.score is not None:
            assert close(case.score, scores[case.host]), case
            assert close(case.score, sum(part for _, part in case.weights))
    order = [scores[case.host] for case in explained.cases if case.score is not None]
    assert all(one > two or close(one, two) for one, two in pairwise(order))
    if not scores:
        with pytest.raises(NoValidHostError) as caught:
            place(ledger, ask, NOW)
        assert sum(count for _, count in caught.value.refused) == len(ledger)
        assert explained.winner == ""
        return
    chosen = place(ledger, ask, NOW)
    assert close(chosen.score, max(scores.values()))
    assert close(scores[chosen.host], chosen.score)
    assert (chosen.host, chosen.fit) == (explained.winner, len(scores))


def test_all_rules_are_compared() -> None:
    """The two others by themselves: test_decide_numa."""
    assert {each.name for each in FILTERS} - {"numa", "pci"} == RULES


@pytest.mark.parametrize(
    ("specs", "rule", "why"),
    [
        ({"hw:cpu_policy": "dedicated"}, "numa", "the host's NUMA cells are not known"),
        ({"hw:mem_page_size": "large"}, "numa", "the host's NUMA cells are not known"),
        ({"pci_passthrough:alias": "gpu:1"}, "pci", "its PCI devices are not known"),
    ],
)
def test_what_a_host_does_not_tell_is_never_left_out(specs: dict[str, str], rule: str, why: str) -> None:
    host = HostSettings(name="hv1", uri="qemu:///system")
    fleet = FleetSettings(hosts={"hv1": host}, pci_aliases={"gpu": PciAlias(vendor="10de", product="1eb8")})
    view = easy(HostView("hv1", host.uri, facts=HostFacts(hypervisor="QEMU", cpus=8, memory=16 * GIB)))
    ledger = ledger_of(fleet, snapshot_of({"hv1": view}))
    assert place(ledger, Ask(vcpus=1, memory=GIB), NOW).host == "hv1"
    ask = Ask(vcpus=1, memory=GIB, specs=parse(specs, 1, GIB))
    with pytest.raises(NoValidHostError, match=why) as caught:
        place(ledger, ask, NOW)
    assert caught.value.refused == ((rule, 1),)
    assert [each.why for each in explain(ledger, ask, NOW).cases[0].refusals] == [why]


@settings(deadline=None, max_examples=400)
@given(SEEDS)
def test_the_same_hosts_in_the_same_order(seed: int) -> None:
    rng = random.Random(seed)
    fleet = make_settings(rng)
    snapshot = make_snapshot(rng, fleet)
    ledger, promises = ledger_of(fleet, snapshot), make_promises(rng, snapshot)
    ledger.failures = {name: rng.choice([0, 1, 3]) for name in fleet.hosts} if rng.random() < 0.3 else {}
    before = figures(ledger)
    with ledger.beside(promises):
        reference = Reference(snapshot, fleet, NOW, promises, ledger.failures)
        for _ in range(4):
            check(ledger, reference, make_ask(rng, snapshot))
    assert figures(ledger) == before


@settings(deadline=None, max_examples=150)
@given(SEEDS)
def test_a_ledger_that_follows_is_as_good_as_a_new_one(seed: int) -> None:
    rng = random.Random(seed)
    fleet = make_settings(rng)
    snapshot = make_snapshot(rng, fleet)
    ledger = ledger_of(fleet, snapshot)
    for turn in range(6):
        hosts = dict(snapshot.hosts)
        name = rng.choice(list(fleet.hosts))
        view = hosts.get(name) or make_view(rng, fleet.hosts[name], 100 + 10 * turn)
        match rng.randint(0, 6):
            case 0:
                hosts.pop(name, None)
            case 1:
                hosts[name] = make_view(rng, fleet.hosts[name], 100 + 10 * turn)
            case 2:
                hosts[name] = msgspec.structs.replace(view, vms=(*view.vms, make_vm(rng, f"x{turn}")))
            case 3:
                hosts[name] = msgspec.structs.replace(view, vms=view.vms[1:])
            case 4 if view.vms:  # one VM changed
                hosts[name] = msgspec.structs.replace(
                    view, vms=(make_vm(rng, view.vms[0].uuid), *view.vms[1:])
                )
            case 5:
                other = make_view(rng, fleet.hosts[name], 0)
                hosts[name] = msgspec.structs.replace(
                    view, pools=other.pools, volumes=other.volumes, networks=other.networks
                )
            case _:
                other = make_view(rng, fleet.hosts[name], 0)
                hosts[name] = msgspec.structs.replace(
                    view, facts=other.facts, stats=other.stats, state=other.state, freshness=other.freshness
                )
        snapshot = snapshot_of(hosts)
        ledger.follow(snapshot)
        if not hosts:
            continue
        assert figures(ledger) == figures(ledger_of(fleet, snapshot))
        check(ledger, Reference(snapshot, fleet, NOW), make_ask(rng, snapshot))


def promise_for(number: int, ask: Ask) -> Promise:
    return Promise("", f"new{number}", ask.name, ask.vcpus, ask.memory, ask.disk, ask.room, "", ask.group)


def many(rng: random.Random, snapshot: FleetSnapshot) -> tuple[list[Ask], list[Promise]]:
    """Questions for new VMs: one for all, or each its own."""
    asks: list[Ask] = []
    one = make_ask(rng, snapshot)
    for number in range(rng.randint(1, 12)):
        ask = one if rng.random() < 0.7 else make_ask(rng, snapshot)
        ask = msgspec.structs.replace(ask, moving="", name=f"new-{number}")
        if number and rng.random() < 0.1:
            which = rng.choice(["same_host", "different_host"])
            ask = msgspec.structs.replace(ask, **{which: (f"new{rng.randrange(number)}",)})
        asks.append(ask)
    return asks, [promise_for(number, ask) for number, ask in enumerate(asks)]


def place_one_by_one(
    ledger: Ledger, reference: Reference, asks: list[Ask], promises: list[Promise]
) -> dict[int, Promise]:
    """Each is promised before the next is asked for; the reference agrees each time."""
    made: dict[int, Promise] = {}
    for number, ask in enumerate(asks):
        scores = reference.scores(ask)
        try:
            chosen = place(ledger, ask, NOW)
        except NoValidHostError:
            assert scores == {}
            continue
        assert close(scores[chosen.host], max(scores.values()))
        pool = pool_for(Question(ledger, ask, NOW), ledger.rows[chosen.host])
        view = reference.snapshot.hosts[chosen.host]
        if ask.room or ask.disk or ask.images:
            assert reference.pool_fits(view, next(each for each in view.pools if each.name == pool), ask)
        made[number] = promises[number]._replace(host=chosen.host, pool=pool)
        assert ledger.promise(made[number])
        reference.promises = [*made.values()]
    return made


@settings(deadline=None, max_examples=200)
@given(SEEDS)
def test_many_at_once_are_as_good_as_one_by_one_and_never_too_much(seed: int) -> None:
    rng = random.Random(seed)
    fleet = make_settings(rng)
    snapshot = make_snapshot(rng, fleet)
    ledger = ledger_of(fleet, snapshot)
    asks, promises = many(rng, snapshot)
    before = figures(ledger)
    reference = Reference(snapshot, fleet, NOW)
    made = place_one_by_one(ledger, reference, asks, promises)
    for host in {each.host for each in made.values()}:
        assert reference.over(host) == []
    for each in made.values():
        ledger.release(each.uuid)
    assert figures(ledger) == before
    found = place_many(ledger, asks, promises, NOW, partial=True)
    assert figures(ledger) == before
    assert len(found) == len(asks)
    assert sum(each is not None for each in found) >= len(made)
    if len(made) == len(asks):
        assert [each.host for each in found if each] == [each.host for each in made.values()]
    # Those that were placed fit together, whatever the order in which they were placed.
    together = Reference(
        snapshot, fleet, NOW,
        [promise._replace(host=each.host) for promise, each in zip(promises, found, strict=True) if each],
    )  # fmt: skip
    for host in {each.host for each in together.promises}:
        assert together.over(host) == []
    if None in found:
        with pytest.raises(NoValidHostError):
            place_many(ledger, asks, promises, NOW)
        assert figures(ledger) == before
    else:
        assert place_many(ledger, asks, promises, NOW) == found


@settings(deadline=None, max_examples=150)
@given(SEEDS)
def test_soft_rules_refuse_nobody(seed: int) -> None:
    rng = random.Random(seed)
    fleet = make_settings(rng)
    snapshot = make_snapshot(rng, fleet)
    ledger = ledger_of(fleet, snapshot)
    plain = msgspec.structs.replace(make_ask(rng, snapshot), group="")
    for group in ("wish-together", "wish-apart"):
        with_wish = msgspec.structs.replace(plain, group=group)
        assert (
            survivors(Question(ledger, with_wish, NOW)).tolist()
            == survivors(Question(ledger, plain, NOW)).tolist()
        )


@settings(deadline=None, max_examples=150)
@given(SEEDS, st.integers(1, 40), st.integers(1, 40))
def test_an_over_committed_host_can_be_drained(seed: int, vcpus: int, gib: int) -> None:
    """However full its host is, a VM may stay, shrink, or leave for any host that has the room."""
    rng = random.Random(seed)
    fleet = make_settings(rng)
    made = make_snapshot(rng, fleet)
    hosts = {name: easy(view) for name, view in made.hosts.items()}
    name = rng.choice(list(hosts))
    big = make_vm(rng, "big")
    info = msgspec.structs.replace(big.info, vcpus_max=vcpus, memory_max=gib * GIB)
    hosts[name] = msgspec.structs.replace(
        hosts[name], vms=(*hosts[name].vms, msgspec.structs.replace(big, info=info))
    )
    snapshot = snapshot_of(hosts)
    ledger, reference = ledger_of(fleet, snapshot), Reference(snapshot, fleet, NOW)
    same = Ask(vcpus=vcpus, memory=gib * GIB, moving="big")
    less = Ask(vcpus=max(1, vcpus - 1), memory=gib * GIB // 2, moving="big")
    for ask in (same, less):
        refused = {
            case.host: {each.filter for each in case.refusals} for case in explain(ledger, ask, NOW).cases
        }
        assert not refused[name] & {"vcpus", "memory"}
        # The same question by a VM that is nowhere: only its own host may answer otherwise.
        new = refusals(ledger, msgspec.structs.replace(ask, moving=""))
        assert refused == new | {name: refused[name]}
        check(ledger, reference, ask)
    more = Ask(vcpus=vcpus + 1, memory=gib * GIB, moving="big")
    check(ledger, reference, more)


@settings(deadline=None, max_examples=150)
@given(SEEDS)
def test_promises_add_and_go_exactly(seed: int) -> None:
    rng = random.Random(seed)
    fleet = make_settings(rng)
    snapshot = make_snapshot(rng, fleet)
    ledger, promises = ledger_of(fleet, snapshot), make_promises(rng, snapshot)
    states = [figures(ledger)]
    counted = []
    for promise in promises:
        shown = any(vm.uuid == promise.uuid for vm in snapshot.hosts[promise.host].vms)
        assert ledger.promise(promise) is not shown
        assert ledger.promise(promise) is False
        if not shown:
            row = ledger.rows[promise.host]
            assert ledger.vcpus_used[row] == states[-1]["vcpus_used"][row] + promise.vcpus  # type: ignore[index]
            assert ledger.memory_used[row] == states[-1]["memory_used"][row] + promise.memory  # type: ignore[index]
            counted.append(promise)
            states.append(figures(ledger))
    for promise in reversed(counted):
        assert figures(ledger) == states.pop()
        ledger.release(promise.uuid)
        ledger.release(promise.uuid)
    assert figures(ledger) == states.pop()


@settings(deadline=None, max_examples=150)
@given(SEEDS)
def test_a_vm_that_was_promised_and_appears_counts_once(seed: int) -> None:
    rng = random.Random(seed)
    fleet = make_settings(rng)
    snapshot = make_snapshot(rng, fleet)
    ledger = ledger_of(fleet, snapshot)
    promises = [each for each in make_promises(rng, snapshot) if each.uuid.startswith("p")]
    for promise in promises:
        assert ledger.promise(promise)
    hosts = dict(snapshot.hosts)
    for promise in promises:
        vm = make_vm(rng, promise.uuid)
        view = hosts[promise.host]
        hosts[promise.host] = msgspec.structs.replace(view, vms=(*view.vms, vm))
    if rng.random() < 0.3:  # a host that nothing was promised of goes
        free = [name for name in hosts if name not in {each.host for each in promises}]
        hosts = {name: view for name, view in hosts.items() if name not in free[:1]}
    after = snapshot_of(hosts)
    ledger.follow(after)
    assert figures(ledger) == figures(ledger_of(fleet, after))
    for promise in promises:
        ledger.release(promise.uuid)
    assert figures(ledger) == figures(ledger_of(fleet, after))


@settings(deadline=None, max_examples=60)
@given(SEEDS, st.integers(2, 5))
def test_one_of_the_best(seed: int, among: int) -> None:
    rng = random.Random(seed)
    fleet = make_settings(rng)
    fleet = msgspec.structs.replace(
        fleet, scheduler=msgspec.structs.replace(fleet.scheduler, host_subset_size=among, seed=7)
    )
    snapshot = make_snapshot(rng, fleet)
    ledger, reference = ledger_of(fleet, snapshot), Reference(snapshot, fleet, NOW)
    ask = Ask(vcpus=1, memory=GIB)
    scores = reference.scores(ask)
    if not scores:
        return
    best = sorted(scores.values(), reverse=True)[:among]
    chosen = [place(ledger, ask, NOW, random.Random(turn)) for turn in range(20)]
    assert all(each.score > best[-1] or close(each.score, best[-1]) for each in chosen)
    assert place(ledger, ask, NOW) == place(ledger, ask, NOW)
