"""Messages of a worker become the view of its host."""

from __future__ import annotations

from virtfleet.fleet.assembly import Assembly, blank
from virtfleet.hypervisor import wire
from virtfleet.model import HostState, HostStats, Pool, PoolState, VmInfo, VmState, VmStats, Volume


def assembly() -> Assembly:
    made = Assembly(blank("hv1", "qemu:///system", "a", ("ssd",), 2.0))
    made.fold(wire.Vms((VmInfo("u1", "web"), VmInfo("u2", "db")), full=True))
    return made


def sample(at: float, *uuids: str, latency: float = 0.01, calls: int = 2) -> wire.Sample:
    vms = [VmStats(uuid, VmState.RUNNING, cpu_pct=1.0) for uuid in uuids]
    return wire.Sample(at, HostStats(cpu_pct=5.0), vms, (latency,), calls)


def state(made: Assembly) -> HostState:
    """For mypy: it believes that what it saw once stays."""
    return made.view.state


def volume(name: str, size: int = 1) -> Volume:
    return Volume("images", name, capacity=size)


def test_a_sample_joins_descriptions_and_figures() -> None:
    made = assembly()
    assert made.fold(sample(10.0, "u2", "u1")) == {"stats", "vms"}
    assert [(vm.name, vm.stats.cpu_pct) for vm in made.view.vms] == [("db", 1.0), ("web", 1.0)]
    assert made.view.freshness.stats == 10.0
    assert made.fold(sample(12.0, "u2", "u1")) == {"stats"}


def test_a_vm_without_a_description_is_not_shown_yet() -> None:
    made = assembly()
    made.fold(sample(10.0, "u1", "u9"))
    assert [vm.uuid for vm in made.view.vms] == ["u1"]


def test_gone_descriptions_take_their_rows_along() -> None:
    made = assembly()
    made.fold(sample(10.0, "u1", "u2"))
    assert made.fold(wire.Vms((), ("u1",))) == {"vms"}
    assert [vm.name for vm in made.view.vms] == ["db"]


def test_a_full_list_replaces_what_was_known() -> None:
    made = assembly()
    made.fold(sample(10.0, "u1", "u2"))
    made.fold(wire.Vms((VmInfo("u2", "db-new"),), full=True))
    assert [vm.name for vm in made.view.vms] == ["db-new"]


def test_slow_comes_with_a_high_p95_and_goes_with_a_low_one() -> None:
    made = assembly()
    made.fold(wire.Status(HostState.UP))
    for tick in range(10):
        made.fold(sample(2.0 * tick, "u1", latency=1.8))
    assert state(made) is HostState.SLOW
    assert made.view.reason == "95 % of its calls take up to 1.8 s"
    assert made.fold(wire.Status(HostState.UP)) == frozenset()
    for tick in range(40):
        made.fold(sample(100.0 + 2.0 * tick, "u1", latency=0.01))
    assert state(made) is HostState.UP


def test_one_slow_call_among_many_is_nothing() -> None:
    made = assembly()
    made.fold(wire.Status(HostState.UP))
    for tick in range(30):
        made.fold(sample(2.0 * tick, "u1", latency=3.0 if tick == 20 else 0.01))
    assert made.view.state is HostState.UP
    assert made.view.latency_p95 == 0.01


def test_since_is_kept_while_only_the_reason_changes() -> None:
    made = assembly()
    made.state(HostState.UNREACHABLE, "refused")
    since = made.view.since
    assert made.state(HostState.UNREACHABLE, "no route") == {"state"}
    assert made.view.since == since
    assert made.state(HostState.UNREACHABLE, "no route") == frozenset()


def test_the_cost_of_watching_leaves_the_first_reading_out() -> None:
    made = assembly()
    made.fold(sample(0.0, "u1", calls=500))
    for tick in range(1, 12):
        made.fold(sample(2.0 * tick, "u1", calls=3))
    assert made.view.calls_per_s == 1.5


def test_volumes_of_a_round_replace_those_of_the_last() -> None:
    made = assembly()
    made.fold(wire.Volumes(1.0, "images", (volume("a"), volume("b"))))
    assert [each.name for each in made.view.volumes] == ["a", "b"]
    made.fold(wire.Volumes(2.0, "images", (volume("b", 5),), first=True, last=False))
    assert [each.name for each in made.view.volumes] == ["a", "b"]
    made.fold(wire.Volumes(2.1, "images", (volume("c"),), first=False, last=True))
    assert {each.name: each.capacity for each in made.view.volumes} == {"b": 5, "c": 1}


def test_a_pool_that_is_gone_takes_its_volumes_along() -> None:
    made = assembly()
    pool = Pool("p1", "images", "dir", PoolState.RUNNING, "local:hv1:/images")
    made.fold(wire.Pools(1.0, (pool,)))
    made.fold(wire.Volumes(1.0, "images", (volume("a"),)))
    made.fold(wire.Pools(2.0, ()))
    assert (made.view.pools, made.view.volumes) == ((), ())


def test_volumes_are_shown_as_they_come_and_fresh_when_all_are_known() -> None:
    made = assembly()
    pools = tuple(
        Pool(name, name, "dir", state, name)
        for name, state in (
            ("images", PoolState.RUNNING),
            ("iso", PoolState.RUNNING),
            ("off", PoolState.INACTIVE),
        )
    )
    made.fold(wire.Volumes(1.0, "iso", ()))
    assert made.view.freshness.volumes is None, "the pools are not known yet"
    made.fold(wire.Pools(2.0, pools))
    assert made.fold(wire.Volumes(3.0, "images", (volume("a"),), first=True, last=False)) == {"volumes"}
    assert [each.name for each in made.view.volumes] == ["a"]
    assert made.view.freshness.volumes is None
    made.fold(wire.Volumes(4.0, "images", (volume("b"),), first=False, last=True))
    assert [each.name for each in made.view.volumes] == ["a", "b"]
    assert made.view.freshness.volumes == 4.0


def test_where_no_pool_runs_no_volumes_are_waited_for() -> None:
    made = assembly()
    made.fold(wire.Pools(2.0, (Pool("off", "off", "dir", PoolState.INACTIVE, "off"),)))
    assert made.view.freshness.volumes == 2.0
