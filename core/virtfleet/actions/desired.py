"""From the VMs that shall be to the actions that make it so. Pure; the second time there are none.

Only what a file gives is compared: a key that it leaves out may be as it
likes. A VM is found by its name, on its host if one is given; two of the name
are an error, never a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from virtfleet.actions.batch import Wanted
from virtfleet.config.settings import Flavor
from virtfleet.errors import AmbiguousError, ConfigError
from virtfleet.model import FleetSnapshot, HostView, Vm
from virtfleet.model.action import (
    Action,
    AssignVm,
    DeleteVm,
    DescribeVm,
    ProtectVm,
    ResizeVm,
    SetAutostart,
    ShutdownVm,
    StartVm,
    TagVm,
    VmRef,
)

_ONLY_AT_BIRTH = "is only used when it is created"


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What to do, in this order for each VM; different VMs may be done at once."""

    create: tuple[Action, ...] = ()
    change: tuple[tuple[Action, ...], ...] = ()
    """For each VM that differs, its actions in their order."""
    delete: tuple[Action, ...] = ()
    notes: tuple[str, ...] = ()
    """What differs and can't be changed."""


def changes(
    wanted: Sequence[Wanted],
    snapshot: FleetSnapshot,
    flavors: Mapping[str, Flavor],
    prunable: Callable[[HostView, Vm], bool],
) -> Changes:
    """`prunable`: whether a VM may be deleted when the file does not want it.

    AmbiguousError: two VMs bear a wanted name. ConfigError: an unknown flavor.
    """
    create: list[Action] = []
    change: list[tuple[Action, ...]] = []
    notes: list[str] = []
    kept: set[tuple[str, str]] = set()
    by_name: dict[str, list[tuple[HostView, Vm]]] = {}
    for host in snapshot.hosts.values():
        for vm in host.vms:
            by_name.setdefault(vm.name, []).append((host, vm))
    for each in wanted:
        found = [
            (host, vm)
            for host, vm in by_name.get(each.create.name, ())
            if each.create.host in ("", host.name)
        ]
        if len(found) > 1:
            places = ", ".join(host.name for host, _ in found)
            raise AmbiguousError(
                f"{each.where}: {len(found)} VMs are called {each.create.name}, on {places}",
                cure="say which by host:",
            )
        if not found:
            create.append(each.create)
            continue
        host, vm = found[0]
        kept.add((host.name, vm.uuid))
        actions = difference(each, host, vm, flavors)
        if actions:
            change.append(actions)
        notes += _notes(each, host, vm)
    delete = tuple(
        DeleteVm(vm=VmRef(host.name, vm.uuid, vm.name), volumes="own", force=True)
        for host in snapshot.hosts.values()
        for vm in host.vms
        if (host.name, vm.uuid) not in kept and prunable(host, vm)
    )
    return Changes(create=tuple(create), change=tuple(change), delete=delete, notes=tuple(notes))


def difference(wanted: Wanted, host: HostView, vm: Vm, flavors: Mapping[str, Flavor]) -> tuple[Action, ...]:
    """The actions that make `vm` as it is wanted; none if it is so."""
    want, info = wanted.create, vm.info
    ref = VmRef(host.name, vm.uuid, vm.name)
    given = wanted.given
    found: list[Action] = []
    if resize := _resize(wanted, ref, vm, flavors):
        found.append(resize)
    if "tags" in given:
        add = tuple(tag for tag in dict.fromkeys(want.tags) if tag not in info.tags)
        remove = tuple(tag for tag in info.tags if tag not in want.tags)
        if add or remove:
            found.append(TagVm(vm=ref, add=add, remove=remove))
    texts: dict[str, Any] = {
        key: getattr(want, key)
        for key in ("title", "description")
        if key in given and getattr(want, key) != getattr(info, key)
    }
    if texts:
        found.append(DescribeVm(vm=ref, **texts))
    places: dict[str, Any] = {
        key: getattr(want, key)
        for key in ("project", "group")
        if key in given and getattr(want, key) != getattr(info, key)
    }
    if places:
        found.append(AssignVm(vm=ref, **places))
    if "protected" in given and want.protected != info.protected:
        found.append(ProtectVm(vm=ref, on=want.protected))
    if "autostart" in given and want.autostart != info.autostart:
        found.append(SetAutostart(vm=ref, on=want.autostart))
    if wanted.state == "running" and not vm.state.active:
        found.append(StartVm(vm=ref))
    if wanted.state == "shutoff" and vm.state.active:
        found.append(ShutdownVm(vm=ref))
    return tuple(found)


def _resize(wanted: Wanted, ref: VmRef, vm: Vm, flavors: Mapping[str, Flavor]) -> ResizeVm | None:
    want, given = wanted.create, wanted.given
    flavor = None
    if "flavor" in given:
        flavor = flavors.get(want.flavor)
        if flavor is None:
            raise ConfigError(
                f"no flavor {want.flavor!r}",
                where=wanted.where,
                cure=f"flavors: {', '.join(flavors) or 'none'}",
            )
    vcpus = want.vcpus if want.vcpus is not None else flavor.vcpus if flavor else None
    memory = want.memory if want.memory is not None else flavor.memory if flavor else None
    info = vm.info
    differs = (vcpus is not None and vcpus != info.vcpus_max) or (
        memory is not None and memory // 1024 != info.memory_max // 1024
    )
    if flavor is not None and want.vcpus is None and want.memory is None:
        return ResizeVm(vm=ref, flavor=want.flavor) if differs or info.flavor != want.flavor else None
    return ResizeVm(vm=ref, flavor=want.flavor, vcpus=want.vcpus, memory=want.memory) if differs else None


def _notes(wanted: Wanted, host: HostView, vm: Vm) -> list[str]:
    """Differences that no action makes good."""
    want = wanted.create
    notes = []
    if "zone" in wanted.given and want.zone != host.zone:
        notes.append(f"{vm.name} is in zone {host.zone or '—'}, not in {want.zone}; that {_ONLY_AT_BIRTH}")
    if "networks" in wanted.given:
        have = {nic.source for nic in vm.info.nics}
        lacks = [name for name in want.networks if name.removeprefix("bridge:") not in have]
        if lacks:
            notes.append(f"{vm.name} has no NIC on {', '.join(lacks)}; `vm nic attach` gives it one")
    return notes
