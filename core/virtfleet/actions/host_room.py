"""Whether a host can promise a VM that stays on it more, or one more like it: for resizing and cloning."""

from __future__ import annotations

from typing import Any

from virtfleet.actions.world import World
from virtfleet.model import HostView, Vm
from virtfleet.query.display import format_value
from virtfleet.query.field import Unit


def limits(host: HostView, world: World) -> dict[str, Any]:
    """vCPUs and memory that may be promised on the host in all, for the claim that is made there."""
    found = world.followed().limits(host.name, "")
    return {name: found[name] for name in ("vcpus", "memory") if name in found}


def no_room(host: HostView, vm: Vm | None, world: World, vcpus: int | None, memory: int | None) -> list[str]:
    """Why the host can't promise so much to `vm`, or to a new one. What does not grow is always allowed.

    `memory` in bytes; None: as it is.
    """
    most, beside = limits(host, world), world.promised(host.name)
    own = vm.info if vm is not None else None
    found = []
    if vcpus and "vcpus" in most and vcpus > (had := own.vcpus_max if own else 0):
        free = most["vcpus"] - sum(each.info.vcpus_max for each in host.vms) - beside.vcpus + had
        if vcpus > free:
            found.append(f"{vcpus} vCPUs are wanted, free {max(0, free)} of {most['vcpus']} on {host.name}")
    if memory and "memory" in most and memory > (had := own.memory_max if own else 0):
        free = most["memory"] - sum(each.info.memory_max for each in host.vms) - beside.memory + had
        if memory > free:
            of = f"{_size(max(0, free))} of {_size(most['memory'])}"
            found.append(f"{_size(memory)} of memory are wanted, free {of} on {host.name}")
    return found


def _size(count: int) -> str:
    return format_value(count, Unit.BYTES)
