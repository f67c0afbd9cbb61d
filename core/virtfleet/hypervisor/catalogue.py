"""What a host's VMs are, put together from the sources that tell of them.

A `VmInfo` has one part from the domain's XML and others that libvirt tells
elsewhere: autostart and managed save in bulk lists, snapshot counts, addresses
from leases, the guest agent or the host's ARP table. The catalogue holds the
parts and says which VMs have changed since they were last told. Pure: no
libvirt, no clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from virtfleet.model import VmInfo, VmNic

Addresses = Mapping[str, tuple[str, ...]]
"""MAC in lower case to IP addresses."""

_SOURCES = ("agent", "lease", "arp")
"""Most trusted first: the guest itself, who gave the address, who merely saw it."""


class Catalogue:
    def __init__(self) -> None:
        self._described: dict[str, VmInfo] = {}
        self._told: dict[str, VmInfo] = {}
        self._addresses: dict[str, dict[str, tuple[str, ...]]] = {source: {} for source in _SOURCES}
        self._snapshots: dict[str, int] = {}
        self._autostart: frozenset[str] | None = None
        self._managed_save: frozenset[str] | None = None
        self._stirred = True
        """Whether anything was said since `changed` last put all VMs together; mostly nothing was."""

    def __contains__(self, uuid: str) -> bool:
        return uuid in self._described

    def get(self, uuid: str) -> VmInfo | None:
        return self._described.get(uuid)

    @property
    def uuids(self) -> Iterable[str]:
        return self._described.keys()

    def described(self, infos: Iterable[VmInfo]) -> None:
        """Descriptions fresh from their XML."""
        for info in infos:
            self._stirred = True
            self._described[info.uuid] = info
            if self._autostart is not None and (info.uuid in self._autostart) != info.autostart:
                self._autostart = self._autostart ^ {info.uuid}
            if self._managed_save is not None and (info.uuid in self._managed_save) != info.managed_save:
                self._managed_save = self._managed_save ^ {info.uuid}
            if info.snapshots is not None:
                self._snapshots[info.uuid] = info.snapshots

    def forget(self, uuids: Iterable[str]) -> None:
        for uuid in uuids:
            self.forget_agent(uuid)
            self._described.pop(uuid, None)
            self._told.pop(uuid, None)
            self._snapshots.pop(uuid, None)

    def addresses(self, source: str, found: Addresses) -> None:
        """All that `source` (lease, arp) knows now, replacing what it knew; `agent` adds per NIC."""
        self._stirred = True
        if source == "agent":
            self._addresses[source].update(found)
        else:
            self._addresses[source] = dict(found)

    def agent(self, uuid: str, found: Addresses) -> None:
        """What the agent of this VM says now. A guest is believed about its own NICs alone."""
        self.forget_agent(uuid)
        info = self._described.get(uuid)
        own = {nic.mac.lower() for nic in info.nics} if info else set()
        self._addresses["agent"].update({mac: found[mac] for mac in own & found.keys()})

    def forget_agent(self, uuid: str) -> None:
        """The agent of this VM is not there any more, or does not answer."""
        self._stirred = True
        info = self._described.get(uuid)
        for nic in info.nics if info else ():
            self._addresses["agent"].pop(nic.mac.lower(), None)

    def autostart(self, uuids: Iterable[str]) -> None:
        self._stirred = True
        self._autostart = frozenset(uuids)

    def managed_save(self, uuids: Iterable[str]) -> None:
        self._stirred = True
        self._managed_save = frozenset(uuids)

    def snapshots(self, counts: Mapping[str, int]) -> None:
        """Counts of every VM that has snapshots; the others have none."""
        self._stirred = True
        self._snapshots = dict.fromkeys(self._described, 0) | dict(counts)

    def changed(self) -> tuple[VmInfo, ...]:
        """VMs whose description differs from what was told last; afterwards they count as told."""
        if not self._stirred:
            return ()
        self._stirred = False
        out = []
        for uuid, info in self._described.items():
            whole = self._compose(info)
            if self._told.get(uuid) != whole:
                self._told[uuid] = whole
                out.append(whole)
        return tuple(out)

    def everything(self) -> tuple[VmInfo, ...]:
        """All VMs, told before or not."""
        self._told.clear()
        self._stirred = True
        return self.changed()

    def _compose(self, info: VmInfo) -> VmInfo:
        changes: dict[str, object] = {}
        nics = tuple(self._addressed(nic) for nic in info.nics)
        if nics != info.nics:
            changes["nics"] = nics
        if self._autostart is not None:
            changes["autostart"] = info.uuid in self._autostart
        if self._managed_save is not None:
            changes["managed_save"] = info.uuid in self._managed_save
        if info.uuid in self._snapshots:
            changes["snapshots"] = self._snapshots[info.uuid]
        return replace(info, **changes) if changes else info

    def _addressed(self, nic: VmNic) -> VmNic:
        for source in _SOURCES:
            found = self._addresses[source].get(nic.mac.lower())
            if found:
                return replace(nic, addresses=found, address_source=source)
        return nic
