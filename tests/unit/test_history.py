"""Rings of history: what is written comes out with the right age, and nothing of a neighbour does."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtfleet.fleet.history import METRICS, History
from virtfleet.model import HostStats, Pool, PoolState, VmState, VmStats


def fill(history: History, start: float, end: float, step: float, names: tuple[str, ...] = ("a",)) -> float:
    """Samples whose cpu_pct is their own time; returns the time of the last."""
    now = start
    for now in np.arange(start, end, step):
        history.record_vms("hv", float(now), names, [[float(now)] * 6 for _ in names])
    return float(now)


def test_dense_part_holds_every_sample() -> None:
    history = History()
    now = fill(history, 1000, 1200, 2)
    ages, values = history.series("vm", "hv", "a", "cpu_pct", now, span=120)
    assert ages.tolist() == [float(age) for age in range(118, -1, -2)]
    assert values.tolist() == (now - ages).tolist()


def test_fifteen_minutes_are_thinned_to_means_of_ten_seconds() -> None:
    history = History()
    now = fill(history, 10_000, 12_000, 2)
    ages, values = history.series("vm", "hv", "a", "cpu_pct", now)
    assert np.all(np.diff(ages) < 0)
    assert 880 <= ages[0] <= 900
    thinned = ages > 120
    assert set(np.diff(ages[thinned])) == {-10.0}
    # A mean of times is the time of the mean.
    np.testing.assert_allclose(values, now - ages, atol=0.01)
    assert 130 <= len(ages) <= 151


def test_span_limits_the_age() -> None:
    history = History()
    now = fill(history, 0, 900, 2)
    for span in (10.0, 60.0, 300.0):
        ages, _ = history.series("vm", "hv", "a", "cpu_pct", now, span)
        assert ages.max() <= span
        assert ages.max() >= span - 10


def test_a_faster_interval_still_gets_two_dense_minutes() -> None:
    history = History()
    now = fill(history, 1000, 1400, 0.5)
    ages, _ = history.series("vm", "hv", "a", "cpu_pct", now, span=100)
    assert len(ages) == 201


def test_usual_interval_keeps_forty_megabytes_for_ten_thousand_vms() -> None:
    history = History()
    names = tuple(f"vm-{n}" for n in range(20))
    rng = np.random.default_rng(7)
    at = 0.0
    for _ in range(300):  # ten minutes with a little jitter
        at += 2.0 + rng.uniform(-0.05, 0.05)
        history.record_vms("hv", at, names, np.zeros((20, 6), np.float32))
    assert history.nbytes * 500 < 40e6


def test_a_gap_without_samples_is_a_nan_in_its_middle() -> None:
    history = History()
    fill(history, 1000, 1020, 2)
    now = fill(history, 1060, 1070, 2)
    ages, values = history.series("vm", "hv", "a", "cpu_pct", now)
    gaps = np.flatnonzero(np.isnan(values))
    assert len(gaps) == 1
    assert now - ages[gaps[0]] == pytest.approx((1018 + 1060) / 2)
    assert np.all(np.diff(ages) < 0)


def test_a_gap_in_the_thinned_part_is_seen_too() -> None:
    history = History()
    fill(history, 1000, 1100, 2)
    now = fill(history, 1300, 1600, 2)
    ages, values = history.series("vm", "hv", "a", "cpu_pct", now)
    gaps = now - ages[np.isnan(values)]
    assert len(gaps) == 1
    assert 1100 < gaps[0] < 1300


def test_a_hung_host_keeps_its_last_samples_with_their_age() -> None:
    history = History()
    last = fill(history, 1000, 1033, 2)
    ages, values = history.series("vm", "hv", "a", "cpu_pct", last + 300)
    assert ages[-1] == 300
    assert values[-1] == last


def test_unknown_values_are_nan_and_spoil_no_mean() -> None:
    history = History()
    for at in range(0, 400, 2):
        value = None if at % 4 else 8.0
        history.record_vms("hv", at, ["a"], [[value, None, 1.0, 1.0, 1.0, 1.0]])
    ages, values = history.series("vm", "hv", "a", "cpu_pct", 398.0)
    assert set(values[ages > 130].tolist()) == {8.0}
    _, memory = history.series("vm", "hv", "a", "memory_used", 398.0)
    assert np.isnan(memory).all()
    _, disk = history.series("vm", "hv", "a", "disk_read", 398.0)
    assert set(disk.tolist()) == {1.0}


def test_a_sample_that_is_not_newer_is_ignored() -> None:
    history = History()
    history.record_vms("hv", 10.0, ["a"], [[1.0] * 6])
    history.record_vms("hv", 10.0, ["a"], [[2.0] * 6])
    history.record_vms("hv", 9.0, ["a"], [[3.0] * 6])
    ages, values = history.series("vm", "hv", "a", "cpu_pct", 10.0)
    assert (ages.tolist(), values.tolist()) == ([0.0], [1.0])


def test_order_of_vms_may_change_between_samples() -> None:
    history = History()
    history.record_vms("hv", 1, ["a", "b", "c"], [[1] * 6, [2] * 6, [3] * 6])
    history.record_vms("hv", 3, ["c", "a"], [[3] * 6, [1] * 6])
    history.record_vms("hv", 5, ["d", "b", "a", "c"], [[4] * 6, [2] * 6, [1] * 6, [3] * 6])
    got = {name: history.sparkline("vm", "hv", name, "net_tx", 3) for name in "abcd"}
    assert got["a"] == [1, 1, 1]
    assert got["c"] == [3, 3, 3]
    assert got["b"][0::2] == [2, 2]
    assert math.isnan(got["b"][1])
    assert got["d"][2] == 4
    assert math.isnan(got["d"][1])


def test_a_vanished_vm_stays_readable_until_its_place_is_needed() -> None:
    history = History()
    fill(history, 0, 100, 2, ("a", "b", "c", "d"))
    fill(history, 100, 140, 2, ("a", "b", "c"))
    assert len(history.series("vm", "hv", "d", "cpu_pct", 138.0)[0]) > 0
    before = history.nbytes
    now = fill(history, 200, 210, 2, ("a", "b", "c", "e"))
    assert history.nbytes == before
    assert history.series("vm", "hv", "d", "cpu_pct", now)[0].tolist() == []
    _, values = history.series("vm", "hv", "e", "cpu_pct", now)
    assert values[~np.isnan(values)].tolist() == [200, 202, 204, 206, 208]


def test_a_client_that_creates_and_destroys_for_an_hour_needs_bounded_memory() -> None:
    history = History()
    for round_ in range(1800):
        names = [f"{round_}-{n}" for n in range(20)]
        history.record_vms("hv", 2.0 * round_, names, np.zeros((20, 6), np.float32))
    # Twenty that are there, and those of the last minute that keep their places.
    assert history.nbytes < 20 * 50 * 3600


@given(
    st.lists(
        st.dictionaries(st.sampled_from("abcdefghij"), st.integers(0, 1000), max_size=8),
        min_size=1,
        max_size=60,
    )
)
def test_every_object_gets_its_own_values_back(samples: list[dict[str, int]]) -> None:
    """A plain model beside it: with 20 s between samples nobody's last sample is given away too early."""
    history = History()
    for at, sample in enumerate(samples):
        history.record_vms("hv", 2.0 * at, list(sample), [[float(v)] * 6 for v in sample.values()])
    for name in "abcdefghij":
        spark = history.sparkline("vm", "hv", name, "disk_write", len(samples))
        for at, value in enumerate(spark[-60:]):
            want = samples[-60:][at].get(name)
            later = any(name in sample for sample in samples[-60:][at:])
            if want is None:
                assert math.isnan(value)
            elif later and name in samples[-1]:
                # It may have been away for more than a minute, and so have lost what was before.
                assert value == want or math.isnan(value)
        if name in samples[-1]:
            assert spark[-1] == samples[-1][name]


