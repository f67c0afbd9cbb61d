"""Storage pools and volumes as one host sees them. Sizes in bytes."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class PoolState(StrEnum):
    INACTIVE = "inactive"
    BUILDING = "building"
    RUNNING = "running"
    DEGRADED = "degraded"
    INACCESSIBLE = "inaccessible"


class Pool(msgspec.Struct, frozen=True, gc=False):
    uuid: str
    name: str
    type: str
    """dir, fs, netfs, logical, iscsi-direct, gluster, rbd, zfs ..."""
    state: PoolState
    identity: str
    """Equal on two hosts exactly when both see the same storage: `probe:ID` (a file seen from both),
    `TYPE:NORMALISED-SOURCE` for network pools, `local:HOST:PATH` otherwise."""
    target: str = ""
    source: str = ""
    capacity: int | None = None
    allocation: int | None = None
    available: int | None = None
    volumes: int | None = None
    autostart: bool = False
    persistent: bool = True


class Volume(msgspec.Struct, frozen=True, gc=False):
    pool: str
    """Name of its pool on this host."""
    name: str
    key: str = ""
    path: str = ""
    type: str = "file"
    """file, block, dir, network, ploop."""
    format: str = ""
    capacity: int | None = None
    allocation: int | None = None
    physical: int | None = None
    backing: str = ""
    """Path of its backing file, if it has one."""
