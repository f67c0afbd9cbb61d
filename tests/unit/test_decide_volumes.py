"""The pool of a volume: Cinder's sums against a slow reference, and single cases with their words."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from unit.volume_reference import Reference
from virtfleet.config.settings import FleetSettings, HostSettings, PoolSelector, VolumeType, VolumeWeights
from virtfleet.decide.pool_table import PoolTable
from virtfleet.decide.volumes import VolumeAsk, choose, explain
from virtfleet.model import FleetSnapshot, HostState, HostView, Pool, PoolState, Volume

GIB = 1 << 30


def pool(name: str, capacity: int | None, available: int | None, **more: object) -> Pool:
    given = {"uuid": name, "type": "dir", "state": PoolState.RUNNING, "identity": f"id-{name}"} | more
    return Pool(name=name, capacity=capacity, available=available, **given)  # type: ignore[arg-type]


def fleet(*views: HostView) -> FleetSnapshot:
    return FleetSnapshot(1, MappingProxyType({view.name: view for view in views}))


def host(name: str, *pools: Pool, volumes: tuple[Volume, ...] = (), **more: object) -> HostView:
    given = {"uri": "", "state": HostState.UP} | more
    return HostView(name=name, pools=pools, volumes=volumes, **given)  # type: ignore[arg-type]


def table(snapshot: FleetSnapshot, hosts: dict[str, HostSettings] | None = None) -> PoolTable:
    made = PoolTable(FleetSettings(hosts=hosts or {}))
    made.follow(snapshot)
    return made


def filled(name: str, *sizes: int) -> tuple[Volume, ...]:
    return tuple(Volume(pool=name, name=f"v{n}", capacity=size * GIB) for n, size in enumerate(sizes))


# ---- against the reference

_sizes = st.sampled_from([None, 0, 10, 20, 40, 100])
_pools = st.builds(
    pool,
    st.sampled_from(["a", "b", "c"]),
    _sizes,
    st.sampled_from([None, 0, 1, 5, 10, 20, 100]),
    type=st.sampled_from(["dir", "logical", "rbd", "iscsi-direct", "gluster"]),
    identity=st.sampled_from(["one", "two", "three", "four"]),
    state=st.sampled_from([PoolState.RUNNING, PoolState.RUNNING, PoolState.INACTIVE]),
    allocation=st.sampled_from([None, 0, 7, 30]),
)
_volumes = st.builds(
    Volume,
    pool=st.sampled_from(["a", "b", "c"]),
    name=st.just("v"),
    capacity=st.sampled_from([None, 1, 8, 50]),
)
_views = st.builds(
    lambda pools, volumes, **more: host("h", *pools, volumes=tuple(volumes), **more),
    st.lists(_pools, max_size=3, unique_by=lambda each: each.name),
    st.lists(_volumes, max_size=4),
    state=st.sampled_from([HostState.UP, HostState.SLOW, HostState.HUNG]),
    traits=st.sampled_from([(), ("ssd",), ("ssd", "old")]),
)
_kinds = st.builds(
    VolumeType,
    pools=st.builds(
        PoolSelector, traits=st.sampled_from([(), (), ("ssd",)]), names=st.sampled_from([(), (), ("a", "b")])
    ),
    provisioning=st.sampled_from(["thin", "thick"]),
    max_over_subscription=st.sampled_from([0.5, 1.0, 1.5, 4.0]),
    reserved_percentage=st.sampled_from([0.0, 0.0, 15.0, 100.0]),
    full_at=st.sampled_from([50.0, 90.0, 100.0]),
)
_asks = st.builds(
    VolumeAsk,
    size=st.sampled_from([0, 1, 4, 10, 40]),
    kind=_kinds,
    hosts=st.sampled_from([(), (), ("h0",), ("h1", "h2")]),
    pools=st.sampled_from([(), (), ("a",)]),
    avoid=st.sampled_from([(), ("h0/a",)]),
    present=st.sampled_from(["", "", "one"]),
    project=st.sampled_from(["default", "web"]),
    promised=st.sampled_from([{}, {"one": 6, "nobody": 3}]),
    exists=st.booleans(),
)


@settings(max_examples=300)
@given(
    st.lists(_views, max_size=4),
    _asks,
    st.builds(
        VolumeWeights,
        capacity=st.sampled_from([1.0, -1.0, 0.0]),
        volumes=st.sampled_from([0.0, 0.5, -2.0]),
    ),
    st.sampled_from([(), ("web",)]),
)
def test_as_the_reference_says(
    views: list[HostView], ask: VolumeAsk, weights: VolumeWeights, only: tuple[str, ...]
) -> None:
    named = [replace(view, name=f"h{number}") for number, view in enumerate(views)]
    hosts = {
        view.name: HostSettings(name=view.name, uri="", projects=only if number == 1 else ())
        for number, view in enumerate(named)
    }
    snapshot = fleet(*named)
    reference = Reference(snapshot, hosts, ask)
    made = table(snapshot, hosts)

    cases = explain(made, ask, weights)
    refused = {(case.host, case.pool): {each.filter for each in case.refusals} for case in cases}
    assert refused == {
        (view.name, each.name): reference.refused(view, each) for view, each in reference.pools
    }
    assert all(each.why for case in cases for each in case.refusals)

    scores = reference.scores(weights)
    found = choose(made, ask, weights)
    storages = {each.identity for view, each in reference.pools if (view.name, each.name) in scores}
    assert {each.identity for each in found} == storages
    assert len(found) == len(storages)
    for each in found:
        assert each.score == pytest.approx(scores[each.host, each.pool])
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
    if found:
        assert found[0].score == pytest.approx(max(scores.values()))


# ---- single cases


def whys(snapshot: FleetSnapshot, ask: VolumeAsk) -> dict[str, str]:
    return {
        case.pool: "; ".join(each.why for each in case.refusals) for case in explain(table(snapshot), ask)
    }


def test_the_one_with_most_to_promise_first_and_the_others_to_fall_back_on() -> None:
    snapshot = fleet(
        host(
            "hv1",
            pool("small", 10 * GIB, 9 * GIB),
            pool("large", 100 * GIB, 20 * GIB),
            pool("mute", None, None),
            volumes=filled("large", 50),
        )
    )
    found = choose(table(snapshot), VolumeAsk(size=20 * GIB))
    assert [each.pool for each in found] == ["large", "small", "mute"]
    thick = VolumeAsk(size=9 * GIB, kind=VolumeType(provisioning="thick"))
    assert [each.pool for each in choose(table(snapshot), thick)] == ["large", "small", "mute"]
    packed = choose(table(snapshot), thick, VolumeWeights(capacity=-1.0))
    assert [each.pool for each in packed] == ["small", "large", "mute"]


def test_physical_room_counts_for_thin_ones_too() -> None:
    snapshot = fleet(host("hv1", pool("worn", 100 * GIB, 9 * GIB), pool("well", 100 * GIB, 10 * GIB)))
    assert [each.pool for each in choose(table(snapshot), VolumeAsk(size=GIB))] == ["well"]
    assert whys(snapshot, VolumeAsk(size=GIB)) == {
        "worn": "91 % of it is written, and it counts as full at 90 %",
        "well": "",
    }


def test_a_volume_that_is_there_may_stay_in_a_full_pool() -> None:
    snapshot = fleet(host("hv1", pool("worn", 10 * GIB, 0), volumes=filled("worn", 500)))
    assert choose(table(snapshot), VolumeAsk(size=GIB)) == []
    assert [each.pool for each in choose(table(snapshot), VolumeAsk(size=GIB, present="id-worn"))] == ["worn"]


def test_growing_asks_for_the_difference() -> None:
    snapshot = fleet(host("hv1", pool("a", 10 * GIB, 10 * GIB), volumes=filled("a", 15)))
    kind = VolumeType(max_over_subscription=2.0)
    assert choose(table(snapshot), VolumeAsk(size=20 * GIB, kind=kind)) == []
    assert len(choose(table(snapshot), VolumeAsk(size=5 * GIB, kind=kind, exists=True))) == 1
    assert whys(snapshot, VolumeAsk(size=5 * GIB + 1, kind=kind, exists=True)) == {
        "a": "5.0G may still be promised of 10.0G × 2, 5.0G asked for"
    }


def test_the_words_of_other_refusals() -> None:
    snapshot = fleet(
        host(
            "hv1",
            pool("lun", 10 * GIB, 10 * GIB, type="iscsi-direct"),
            pool("off", 10 * GIB, 10 * GIB, state=PoolState.INACTIVE),
            pool("vg", 10 * GIB, 2 * GIB, type="logical"),
        )
    )
    assert whys(snapshot, VolumeAsk(size=3 * GIB)) == {
        "lun": "libvirt can't make volumes in a pool of type iscsi-direct "
        "(it can in dir, disk, fs, logical, netfs, rbd, sheepdog, vstorage, zfs)",
        "off": "it is inactive",
        "vg": "2.0G left, 3.0G asked for",
    }
    fast = VolumeAsk(size=1, type="fast", kind=VolumeType(pools=PoolSelector(traits=("ssd",))))
    assert whys(snapshot, fast)["vg"] == "type fast needs a host with the trait ssd"
    tried = VolumeAsk(size=1, avoid=("hv1/vg",))
    assert whys(snapshot, tried)["vg"] == "was tried already"


def test_two_hosts_with_one_storage_are_one_choice_and_the_worse_word_counts() -> None:
    one = host("hv1", pool("s", 100 * GIB, 80 * GIB, identity="x"))
    two = host("hv2", pool("t", 100 * GIB, 70 * GIB, identity="x"), volumes=filled("t", 1990))
    found = choose(table(fleet(one, two)), VolumeAsk(size=GIB))
    assert [(each.host, each.pool) for each in found] == [("hv1", "s")]
    assert choose(table(fleet(one, two)), VolumeAsk(size=11 * GIB)) == []


def test_the_table_follows_the_fleet() -> None:
    kept = table(fleet(host("hv1", pool("a", 10, 10))))
    for views in (
        (host("hv1", pool("a", 10, 4)),),
        (host("hv1", pool("a", 10, 4)), host("hv2", pool("b", 5, 5), pool("c", None, None))),
        (host("hv2", pool("b", 5, 5), state=HostState.HUNG),),
        (),
    ):
        kept.follow(fleet(*views))
        new = table(fleet(*views))
        assert kept.rows == new.rows
        np.testing.assert_array_equal(kept.free, new.free)
        np.testing.assert_array_equal(kept.up, new.up)
