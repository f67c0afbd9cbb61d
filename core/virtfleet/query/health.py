"""What is wrong, said once: faults of each object, alerts of the fleet.

Pure functions of a snapshot. A fault is a property of one object; an alert
also names the object, says since when if that is known, and knows the faults
that only the whole fleet shows (one VM running on two hosts). A shared
storage counts once. An object on a host that does not answer raises no alert
of its own: the host's is enough, and what is known of it is old.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from virtfleet.model import (
    FleetSnapshot,
    HostState,
    HostView,
    Network,
    Pool,
    PoolState,
    Severity,
    Vm,
    VmState,
)
from virtfleet.query.capacity import capacity_of
from virtfleet.query.display import format_age, format_duration, format_value
from virtfleet.query.field import Unit
from virtfleet.query.groups import Member, Rule, Rules, is_soft, members, members_of, violations_of
from virtfleet.query.looks import Look, Meaning, broken_pause, glyph, host_look, plain_reason, vm_look
from virtfleet.query.rows import PoolRow, pool_rows

# Members of an enumeration by short names: looking one up costs more than comparing it, and this is done
# for every VM of the fleet.
_RUNNING, _BLOCKED = VmState.RUNNING, VmState.BLOCKED
_HOST_UP, _POOL_RUNNING = HostState.UP, PoolState.RUNNING

__all__ = [
    "FULL_BAD",
    "FULL_WARNING",
    "Alert",
    "Fault",
    "Look",
    "Meaning",
    "alerts",
    "glyph",
    "host_fault",
    "host_look",
    "network_fault",
    "pool_fault",
    "pool_look",
    "vm_fault",
    "vm_look",
]

FULL_WARNING = 90.0
FULL_BAD = 97.0
"""Percent of a storage that is used."""


class Fault(NamedTuple):
    severity: Severity
    kind: str
    """Stable word: hung, unreachable, refused, asking, slow, late, host-file, monitor-stuck, paused-ioerror,
    paused-crashed, paused-postcopy-failed, paused-watchdog, paused-api-error, crashed, inactive,
    inaccessible, degraded, full, duplicate, group-broken, group-not-met."""
    text: str
    """For a person, without the object's name."""


class Alert(NamedTuple):
    severity: Severity
    kind: str
    noun: str
    """host, vm, pool or network: what `key` and `name` belong to."""
    host: str
    name: str
    text: str
    since: float | None
    """Unix time, where it is known."""
    key: Hashable
    """The row's key in its grid."""


_HOST_TEXT = {
    HostState.HUNG: (Severity.ERROR, "libvirtd does not answer"),
    HostState.UNREACHABLE: (Severity.ERROR, "no connection"),
    HostState.REFUSED: (Severity.ERROR, "access refused"),
    HostState.ASKING: (Severity.WARNING, "waits for an answer from you"),
    HostState.SLOW: (Severity.WARNING, "answers slowly"),
}
_LATE_FLOOR = 10.0


def host_fault(host: HostView, now: float | None = None) -> Fault | None:
    """`now` is CLOCK_MONOTONIC; with it, the last sample's age is told and late samples are a fault."""
    state = host.state
    if state is _HOST_UP:
        age = None if now is None else host.age(now)
        if age is None or age <= max(_LATE_FLOOR, 5.0 * host.interval):
            # That it is disabled for new VMs is no fault; that nobody knows is.
            said = host.maintenance
            if said is not None and said.problem:
                return Fault(Severity.WARNING, "host-file", f"its own file: {said.problem}")
            return None
        return Fault(Severity.WARNING, "late", f"up, but the last sample is {format_age(age)} old")
    found = _HOST_TEXT.get(state)
    if found is None:
        return None
    severity, text = found
    if state is HostState.SLOW and host.latency_p95 is not None:
        text = f"{text}: p95 {format_duration(host.latency_p95)}"
    elif host.reason:
        # The reason may start with the same words, and is then all there is to say.
        text = host.reason if host.reason.lower().startswith(text) else f"{text}: {host.reason}"
    age = None if now is None or state is HostState.SLOW else host.age(now)
    if age is not None:
        text = f"{text}; last seen {format_age(age)} ago"
    return Fault(severity, state.value, text)


