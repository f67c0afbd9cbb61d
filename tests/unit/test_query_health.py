"""What counts as trouble, and what does not."""

from __future__ import annotations

import pytest

from unit.query_objects import GIB, NOW, fleet, host, large_fleet, pool, vm
from virtfleet.model import (
    EMPTY,
    FleetSnapshot,
    Freshness,
    HostState,
    HostView,
    Maintenance,
    Mark,
    Network,
    Pool,
    PoolState,
    Severity,
    VmState,
)
from virtfleet.query.capacity import Capacity, capacity_of, sane
from virtfleet.query.display import cell_width, format_value
from virtfleet.query.field import Unit
from virtfleet.query.health import (
    alerts,
    glyph,
    host_fault,
    host_look,
    network_fault,
    pool_fault,
    pool_look,
    vm_fault,
    vm_look,
)
from virtfleet.query.looks import Meaning
from virtfleet.query.rows import PoolRow
from virtfleet.query.tally import totals


@pytest.mark.parametrize("state", [*HostState, *VmState, *PoolState, *Severity, "active"])
def test_every_state_has_a_look(state: str) -> None:
    look = glyph(state)
    assert look.word == str(state)
    assert cell_width(look.glyph) == len(look.glyph) == 1
    assert look.meaning in Meaning
    assert glyph(str(state)) == look


def test_a_disabled_host_is_no_trouble_and_shows_it() -> None:
    mark = Mark("ann@desk", 1.0, "new kernel")
    for said, word in (
        (Maintenance(disabled=mark), "up, disabled"),
        (Maintenance(disabled=mark, draining=mark), "up, draining"),
    ):
        view = host("hv1", maintenance=said)
        assert host_fault(view, NOW) is None
        assert alerts(FleetSnapshot(1, {view.name: view}), NOW) == []
        assert host_look(view).word == word
        assert glyph("running").urgency >= host_look(view).urgency > glyph("slow").urgency
    slow = host("hv1", HostState.SLOW, maintenance=Maintenance(disabled=mark))
    assert host_look(slow).text == "▲ slow, disabled"
    gone = host("hv1", HostState.UNREACHABLE, maintenance=Maintenance(disabled=mark))
    assert host_look(gone).text == "✖ unreachable"
    odd = host("hv1", maintenance=Maintenance(problem="host.json is no JSON"))
    assert host_fault(odd, NOW) == (Severity.WARNING, "host-file", "its own file: host.json is no JSON")


def test_a_state_that_nobody_knows_is_shown() -> None:
    assert glyph("odd")[:3] == ("?", "odd", Meaning.MUTED)


def test_faults_of_hosts() -> None:
    def of(state: HostState, **more: object) -> tuple[str, str] | None:
        fault = host_fault(host("hv1", state, **more), NOW)
        return fault and (fault.kind, fault.text)

    assert of(HostState.UP) is None
    assert of(HostState.CONNECTING) is None
    assert of(HostState.DISABLED) is None
    assert of(HostState.SLOW, latency_p95=2.1) == ("slow", "answers slowly: p95 2.1s")
    old = Freshness(stats=NOW - 14)
    assert of(HostState.HUNG, freshness=old) == ("hung", "libvirtd does not answer; last seen 14s ago")
    assert of(HostState.REFUSED, reason="wrong key", freshness=Freshness()) == (
        "refused",
        "access refused: wrong key",
    )
    same = "libvirtd does not answer, the host does"
    assert of(HostState.HUNG, reason=same, freshness=old) == ("hung", f"{same}; last seen 14s ago")
    assert of(HostState.UP, freshness=old) == ("late", "up, but the last sample is 14s old")
    assert host_fault(host(freshness=old)) is None
    assert of(HostState.UP, freshness=old, interval=10.0) is None


@pytest.mark.parametrize(
    ("state", "reason", "kind"),
    [
        (VmState.RUNNING, "booted", None),
        (VmState.PAUSED, "user", None),
        (VmState.PAUSED, "ioerror", "paused-ioerror"),
        (VmState.PAUSED, "I/O error", "paused-ioerror"),
        (VmState.PAUSED, "crashed", "paused-crashed"),
        (VmState.PAUSED, "watchdog", "paused-watchdog"),
        (VmState.SUSPENDED, "", None),
        (VmState.SHUTOFF, "shutdown", None),
        (VmState.SHUTOFF, "crashed", "crashed"),
        (VmState.CRASHED, "panicked", "crashed"),
    ],
)
def test_faults_of_vms(state: VmState, reason: str, kind: str | None) -> None:
    fault = vm_fault(vm(state=state, reason=reason))
    assert (fault and fault.kind) == kind
    assert (vm_look(vm(state=state, reason=reason)).meaning is Meaning.BAD) == (kind is not None)


