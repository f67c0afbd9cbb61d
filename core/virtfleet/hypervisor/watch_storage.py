"""Watches the storage pools and volumes of a host, on a lane of its own.

A pool on a dead filer blocks libvirt for minutes; here it delays the storage
panel and nothing else. In the steady state it makes about one call per tick:
one pool's figures in turn. Volumes are listed now and again, new ones are
described one by one and sent in parts, so that a pool of 10,000 stalls nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import libvirt
from msgspec.structs import replace

from virtfleet.errors import HostError, NotFoundError, RefusedError
from virtfleet.hypervisor import probe, wire
from virtfleet.hypervisor.lanes import Meter
from virtfleet.hypervisor.laneset import Lanes
from virtfleet.hypervisor.port import Port
from virtfleet.hypervisor.reach import Reach
from virtfleet.hypervisor.states import pool_state
from virtfleet.hypervisor.views import pool as pool_view
from virtfleet.hypervisor.views.pool import ABSURD
from virtfleet.hypervisor.views.volume import volume as volume_view
from virtfleet.hypervisor.vitals import Vitals
from virtfleet.hypervisor.watch_host import HostWatch, optional
from virtfleet.model import Pool, PoolState, Volume
from virtfleet.model.text import clean

_DEADLINE = 20.0
_PART = 100
"""Volumes described in one go: about 0.1 s of the storage lane."""
_REMEMBERED = 20_000
"""Volumes of a pool that are described; more are counted only."""


class StorageWatch:
    def __init__(
        self,
        settings: wire.WorkerSettings,
        lanes: Lanes,
        vitals: Vitals,
        host: HostWatch,
        meter: Meter,
        port: Port,
        reach: Reach,
    ) -> None:
        self._settings = settings
        self._lanes = lanes
        self._vitals = vitals
        self._host = host
        self._meter = meter
        self._port = port
        self._shared = probe.SharedStorage(reach, host, read_only=settings.read_only)
        self._pools: dict[str, Pool] = {}
        self._told: tuple[object, ...] = ()
        """What the engine was told, but for figures: those are told at the pools' own pace."""
        self._told_at = float("-inf")
        self._volumes: dict[str, dict[str, Volume]] = {}
        self._listed: dict[str, float] = {}
        self._changed: set[str] = set()
        self._sooner = asyncio.Event()

    def poke(self, name: str) -> None:
        """An event spoke of this pool."""
        self._changed.add(name)
        self._sooner.set()

    def close(self) -> None:
        self._shared.close()

    async def run(self) -> None:
        due = 0.0
        turn = 0
        while True:
            await self._vitals.well.wait()
            await self._port.uncongested()
            now = time.monotonic()
            with contextlib.suppress(HostError, NotFoundError, RefusedError):
                if now >= due or self._changed:
                    changed = frozenset(self._changed)
                    await self._all_pools(changed)
                    self._changed -= changed
                    due = now + max(self._settings.networks_interval, 3 * self._settings.pools_interval)
                elif self._pools:
                    turn += 1
                    await self._one_pool(sorted(self._pools)[turn % len(self._pools)])
                await self._due_volumes()
            self._sooner.clear()
            pause = max(self._settings.interval, self._settings.pools_interval / max(1, len(self._pools)))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._sooner.wait()

    # ---- pools

    async def _all_pools(self, changed: frozenset[str]) -> None:
        """The list of pools; descriptions of those that are new, or spoken of by an event."""

        def read(conn: libvirt.virConnect) -> dict[str, Pool]:
            self._meter.calls += 1
            found: dict[str, Pool] = {}
            for each in optional(conn.listAllStoragePools, []):
                name = clean(each.name())
                known = self._pools.get(name)
                with contextlib.suppress(libvirt.libvirtError, ValueError):  # gone by now, or odd: left out
                    if known is None or name in changed or known.uuid != each.UUIDString():
                        known = self._describe(each)
                    found[name] = known
            return found

        found = await self._lanes.storage.call(read, _DEADLINE)
        for name in changed:
            self._listed.pop(name, None)
        for name in self._volumes.keys() - found.keys():
            del self._volumes[name]
            self._listed.pop(name, None)
        self._pools = found
        await self._identify()
        self._tell()

    async def _one_pool(self, name: str) -> None:
        """Fresh figures of one pool: a single call."""

        def read(conn: libvirt.virConnect) -> Pool | None:
            try:
                pool = self._lookup(conn, name)
                self._meter.calls += 1
                state, capacity, allocation, available = pool.info()
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_NO_STORAGE_POOL:
                    return None
                raise
            return _with_figures(self._pools[name], state, capacity, allocation, available)

        pool = await self._lanes.storage.call(read, _DEADLINE)
        if pool is None:
            self._changed.add(name)
            return
        self._pools[name] = pool
        self._tell()

    def _describe(self, pool: Any) -> Pool:
        self._meter.calls += 5
        state = pool.info()[0]
        count = optional(pool.numOfVolumes, None) if state == libvirt.VIR_STORAGE_POOL_RUNNING else None
        return pool_view.pool(
            pool.XMLDesc(),
            host=self._settings.name,
            state=state,
            volumes=count,
            autostart=bool(optional(pool.autostart, 0)),
            persistent=bool(pool.isPersistent()),
        )

    async def _identify(self) -> None:
        """Directories on a network filesystem are the same storage if a file in them says so."""
        for name, pool in self._pools.items():
            found = await self._shared.identity(pool)
            if found and found != pool.identity:
                self._pools[name] = replace(pool, identity=found)

    def _tell(self) -> None:
        simulation = self._host.simulation
        now = time.monotonic()
        pools = tuple(self._pools.values())
        if simulation is not None:
            pools = tuple(simulation.pool(pool, now) for pool in pools)
        known = tuple((pool.name, pool.state, pool.identity, pool.volumes) for pool in pools)
        if known != self._told or now - self._told_at >= self._settings.pools_interval:
            self._told, self._told_at = known, now
            self._port.send(wire.Pools(now, pools))

    # ---- volumes

    async def _due_volumes(self) -> None:
        """Lists the volumes of the pool that has waited longest, if it is time."""
        now = time.monotonic()
        running = [name for name, pool in self._pools.items() if pool.state is PoolState.RUNNING]
        for name in sorted(running, key=lambda each: self._listed.get(each, 0.0)):
            if now - self._listed.get(name, float("-inf")) >= self._settings.volumes_interval:
                self._listed[name] = now
                await self._list_volumes(name)
        for name in self._volumes.keys() - set(running):
            del self._volumes[name]
            self._port.send(wire.Volumes(now, name, ()))

    async def _list_volumes(self, pool: str) -> None:
        count = 0

        def names(conn: libvirt.virConnect) -> list[str]:
            nonlocal count
            self._meter.calls += 1
            volumes = self._lookup(conn, pool).listAllVolumes()
            count = len(volumes)
            return [name for each in volumes if (name := _name(each)) and name != probe.FILE]

        found = await self._lanes.storage.call(names, _DEADLINE)
        known = self._volumes.setdefault(pool, {})
        for gone in known.keys() - set(found):
            del known[gone]
        wanted = [name for name in found if name not in known][: max(0, _REMEMBERED - len(known))]
        # of those known, the ones described longest ago are looked at again: they may have grown
        again = list(known)[:_PART]
        for start in range(0, len(wanted + again), _PART):
            part = (wanted + again)[start : start + _PART]
            await self._describe_volumes(pool, part, known)
        self._send_volumes(pool, known)
        if pool in self._pools:
            self._pools[pool] = replace(self._pools[pool], volumes=count)

    async def _describe_volumes(self, pool: str, names: list[str], known: dict[str, Volume]) -> None:
        def read(conn: libvirt.virConnect) -> list[tuple[str, Volume]]:
            where = self._lookup(conn, pool)
            out = []
            for name in names:
                with contextlib.suppress(libvirt.libvirtError, ValueError):
                    self._meter.calls += 2
                    out.append((name, volume_view(where.storageVolLookupByName(name).XMLDesc(), pool)))
            return out

        for name, volume in await self._lanes.storage.call(read, _DEADLINE):
            known.pop(name, None)  # to the end: the order is that of the last look
            known[name] = volume

    def _send_volumes(self, pool: str, known: dict[str, Volume]) -> None:
        now = time.monotonic()
        volumes = list(known.values())
        parts = [tuple(volumes[at : at + 500]) for at in range(0, len(volumes), 500)] or [()]
        for number, part in enumerate(parts):
            self._port.send(wire.Volumes(now, pool, part, first=number == 0, last=number == len(parts) - 1))

    def _lookup(self, conn: libvirt.virConnect, name: str) -> Any:
        self._meter.calls += 1
        return conn.storagePoolLookupByUUIDString(self._pools[name].uuid)


def _name(volume: Any) -> str:
    """ "" for a name that is not UTF-8 (a file's name may be any bytes): it can't be asked for."""
    try:
        return str(volume.name())
    except UnicodeError:
        return ""


def _with_figures(pool: Pool, state: int, capacity: int, allocation: int, available: int) -> Pool:
    """The pool with what `virStoragePoolGetInfo` says, unless it is nonsense (a Ceph without a manager)."""
    told = pool_state(state)
    if told is not PoolState.RUNNING:
        return replace(pool, state=told, capacity=None, allocation=None, available=None)
    if not 0 < capacity < ABSURD:
        return replace(pool, state=told, capacity=None, allocation=None, available=None)
    if available > capacity:  # an underflow of the driver's
        available = max(0, capacity - allocation)
    return replace(pool, state=told, capacity=capacity, allocation=allocation, available=available)
