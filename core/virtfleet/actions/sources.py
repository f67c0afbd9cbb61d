"""What the images of an action are: looked at before it is planned, in a thread, and remembered."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

from msgspec.structs import replace

from virtfleet.config import folders
from virtfleet.config.settings import FleetSettings
from virtfleet.errors import RefusedError
from virtfleet.images import fetch
from virtfleet.images.facts import ImageFacts
from virtfleet.images.hashing import sha256
from virtfleet.images.probe import probe
from virtfleet.model import FleetSnapshot
from virtfleet.model.action import CreateVm

_heads: dict[str, tuple[float, ImageFacts]] = {}
"""What URLs were, and when that was asked: many VMs are made of one."""
_HEAD_LASTS = 60.0
_CHECKSUM = re.compile(r"(sha256:)?[0-9a-f]{64}", re.ASCII | re.IGNORECASE)


async def examine(
    action: CreateVm, settings: FleetSettings, snapshot: FleetSnapshot
) -> dict[str, ImageFacts]:
    """Facts of its image and its ISO, by what it calls them. RefusedError: they can't be used."""
    if action.checksum and not _CHECKSUM.fullmatch(action.checksum):
        raise RefusedError(
            f"{action.checksum!a} is no checksum", cure="accepted: sha256: and 64 hexadecimal digits"
        )
    found: dict[str, ImageFacts] = {}
    for reference in (action.image, action.iso):
        if reference:
            found[reference] = await _facts(reference, action, settings, snapshot)
    return found


async def _facts(
    reference: str, action: CreateVm, settings: FleetSettings, snapshot: FleetSnapshot
) -> ImageFacts:
    image = settings.images.get(reference)
    source = image.source if image is not None else reference
    given = {"user": image.user, "arch": image.arch} if image is not None else {}
    if "://" in source:
        return replace(await _head(source), name=reference, **given)
    if (local := await asyncio.to_thread(_local, source, reference, action.checksum)) is not None:
        return replace(local, **given)
    if volume := _volume(source, action.host, snapshot):
        return volume
    if image is not None:
        raise RefusedError(
            f"image {reference} of the fleet file: there is no {source} on this machine, nor as POOL/VOLUME",
            cure=f"correct the source of images.{reference} in the fleet file, or put the file there",
        )
    names = ", ".join(settings.images) or "none"
    raise RefusedError(
        f"there is no image {reference}: no file, no volume POOL/VOLUME, no image of the fleet file ({names})"
    )


async def _head(url: str) -> ImageFacts:
    """What is at a URL, asked at most once a minute."""
    taken, facts = _heads.get(url, (0.0, None))
    if facts is None or time.monotonic() - taken > _HEAD_LASTS:
        known, size = await asyncio.to_thread(fetch.head, url)
        facts = ImageFacts(format=known.format, size=size, virtual_size=known.virtual_size, url=url)
        _heads[url] = (time.monotonic(), facts)
    return facts


def _local(source: str, reference: str, checksum: str) -> ImageFacts | None:
    """A file of this machine; None: there is no such file."""
    path = Path(source).expanduser()
    if not path.is_file():
        return None
    known = probe(path)
    try:
        digest = sha256(path, folders.state_dir() / "hashes.json")
    except OSError as error:
        raise RefusedError(f"{path} can't be read: {error.strerror}") from None
    wanted = checksum.removeprefix("sha256:").lower()
    if wanted and wanted != digest:
        raise RefusedError(f"{path} has the checksum sha256:{digest}, not the one that was asked for")
    name = reference if "/" not in reference else path.name
    return ImageFacts(
        format=known.format,
        size=known.size,
        virtual_size=known.virtual_size,
        path=str(path.resolve()),
        sha256=digest,
        name=name,
    )


def _volume(text: str, host: str, snapshot: FleetSnapshot) -> ImageFacts | None:
    """A volume named POOL/VOLUME, on the host of the action or on the only one that has it."""
    pool, slash, name = text.partition("/")
    if not slash:
        return None
    found = [
        (view, volume)
        for view in snapshot.hosts.values()
        if host in ("", view.name)
        for volume in view.volumes
        if (volume.pool, volume.name) == (pool, name)
    ]
    if not found:
        return None
    if len({view.name for view, _ in found}) > 1:
        places = ", ".join(view.name for view, _ in found)
        raise RefusedError(f"{text} is on {places}", cure="say on which host")
    view, volume = found[0]
    if volume.backing:
        raise RefusedError(
            f"{text} stands on {volume.backing}: an image must stand on nothing",
            cure="`volume clone` makes it whole",
        )
    return ImageFacts(
        format=volume.format or "raw",
        size=volume.allocation or volume.capacity or 0,
        virtual_size=volume.capacity or 0,
        pool=pool,
        volume=name,
        host=view.name,
        name=text,
    )