def test_looks_of_vms() -> None:
    assert vm_look(vm(stuck=True)).text == "✖ monitor stuck"
    assert vm_look(vm(state=VmState.PAUSED, reason="migrating")).text == "⇄ migrating"
    assert vm_look(vm(state=VmState.PAUSED, reason="saving")).meaning is Meaning.BUSY
    assert vm_look(vm(state=VmState.PAUSED, reason="ioerror")).text == "✖ paused: I/O error"
    assert vm_fault(vm(agent=False)) is None


def _pools(*members: tuple[HostView, Pool]) -> PoolRow:
    return PoolRow("x", members)


@pytest.mark.parametrize(
    ("used", "kind", "severity"),
    [
        (89.9, None, None),
        (90.0, "full", Severity.WARNING),
        (97.0, "full", Severity.ERROR),
        (None, None, None),
    ],
)
def test_full_storages(used: float | None, kind: str | None, severity: Severity | None) -> None:
    fault = pool_fault(_pools((host(), pool(used=used))))
    assert (fault and fault.kind, fault and fault.severity) == (kind, severity)


def test_faults_of_pools() -> None:
    def of(*members: tuple[HostView, Pool]) -> tuple[str, str] | None:
        fault = pool_fault(_pools(*members))
        return fault and (fault.kind, fault.text)

    off, up, hung = pool(state=PoolState.INACTIVE), host("hv1"), host("hv2", HostState.HUNG)
    assert of((up, off)) is None
    off = pool(state=PoolState.INACTIVE, autostart=True)
    assert of((up, off)) == ("inactive", "inactive though it should start by itself")
    assert of((hung, off)) is None
    lost = pool(state=PoolState.INACCESSIBLE)
    assert of((up, pool()), (host("hv3"), lost)) == ("inaccessible", "inaccessible on hv3")
    assert of((up, pool(used=99.97))) == ("full", "99 % full")
    assert of((up, pool(used=99.0)), (host("hv3"), lost)) == ("inaccessible", "inaccessible on hv3")
    assert of((up, pool(used=91.7))) == ("full", f"{format_value(91.7, Unit.PERCENT)} full")
    assert of((up, pool(used=98.0, state=PoolState.DEGRADED))) == ("full", "98 % full")
    assert of((up, pool(used=91.0, state=PoolState.DEGRADED))) == ("degraded", "degraded")


def test_looks_of_pools() -> None:
    up = host()
    assert pool_look(_pools((up, pool()))).text == "● running"
    assert pool_look(_pools((up, pool(used=92.0)))).text == "! running"
    assert pool_look(_pools((up, pool(used=98.0)))).meaning is Meaning.BAD
    assert pool_look(_pools((up, pool()), (up, pool(state=PoolState.INACCESSIBLE)))).text == "✖ inaccessible"


def test_figures_that_cannot_be_are_unknown() -> None:
    rbd = pool(used=None, capacity=0, allocation=0, available=2**64 - 1)
    assert sane(rbd) == Capacity()
    assert pool_fault(_pools((host(), rbd))) is None
    assert sane(pool(used=None, capacity=2**63, available=1)) == Capacity()
    half = pool(used=None, capacity=10 * GIB, allocation=4 * GIB, available=2**64 - 1)
    assert sane(half) == Capacity(10 * GIB, 4 * GIB, None, 40.0)
    thin = pool(used=None, capacity=10, allocation=30)
    assert sane(thin).used_pct == 100.0
    never = host("hv9", freshness=Freshness())
    assert capacity_of(_pools((never, rbd), (never, pool(used=20.0)))).used_pct == 20.0


def test_networks() -> None:
    assert network_fault(Network(uuid="", name="n", active=False)) is None
    fault = network_fault(Network(uuid="", name="n", active=False, autostart=True))
    assert fault
    assert fault.kind == "inactive"


def _kinds(*hosts: HostView) -> list[tuple[str, str, str]]:
    return [(alert.kind, alert.host, alert.name) for alert in alerts(fleet(*hosts), NOW)]


