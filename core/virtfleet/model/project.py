"""What a project takes of the fleet. Sizes in bytes."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

DEFAULT = "default"
"""The project of VMs that name none."""


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


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What a VM will take once a plan is carried out, whatever it takes now."""

    project: str
    uuid: str
    name: str = ""
    use: Use
