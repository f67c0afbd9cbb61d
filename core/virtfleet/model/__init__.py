"""Frozen values of the fleet. No I/O, no clock, no libvirt: readable from any thread or process.

They can't form cycles, so the garbage collector need not look at them
(`gc=False`): with 10,000 VMs it would stop the console for a tenth of a second.
"""

from virtfleet.model.event import Event, Severity
from virtfleet.model.fleet import EMPTY, Delta, FleetSnapshot, Freshness, HostView
from virtfleet.model.host import (
    CellPages,
    GuestKind,
    HostFacts,
    HostState,
    HostStats,
    HugePages,
    NumaCell,
    PciDevice,
)
from virtfleet.model.maintenance import Maintenance, Mark
from virtfleet.model.network import Lease, Network
from virtfleet.model.prompt import Prompt, PromptKind
from virtfleet.model.storage import Pool, PoolState, Volume
from virtfleet.model.vm import CpuPin, Vm, VmCell, VmDisk, VmGraphics, VmInfo, VmNic, VmState, VmStats

__all__ = [
    "EMPTY",
    "CellPages",
    "CpuPin",
    "Delta",
    "Event",
    "FleetSnapshot",
    "Freshness",
    "GuestKind",
    "HostFacts",
    "HostState",
    "HostStats",
    "HostView",
    "HugePages",
    "Lease",
    "Maintenance",
    "Mark",
    "Network",
    "NumaCell",
    "PciDevice",
    "Pool",
    "PoolState",
    "Prompt",
    "PromptKind",
    "Severity",
    "Vm",
    "VmCell",
    "VmDisk",
    "VmGraphics",
    "VmInfo",
    "VmNic",
    "VmState",
    "VmStats",
    "Volume",
]
