"""Asking a hypervisor about its VMs: the bulk statistics, and descriptions of single domains.

Functions here run in a lane's thread. Domains vanish while we look at them
(another client undefines them); that is normal and never an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import libvirt

from virtfleet.hypervisor.lanes import Meter
from virtfleet.hypervisor.views.domain import vm_info
from virtfleet.model import VmInfo

Record = dict[str, Any]
Records = list[tuple[str, Record]]
"""UUID and libvirt's statistics of one domain, in the driver's order."""

CHEAP = (
    libvirt.VIR_DOMAIN_STATS_STATE | libvirt.VIR_DOMAIN_STATS_CPU_TOTAL | libvirt.VIR_DOMAIN_STATS_INTERFACE
)
"""Groups that libvirtd answers with little or no asking of QEMUs (see stuck.py)."""

DETAIL = (
    libvirt.VIR_DOMAIN_STATS_STATE
    | libvirt.VIR_DOMAIN_STATS_VCPU
    | libvirt.VIR_DOMAIN_STATS_BALLOON
    | libvirt.VIR_DOMAIN_STATS_BLOCK
)

_STATE_ALONE = {"LXC"}
"""Drivers whose bulk statistics give the state and nothing else: they are asked domain by domain."""

_NOWAIT = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
_REFUSED = {
    libvirt.VIR_ERR_NO_SUPPORT,
    libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED,
    libvirt.VIR_ERR_OPERATION_UNSUPPORTED,
    libvirt.VIR_ERR_INVALID_ARG,
}


class DomainReader:
    """Bulk statistics with whatever this driver is able to give; remembers what it is not."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._checked = False
        self._usage_for_memory = False
        """LXC tells what a container uses where others tell what a VM was given."""
        self.domains: dict[str, libvirt.virDomain] = {}
        """The domains of the last reading by UUID: asking them saves looking them up."""
        self._forms: list[Callable[[libvirt.virConnect, int], Records]] = [
            lambda conn, groups: self._bulk(conn, groups, _NOWAIT),
            lambda conn, groups: self._bulk(conn, groups, 0),
            self._one_by_one,
        ]

    def read(self, conn: libvirt.virConnect, groups: int) -> Records:
        """Statistics of all domains, running or not."""
        if not self._checked:
            self._checked = True
            self._meter.calls += 1
            if conn.getType() in _STATE_ALONE:
                del self._forms[:-1]
                self._usage_for_memory = True
        while True:
            try:
                return self._forms[0](conn, groups)
            except libvirt.libvirtError as error:
                if error.get_error_code() not in _REFUSED or len(self._forms) == 1:
                    raise
                del self._forms[0]  # this driver lacks it: the next form is the one from now on

    @property
    def bulk(self) -> bool:
        """Whether one call serves all domains."""
        return len(self._forms) > 1

    def _bulk(self, conn: libvirt.virConnect, groups: int, flags: int) -> Records:
        self._meter.calls += 1
        found = [
            (domain.UUIDString(), domain, record) for domain, record in conn.getAllDomainStats(groups, flags)
        ]
        self.domains = {uuid: domain for uuid, domain, _ in found}
        return [(uuid, record) for uuid, _, record in found]

    def _one_by_one(self, conn: libvirt.virConnect, groups: int) -> Records:
        self._meter.calls += 1
        found: Records = []
        domain: Any  # libvirt-python's own annotations are wrong for what its calls return
        self.domains = {}
        for domain in conn.listAllDomains():
            try:
                found.append((domain.UUIDString(), self._record(domain)))
                self.domains[domain.UUIDString()] = domain
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                    raise
        return found

    def _record(self, domain: Any) -> Record:
        """The same keys that the bulk call gives, from the calls that every driver has."""
        self._meter.calls += 2
        state, reason = domain.state()
        _, maximum, memory, vcpus, cpu_time = domain.info()
        record: Record = {
            "state.state": state,
            "state.reason": reason,
            "cpu.time": cpu_time,
            "vcpu.current": vcpus,
            "balloon.current": memory,
            "balloon.maximum": maximum,
        }
        if self._usage_for_memory:
            record["balloon.current"], record["balloon.rss"] = maximum, memory
        if state == libvirt.VIR_DOMAIN_RUNNING:
            for extra in (self._memory, self._devices):
                try:
                    extra(domain, record)
                except libvirt.libvirtError as error:
                    if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                        raise  # the others only mean that this driver doesn't tell
        return record

    def _memory(self, domain: Any, record: Record) -> None:
        self._meter.calls += 1
        for key, value in domain.memoryStats().items():
            record.setdefault(f"balloon.{key}", value)

    def _devices(self, domain: Any, record: Record) -> None:
        self._meter.calls += 1
        info = vm_info(domain.XMLDesc(), persistent=True, autostart=False, snapshots=None, managed_save=False)
        nics = [nic.target for nic in info.nics if nic.target]
        for number, target in enumerate(nics):
            self._meter.calls += 1
            rx, _, _, _, tx, *_ = domain.interfaceStats(target)
            record[f"net.{number}.rx.bytes"], record[f"net.{number}.tx.bytes"] = rx, tx
        record["net.count"] = len(nics)