def test_alerts_of_a_fleet_errors_first() -> None:
    shared = {"identity": "netfs:s:/e", "used": 98.0}
    first = host(
        "hv1",
        HostState.SLOW,
        since=5.0,
        vms=(vm("a", stuck=True, uuid="a"), vm("b", agent=False)),
        pools=(pool("nfs", **shared),),  # type: ignore[arg-type]
        networks=(Network(uuid="n", name="net", active=False, autostart=True),),
    )
    second = host(
        "hv2",
        HostState.HUNG,
        since=7.0,
        vms=(vm("c", VmState.CRASHED),),
        pools=(pool("nfs", **shared), pool("own", PoolState.INACCESSIBLE, identity="own")),  # type: ignore[arg-type]
        networks=(Network(uuid="n", name="net", active=False, autostart=True),),
    )
    snapshot = fleet(first, second)
    found = alerts(snapshot, NOW)
    assert [(each.kind, each.noun, each.host, each.name, each.since) for each in found] == [
        ("hung", "host", "hv2", "hv2", 7.0),
        ("full", "pool", "hv1", "nfs", None),
        ("monitor-stuck", "vm", "hv1", "a", None),
        ("slow", "host", "hv1", "hv1", 5.0),
        ("inactive", "network", "hv1", "net", None),
    ]
    assert [each.key for each in found] == ["hv2", "netfs:s:/e", ("hv1", "a"), "hv1", ("hv1", "n")]
    counted = totals(snapshot, NOW)
    assert (counted.alerts, counted.alerts_bad) == (5, 3)


def _taken(seconds: float) -> Freshness:
    return Freshness(stats=NOW - seconds)


def test_one_vm_running_twice() -> None:
    once = vm("db", uuid="u", reason="booted")
    assert _kinds(host("hv1", vms=(once,)), host("hv2", vms=(once,))) == [("duplicate", "hv1", "db")]
    off = vm("db", VmState.SHUTOFF, uuid="u")
    assert _kinds(host("hv1", vms=(once,)), host("hv2", vms=(off,))) == []
    incoming = vm("db", VmState.PAUSED, uuid="u", reason="migrating")
    assert _kinds(host("hv1", vms=(once,)), host("hv2", vms=(incoming,))) == []


def test_a_vm_that_just_moved_is_not_twice() -> None:
    here, there = vm("db", uuid="u", reason="booted"), vm("db", uuid="u", reason="migrated")
    before = host("hv1", vms=(here,), freshness=_taken(2))
    after = host("hv2", vms=(there,), freshness=_taken(1))
    assert _kinds(before, after) == []
    # Seen again where it was, after it had arrived: now it is true.
    again = host("hv1", vms=(here,), freshness=_taken(0))
    assert _kinds(again, after) == [("duplicate", "hv1", "db")]


def test_a_vm_that_ran_on_a_host_that_is_gone() -> None:
    gone = host("hv1", HostState.UNREACHABLE, vms=(vm("db", uuid="u"),), freshness=_taken(90))
    found = [
        each for each in alerts(fleet(gone, host("hv2", vms=(vm("db", uuid="u"),))), NOW) if each.noun == "vm"
    ]
    assert [(each.host, each.severity, each.text) for each in found] == [
        ("hv2", Severity.WARNING, "also ran on hv1 when that was last seen")
    ]
    both_gone = fleet(gone, host("hv2", HostState.HUNG, vms=(vm("db", uuid="u"),)))
    assert not [each for each in alerts(both_gone, NOW) if each.noun == "vm"]


def test_totals() -> None:
    snapshot = fleet(
        host("hv1", calls_per_s=1.5, vms=(vm("a"), vm("b", VmState.SHUTOFF))),
        host("hv2", HostState.SLOW, calls_per_s=0.5, vms=(vm("c"),)),
        host("hv3", HostState.HUNG, vms=(vm("d"),)),
        host("hv4", HostState.DISABLED),
        host("hv5", freshness=_taken(6)),
    )
    counted = totals(snapshot, NOW)
    assert (counted.hosts_up, counted.hosts_total, counted.hosts_stale) == (3, 4, 2)
    assert (counted.vms_running, counted.vms_total) == (2, 4)
    assert (counted.alerts, counted.alerts_bad, counted.calls_per_s) == (2, 1, 2.0)


def test_totals_of_nothing_and_of_a_healthy_fleet() -> None:
    assert totals(EMPTY, NOW) == (0, 0, 0, 0, 0, 0, 0, 0.0)
    large = large_fleet(50, 20)
    counted = totals(large, NOW)
    assert (counted.hosts_up, counted.vms_running, counted.vms_total, counted.alerts) == (50, 900, 1000, 0)
    assert alerts(large, NOW) == []
