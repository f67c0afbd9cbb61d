"""Totals kept host by host are the totals counted anew."""

from __future__ import annotations

from types import MappingProxyType

from hypothesis import given
from hypothesis import strategies as st

from tui.feeder import host, vm
from virtfleet.config.settings import GroupSettings
from virtfleet.model import FleetSnapshot, HostState, HostView, VmState
from virtfleet.query.health import alerts
from virtfleet.query.tally import Tally, totals

NOW = 1e9
names = st.sampled_from(["hv1", "hv2", "hv3"])
RULES = {
    "apart": GroupSettings(policy="anti-affinity"),
    "together": GroupSettings(policy="affinity"),
    "wish": GroupSettings(policy="soft-anti-affinity", max_per_host=2),
}
vms = st.lists(
    st.builds(
        lambda number, state, group: vm(number, state=state, group=group),
        st.integers(1, 5),  # few, so that some run twice
        st.sampled_from([VmState.RUNNING, VmState.SHUTOFF, VmState.CRASHED, VmState.BLOCKED]),
        st.sampled_from(["", "apart", "together", "wish", "unknown"]),
    ),
    max_size=4,
    unique_by=lambda each: each.uuid,
)
hosts = st.builds(
    lambda name, its, state: host(name, its, state=state), names, vms, st.sampled_from(HostState)
)


@given(st.lists(hosts | names, max_size=12))
def test_kept_totals_are_those_of_the_whole_fleet(steps: list[HostView | str]) -> None:
    tally, snapshot = Tally(RULES), FleetSnapshot(0, MappingProxyType({}))
    for step in steps:
        if isinstance(step, str):  # it leaves the fleet
            left = {name: view for name, view in snapshot.hosts.items() if name != step}
            snapshot = FleetSnapshot(snapshot.generation + 1, MappingProxyType(left))
            tally.take(snapshot, [step])
        else:
            snapshot = snapshot.with_host(step)
            tally.take(snapshot, [step.name])
        counted = tally.totals(snapshot, NOW)
        assert counted == totals(snapshot, NOW, RULES)
        found = alerts(snapshot, NOW, RULES)
        assert (counted.alerts, counted.alerts_bad) == (len(found), sum(a.severity == "error" for a in found))


def test_hosts_that_nobody_told_of_are_counted_too() -> None:
    tally, snapshot = Tally(), FleetSnapshot(0, MappingProxyType({}))
    snapshot = snapshot.with_host(host("hv1", [vm(1)]))
    assert tally.totals(snapshot, NOW).vms_running == 1


def test_a_broken_rule_is_an_alert_until_it_is_kept_again() -> None:
    tally = Tally(RULES)

    def counted(*hosts: HostView) -> tuple[int, int]:
        snapshot = FleetSnapshot(1, MappingProxyType({each.name: each for each in hosts}))
        tally.take(snapshot, ["hv1", "hv2"])
        found = tally.totals(snapshot, NOW)
        return found.alerts - late, found.alerts_bad

    late = 0
    one, two = vm(1, group="apart"), vm(2, group="apart")
    late = counted(host("hv1", [one]), host("hv2", [two]))[0]  # samples of long ago are alerts, too
    assert counted(host("hv1", [one, two]), host("hv2")) == (1, 1)
    assert counted(host("hv1", [one]), host("hv2", [two])) == (0, 0)
    three = [vm(number, group="wish") for number in (3, 4, 5)]
    assert counted(host("hv1", three), host("hv2")) == (1, 0)
    assert counted(host("hv1", three, state=HostState.HUNG), host("hv2"))[1] == 1  # the host's own, no other


def test_a_broken_rule_names_a_vm_whose_move_would_help() -> None:
    first = host("hv1", [vm(1, name="db-1", group="apart"), vm(2, name="db-2", group="apart")])
    second = host("hv2", [vm(number, name=f"w-{number}", group="wish") for number in range(3, 8)])
    snapshot = FleetSnapshot(1, MappingProxyType({"hv1": first, "hv2": second}))
    found = {alert.kind: alert for alert in alerts(snapshot, NOW, RULES) if alert.kind.startswith("group")}
    assert found["group-broken"].text == (
        "anti-affinity of group apart is broken: 2 of them on hv1, at most 1: db-1, db-2"
    )
    assert found["group-broken"].key == ("hv1", vm(2).uuid)
    assert (found["group-broken"].severity, found["group-not-met"].severity) == ("error", "warning")
    assert "5 of them on hv2, at most 2: w-3, w-4" in found["group-not-met"].text
