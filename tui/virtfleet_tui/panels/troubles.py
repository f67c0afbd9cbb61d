"""What is wrong with an object, or with what is known of it, and what to try. Pure."""

from __future__ import annotations

from typing import NamedTuple

from virtfleet.model import HostState, HostView
from virtfleet.query.health import host_fault, network_fault, pool_fault, vm_fault
from virtfleet.query.rows import HostRow, NetworkRow, PoolRow, Row, VmRow, VolumeRow


class Trouble(NamedTuple):
    text: str
    cure: str
    """What to try; empty: nobody knows."""
    meaning: str
    """bad, warning or muted."""


_STUCK = "Its QEMU process is stopped or waits for storage: look at it on its host. The others go on."
_AGAIN = "nothing, it is tried again by itself; R tries it at once"


def troubles_of(row: Row, now: float) -> list[Trouble]:
    """What is wrong, and what to try; the object's own trouble first, then its host's."""
    found: list[Trouble] = []
    match row:
        case HostRow(host):
            return _host_troubles(host, now, of_itself=True)
        case VmRow(host, vm):
            if fault := vm_fault(vm):
                cure = _STUCK if vm.stats.monitor_stuck else ""
                found.append(Trouble(fault.text, cure, "bad" if fault.severity == "error" else "warning"))
            return found + _host_troubles(host, now)
        case PoolRow(_, members):
            if fault := pool_fault(row):
                found.append(Trouble(fault.text, "", "bad" if fault.severity == "error" else "warning"))
            return found + [each for host, _ in members for each in _host_troubles(host, now)]
        case NetworkRow(host, network):
            if fault := network_fault(network):
                found.append(Trouble(fault.text, "", "warning"))
            return found + _host_troubles(host, now)
        case VolumeRow(host):
            return _host_troubles(host, now)


def _host_troubles(host: HostView, now: float, of_itself: bool = False) -> list[Trouble]:
    fault = host_fault(host, now)
    if fault is None:
        if host.state in (HostState.CONNECTING, HostState.DISABLED) and (of_itself or not host.state.answers):
            return [Trouble(f"{host.name}: {host.reason or host.state.value}", host.cure, "muted")]
        return []
    meaning = "bad" if fault.severity == "error" else "warning"
    lead = "" if of_itself else f"its host {host.name}: "
    cure = host.cure or (_AGAIN if host.state is HostState.UNREACHABLE else "")
    return [Trouble(f"{lead}{fault.text}", cure, meaning)]
