"""Reads what a plan needs beside the snapshot (an image's header, files), so that planning itself is pure."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from virtfleet.actions.given import GivenXml
from virtfleet.actions.world import World
from virtfleet.config.settings import FleetSettings
from virtfleet.errors import RefusedError
from virtfleet.images.facts import ImageFacts
from virtfleet.jobs.who import whoami
from virtfleet.model import FleetSnapshot
from virtfleet.model.action import Action, CreateVm
from virtfleet.model.action_volumes import DownloadVolume, UploadVolume
from virtfleet.model.plan import Plan

if TYPE_CHECKING:
    from virtfleet.images.probe import Probed


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
    upload: Probed | None = None
    if isinstance(action, UploadVolume | DownloadVolume):
        upload = await asyncio.to_thread(_looked_at, action)
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
        upload=upload,
    )


def _looked_at(action: UploadVolume | DownloadVolume) -> Probed | None:
    """What a local file is that shall become a volume. RefusedError, also of one to be made that is there."""
    if isinstance(action, DownloadVolume):
        if os.path.lexists(action.path):
            raise RefusedError(f"{action.path} is there already", cure="choose another name")
        return None
    from virtfleet.images.probe import probe

    return probe(Path(action.file.path))
