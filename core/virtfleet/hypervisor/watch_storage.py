"""Watches the storage pools and volumes of a host, on a lane of its own.

A pool on a dead filer blocks libvirt for minutes; here it delays the storage
panel and nothing else. In the steady state it makes about one call per tick:
one pool's figures in turn. Volumes are another loop's (watch_volumes.py).
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
from virtfleet.hypervisor.turns import Turns
from virtfleet.hypervisor.views import pool as pool_view
from virtfleet.hypervisor.views.pool import ABSURD
from virtfleet.hypervisor.vitals import Vitals
from virtfleet.hypervisor.watch_host import HostWatch, optional
from virtfleet.hypervisor.watch_volumes import VolumeWatch
from virtfleet.model import Pool, PoolState
from virtfleet.model.text import clean

_DEADLINE = 20.0


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
        self.volumes = VolumeWatch(settings, lanes, vitals, meter, port, lambda: self._pools, self._counted)
        self._objects: dict[str, Any] = {}
        """libvirt's own pools by name, to be asked without looking them up."""
        self._objects_of = 0
        self._changed: set[str] = set()
        self._turns = Turns()
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
            self._sooner.clear()
            pause = self._settings.pools_interval
            if self._host.simulation is None:  # else the driver has no figures to ask for
                pause = max(self._settings.interval, pause / max(1, len(self._pools)))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._sooner.wait()

    # ---- pools

    async def _all_pools(self, changed: frozenset[str]) -> None:
        """The list of pools; descriptions of those that are new or spoken of by an event, and of one more."""
        anew = changed | set(self._turns.take(sorted(self._pools), 0.0))

        def read(conn: libvirt.virConnect) -> dict[str, Pool]:
            self._meter.calls += 1
            found: dict[str, Pool] = {}
            if self._objects_of != self._lanes.storage.generation:
                self._objects_of = self._lanes.storage.generation
                self._lanes.storage.before_drop(self._objects.clear)  # they hold the connection
            self._objects.clear()
            for each in optional(conn.listAllStoragePools, []):
                name = clean(each.name())
                known = self._pools.get(name)
                with contextlib.suppress(libvirt.libvirtError, ValueError):  # gone by now, or odd: left out
                    if known is None or name in anew or known.uuid != each.UUIDString():
                        known = self._describe(each)
                    found[name] = known
                    self._objects[name] = each
            return found

        found = await self._lanes.storage.call(read, _DEADLINE)
        self._pools = found
        for name in changed:
            self.volumes.poke(name)
        self.volumes.poke()
        await self._identify()
        self._tell()

    async def _one_pool(self, name: str) -> None:
        """Fresh figures of one pool: a single call."""

        uuid = self._pools[name].uuid

        def read(conn: libvirt.virConnect) -> list[int] | None:
            try:
                pool = self._objects.get(name)
                if pool is None:  # the connection is a new one
                    self._meter.calls += 1
                    pool = conn.storagePoolLookupByUUIDString(uuid)
                self._meter.calls += 1
                return list(pool.info())
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_NO_STORAGE_POOL:
                    return None
                raise

        figures = await self._lanes.storage.call(read, _DEADLINE)
        if figures is None:
            self._changed.add(name)
            return
        self._pools[name] = _with_figures(self._pools[name], *figures)
        self._tell()

    def _counted(self, name: str, volumes: int) -> None:
        if name in self._pools:
            self._pools[name] = replace(self._pools[name], volumes=volumes)

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
                self._pools[name] = replace(self._pools[name], identity=found)

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
