"""What `watch` says between two looks: new, changed fields alone, gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from unit.query_objects import NOW, fleet, host, vm
from virtfleet.headless.changes import Tracker
from virtfleet.model import Vm, VmState
from virtfleet.query.clock import Clock
from virtfleet.query.columns import parse_columns
from virtfleet.query.filter import compile_filter
from virtfleet.query.nouns import NOUNS

VM = NOUNS["vm"].with_clock(Clock.at(NOW, 0.0))


def look(tracker: Tracker, *vms: Vm, on: str = "hv1") -> list[tuple[str, dict[str, Any]]]:
    return list(tracker.look(on, VM.rows(fleet(host(on, vms=vms)))))


def tracker(columns: str, matches: Callable[[Any], bool] = lambda row: True) -> Tracker:
    return Tracker(VM, parse_columns(columns, VM), matches)


def named(name: str, on: str = "hv1") -> dict[str, str]:
    return {"name": name, "host": on, "uuid": f"uuid-of-{name}"}


def test_new_then_silence_then_the_changed_field_then_gone() -> None:
    made = tracker("state,cpu,age")
    first = look(made, vm("a", cpu=1.0), vm("b", VmState.SHUTOFF))
    assert first == [
        ("new", {**named("a"), "state": "running", "cpu_pct": 1.0}),
        ("new", {**named("b"), "state": "shutoff", "cpu_pct": None}),
    ]
    assert look(made, vm("a", cpu=1.0), vm("b", VmState.SHUTOFF)) == []
    assert look(made, vm("a", cpu=2.0), vm("b")) == [
        ("changed", {**named("a"), "cpu_pct": 2.0}),
        ("changed", {**named("b"), "state": "running"}),
    ]
    assert look(made, vm("b")) == [("gone", named("a"))]


def test_hosts_do_not_mix() -> None:
    made = tracker("state")
    look(made, vm("a"))
    assert look(made, vm("a"), on="hv2") == [("new", {**named("a", "hv2"), "state": "running"})]
    assert look(made, on="hv2") == [("gone", named("a", "hv2"))]
    assert look(made, vm("a")) == []


def test_what_no_longer_passes_the_filter_is_gone() -> None:
    made = tracker("cpu", compile_filter("cpu>50", VM).matches)
    assert [change for change, _ in look(made, vm("a", cpu=60.0))] == ["new"]
    assert look(made, vm("a", cpu=40.0)) == [("gone", named("a"))]
