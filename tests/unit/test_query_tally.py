"""Totals kept host by host are the totals counted anew."""

from __future__ import annotations

from types import MappingProxyType

from hypothesis import given
from hypothesis import strategies as st

from tui.feeder import host, vm
from virtfleet.model import FleetSnapshot, HostState, HostView, VmState
from virtfleet.query.tally import Tally, totals

NOW = 1e9
names = st.sampled_from(["hv1", "hv2", "hv3"])
vms = st.lists(
    st.builds(
        lambda number, state: vm(number, state=state),
        st.integers(1, 5),  # few, so that some run twice
        st.sampled_from([VmState.RUNNING, VmState.SHUTOFF, VmState.CRASHED, VmState.BLOCKED]),
    ),
    max_size=4,
    unique_by=lambda each: each.uuid,
)
hosts = st.builds(
    lambda name, its, state: host(name, its, state=state), names, vms, st.sampled_from(HostState)
)


@given(st.lists(hosts | names, max_size=12))
def test_kept_totals_are_those_of_the_whole_fleet(steps: list[HostView | str]) -> None:
    tally, snapshot = Tally(), FleetSnapshot(0, MappingProxyType({}))
    for step in steps:
        if isinstance(step, str):  # it leaves the fleet
            left = {name: view for name, view in snapshot.hosts.items() if name != step}
            snapshot = FleetSnapshot(snapshot.generation + 1, MappingProxyType(left))
            tally.take(snapshot, [step])
        else:
            snapshot = snapshot.with_host(step)
            tally.take(snapshot, [step.name])
        assert tally.totals(snapshot, NOW) == totals(snapshot, NOW)


def test_hosts_that_nobody_told_of_are_counted_too() -> None:
    tally, snapshot = Tally(), FleetSnapshot(0, MappingProxyType({}))
    snapshot = snapshot.with_host(host("hv1", [vm(1)]))
    assert tally.totals(snapshot, NOW).vms_running == 1
