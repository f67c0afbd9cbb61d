"""Watches the virtual networks of a host and the leases they gave out.

In the steady state it asks for the list and for one network's leases now and
again; descriptions are fetched anew when an event or the list says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import libvirt
from msgspec.structs import replace

from virtfleet.errors import HostError, NotFoundError, RefusedError
from virtfleet.hypervisor import wire
from virtfleet.hypervisor.lanes import Meter
from virtfleet.hypervisor.laneset import Lanes
from virtfleet.hypervisor.port import Port
from virtfleet.hypervisor.views import network as view
from virtfleet.hypervisor.vitals import Vitals
from virtfleet.hypervisor.watch_host import HostWatch, optional
from virtfleet.model import Lease, Network

if TYPE_CHECKING:
    from virtfleet.hypervisor.watch_vms import VmWatch

_DEADLINE = 8.0


class NetworkWatch:
    def __init__(
        self,
        settings: wire.WorkerSettings,
        lanes: Lanes,
        vitals: Vitals,
        vms: VmWatch,
        host: HostWatch,
        meter: Meter,
        port: Port,
    ) -> None:
        self._settings = settings
        self._lanes = lanes
        self._vitals = vitals
        self._vms = vms
        self._host = host
        self._meter = meter
        self._port = port
        self._known: dict[str, Network] = {}
        self._spoken_of = 0
        """Events so far: what was read before one of them is not trusted after it."""
        self._sooner = asyncio.Event()

    def poke(self) -> None:
        """An event spoke of a network."""
        self._known = {}
        self._spoken_of += 1
        self._sooner.set()

    async def run(self) -> None:
        while True:
            await self._vitals.well.wait()
            await self._port.uncongested()
            with contextlib.suppress(HostError, NotFoundError, RefusedError):
                await self._round()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.networks_interval):
                    await self._sooner.wait()
            self._sooner.clear()

    async def _round(self) -> None:
        before = self._spoken_of
        if "network" not in self._vms.told_of:
            self._known = {}
        networks = await self._lanes.detail.call(self._read, _DEADLINE)
        # an event during the reading may have come too late for it: then all is described again
        self._known = {each.uuid: each for each in networks} if self._spoken_of == before else {}
        self._port.send(wire.Networks(time.monotonic(), networks))
        leases: dict[str, tuple[str, ...]] = {}
        for network in networks:
            for lease in network.leases:
                leases[lease.mac.lower()] = (*leases.get(lease.mac.lower(), ()), lease.address)
        self._vms.catalogue.addresses("lease", leases)
        self._vms.catalogue.addresses("arp", self._host.neighbours)
        self._vms.tell_changes()

    def _read(self, conn: libvirt.virConnect) -> tuple[Network, ...]:
        """In the lane's thread."""
        self._meter.calls += 1
        found: dict[str, Network] = {}
        for each in optional(conn.listAllNetworks, []):
            with contextlib.suppress(libvirt.libvirtError, ValueError):  # gone by now, or odd: left out
                uuid = each.UUIDString()
                known = self._known.get(uuid) or self._describe(each)
                found[uuid] = (
                    replace(known, leases=self._leases(each)) if known.active and known.dhcp else known
                )
        return tuple(found.values())

    def _describe(self, network: libvirt.virNetwork) -> Network:
        self._meter.calls += 4
        return view.network(
            network.XMLDesc(),
            active=bool(network.isActive()),
            autostart=bool(optional(network.autostart, 0)),
            persistent=bool(network.isPersistent()),
        )

    def _leases(self, network: libvirt.virNetwork) -> tuple[Lease, ...]:
        self._meter.calls += 1
        records: Any = optional(network.DHCPLeases, [])
        return view.leases(records)