def vm_fault(vm: Vm) -> Fault | None:
    stats = vm.stats
    state = stats.state
    if stats.monitor_stuck:
        return Fault(Severity.ERROR, "monitor-stuck", "its QEMU monitor does not answer")
    if state is _RUNNING:
        return None
    if state is VmState.CRASHED:
        return Fault(Severity.ERROR, "crashed", "crashed")
    if state is VmState.SHUTOFF and stats.reason == "crashed":
        return Fault(Severity.ERROR, "crashed", "crashed and is off")
    if state is VmState.PAUSED and (why := broken_pause(vm)):
        return Fault(Severity.ERROR, f"paused-{plain_reason(stats.reason)}", f"paused: {why}")
    return None


def _member_fault(pool: Pool) -> Fault | None:
    if pool.state is PoolState.INACCESSIBLE:
        return Fault(Severity.ERROR, "inaccessible", "inaccessible")
    if pool.state is PoolState.DEGRADED:
        return Fault(Severity.WARNING, "degraded", "degraded")
    if pool.state is PoolState.INACTIVE and pool.autostart:
        return Fault(Severity.WARNING, "inactive", "inactive though it should start by itself")
    return None


_RANK = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}


def pool_fault(row: PoolRow) -> Fault | None:
    """The worst of: what its pool is on each host that answers, and how full the storage is."""
    worst: Fault | None = None
    for host, pool in row.members:
        if pool.state is _POOL_RUNNING or not host.state.answers:
            continue
        found = _member_fault(pool)
        if found and (worst is None or _RANK[found.severity] < _RANK[worst.severity]):
            where = f" on {host.name}" if len(row.members) > 1 else ""
            worst = Fault(found.severity, found.kind, f"{found.text}{where}")
    used = capacity_of(row).used_pct
    if used is not None and used >= FULL_WARNING:
        bad = used >= FULL_BAD
        # An error elsewhere is the greater trouble; a full storage is greater than a warning.
        if worst is None or (bad and worst.severity is not Severity.ERROR):
            text = f"{format_value(used, Unit.PERCENT)} full"
            worst = Fault(Severity.ERROR if bad else Severity.WARNING, "full", text)
    return worst


def network_fault(network: Network) -> Fault | None:
    if not network.active and network.autostart:
        return Fault(Severity.WARNING, "inactive", "inactive though it should start by itself")
    return None


def pool_look(row: PoolRow) -> Look:
    """The worst state among its hosts, those that answer first; nearly full shows in the glyph."""
    members = [pool for host, pool in row.members if host.state.answers] or [pool for _, pool in row.members]
    look = min((glyph(pool.state) for pool in members), key=lambda each: each.urgency)
    fault = pool_fault(row)
    if fault is None:
        return look
    if fault.severity is Severity.ERROR:
        return Look("✖", look.word, Meaning.BAD, 0)
    return Look("!", look.word, Meaning.WARNING, min(look.urgency, 3))


# -- the whole fleet -----------------------------------------------------------------------------------

_ARRIVED = frozenset({"migrated", "postcopy"})


def _moved(here: tuple[HostView, Vm], there: tuple[HostView, Vm]) -> bool:
    """Whether `here` is where it went to and `there` was merely looked at before it left."""
    taken, before = here[0].freshness.stats, there[0].freshness.stats
    arrived = plain_reason(here[1].stats.reason) in _ARRIVED
    return arrived and taken is not None and before is not None and before <= taken


def duplicates(snapshot: FleetSnapshot, uuids: set[str]) -> list[Alert]:
    """Alerts for those of `uuids` that run on several hosts.

    A VM that runs twice writes its disks twice. Hosts are sampled one after the other, so that a VM
    which just moved may be seen on both: then the younger sample with libvirt's word for it decides."""
    if not uuids:
        return []
    running: dict[str, list[tuple[HostView, Vm]]] = {}
    for host in snapshot.hosts.values():
        for vm in host.vms:
            if vm.uuid in uuids and vm.stats.state in (_RUNNING, _BLOCKED):
                running.setdefault(vm.uuid, []).append((host, vm))
    found: list[Alert] = []
    for uuid, places in running.items():
        real = [
            each for each in places if not any(other is not each and _moved(other, each) for other in places)
        ]
        certain = [each for each in real if each[0].state.answers]
        if len(real) < 2 or not certain:
            continue
        host, vm = certain[0]
        others = [each[0] for each in real if each[0] is not host]
        names = ", ".join(other.name for other in others)
        if len(certain) > 1:
            severity, text = Severity.ERROR, f"runs on {len(certain)} hosts at once: also on {names}"
        else:
            severity, text = Severity.WARNING, f"also ran on {names} when that was last seen"
        found.append(Alert(severity, "duplicate", "vm", host.name, vm.name, text, None, (host.name, uuid)))
    return found