def test_sparkline_is_as_long_as_asked_for_and_crosses_the_end_of_the_ring() -> None:
    history = History()
    assert [math.isnan(v) for v in history.sparkline("vm", "hv", "a", "cpu_pct")] == [True] * 8
    fill(history, 0, 6, 2)
    spark = history.sparkline("vm", "hv", "a", "cpu_pct", 5)
    assert [math.isnan(v) for v in spark] == [True, True, False, False, False]
    assert spark[2:] == [0, 2, 4]
    fill(history, 6, 128, 2)  # the ring has 60 slots: four of these are at its beginning
    assert history.sparkline("vm", "hv", "a", "cpu_pct", 6) == [116, 118, 120, 122, 124, 126]


def test_hosts_and_pools_have_their_own_rings() -> None:
    history = History()
    history.record_sample("hv", 5.0, HostStats(cpu_pct=12.5, memory_used=1 << 33, net_tx=7.0), [])
    history.record_sample("other", 5.0, HostStats(net_rx=5.0), [VmStats("u1", VmState.RUNNING, net_rx=6.0)])
    pools = [
        Pool("p1", "one", "dir", PoolState.RUNNING, "local:hv:/a", allocation=1 << 40),
        Pool("p2", "two", "dir", PoolState.INACTIVE, "local:hv:/b"),
    ]
    history.record_pools("hv", 6.0, pools)
    assert history.sparkline("host", "hv", "", "memory_used", 1) == [float(1 << 33)]
    assert history.sparkline("host", "hv", "", "net_tx", 1) == [7.0]
    assert history.sparkline("host", "other", "", "net_rx", 1) == [5.0]
    assert history.sparkline("vm", "other", "u1", "net_rx", 1) == [6.0]
    assert history.series("pool", "hv", "p1", "allocation", 7.0)[1].tolist() == [float(1 << 40)]
    assert math.isnan(history.sparkline("pool", "hv", "p2", "allocation", 1)[0])


