"""What a project takes of the fleet. Sizes in bytes."""

from __future__ import annotations

import operator
import uuid
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

DEFAULT = "default"
"""The project of VMs that name none."""


_VOLUMES = uuid.UUID("6f0f2d5e-2f6b-5c0e-9f53-3d6f2c1f7a10")
_Joining = Callable[[int, int], int]


class VolumeUse(NamedTuple):
    volumes: int = 0
    capacity: int = 0


class Use(msgspec.Struct, frozen=True):
    """Of one VM, or of all that a project has."""

    vms: int = 0
    vcpus: int = 0
    memory: int = 0
    volumes: int = 0
    """Disks that are volumes of a pool; CD-ROMs don't count."""
    capacity: int = 0
    """What these volumes may grow to."""
    types: Mapping[str, VolumeUse] = {}
    """Of `volumes` and `capacity`: by volume type, where they have one."""

    def plus(self, other: Use) -> Use:
        return self._joined(other, operator.add)

    def at_least(self, other: Use) -> Use:
        """Of each figure the greater one."""
        return self._joined(other, max)

    def _joined(self, other: Use, how: _Joining) -> Use:
        nothing = VolumeUse()
        return Use(
            vms=how(self.vms, other.vms),
            vcpus=how(self.vcpus, other.vcpus),
            memory=how(self.memory, other.memory),
            volumes=how(self.volumes, other.volumes),
            capacity=how(self.capacity, other.capacity),
            types={
                name: VolumeUse(
                    how(self.types.get(name, nothing).volumes, other.types.get(name, nothing).volumes),
                    how(self.types.get(name, nothing).capacity, other.types.get(name, nothing).capacity),
                )
                for name in {**self.types, **other.types}
            },
        )


def volume_id(storage: str, name: str) -> str:
    """A UUID for a volume, the same from every host that sees its storage: libvirt gives it none."""
    return str(uuid.uuid5(_VOLUMES, f"{storage}\n{name}"))


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What a VM, or a volume that no VM has, will take once a plan is carried out, whatever it takes now."""

    project: str
    uuid: str
    name: str = ""
    use: Use
