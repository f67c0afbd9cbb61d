"""Watches the volumes of a host's running pools, on the storage lane.

libvirt describes volumes one by one, so a pool of 10,000 takes minutes over a
slow link. They are asked for in slices of half a second, between which the
lane serves others, and each slice is sent as it comes. Later rounds only
describe what is new, and a few of those known, which may have grown.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import libvirt

from virtfleet.errors import DeadlineError, HostError, NotFoundError, RefusedError, UnreachableError
from virtfleet.hypervisor import probe, wire
from virtfleet.hypervisor.lanes import Meter
from virtfleet.hypervisor.laneset import Lanes
from virtfleet.hypervisor.port import Port
from virtfleet.hypervisor.views.volume import volume as volume_view
from virtfleet.hypervisor.vitals import Vitals
from virtfleet.hypervisor.watch_host import optional
from virtfleet.model import Pool, PoolState, Volume

_DEADLINE = 20.0
_SLICE = 0.5
"""Seconds after which the lane is given to whoever waits for it."""
_PART = 500
"""Volumes in one message, at most."""
_AGAIN = 30
"""Volumes of a pool that are looked at again in each round."""
_REMEMBERED = 20_000
"""Volumes of a pool that are described; more are counted only."""


class VolumeWatch:
    """`pools()` says which there are now; `counted(pool, n)` is told how many volumes one has."""

    def __init__(
        self,
        settings: wire.WorkerSettings,
        lanes: Lanes,
        vitals: Vitals,
        meter: Meter,
        port: Port,
        pools: Callable[[], Mapping[str, Pool]],
        counted: Callable[[str, int], None],
    ) -> None:
        self._settings = settings
        self._lane = lanes.storage
        self._vitals = vitals
        self._meter = meter
        self._port = port
        self._pools = pools
        self._counted = counted
        self._known: dict[str, dict[str, Volume]] = {}
        """By pool and name, in the order of the last look."""
        self._listed: dict[str, float] = {}
        self._sooner = asyncio.Event()

    def poke(self, pool: str | None = None) -> None:
        """There are pools to list, or this one has changed."""
        if pool is not None:
            self._listed.pop(pool, None)
        self._sooner.set()

    async def run(self) -> None:
        while True:
            await self._vitals.well.wait()
            self._sooner.clear()
            await self._due()
            wait = self._settings.volumes_interval
            if self._listed:
                wait += min(self._listed.values()) - time.monotonic()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(self._settings.interval, wait)):
                    await self._sooner.wait()

    async def _due(self) -> None:
        """Lists the pools for which it is time, the one that has waited longest first."""
        running = {name for name, pool in self._pools().items() if pool.state is PoolState.RUNNING}
        for name in self._known.keys() - running:
            del self._known[name]
            self._port.send(wire.Volumes(time.monotonic(), name, ()))
        for name in self._listed.keys() - running:
            del self._listed[name]
        long_ago = float("-inf")
        for name in sorted(running, key=lambda each: self._listed.get(each, long_ago)):
            now = time.monotonic()
            if now - self._listed.get(name, long_ago) < self._settings.volumes_interval:
                continue
            self._listed[name] = now
            try:
                await self._list(name)
            except (DeadlineError, UnreachableError):
                pass  # a dead storage, or a lost connection: what is known of it grows old
            except (HostError, NotFoundError, RefusedError):
                if name not in self._known:
                    self._send(name, (), first=True, last=True)  # it can't be listed, which is an answer

    async def _list(self, name: str) -> None:
        await self._port.uncongested()
        pool = self._pools().get(name)
        if pool is None:
            return
        found, count = await self._lane.call(partial(self._names, pool), _DEADLINE)
        generation = self._lane.generation
        self._counted(name, count)
        known = self._known.setdefault(name, {})
        for gone in known.keys() - found.keys():
            del known[gone]
        new = [each for each in found if each not in known][: max(0, _REMEMBERED - len(known))]
        describe = partial(self._describe, pool, found, generation)
        if not new:
            again = list(known)[:_AGAIN]
            self._keep(known, (await self._lane.call(partial(describe, again), _DEADLINE))[1])
            self._send(name, list(known.values()), first=True, last=True)
            return
        self._send(name, list(known.values()), first=True, last=False)
        while new:
            tried, described = await self._lane.call(partial(describe, new[:_PART]), _DEADLINE)
            new = new[tried:]
            self._keep(known, described)
            self._send(name, list(described.values()), first=False, last=not new)
            await self._port.uncongested()

    def _names(self, pool: Pool, conn: libvirt.virConnect) -> tuple[dict[str, Any], int]:
        """In the lane's thread: the volumes by name, and how many there are with the odd ones."""
        self._meter.calls += 2
        volumes = conn.storagePoolLookupByUUIDString(pool.uuid).listAllVolumes()
        found = {_name(each): each for each in volumes}
        for odd in ("", probe.FILE):
            found.pop(odd, None)
        return found, len(volumes)

    def _describe(
        self,
        pool: Pool,
        found: Mapping[str, Any],
        generation: int,
        names: Sequence[str],
        conn: libvirt.virConnect,
    ) -> tuple[int, dict[str, Volume]]:
        """In the lane's thread: how many of `names` one slice served, and those that are still there."""
        until = time.monotonic() + _SLICE
        is_same = self._lane.generation == generation  # objects of a connection that was lost are of no use
        where = None if is_same else conn.storagePoolLookupByUUIDString(pool.uuid)
        out: dict[str, Volume] = {}
        for tried, name in enumerate(names):
            if tried and time.monotonic() > until:
                return tried, out
            self._meter.calls += 1 if where is None else 2
            with contextlib.suppress(ValueError):  # odd: left out, as is what has gone by now
                xml = optional(partial(_xml, found[name], where, name), None)
                if xml is not None:
                    out[name] = volume_view(xml, pool.name)
        return len(names), out

    @staticmethod
    def _keep(known: dict[str, Volume], described: Mapping[str, Volume]) -> None:
        for name, volume in described.items():
            known.pop(name, None)  # to the end: the order is that of the last look
            known[name] = volume

    def _send(self, pool: str, volumes: Sequence[Volume], *, first: bool, last: bool) -> None:
        now = time.monotonic()
        parts = [tuple(volumes[at : at + _PART]) for at in range(0, len(volumes), _PART)] or [()]
        for number, part in enumerate(parts):
            ends = number == len(parts) - 1
            self._port.send(wire.Volumes(now, pool, part, first=first and number == 0, last=last and ends))


def _name(volume: Any) -> str:
    """ "" for a name that is not UTF-8 (a file's name may be any bytes): it can't be asked for."""
    try:
        return str(volume.name())
    except UnicodeError:
        return ""


def _xml(volume: Any, where: Any, name: str) -> str:
    return str((volume if where is None else where.storageVolLookupByName(name)).XMLDesc())