def test_samples_from_the_wire_are_recorded_by_metric() -> None:
    history = History()
    stats = [
        VmStats("u1", VmState.RUNNING, cpu_pct=50.0, disk_read=1.0, disk_write=2.0, net_rx=3.0, net_tx=4.0),
        VmStats("u2", VmState.SHUTOFF),
    ]
    history.record_sample("hv", 1.0, HostStats(), stats)
    got = {metric: history.sparkline("vm", "hv", "u1", metric, 1)[0] for metric in METRICS["vm"]}
    assert math.isnan(got.pop("memory_used"))
    assert got == {"cpu_pct": 50, "disk_read": 1, "disk_write": 2, "net_rx": 3, "net_tx": 4}


def test_forgetting_a_host_forgets_all_of_it_and_nothing_else() -> None:
    history = History()
    for host in ("hv", "other"):
        history.record_vms(host, 1.0, ["", "a"], [[1.0] * 6] * 2)
    history.forget_host("hv")
    assert history.series("vm", "hv", "a", "cpu_pct", 1.0)[0].tolist() == []
    assert history.series("host", "hv", "", "cpu_pct", 1.0)[0].tolist() == []
    assert history.series("vm", "other", "a", "cpu_pct", 1.0)[1].tolist() == [1.0]


def test_what_is_returned_is_the_callers_own() -> None:
    history = History()
    now = fill(history, 0, 20, 2)
    history.series("vm", "hv", "a", "cpu_pct", now)[1][:] = 77
    assert 77 not in history.series("vm", "hv", "a", "cpu_pct", now)[1]


def test_a_host_without_vms_and_a_metric_that_does_not_exist() -> None:
    history = History()
    for at in range(0, 60, 2):
        history.record_vms("hv", float(at), [], [])
    history.record_vms("hv", 60.0, ["a"], [[1.0] * 6])
    assert history.series("vm", "hv", "a", "cpu_pct", 60.0)[1][-1] == 1.0
    with pytest.raises(KeyError):
        history.series("vm", "hv", "a", "temperature", 60.0)
