"""The plan of deleting a VM: which of its disks are its own, said disk by disk, before anything goes."""

from __future__ import annotations

from typing import NamedTuple

from virtfleet.actions import storage
from virtfleet.actions.common import (
    answers,
    claim,
    find_vm,
    is_in_state,
    is_there,
    keeps,
    refuse,
    remember,
    volumes_known,
    warning,
)
from virtfleet.actions.maker import promises
from virtfleet.actions.world import World
from virtfleet.model import HostView, Vm, VmDisk, Volume
from virtfleet.model.action import DeleteVm
from virtfleet.model.plan import Condition, Danger, Effect, Plan, Reason, Step, Undo

_LARGEST_SEED = 64 << 20


class Fate(NamedTuple):
    """What becomes of a disk."""

    disk: VmDisk
    volume: Volume | None
    """To be deleted."""
    why: str
    """For people."""


def plan(action: DeleteVm, world: World) -> Plan:
    host, vm = find_vm(world, action.vm)
    if action.volumes != "none":
        volumes_known(host, f"delete {vm.name}")
    problems = []
    if vm.info.protected:
        problems.append(f"{vm.name} is protected")
    if vm.state.active and not action.force:
        problems.append(f"{vm.name} is {vm.state.value}")
    cure = "`vm unprotect` first" if vm.info.protected else "shut it down, or --force powers it off"
    known = {disk.target for disk in vm.info.disks}
    if not isinstance(action.volumes, str):
        problems += [f"{vm.name} has no disk {target}" for target in action.volumes if target not in known]
    fates = [fate(disk, action, host, vm, world) for disk in vm.info.disks if disk.source]
    if not isinstance(action.volumes, str):
        problems += [
            f"{each.disk.target} can't be deleted: {each.why}"
            for each in fates
            if each.disk.target in action.volumes and each.volume is None
        ]
    refuse(problems, f"delete {vm.name}", cure)
    # Two disks may be one volume.
    gone = list({(each.volume.pool, each.volume.name): each.volume for each in fates if each.volume}.values())
    return Plan(
        action=action,
        title=f"delete {vm.name} on {host.name}" + (f" and {len(gone)} of its volumes" if gone else ""),
        verb="vm.delete",
        host=host.name,
        uuid=vm.uuid,
        name=vm.name,
        steps=_steps(action, host, vm, world, gone),
        conditions=_conditions(host, vm, gone),
        effects=_effects(host, vm, gone),
        reasons=_reasons(host, vm, fates, world),
        danger=Danger.IRREVERSIBLE,
        made=world.now,
    )


def fate(disk: VmDisk, action: DeleteVm, host: HostView, vm: Vm, world: World) -> Fate:
    """Whether a disk goes with its VM, and why. Pure."""
    volume = storage.volume_of(disk, host)
    wanted = action.volumes == "own" or (
        not isinstance(action.volumes, str) and disk.target in action.volumes
    )
    if volume is None:
        return Fate(disk, None, f"{disk.source} stays: it is no volume of a pool")
    if not wanted:
        return Fate(disk, None, f"{volume.pool}/{volume.name} stays")
    if disk.device != "disk" and not is_seed(disk, volume):
        return Fate(disk, None, f"{volume.pool}/{volume.name} stays: a medium, not a disk")
    if disk.shareable:
        return Fate(disk, None, f"{volume.pool}/{volume.name} stays: it is shared")
    if user := storage.user_of(volume, host, vm.uuid, world.snapshot):
        how = "uses" if user.vm else "stands on"
        return Fate(disk, None, f"{volume.pool}/{volume.name} stays: {user.text} {how} it")
    return Fate(disk, volume, f"{volume.pool}/{volume.name} is deleted")


def is_seed(disk: VmDisk, volume: Volume) -> bool:
    """Whether it is a seed that we made: the VM may have another name by now."""
    return (
        disk.device == "cdrom"
        and volume.name.endswith("-seed.iso")
        and (volume.capacity or 0) <= _LARGEST_SEED
    )


