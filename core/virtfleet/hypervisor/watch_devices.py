"""The PCI devices of a host, by libvirt's node devices.

libvirt lists their names in one call and describes them one by one; so they
are described some at a time on a lane where nothing urgent waits: when the
connection is new, when an event speaks of one, and now and again, since a
driver may change hands without an event.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection
from typing import Any

import libvirt

from virtfleet.hypervisor.faults import optional
from virtfleet.hypervisor.lanes import Lane, Meter
from virtfleet.hypervisor.views.nodedev import pci_device
from virtfleet.model import PciDevice

_CHUNK = 16
"""Descriptions in one go, so that others get their turn on the lane and a slow link meets no deadline."""
_DEADLINE = 15.0
_EVERY = 600.0
_MOST = 4096


class DeviceWatch:
    def __init__(self, lane: Lane, meter: Meter) -> None:
        self._lane = lane
        self._meter = meter
        self._due = 0.0
        self.devices: tuple[PciDevice, ...] | None = None
        """By address; None: not read yet, or this driver has none to tell of."""

    def poke(self) -> None:
        """An event spoke of a device."""
        self._due = 0.0

    async def read(self) -> bool:
        """Brings `devices` up to date if it is time; whether they changed. Raises as Lane.call."""
        if time.monotonic() < self._due:
            return False
        self._due = time.monotonic() + _EVERY  # now, so that an event during the reading is not forgotten
        try:
            devices = await self._read()
        except BaseException:
            self.poke()
            raise
        changed = devices != self.devices
        self.devices = devices
        return changed

    async def _read(self) -> tuple[PciDevice, ...] | None:
        found: dict[str, PciDevice | None] = {}
        part = await self._lane.call(lambda conn: self._some(conn, found), _DEADLINE)
        told = part is not None
        while part and len(found) < _MOST:
            found.update(part)
            part = await self._lane.call(lambda conn: self._some(conn, found), _DEADLINE)
        known = (each for each in found.values() if each is not None)
        return tuple(sorted(known, key=lambda each: each.address)) if told else None

    def _some(self, conn: libvirt.virConnect, done: Collection[str]) -> dict[str, PciDevice | None] | None:
        """The next few that are not `done`, by name. In the lane's thread.

        The list is asked for each time: objects that were kept would hold the
        connection, and looking them up would cost a call for each.
        None: the driver has no node devices.
        """
        self._meter.calls += 1
        flag = libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_PCI_DEV
        listed: Any = optional(lambda: conn.listAllDevices(flag), None)
        if listed is None:
            return None
        found: dict[str, PciDevice | None] = {}
        for each in listed:
            if len(found) < _CHUNK and each.name() not in done:
                found[each.name()] = self._described(each)
        return found

    def _described(self, device: Any) -> PciDevice | None:
        self._meter.calls += 1
        with contextlib.suppress(ValueError):  # gone by now, or odd: left out
            return pci_device(optional(lambda: device.XMLDesc(0), ""))
        return None
