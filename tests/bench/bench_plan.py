"""How long the plan of one action takes with 500 hosts × 20 VMs: reach 20 ms."""

from __future__ import annotations

import statistics
import time
from types import MappingProxyType

from bench.figures import Figure, run, spread

from virtfleet.actions import planner
from virtfleet.actions.world import World
from virtfleet.config.settings import FleetSettings, Flavor
from virtfleet.images.facts import ImageFacts
from virtfleet.model import (
    FleetSnapshot,
    Freshness,
    HostState,
    HostStats,
    HostView,
    Network,
    Pool,
    PoolState,
    Vm,
    VmDisk,
    VmInfo,
    VmNic,
    VmState,
    VmStats,
    Volume,
)
from virtfleet.model.action import Action, CreateVm, DeleteVm, PowerOffVm, ResizeVm, VmRef
