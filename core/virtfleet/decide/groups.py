"""Groups of VMs that belong together or apart: who is where, and which rules are broken. Pure.

A VM names its group in its metadata; the fleet file says what the group
means. A VM that is off keeps its place: it may be started there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from virtfleet.config.settings import GroupSettings
from virtfleet.model import FleetSnapshot

_SHOWN = 6


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


def members(snapshot: FleetSnapshot) -> dict[str, list[Member]]:
    """The VMs of each group that any VM names, each once: one that is on two hosts counts where it runs."""
    found: dict[str, dict[str, Member]] = {}
    for host in snapshot.hosts.values():
        for vm in host.vms:
            if not (group := vm.info.group):
                continue
            known = found.setdefault(group, {})
            if vm.uuid not in known or (vm.state.active and not known[vm.uuid].active):
                known[vm.uuid] = Member(host.name, vm.uuid, vm.name, vm.state.active)
    return {group: list(each.values()) for group, each in found.items()}


def violations(snapshot: FleetSnapshot, groups: Mapping[str, GroupSettings]) -> list[Violation]:
    """Every rule that is broken now; a group that the fleet file does not know has none."""
    if not groups:
        return []
    found = members(snapshot)
    return [
        each
        for name, settings in groups.items()
        if name in found
        for each in _of_group(name, settings, found[name])
    ]


def _of_group(name: str, settings: GroupSettings, found: list[Member]) -> Iterator[Violation]:
    by_host: dict[str, list[Member]] = {}
    for member in found:
        by_host.setdefault(member.host, []).append(member)
    soft = settings.policy.startswith("soft-")
    if settings.policy.endswith("anti-affinity"):
        for host, there in by_host.items():
            if len(there) > settings.max_per_host:
                names = _names(sorted(each.name for each in there))
                text = f"{len(there)} of them on {host}, at most {settings.max_per_host}: {names}"
                which = there[-1]
                yield Violation(name, settings.policy, soft, text, host, which.name, which.uuid)
    elif len(by_host) > 1:
        most = max(by_host, key=lambda host: len(by_host[host]))
        away = [member for host, there in by_host.items() if host != most for member in there]
        where = _names([f"{each.name}@{each.host}" for each in away])
        text = f"on {len(by_host)} hosts: most on {most}, not {where}"
        yield Violation(name, settings.policy, soft, text, away[0].host, away[0].name, away[0].uuid)


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
