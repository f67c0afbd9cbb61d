"""Reads what a plan needs beside the snapshot (an image's header, files), so that planning itself is pure."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol

from virtfleet.actions.given import GivenXml
from virtfleet.actions.world import World
from virtfleet.config.settings import FleetSettings
from virtfleet.images.facts import ImageFacts
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
    images: dict[str, ImageFacts] = {}
    given: GivenXml | None = None
    if isinstance(action, CreateVm):
        from virtfleet.actions.sources import examine

        images = await examine(action, fleet.settings, fleet.snapshot)
        if action.xml is not None:
            from virtfleet.actions.given import read

            given = await asyncio.to_thread(read, action.xml)
    return World(
        snapshot=fleet.snapshot,
        settings=fleet.settings,
        monotonic=time.monotonic(),
        now=time.time(),
        who=whoami(),
        stale_ok=stale_ok,
        images=images,
        given=given,
        beside=tuple(beside),
    )
