"""Who has which volume, across hosts: VMs, and volumes that stand on it. Made when a column asks for it.

A storage may be seen from several hosts under other paths, so a volume is its storage's identity and its
name.
"""

from __future__ import annotations

from functools import cached_property

from virtfleet.model import FleetSnapshot, HostView, VmDisk

Key = tuple[str, str]
_LOCAL = "local:"


class VolumeUsers:
    """Of one snapshot."""

    def __init__(self, snapshot: FleetSnapshot) -> None:
        self._snapshot = snapshot

    def __eq__(self, other: object) -> bool:
        """Those of one snapshot say the same."""
        return isinstance(other, VolumeUsers) and self._snapshot is other._snapshot

    def __hash__(self) -> int:
        return hash(self._snapshot.generation)

    def of(self, identity: str, name: str) -> tuple[str, ...]:
        """NAME@HOST of VMs, then POOL/NAME of volumes; empty: nobody that is known."""
        return self._users.get((identity, name), ())

    def unseen(self, identity: str) -> bool:
        """Whether a host that sees this storage, or may, does not answer: what its VMs have is not known."""
        if identity.startswith(_LOCAL):
            return identity.split(":")[1] in self._silent
        return any(
            not view.pools or any(pool.identity == identity for pool in view.pools)
            for view in self._silent.values()
        )

    @cached_property
    def _silent(self) -> dict[str, HostView]:
        return {name: view for name, view in self._snapshot.hosts.items() if not view.state.answers}

    @cached_property
    def _users(self) -> dict[Key, tuple[str, ...]]:
        vms: dict[Key, dict[str, None]] = {}
        overlays: dict[Key, dict[str, None]] = {}
        for host in self._snapshot.hosts.values():
            identities = {pool.name: pool.identity for pool in host.pools}
            found: dict[str, Key] = {}
            for volume in host.volumes:
                key = (identities.get(volume.pool, f"{_LOCAL}{host.name}:{volume.pool}"), volume.name)
                for word in (volume.path, _tail(volume.path), f"{volume.pool}/{volume.name}"):
                    found.setdefault(word, key)
            found.pop("", None)
            for volume in host.volumes:
                if volume.backing and (base := found.get(volume.backing)) is not None:
                    overlays.setdefault(base, {})[f"{volume.pool}/{volume.name}"] = None
            for vm in host.vms:
                for disk in vm.info.disks:
                    if (used := found.get(_word(disk))) is not None:
                        vms.setdefault(used, {})[f"{vm.name}@{host.name}"] = None
        return {key: (*vms.get(key, ()), *overlays.get(key, ())) for key in {**vms, **overlays}}


def _word(disk: VmDisk) -> str:
    """By which a disk names its volume; of `rbd:pool/image` what follows the colon."""
    return disk.source.partition(":")[2] if disk.type == "network" else disk.source


def _tail(path: str) -> str:
    """Of `gluster://server/volume/file` what follows the server."""
    return path.split("/", 3)[3] if "://" in path and path.count("/") > 2 else path
