"""How much of a pool the disks of a new VM take at once."""

from __future__ import annotations

from virtfleet.images.facts import ImageFacts
from virtfleet.model import HostView, Pool
from virtfleet.model.action import CreateVm

MIB = 1 << 20
EMPTY_DISK = 10 << 30
"""Of a VM that is to be installed, when no size is given."""
SEED_ROOM = 2 * MIB
OVERLAY_ROOM = 64 * MIB
"""What an overlay or a sparse disk takes at once, generously."""


def room_in(
    action: CreateVm, image: ImageFacts | None, iso: ImageFacts | None, host: HostView, pool: Pool
) -> int:
    """Bytes that the disks of a new VM take at once in this pool of this host; an image that is there is no
    more to be brought."""
    room = SEED_ROOM if action.seed is not None else 0
    if image is not None or iso is not None:
        room += OVERLAY_ROOM
    for each in (image, iso):
        if each is not None and not each.volume and not is_cached(each, host, pool.name):
            room += each.size
    if image is not None and action.copy:
        room += image.size
    return room


def is_cached(image: ImageFacts, host: HostView, pool: str) -> bool:
    """Whether its content is in the pool already."""
    if not image.sha256:
        return False
    name = image.volume_name
    return any(each.name == name and each.pool == pool for each in host.volumes)
