"""Groups of VMs that belong together or apart: who is where, and which rules are broken. Pure.

A VM names its group in its metadata; the fleet file says what the group
means. A VM that is off keeps its place: it may be started there. The rules of
one group can be judged alone, so that a host that changed costs its own
groups and no others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

from virtfleet.model import FleetSnapshot, HostView

_SHOWN = 6


class Rule(Protocol):
    """What a group means; the fleet file's GroupSettings is one."""

    @property
    def policy(self) -> str:
        """affinity, anti-affinity, soft-affinity or soft-anti-affinity."""

    @property
    def max_per_host(self) -> int: ...


Rules = Mapping[str, Rule]


class Member(NamedTuple):
    host: str
    uuid: str
    name: str
    active: bool


class Violation(NamedTuple):
    group: str
    policy: str
    soft: bool
    """Wished for, not demanded."""
    text: str
    """What is wrong, with names."""
    host: str
    name: str
    uuid: str
    """One of the VMs whose move would help."""


def is_soft(rule: Rule) -> bool:
    return rule.policy.startswith("soft-")


def members_of(host: HostView) -> dict[str, list[Member]]:
    """The VMs of one host that name a group, by group."""
    found: dict[str, list[Member]] = {}
    for vm in host.vms:
        if group := vm.info.group:
            found.setdefault(group, []).append(
                Member(host.name, vm.info.uuid, vm.info.name, vm.stats.state.active)
            )
    return found


def members(snapshot: FleetSnapshot) -> dict[str, list[Member]]:
    """The VMs of each group that any VM names, each once."""
    found: dict[str, list[Member]] = {}
    for host in snapshot.hosts.values():
        for group, there in members_of(host).items():
            found.setdefault(group, []).extend(there)
    return {group: _once(each) for group, each in found.items()}


def _once(found: Iterable[Member]) -> list[Member]:
    """One that is on two hosts (it is being moved) counts where it runs."""
    known: dict[str, Member] = {}
    for each in found:
        if each.uuid not in known or (each.active and not known[each.uuid].active):
            known[each.uuid] = each
    return list(known.values())


def violations(snapshot: FleetSnapshot, groups: Rules) -> list[Violation]:
    """Every rule that is broken now; a group that the fleet file does not know has none."""
    if not groups:
        return []
    found = members(snapshot)
    return [
        each
        for name, rule in groups.items()
        if name in found
        for each in violations_of(name, rule, found[name])
    ]


def violations_of(name: str, rule: Rule, found: Iterable[Member]) -> Iterator[Violation]:
    """How the rule of one group is broken; `found`: its members, in the order of the fleet's hosts."""
    by_host: dict[str, list[Member]] = {}
    for member in _once(found):
        by_host.setdefault(member.host, []).append(member)
    soft = is_soft(rule)
    if rule.policy.endswith("anti-affinity"):
        for host, there in by_host.items():
            if len(there) > rule.max_per_host:
                names = _names(sorted(each.name for each in there))
                text = f"{len(there)} of them on {host}, at most {rule.max_per_host}: {names}"
                which = there[-1]
                yield Violation(name, rule.policy, soft, text, host, which.name, which.uuid)
    elif len(by_host) > 1:
        most = max(by_host, key=lambda host: len(by_host[host]))
        away = [member for host, there in by_host.items() if host != most for member in there]
        where = _names([f"{each.name}@{each.host}" for each in away])
        text = f"on {len(by_host)} hosts: most on {most}, not {where}"
        yield Violation(name, rule.policy, soft, text, away[0].host, away[0].name, away[0].uuid)


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