def describe(
    conn: libvirt.virConnect, uuids: Sequence[str], known: Mapping[str, libvirt.virDomain], meter: Meter
) -> tuple[list[VmInfo], list[str]]:
    """Descriptions of these domains, and the UUIDs of those that are gone by now.

    Costs one call per domain and a few for all of them together.
    """
    marks = _Marks(conn, meter) if len(uuids) > 2 else _NO_MARKS
    found: list[VmInfo] = []
    gone: list[str] = []
    for uuid in uuids:
        try:
            meter.calls += 1
            domain: Any = known.get(uuid)
            if domain is None or domain.connect() is not conn:  # one of a connection that was lost is dead
                domain = conn.lookupByUUIDString(uuid)
            info = _info(
                uuid,
                domain,
                persistent=_marked(marks.persistent, uuid, domain.isPersistent, meter),
                autostart=_marked(marks.autostart, uuid, domain.autostart, meter),
                snapshots=None,
                managed_save=_marked(marks.saved, uuid, domain.hasManagedSaveImage, meter),
            )
            found.append(info)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
            gone.append(uuid)
    return found, gone


def _info(uuid: str, domain: libvirt.virDomain, **marks: Any) -> VmInfo:
    try:
        return vm_info(domain.XMLDesc(), **marks)
    except ValueError:  # XML that nobody can read, or text that is not UTF-8: one VM, not the host
        return VmInfo(uuid, uuid, **marks)


class _Marks:
    """Which domains are persistent, start by themselves, have a saved state: a bulk list each.

    None: not asked, or this driver can't say.
    """

    def __init__(self, conn: libvirt.virConnect | None, meter: Meter) -> None:
        self.persistent = self._uuids(conn, libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT, meter)
        self.autostart = self._uuids(conn, libvirt.VIR_CONNECT_LIST_DOMAINS_AUTOSTART, meter)
        self.saved = self._uuids(conn, libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE, meter)

    @staticmethod
    def _uuids(conn: libvirt.virConnect | None, flag: int, meter: Meter) -> frozenset[str] | None:
        found = flagged(conn, flag, meter) if conn is not None else None
        return None if found is None else frozenset(domain.UUIDString() for domain in found)


_NO_MARKS = _Marks(None, Meter())


def _marked(marks: frozenset[str] | None, uuid: str, ask: Callable[[], Any], meter: Meter) -> bool:
    """By the bulk list where there is one, else by asking the domain; no where the driver can't say."""
    return uuid in marks if marks is not None else bool(_or(ask, 0, meter))


def flagged(conn: libvirt.virConnect, flag: int, meter: Meter) -> list[libvirt.virDomain] | None:
    """The domains that bear a list flag (autostart, managed save, has snapshot); None: can't tell."""
    meter.calls += 1
    try:
        return conn.listAllDomains(flag)
    except libvirt.libvirtError as error:
        if error.get_error_code() in _REFUSED:
            return None
        raise


def snapshot_counts(domains: Iterable[libvirt.virDomain], meter: Meter) -> dict[str, int]:
    counts: dict[str, int] = {}
    for domain in domains:
        meter.calls += 1
        count = _or(domain.snapshotNum, None, meter)
        if count is not None:
            counts[domain.UUIDString()] = count
    return counts


def stuck(conn: libvirt.virConnect, uuid: str, meter: Meter, longer_than: float) -> bool:
    """Whether libvirtd has been waiting for this VM's monitor for longer than that (seconds).

    Does not touch the monitor itself (virDomainGetControlInfo).
    """
    meter.calls += 2
    try:
        domain: Any = conn.lookupByUUIDString(uuid)
        state, _, for_ms = domain.controlInfo()
    except libvirt.libvirtError:
        return False
    return bool(state == libvirt.VIR_DOMAIN_CONTROL_OCCUPIED and for_ms > longer_than * 1000)


def _or(ask: Callable[[], Any], default: Any, meter: Meter) -> Any:
    """What `ask` says, or `default` where the driver can't say; a domain that is gone still raises."""
    meter.calls += 1
    try:
        return ask()
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            raise
        return default
