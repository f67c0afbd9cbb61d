"""What a plan claims of its project's quota, and whether there is room for it as far as can be seen.

It is asked again when the job is written down (jobs/quotas.py): what others do meanwhile is seen there.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from virtfleet.actions.common import refuse
from virtfleet.actions.world import World
from virtfleet.decide.quotas import excess, project_of, use_of, uses, with_claims
from virtfleet.model import HostView, Vm
from virtfleet.model.project import Claim


def claim_for(
    host: HostView,
    vm: Vm,
    world: World,
    *,
    vcpus: int | None = None,
    memory: int | None = None,
    project: str | None = None,
) -> Claim:
    """What a VM will take; what is not given stays as it is. `memory` in bytes."""
    use = use_of(host, vm, world.settings)
    new = replace(use, vcpus=vcpus or use.vcpus, memory=memory or use.memory)
    return Claim(project=project or project_of(vm), uuid=vm.uuid, name=vm.name, use=new)


def within_quota(claims: Iterable[Claim], world: World, what: str) -> None:
    """RefusedError: a project's quota has no room for them, with the figures."""
    claims = tuple(claims)
    found: list[str] = []
    for project in dict.fromkeys(each.project for each in claims):
        settings = world.settings.projects.get(project)
        if settings is None:
            continue
        others = [each for each in world.claims if each.project == project]
        have = with_claims(uses(world.snapshot, world.settings, project), others)
        ours = [each for each in claims if each.project == project]
        found += excess(project, have, ours, settings.quota)
    refuse(found, what, "raise its quota, or make room")
