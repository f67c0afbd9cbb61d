"""Cinder's rules for pools, one pool after another in plain Python, as `decide/volumes.py` must answer."""

from __future__ import annotations

import math

from virtfleet.config.settings import HostSettings, VolumeWeights
from virtfleet.decide.volumes import VolumeAsk
from virtfleet.model import FleetSnapshot, HostView, Pool

_MAKES = ("dir", "fs", "netfs", "logical", "disk", "rbd", "zfs", "sheepdog", "vstorage")
_THIN = ("dir", "fs", "netfs", "gluster", "rbd", "zfs", "sheepdog", "vstorage")


class Reference:
    def __init__(self, snapshot: FleetSnapshot, hosts: dict[str, HostSettings], ask: VolumeAsk) -> None:
        self.snapshot, self.hosts, self.ask = snapshot, hosts, ask
        self.pools = [(view, pool) for view in snapshot.hosts.values() for pool in view.pools]

    def free(self, pool: Pool) -> int | None:
        """The least that any host says of the storage."""
        told = [
            other.available
            for _, other in self.pools
            if other.identity == pool.identity
            and other.capacity
            and other.available is not None
            and 0 <= other.available <= other.capacity
        ]
        return min(told, default=None)

    def provisioned(self, pool: Pool) -> int:
        most = 0
        for view, other in self.pools:
            if other.identity == pool.identity:
                sizes = sum(each.capacity or 0 for each in view.volumes if each.pool == other.name)
                most = max(most, sizes, (other.allocation or 0) if other.capacity else 0)
        return most + self.ask.promised.get(pool.identity, 0)

    def room(self, pool: Pool) -> float | None:
        kind, free = self.ask.kind, self.free(pool)
        if not pool.capacity or free is None:
            return None
        available = pool.capacity - math.floor(pool.capacity * kind.reserved_percentage / 100)
        if kind.provisioning == "thin" and pool.type in _THIN:
            return available * kind.max_over_subscription - self.provisioned(pool)
        return min(free - self.ask.promised.get(pool.identity, 0), available - self.provisioned(pool))

    def refused(self, view: HostView, pool: Pool) -> set[str]:
        ask, kind, found = self.ask, self.ask.kind, set()
        if not view.state.answers or pool.state.value != "running":
            found.add("up")
        if (
            (ask.hosts and view.name not in ask.hosts)
            or (ask.pools and pool.name not in ask.pools)
            or f"{view.name}/{pool.name}" in ask.avoid
        ):
            found.add("named")
        if kind.pools.names and pool.name not in kind.pools.names:
            found.add("type")
        if not all(trait in view.traits for trait in kind.pools.traits):
            found.add("type")
        only = self.hosts[view.name].projects
        if only and ask.project not in only:
            found.add("isolation")
        if pool.type not in _MAKES and not ask.exists:
            found.add("makes")
        if ask.present and pool.identity == ask.present:
            return found
        free, room = self.free(pool), self.room(pool)
        if not pool.capacity or free is None or room is None:
            if kind.reserved_percentage:
                found.add("capacity")
            return found
        if pool.capacity - free > pool.capacity * kind.full_at / 100:
            found.add("full")
        available = pool.capacity - math.floor(pool.capacity * kind.reserved_percentage / 100)
        if available <= 0 or room < ask.size:
            found.add("capacity")
        elif kind.provisioning == "thin" and pool.type in _THIN:
            ratio = kind.max_over_subscription
            if ratio < 1 or (self.provisioned(pool) + ask.size) / available > ratio:
                found.add("capacity")
        return found

    def scores(self, weights: VolumeWeights) -> dict[tuple[str, str], float]:
        """Of the pools that fit."""
        fit = [(view, pool) for view, pool in self.pools if not self.refused(view, pool)]
        raws: list[tuple[float, list[float | None]]] = [
            (weights.capacity, [self.room(pool) for _, pool in fit]),
            (
                weights.volumes,
                [-float(sum(each.pool == pool.name for each in view.volumes)) for view, pool in fit],
            ),
        ]
        total = [0.0] * len(fit)
        for multiplier, raw in raws:
            known = [each for each in raw if each is not None]
            if not known or not multiplier:
                continue
            worst = min(known) - 1 if multiplier > 0 else max(known) + 1
            values = [worst if each is None else each for each in raw]
            low, high = min(values), max(values)
            for at, value in enumerate(values):
                total[at] += multiplier * ((value - low) / (high - low) if high > low else 0.0)
        return {(view.name, pool.name): score for (view, pool), score in zip(fit, total, strict=True)}
