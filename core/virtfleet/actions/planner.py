"""The one door to all planning: which family plans which action."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from virtfleet.actions.world import World
from virtfleet.model.action import Action, verb_of
from virtfleet.model.plan import Plan

_POWER = "start shutdown reboot reset poweroff suspend resume save restore"
_IDENTITY = "rename describe assign tag protect autostart"
_POOLS = "start stop refresh autostart build resize"
_FAMILIES = {
    **{f"vm.{verb}": "power" for verb in _POWER.split()},
    **{f"vm.{verb}": "identity" for verb in _IDENTITY.split()},
    "vm.resize": "resize",
    "vm.edit": "edit",
    "vm.delete": "delete",
    "vm.create": "create",
    "vm.clone": "clone",
    "vm.migrate": "moving",
    "vm.settle": "settle",
    **{f"vm.snapshot.{verb}": "snapshots" for verb in ("create", "revert", "delete")},
    **{f"vm.{verb}": "devices" for verb in ("media.insert", "media.eject", "nic.attach", "nic.detach")},
    **{f"host.{verb}": "hosts" for verb in ("disable", "enable")},
    **{f"volume.{verb}": "volumes" for verb in ["create", "delete", "clone", "extend"]},
    **{f"volume.{verb}": "volume_bytes" for verb in ["upload", "download"]},
    **{f"volume.{verb}": "volume_disks" for verb in ["attach", "detach"]},
    **{f"host.{verb}": "draining" for verb in ("drain", "undrain")},
    # Pools
    "pool.create": "pool_create",
    "pool.delete": "pool_delete",
    **{f"pool.{verb}": "pools" for verb in _POOLS.split()},
}
"""Modules of this package, imported when one of their verbs is planned: each has `plan(action, world)`."""


def plan(action: Action, world: World) -> Plan:
    """What doing `action` would mean. Pure. NotFoundError, RefusedError with all reasons."""
    family = import_module(f"virtfleet.actions.{_FAMILIES[verb_of(action)]}")
    made: Callable[[Any, World], Plan] = family.plan
    return made(action, world)
