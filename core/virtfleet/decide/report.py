"""What decisions say, as rows for both faces: projects, groups, room, the cases of an explanation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from virtfleet.config.settings import FleetSettings, Quota
from virtfleet.decide import quotas
from virtfleet.decide.capacity import Deaths, FlavorRoom
from virtfleet.decide.explain import Explanation
from virtfleet.decide.ledger import Ledger
from virtfleet.model import FleetSnapshot
from virtfleet.query import groups as grouping
from virtfleet.query.display import format_value
from virtfleet.query.placement import CaseRow, GroupRow, ProjectRow, RoomRow


def projects(snapshot: FleetSnapshot, settings: FleetSettings) -> list[ProjectRow]:
    """Those of the fleet file, then those that only VMs name."""
    found = []
    for name, use in quotas.usage(snapshot, settings).items():
        project = settings.projects.get(name)
        limits = quotas.limits(use, project.quota if project is not None else Quota())
        plain = {each.what: each for each in limits if " " not in each.what}
        typed = [each for each in limits if " " in each.what and each.limit is not None]
        over = [each.what for each in limits if each.limit is not None and each.used > each.limit]
        found.append(
            ProjectRow(
                name=name,
                known=project is not None,
                used={what: each.used for what, each in plain.items()},
                limits={what: each.limit for what, each in plain.items()},
                over=tuple(over),
                types=tuple(f"{each.what}: {_of(each)}" for each in typed),
            )
        )
    return found


def _of(limit: quotas.Limit) -> str:
    return f"{format_value(limit.used, limit.unit)} of {format_value(limit.limit, limit.unit)}"


def groups(snapshot: FleetSnapshot, settings: FleetSettings) -> list[GroupRow]:
    """Those of the fleet file and those that VMs name."""
    members = grouping.members(snapshot)
    broken = grouping.violations(snapshot, settings.groups)
    found = []
    for name in dict.fromkeys((*settings.groups, *members)):
        rule = settings.groups.get(name)
        here = members.get(name, [])
        found.append(
            GroupRow(
                name=name,
                policy=rule.policy if rule is not None else "",
                members=tuple(f"{each.name}@{each.host}" for each in here),
                hosts=len({each.host for each in here}),
                problems=tuple(each.text for each in broken if each.group == name),
                soft=rule is not None and rule.policy.startswith("soft-"),
            )
        )
    return found


def room(ledger: Ledger, found: Sequence[FlavorRoom], deaths: Deaths | None) -> list[RoomRow]:
    """For each flavor: the fleet, each zone, each host."""
    rows: list[RoomRow] = []
    zones = list(dict.fromkeys(host.zone for host in ledger.hosts))
    for each in found:
        after = deaths.after.get(each.flavor) if deaths is not None else None
        rows.append(RoomRow("fleet", "", "", each.flavor, each.total, after))
        if zones != [""]:
            for zone in zones:
                here = np.array([host.zone == zone for host in ledger.hosts], bool)
                fits = int(each.by_host[here].sum())
                rows.append(RoomRow("zone", zone or "(none)", zone, each.flavor, fits, None))
        rows += [
            RoomRow("host", name, host.zone, each.flavor, int(count), None)
            for name, host, count in zip(ledger.names, ledger.hosts, each.by_host, strict=True)
        ]
    return rows


def cases(found: Explanation) -> list[CaseRow]:
    """The hosts of an explanation, best first."""
    return [
        CaseRow(
            host=each.host,
            zone=each.zone,
            fits=not each.refusals,
            chosen=each.host == found.winner,
            score=each.score,
            weights=tuple(f"{name} {value:+.2f}" for name, value in each.weights if value),
            refused_by=tuple(refusal.filter for refusal in each.refusals),
            reasons=tuple(refusal.why for refusal in each.refusals),
            cures=tuple(refusal.mend for refusal in each.refusals if refusal.mend),
        )
        for each in found.cases
    ]
