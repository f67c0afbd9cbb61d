"""Counters to rates: never negative, None at the first look, after a reset and where nothing was told."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtfleet.hypervisor import rates as r
from virtfleet.hypervisor.rates import Rates, vm_stats
from virtfleet.hypervisor.states import vm_reason, vm_state
from virtfleet.model import VmState, VmStats

GIB_IN_KIB = 1024**2


def record(seconds: float = 0.0, /, **changes: object) -> dict[str, object]:
    """A running VM with one disk and one NIC that has moved some bytes for each of its `seconds`."""
    full: dict[str, object] = {
        "state.state": 1,
        "state.reason": 1,
        "cpu.time": int(seconds * 1e9),
        "vcpu.current": 2,
        "vcpu.maximum": 4,
        "balloon.current": 2 * GIB_IN_KIB,
        "balloon.maximum": 4 * GIB_IN_KIB,
        "balloon.available": 2 * GIB_IN_KIB,
        "balloon.unused": 1024,
        "balloon.usable": GIB_IN_KIB // 2,
        "balloon.rss": 3 * GIB_IN_KIB,
        "balloon.last-update": 1_700_000_000,
        "net.count": 1,
        "net.0.name": "vnet0",
        "net.0.rx.bytes": int(seconds * 1000),
        "net.0.tx.bytes": int(seconds * 500),
        "block.count": 2,
        "block.0.name": "vda",
        "block.0.rd.bytes": int(seconds * 4096),
        "block.0.rd.reqs": int(seconds * 4),
        "block.0.wr.bytes": int(seconds * 8192),
        "block.0.wr.reqs": int(seconds * 8),
        "block.1.name": "sda",
    }
    return full | {key.replace("_", "."): value for key, value in changes.items()}


def without(full: dict[str, object], *groups: str) -> dict[str, object]:
    return {key: value for key, value in full.items() if not key.startswith(groups)}


def test_two_looks() -> None:
    rates = Rates()
    first = vm_stats(record(10), "u", rates, 100.0)
    assert first == VmStats(
        "u", VmState.RUNNING, "booted", 2, None, 2 * 1024**3, 3 * 1024**3 // 2, 3 * 1024**3
    )
    second = vm_stats(record(12), "u", rates, 104.0)
    assert second == VmStats(
        uuid="u",
        state=VmState.RUNNING,
        reason="booted",
        vcpus=2,
        cpu_pct=25.0,
        memory=2 * 1024**3,
        memory_used=3 * 1024**3 // 2,
        memory_rss=3 * 1024**3,
        disk_read=2048.0,
        disk_write=4096.0,
        disk_read_iops=2.0,
        disk_write_iops=4.0,
        net_rx=500.0,
        net_tx=250.0,
    )


def test_cpu_is_capped() -> None:
    rates = Rates()
    vm_stats(record(0), "u", rates, 0.0)
    assert vm_stats(record(2.1), "u", rates, 1.0).cpu_pct == 100.0


def test_a_busy_monitor_leaves_its_groups_empty_and_the_next_rate_bridges_the_gap() -> None:
    rates = Rates()
    vm_stats(record(10), "u", rates, 100.0)
    poor = without(record(11), "balloon.a", "balloon.u", "balloon.r", "block")
    second = vm_stats(poor, "u", rates, 101.0)
    assert second.cpu_pct == 50.0
    assert second.memory == 2 * 1024**3
    assert (second.memory_used, second.memory_rss, second.disk_read, second.disk_write) == (None,) * 4
    assert second.net_rx == 1000.0
    third = vm_stats(record(14), "u", rates, 104.0)
    assert third.disk_read == 4096.0


def test_names_without_counters_are_no_figures() -> None:
    rates = Rates()
    poor = without(record(1), "block.0.rd", "block.0.wr")
    vm_stats(poor, "u", rates, 1.0)
    assert vm_stats(poor, "u", rates, 2.0).disk_read is None


def test_groups_that_were_not_asked_keep_their_last_value() -> None:
    rates = Rates()
    slow = r.STATE | r.VCPU | r.BALLOON | r.BLOCK
    quick = r.STATE | r.CPU | r.INTERFACE
    fields = ("balloon", "block", "vcpu")
    vm_stats(without(record(0), *fields), "u", rates, 0.0, groups=quick, vcpus=2, memory=5)
    vm_stats(without(record(0), "cpu", "net"), "u", rates, 0.5, groups=slow)
    vm_stats(without(record(2), *fields), "u", rates, 2.0, groups=quick)
    detail = vm_stats(without(record(2.5), "cpu", "net"), "u", rates, 3.0, groups=slow)
    assert (detail.cpu_pct, detail.net_rx) == (50.0, 1000.0)
    assert detail.disk_read == pytest.approx(4096.0)
    last = vm_stats(without(record(4), *fields), "u", rates, 4.0, groups=quick)
    assert (last.memory_used, last.memory_rss, last.vcpus) == (3 * 1024**3 // 2, 3 * 1024**3, 2)
    assert last.disk_read == pytest.approx(4096.0)
    assert last.net_rx == 1000.0


def test_a_replaced_card_is_no_negative_rate_and_a_new_one_no_jump() -> None:
    rates = Rates()
    vm_stats(record(10), "u", rates, 10.0)
    smaller = record(11) | {"net.0.rx.bytes": 5}
    found = vm_stats(smaller, "u", rates, 11.0)
    assert (found.net_rx, found.net_tx) == (None, 500.0)
    more = record(12) | {"net.0.rx.bytes": 7, "net.count": 2, "net.1.name": "vnet9"}
    more |= {"net.1.rx.bytes": 10**12, "net.1.tx.bytes": 10**12}
    assert vm_stats(more, "u", rates, 12.0).net_rx == 2.0


def test_devices_are_known_by_name_when_numbers_shift() -> None:
    rates = Rates()
    two = record(0) | {"net.count": 2, "net.1.name": "vnet1", "net.1.rx.bytes": 900, "net.1.tx.bytes": 0}
    vm_stats(two, "u", rates, 0.0)
    one = record(0) | {"net.0.name": "vnet1", "net.0.rx.bytes": 1000, "net.0.tx.bytes": 0}
    assert vm_stats(one, "u", rates, 1.0).net_rx == 100.0


def test_off_and_on_again_starts_afresh() -> None:
    rates = Rates()
    vm_stats(record(100), "u", rates, 100.0)
    off = vm_stats({"state.state": 5, "state.reason": 1, "vcpu.current": 2, "cpu.time": 0}, "u", rates, 102.0)
    assert off == VmStats("u", VmState.SHUTOFF, "shutdown", 2)
    assert vm_stats(record(200), "u", rates, 104.0).cpu_pct is None


def test_a_stuck_monitor_has_no_figures() -> None:
    rates = Rates()
    vm_stats(record(1), "u", rates, 1.0)
    found = vm_stats(record(2), "u", rates, 2.0, monitor_stuck=True)
    assert found == VmStats("u", VmState.RUNNING, "booted", 2, memory=2 * 1024**3, monitor_stuck=True)
    assert r.stuck(vm_stats(record(3), "u", rates, 3.0)) == found


def test_memory_of_old_guests_and_of_balloons_never_polled() -> None:
    old = without(record(0), "balloon.usable")
    assert vm_stats(old, "u", Rates(), 0.0).memory_used == 2 * 1024**3 - 1024**2
    assert vm_stats(record(0) | {"balloon.last-update": 0}, "u", Rates(), 0.0).memory_used is None
    assert vm_stats(record(0) | {"balloon.usable": 9 * GIB_IN_KIB}, "u", Rates(), 0.0).memory_used is None


def test_a_vm_without_devices_moves_nothing() -> None:
    rates = Rates()
    bare = without(record(0), "net", "block") | {"net.count": 0, "block.count": 0}
    found = vm_stats(bare, "u", rates, 0.0)
    assert (found.net_rx, found.disk_write_iops) == (0.0, 0.0)


def test_no_time_passed() -> None:
    rates = Rates()
    vm_stats(record(1), "u", rates, 5.0)
    found = vm_stats(record(2), "u", rates, 5.0)
    assert (found.cpu_pct, found.disk_read, found.net_rx) == (None, None, None)
    assert vm_stats(record(2), "u", rates, 6.0).cpu_pct == 50.0


def test_keep_forgets_the_others() -> None:
    rates = Rates()
    vm_stats(record(1), "u", rates, 1.0)
    vm_stats(record(1), "v", rates, 1.0)
    rates.keep(["v"])
    assert vm_stats(record(2), "u", rates, 2.0).cpu_pct is None
    assert vm_stats(record(2), "v", rates, 2.0).cpu_pct == 50.0


junk = st.one_of(
    st.none(),
    st.integers(),
    st.integers(2**60, 2**65),
    st.text(max_size=5),
    st.booleans(),
    st.floats(allow_nan=True),
)


@given(st.lists(st.dictionaries(st.sampled_from(sorted(record())), junk), min_size=2, max_size=4))
def test_vm_stats_bears_everything_and_is_never_negative(changes: list[dict[str, object]]) -> None:
    rates = Rates()
    for number, change in enumerate(changes):
        found = vm_stats(record(number) | change, "u", rates, float(number))
        figures: list[float | None] = [
            found.cpu_pct,
            found.memory_used,
            found.memory_rss,
            found.disk_read,
            found.disk_write,
        ]
        figures += [found.disk_read_iops, found.disk_write_iops, found.net_rx, found.net_tx]
        assert all(each is None or (each >= 0 and math.isfinite(each)) for each in figures)
        assert found.memory >= 0
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=VmStats) == found
        assert number > 0 or found.net_rx in (None, 0.0)


@given(st.lists(st.tuples(st.floats(0, 1e6), st.one_of(st.none(), st.integers(0, 2**64)))))
def test_rate_is_never_negative(looks: list[tuple[float, int | None]]) -> None:
    rates = Rates()
    last: tuple[float, int] | None = None
    for now, value in looks:
        found = rates.rate("vm", "counter", value, now)
        assert found is None or (found >= 0 and math.isfinite(found))
        if value is None:
            last = None
            assert found is None
        elif last is None or value < last[1] or now <= last[0]:
            assert found is None
            last = (now, value) if last is None or now > last[0] else last
        else:
            assert found == pytest.approx((value - last[1]) / (now - last[0]))
            last = (now, value)


def test_total_of_like_counters() -> None:
    rates = Rates()
    assert rates.total("read", {"sda": 0, "sdb": 10}, 0.0) is None
    assert rates.total("read", {"sda": 100, "sdb": 20}, 1.0) == 110.0
    assert rates.total("read", {"sda": 50, "sdb": 30, "sdc": 10**9}, 2.0) == 10.0
    assert rates.total("read", {}, 3.0) is None


def test_names_of_states_and_reasons() -> None:
    libvirt = pytest.importorskip("libvirt")
    assert vm_state(libvirt.VIR_DOMAIN_PMSUSPENDED) is VmState.SUSPENDED
    assert vm_state(99) is vm_state(None) is VmState.NOSTATE
    expected = {
        "VIR_DOMAIN_RUNNING_POSTCOPY_FAILED": (VmState.RUNNING, "postcopy-failed"),
        "VIR_DOMAIN_PAUSED_IOERROR": (VmState.PAUSED, "ioerror"),
        "VIR_DOMAIN_PAUSED_POSTCOPY_FAILED": (VmState.PAUSED, "postcopy-failed"),
        "VIR_DOMAIN_PAUSED_USER": (VmState.PAUSED, "user"),
        "VIR_DOMAIN_SHUTOFF_DAEMON": (VmState.SHUTOFF, "daemon"),
        "VIR_DOMAIN_SHUTOFF_CRASHED": (VmState.SHUTOFF, "crashed"),
        "VIR_DOMAIN_CRASHED_PANICKED": (VmState.CRASHED, "panicked"),
    }
    assert {name: vm_reason(state, getattr(libvirt, name)) for name, (state, _) in expected.items()} == {
        name: reason for name, (_, reason) in expected.items()
    }
    assert vm_reason(VmState.PAUSED, 1000) == vm_reason(VmState.NOSTATE, "x") == ""
