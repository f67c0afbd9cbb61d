"""The totals of the status line, kept up to date host by host.

Looking at 10,000 VMs at once takes long enough to be felt; a host is looked at
when it has changed, a few at a time, and the totals are then a sum.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from virtfleet.model import FleetSnapshot, HostState, HostView, Severity
from virtfleet.query.health import VmsOfHost, alerts_but_of_vms, duplicates, vms_of


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
    """What is known of each host's VMs. `take` it along with every change."""

    def __init__(self) -> None:
        self._vms: dict[str, tuple[HostView, VmsOfHost]] = {}
        self._active: Counter[str] = Counter()
        """On how many hosts each VM runs."""
        self._twice: set[str] = set()

    def take(self, snapshot: FleetSnapshot, names: Iterable[str]) -> None:
        """These hosts changed, came or went."""
        for name in names:
            host = snapshot.hosts.get(name)
            before = self._vms.get(name)
            if host is None:
                self._vms.pop(name, None)
            elif before is None or before[0] is not host:
                self._vms[name] = (host, vms_of(host))
            old = before[1].active if before is not None else ()
            new = self._vms[name][1].active if host is not None else ()
            if old != new:
                self._recount(old, new)

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

    def totals(self, snapshot: FleetSnapshot, now: float) -> Totals:
        """Of the hosts of `snapshot`, as they were when they were last taken; new ones are taken now.

        `now` is CLOCK_MONOTONIC. A VM counts as running only where its host answers.
        """
        self.take(snapshot, self._vms.keys() ^ snapshot.hosts.keys())
        found = alerts_but_of_vms(snapshot, now) + duplicates(snapshot, self._twice)
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


def totals(snapshot: FleetSnapshot, now: float) -> Totals:
    """Counted once; see `Tally.totals`."""
    return Tally().totals(snapshot, now)
