"""Reads what a plan needs beside the snapshot (an image's header, files), so that planning itself is pure."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Protocol

from virtfleet.actions.world import World
from virtfleet.config.settings import FleetSettings
from virtfleet.jobs.who import whoami
from virtfleet.model import FleetSnapshot
from virtfleet.model.action import Action, CreateVm
from virtfleet.model.plan import Plan


class Fleet(Protocol):
    """What of the engine is needed."""

    @property
    def snapshot(self) -> FleetSnapshot: ...
    @property
    def settings(self) -> FleetSettings: ...


async def world_for(action: Action, fleet: Fleet, beside: Sequence[Plan], *, stale_ok: bool) -> World:
    """The world as it is now. RefusedError: an image or a file of the action can't be used."""
    images = {}
    if isinstance(action, CreateVm):
        from virtfleet.actions.sources import examine

        images = await examine(action, fleet.settings, fleet.snapshot)
    return World(
        snapshot=fleet.snapshot,
        settings=fleet.settings,
        monotonic=time.monotonic(),
        now=time.time(),
        who=whoami(),
        stale_ok=stale_ok,
        images=images,
        promised=_promised(beside),
    )


def _promised(plans: Iterable[Plan]) -> dict[str, int]:
    """Bytes of memory that these plans will take, by host: they see the same snapshot and not each other."""
    found: dict[str, int] = {}
    for plan in plans:
        if isinstance(plan.action, CreateVm) and plan.effects:
            memory = plan.effects[0]
            found[plan.host] = found.get(plan.host, 0) + memory.after - memory.before
    return found