def _steps(action: DeleteVm, host: HostView, vm: Vm, world: World, gone: list[Volume]) -> tuple[Step, ...]:
    steps = [claim(host.name, vm.uuid, "vm.delete", world.who)]
    # What only the definition knows (NVRAM, snapshots, saved state) does not come back with it.
    final = bool(vm.info.snapshots or vm.info.managed_save or vm.info.firmware == "efi")
    if vm.info.persistent and not final:
        # Before it is powered off: nothing is left of a VM that was transient after all.
        steps.append(remember(host.name, vm.uuid))
    if vm.state.active:
        steps.append(
            Step(
                id="poweroff",
                op="vm.poweroff",
                host=host.name,
                title="power it off"
                if vm.info.persistent
                else "power it off: it is transient, so it is gone",
                args={"uuid": vm.uuid},
                final=not vm.info.persistent,
            )
        )
    if vm.info.persistent:
        steps.append(_undefine(action, host, vm, final))
    steps += [
        Step(
            id=f"delete-{number}",
            op="volume.delete",
            host=host.name,
            title=f"delete volume {volume.name} in pool {volume.pool}",
            args={"pool": volume.pool, "name": volume.name, "path": volume.path, "uuid": vm.uuid},
            timeout=60.0,
            final=True,
        )
        for number, volume in enumerate(gone, 1)
    ]
    return tuple(steps)


def _undefine(action: DeleteVm, host: HostView, vm: Vm, final: bool) -> Step:
    return Step(
        id="undefine",
        op="vm.undefine",
        host=host.name,
        title="undefine it, with its snapshots, NVRAM and saved state",
        args={"uuid": vm.uuid, "name": vm.name, "force": action.force},
        undo=None
        if final
        else Undo(
            op="vm.define_again",
            args={"uuid": vm.uuid, "xml": {"$from": "remember", "key": "xml"}},
            title=f"define {vm.name} again",
        ),
        final=final,
    )


def _conditions(host: HostView, vm: Vm, gone: list[Volume]) -> tuple[Condition, ...]:
    return (
        answers(host),
        is_there(host, vm),
        is_in_state(host, vm),
        keeps(host, vm),
        Condition(
            kind="vm-not-protected", host=host.name, uuid=vm.uuid, name=vm.name, text="it is not protected"
        ),
        Condition(
            kind="vm-sources",
            host=host.name,
            uuid=vm.uuid,
            name=vm.name,
            value=[disk.source for disk in vm.info.disks],
            text="its disks are the same",
        ),
        *(
            Condition(
                kind="volume-unused",
                host=host.name,
                uuid=vm.uuid,
                name=volume.name,
                value=volume.path,
                text=f"nobody else uses {volume.name}",
            )
            for volume in gone
        ),
    )


def _effects(host: HostView, vm: Vm, gone: list[Volume]) -> tuple[Effect, ...]:
    effects = [Effect(what=f"VM {vm.name}", before=vm.state.value, after=None)]
    effects += [
        Effect(
            what=f"volume {volume.pool}/{volume.name}",
            unit="bytes",
            before=volume.allocation or 0,
            after=None,
        )
        for volume in gone
    ]
    effects += promises(host, memory=-vm.info.memory_max, vcpus=-vm.info.vcpus_max)
    return tuple(effects)


def _reasons(host: HostView, vm: Vm, fates: list[Fate], world: World) -> tuple[Reason, ...]:
    reasons = [Reason(text=f"{each.disk.target}: {each.why}") for each in fates]
    gone = [each.volume for each in fates if each.volume is not None]
    silent = dict.fromkeys(name for each in gone for name in storage.silent_seers(each, host, world.snapshot))
    if silent:
        names = ", ".join(silent)
        reasons.append(warning(f"{names} may see these volumes, too, and can't be asked who uses them"))
    if vm.info.snapshots:
        one = vm.info.snapshots == 1
        reasons.append(
            warning("its snapshot goes with it" if one else f"its {vm.info.snapshots} snapshots go with it")
        )
    if vm.info.managed_save:
        reasons.append(warning("its saved state goes with it"))
    if vm.state.active:
        reasons.append(warning(f"it is {vm.state.value}: its guest is not asked"))
    return tuple(reasons)