class VmsOfHost(NamedTuple):
    alerts: tuple[Alert, ...]
    active: tuple[str, ...]
    """UUIDs of those that run there, as far as is known."""
    groups: Mapping[str, list[Member]] = MappingProxyType({})
    """Its members of each group, where there are rules for any."""


def vms_of(host: HostView, rules: Rules | None = None) -> VmsOfHost:
    """What the VMs of one host add to the alerts, which of them run, and to which groups they belong."""
    found: list[Alert] = []
    active: list[str] = []
    answers = host.state.answers
    for vm in host.vms:
        stats = vm.stats
        state = stats.state
        if state is _RUNNING or state is _BLOCKED:
            active.append(stats.uuid)
            if not stats.monitor_stuck:
                continue
        if answers and (fault := vm_fault(vm)):
            key = (host.name, vm.uuid)
            found.append(Alert(fault.severity, fault.kind, "vm", host.name, vm.name, fault.text, None, key))
    return VmsOfHost(tuple(found), tuple(active), members_of(host) if rules else {})


def group_alerts(name: str, rule: Rule, found: Iterable[Member]) -> list[Alert]:
    """What is broken of the rule of one group, each with a VM whose move would help.

    A wish that is not met is said once, however many hosts it is about."""
    soft = is_soft(rule)
    wrong = list(violations_of(name, rule, found))
    severity, kind, word = (
        (Severity.WARNING, "group-not-met", "not met") if soft else (Severity.ERROR, "group-broken", "broken")
    )
    said = []
    for each in wrong[:1] if soft else wrong:
        more = f"; and so on {len(wrong) - 1} more hosts" if soft and len(wrong) > 1 else ""
        text = f"{rule.policy} of group {name} is {word}: {each.text}{more}"
        said.append(Alert(severity, kind, "vm", each.host, each.name, text, None, (each.host, each.uuid)))
    return said


def _group_alerts(snapshot: FleetSnapshot, rules: Rules) -> list[Alert]:
    if not rules:
        return []
    return [
        alert
        for name, found in members(snapshot).items()
        if name in rules
        for alert in group_alerts(name, rules[name], found)
        if snapshot.hosts[alert.host].state.answers
    ]


def _vm_alerts(snapshot: FleetSnapshot) -> list[Alert]:
    each = [vms_of(host) for host in snapshot.hosts.values()]
    uuids = Counter(uuid for vms in each for uuid in vms.active)
    found = [alert for vms in each for alert in vms.alerts]
    return found + duplicates(snapshot, {uuid for uuid, count in uuids.items() if count > 1})


def alerts_but_of_vms(snapshot: FleetSnapshot, now: float) -> list[Alert]:
    """Alerts of hosts, pools and networks."""
    found: list[Alert] = []
    for host in snapshot.hosts.values():
        name = host.name
        if fault := host_fault(host, now):
            since = host.since or None
            found.append(Alert(fault.severity, fault.kind, "host", name, name, fault.text, since, name))
        if not host.state.answers:
            continue
        for net in host.networks:
            if not net.active and (fault := network_fault(net)):
                key = (name, net.uuid)
                found.append(
                    Alert(fault.severity, fault.kind, "network", name, net.name, fault.text, None, key)
                )
    for row in pool_rows(snapshot):
        if not (fault := pool_fault(row)):
            continue
        if seen := next((each for each in row.members if each[0].state.answers), None):
            where, pool = seen
            found.append(
                Alert(fault.severity, fault.kind, "pool", where.name, pool.name, fault.text, None, row.key)
            )
    return found


def alerts(snapshot: FleetSnapshot, now: float, rules: Rules = MappingProxyType({})) -> list[Alert]:
    """All that is wrong, errors first, then in the order of the fleet. `now` is CLOCK_MONOTONIC; `rules`: of
    groups."""
    found = alerts_but_of_vms(snapshot, now) + _vm_alerts(snapshot) + _group_alerts(snapshot, rules)
    found.sort(key=lambda alert: _RANK[alert.severity])
    return found
