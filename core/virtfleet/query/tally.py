"""The totals of the status line, kept up to date host by host.

Looking at 10,000 VMs at once takes long enough to be felt; a host is looked at
when it has changed, a few at a time, and the totals are then a sum.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from virtfleet.model import FleetSnapshot, HostState, HostView, Severity
from virtfleet.query.groups import Member, Rules
from virtfleet.query.health import Alert, VmsOfHost, alerts_but_of_vms, duplicates, group_alerts, vms_of

_NO_RULES: Rules = MappingProxyType({})


class Totals(NamedTuple):
    """The figures of the status line."""

    hosts_up: int
    """Hosts that answer, slow ones included."""
    hosts_total: int
    """Without the disabled ones."""
    hosts_stale: int
    """Of `hosts_total`: those whose figures may no longer be true."""
    vms_running: int
    vms_total: int
    alerts: int
    alerts_bad: int
    """Of `alerts`: those that are errors, not warnings."""
    calls_per_s: float


class Tally:
    """What is known of each host's VMs. `take` it along with every change. `rules`: of groups."""

    def __init__(self, rules: Rules = _NO_RULES) -> None:
        self._rules = rules
        self._vms: dict[str, tuple[HostView, VmsOfHost]] = {}
        self._active: Counter[str] = Counter()
        """On how many hosts each VM runs."""
        self._twice: set[str] = set()
        self._in_group: dict[str, dict[str, list[Member]]] = {}
        """Members by group and host, of groups that have a rule."""
        self._broken: dict[str, list[Alert]] = {}
        """Alerts of the groups that have any."""
        self._to_judge: set[str] = set()
        """Groups whose members are not those of `_broken` any more."""

    def take(self, snapshot: FleetSnapshot, names: Iterable[str]) -> None:
        """These hosts changed, came or went."""
        for name in names:
            host = snapshot.hosts.get(name)
            before = self._vms.get(name)
            if host is None:
                self._vms.pop(name, None)
            elif before is None or before[0] is not host:
                self._vms[name] = (host, vms_of(host, self._rules))
            old = before[1].active if before is not None else ()
            new = self._vms[name][1].active if host is not None else ()
            if old != new:
                self._recount(old, new)
            if self._rules:
                self._regroup(
                    name,
                    before[1].groups if before is not None else {},
                    self._vms[name][1].groups if host is not None else {},
                )

    def _recount(self, old: tuple[str, ...], new: tuple[str, ...]) -> None:
        for uuid in old:
            self._active[uuid] -= 1
        for uuid in new:
            self._active[uuid] += 1
        for uuid in {*old, *new}:
            count = self._active[uuid]
            if count == 0:
                del self._active[uuid]
            if count > 1:
                self._twice.add(uuid)
            else:
                self._twice.discard(uuid)

    def _regroup(self, host: str, old: Mapping[str, list[Member]], new: Mapping[str, list[Member]]) -> None:
        if old == new:
            return
        for group in {*old, *new}:
            if group not in self._rules or old.get(group) == new.get(group):
                continue
            self._to_judge.add(group)
            places = self._in_group.setdefault(group, {})
            if group in new:
                places[host] = new[group]
            else:
                del places[host]

    def _judged(self, snapshot: FleetSnapshot) -> list[Alert]:
        """Alerts of groups, on hosts that answer. Looks only at groups whose members changed."""
        for group in self._to_judge:
            places = self._in_group[group]
            # In the order of the fleet: who of several is named depends on it.
            found = [each for name in snapshot.hosts if name in places for each in places[name]]
            self._broken[group] = group_alerts(group, self._rules[group], found)
            if not self._broken[group]:
                del self._broken[group]
        self._to_judge.clear()
        return [
            alert
            for each in self._broken.values()
            for alert in each
            if alert.host in snapshot.hosts and snapshot.hosts[alert.host].state.answers
        ]

    def totals(self, snapshot: FleetSnapshot, now: float) -> Totals:
        """Of the hosts of `snapshot`, as they were when they were last taken; new ones are taken now.

        `now` is CLOCK_MONOTONIC. A VM counts as running only where its host answers.
        """
        self.take(snapshot, self._vms.keys() ^ snapshot.hosts.keys())
        found = alerts_but_of_vms(snapshot, now) + duplicates(snapshot, self._twice)
        found += self._judged(snapshot)
        running = vms = up = total = stale = 0
        calls = 0.0
        for name, host in snapshot.hosts.items():
            of_vms = self._vms[name][1]
            found += of_vms.alerts
            vms += len(host.vms)
            answers = host.state.answers
            running += len(of_vms.active) if answers else 0
            calls += host.calls_per_s or 0.0
            if host.state is HostState.DISABLED:
                continue
            total += 1
            up += answers
            stale += host.is_stale(now)
        bad = sum(alert.severity is Severity.ERROR for alert in found)
        return Totals(up, total, stale, running, vms, len(found), bad, calls)


def totals(snapshot: FleetSnapshot, now: float, rules: Rules = _NO_RULES) -> Totals:
    """Counted once; see `Tally.totals`."""
    return Tally(rules).totals(snapshot, now)
