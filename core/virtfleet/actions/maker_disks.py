"""The disks of a new VM: the image brought to its pool once, overlays or copies, an empty disk, the seed."""

from __future__ import annotations

from typing import Any

import msgspec

from virtfleet.actions.choose_pool import choose_pool
from virtfleet.actions.common import pool_has_room, refuse, volume_is_free
from virtfleet.actions.maker import Maker, size
from virtfleet.actions.room import EMPTY_DISK, is_cached, room_in
from virtfleet.images.facts import ImageFacts
from virtfleet.model.action import Seed
from virtfleet.model.plan import Effect, Step, Undo
from virtfleet.model.spec import DiskSpec


class Disks:
    """Adds to a maker what its disks need."""

    def __init__(self, maker: Maker, image: ImageFacts | None, iso: ImageFacts | None) -> None:
        self._maker = maker
        self._host = maker.host
        action = maker.action
        pool, reasons = choose_pool(
            maker.host, action.pool, lambda each: room_in(action, image, iso, maker.host, each)
        )
        maker.reasons += reasons
        self._pool = pool.name
        room = room_in(action, image, iso, maker.host, pool)
        maker.conditions.append(pool_has_room(maker.host, pool.name, room))
        if pool.available is not None:
            maker.effects.append(
                Effect(
                    what=f"free in pool {pool.name} on {maker.host.name}, about",
                    unit="bytes",
                    before=pool.available,
                    after=max(0, pool.available - room),
                    limit=pool.capacity,
                )
            )

    # ---- kinds of disks

    def from_image(self, image: ImageFacts) -> None:
        maker, action = self._maker, self._maker.action
        maker.source = f" from {image.name}"
        asked = maker.sizes.disk
        if asked and image.virtual_size > asked:
            refuse(
                [f"{image.name} needs a disk of {size(image.virtual_size)}, asked for are {size(asked)}"],
                f"create {action.name}",
            )
        virtual = max(image.virtual_size, asked or 0)
        base, form = self._bring(image)
        name = f"{action.name}.qcow2"
        if action.copy:
            self._copy(name, base, virtual, image.size)
        else:
            backing = {"pool": base[0], "volume": base[1], "format": form}
            self._volume(name, virtual, backing, f"overlay of {size(virtual)} on it")

    def to_install(self, iso: ImageFacts) -> None:
        """A medium to boot from, before an empty disk."""
        maker = self._maker
        maker.source = f" to be installed from {iso.name}"
        (pool, volume), _ = self._bring(iso)
        maker.disks.append(DiskSpec(pool=pool, volume=volume, format="raw", device="cdrom"))
        capacity = maker.sizes.disk or EMPTY_DISK
        self._volume(f"{maker.action.name}.qcow2", capacity, None, f"empty disk of {size(capacity)}")

    def seed(self, seed: Seed, image: ImageFacts | None) -> None:
        maker = self._maker
        name = f"{maker.action.name}-seed.iso"
        self._must_be_free(name)
        maker.steps.append(
            seed_step(self._host.name, self._pool, name, maker.uuid, maker.action.name, seed, image)
        )
        maker.disks.append(DiskSpec(pool=self._pool, volume=name, format="raw", device="cdrom"))

    # ---- steps

    def _copy(self, name: str, base: tuple[str, Any], capacity: int, moved: int) -> None:
        self._must_be_free(name)
        maker, pool = self._maker, self._pool
        maker.steps.append(
            Step(
                id="disk",
                op="volume.clone",
                host=self._host.name,
                title=f"copy it to volume {name} in pool {pool}",
                args={
                    "pool": pool,
                    "name": name,
                    "from_pool": base[0],
                    "from_volume": base[1],
                    "format": "qcow2",
                    "capacity": capacity,
                },
                timeout=300.0,
                bytes=moved,
                pool=pool,
                undo=Undo(
                    op="volume.delete",
                    args={"pool": pool, "name": name, "uuid": maker.uuid},
                    title=f"delete volume {name} in pool {pool}",
                ),
            )
        )
        self._has_disk(name, capacity)

    def _volume(self, name: str, capacity: int, backing: dict[str, Any] | None, what: str) -> None:
        self._must_be_free(name)
        maker, pool = self._maker, self._pool
        made = {"capacity": capacity, "format": "qcow2", "backing": backing}
        maker.steps.append(
            Step(
                id="disk",
                op="volume.create",
                host=self._host.name,
                title=f"create volume {name} in pool {pool}: {what}",
                args={"pool": pool, "name": name, **made},
                timeout=60.0,
                undo=Undo(
                    op="volume.delete",
                    args={"pool": pool, "name": name, "made": made, "uuid": maker.uuid},
                    title=f"delete volume {name} in pool {pool}",
                ),
            )
        )
        self._has_disk(name, capacity)

    def _has_disk(self, name: str, capacity: int) -> None:
        self._maker.disks.append(DiskSpec(pool=self._pool, volume=name, format="qcow2"))
        self._maker.volumes.append((self._pool, capacity))

    def _must_be_free(self, name: str) -> None:
        self._maker.conditions.append(
            volume_is_free(self._host, self._pool, name, f"create {self._maker.action.name}")
        )

    def _bring(self, image: ImageFacts) -> tuple[tuple[str, Any], Any]:
        """(pool, volume) and format of an image in a pool of the host; with the steps that bring it there."""
        if image.volume:
            return (image.pool, image.volume), image.format
        maker, pool = self._maker, self._pool
        path: Any = image.path
        length: Any = image.size
        volume: Any = image.volume_name
        digest: Any = image.sha256
        form = "raw" if image.format == "iso" else image.format
        if image.url:
            maker.steps.append(
                Step(
                    id=f"fetch-{len(maker.steps)}",
                    op="image.fetch",
                    host="",
                    title=f"fetch {image.url}",
                    args={"url": image.url, "checksum": maker.action.checksum},
                    timeout=60.0,
                    bytes=image.size,
                    lock=f"fetch {image.url}",
                )
            )
            at = maker.steps[-1].id
            path, length, volume, digest = (
                {"$from": at, "key": key} for key in ("path", "size", "volume", "sha256")
            )
        cached = is_cached(image, self._host, pool)
        maker.steps.append(
            Step(
                id=f"image-{len(maker.steps)}",
                op="image.ensure",
                host=self._host.name,
                title=f"{image.name} is in pool {pool} already"
                if cached
                else f"upload {image.name} to pool {pool}",
                args={
                    "pool": pool,
                    "volume": volume,
                    "path": path,
                    "sha256": digest,
                    "size": length,
                    "format": form,
                    "title": image.name,
                },
                timeout=60.0,
                bytes=0 if cached else image.size,
                pool=pool,
                lock=f"image {self._host.name} {pool} {image.sha256 or image.url}",
                undo=Undo(
                    op="image.forget",
                    args={"pool": pool, "volume": volume, "size": length},
                    title="take away what was uploaded of the image, unless it is whole",
                ),
            )
        )
        return (pool, volume), form


def seed_step(
    host: str, pool: str, name: str, uuid: str, hostname: str, seed: Seed, image: ImageFacts | None
) -> Step:
    """The step that makes the disk for cloud-init."""
    return Step(
        id="seed",
        op="seed.create",
        host=host,
        title=f"make the seed for cloud-init: volume {name} in pool {pool}",
        args={
            "pool": pool,
            "name": name,
            "seed": msgspec.to_builtins(seed),
            "hostname": hostname,
            "instance_id": uuid,
            "image_user": image.user if image is not None else "",
        },
        timeout=60.0,
        undo=Undo(
            op="volume.delete",
            args={"pool": pool, "name": name, "uuid": uuid},
            title=f"delete volume {name} in pool {pool}",
        ),
    )
