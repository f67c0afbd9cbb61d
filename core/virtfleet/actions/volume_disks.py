"""Plans of attaching volumes to VMs and of detaching them."""

from __future__ import annotations

import hashlib
import re

from msgspec.structs import replace

from virtfleet.actions import storage
from virtfleet.actions.common import answers, find_vm, framed, is_there, refuse, remember
from virtfleet.actions.quotas import within_quota
from virtfleet.actions.volume_choice import FILES, find_volume, identity, shown
from virtfleet.actions.volumes import silent
from virtfleet.actions.world import World
from virtfleet.decide.quotas import project_of, type_of, use_of
from virtfleet.model import HostView, Vm, Volume
from virtfleet.model.action_volumes import AttachVolume, DetachVolume
from virtfleet.model.plan import Condition, Danger, Effect, Plan, Reason, Step, Undo
from virtfleet.model.project import Claim, Use, VolumeUse

_BLOCKS = ("logical", "zfs", "disk", "iscsi", "scsi")
_LONGEST_SERIAL = 20
"""Bytes: of a virtio disk the guest sees no more."""
_SERIAL = re.compile(r"[A-Za-z0-9_.-]{1,36}", re.ASCII)


def plan(action: AttachVolume | DetachVolume, world: World) -> Plan:
    return _attach(action, world) if isinstance(action, AttachVolume) else _detach(action, world)


def serial_of(volume: Volume, storage_id: str) -> str:
    """A serial that fits: the volume's name, else a hash that tells it apart."""
    stem = volume.name.removesuffix(".qcow2").removesuffix(".img").removesuffix(".raw")
    if len(stem) <= _LONGEST_SERIAL and _SERIAL.fullmatch(stem):
        return stem
    return f"vf-{hashlib.sha256(storage_id.encode()).hexdigest()[:16]}"


def _attach(action: AttachVolume, world: World) -> Plan:
    vm_host, vm = find_vm(world, action.vm)
    host, volume = find_volume(world, action.volume)
    what = f"attach {volume.pool}/{volume.name} to {vm.name}"
    problems = []
    if vm_host.name != host.name:
        seen = storage.seen_from(vm_host, volume, host, world.snapshot)
        if seen is None:
            refuse(
                [f"{vm_host.name}, where {vm.name} is, does not see pool {volume.pool} of {host.name}"], what
            )
            raise AssertionError
        host, volume = vm_host, seen
    pool = next((each for each in host.pools if each.name == volume.pool), None)
    kind = pool.type if pool is not None else ""
    if vm.info.os_type == "exe":
        problems.append(f"{vm.name} is a container")
    if kind not in (*FILES, *_BLOCKS):
        problems.append(f"volumes of a pool of type {kind or 'unknown'} can't be attached by us yet")
    form = volume.format or "raw"
    if form not in ("raw", "qcow2", "iso"):
        problems.append(f"a volume of format {form} is no disk")
    if action.shareable and form != "raw":
        problems.append(f"only raw volumes can be shared: two VMs would ruin a {form}")
    if action.serial and (not _SERIAL.fullmatch(action.serial) or _too_long(action)):
        most = _LONGEST_SERIAL if action.bus == "virtio" else 36
        problems.append(
            f"{action.serial!a} is no serial: up to {most} letters, digits, dots, dashes, underscores"
        )
    problems += _others(action, volume, host, vm, world)
    refuse(problems, what)
    serial = action.serial or serial_of(volume, identity(host, volume))
    args = {
        "uuid": vm.uuid,
        "pool": volume.pool,
        "name": volume.name,
        "path": volume.path,
        "format": "qcow2" if form == "qcow2" else "raw",
        "bus": action.bus,
        "serial": serial,
        "readonly": action.readonly,
        "shareable": action.shareable,
        "block": kind in _BLOCKS,
    }
    step = Step(
        id="attach",
        op="volume.attach",
        host=host.name,
        title=f"attach {volume.name} on {action.bus} with the serial {serial}",
        args=args,
        undo=Undo(
            op="volume.detach",
            args={"uuid": vm.uuid, "path": volume.path, "name": volume.name},
            title=f"detach {volume.name}",
        ),
    )
    is_in = any(volume.path and disk.source == volume.path for disk in vm.info.disks)
    claims = () if is_in else _claims(volume, host, vm, world)
    within_quota(claims, world, what)
    how = [word for word, on in (("read-only", action.readonly), ("shareable", action.shareable)) if on]
    tail = f" ({', '.join(how)})" if how else ""
    reasons = [Reason(text="it has it already")] if is_in else list(silent(volume, host, world))
    return _plan(
        action,
        f"{what} on {host.name}{tail}",
        host,
        vm,
        world,
        () if is_in else (step,),
        (
            Condition(
                kind="volume-users",
                host=host.name,
                name=volume.name,
                value={"path": volume.path, "users": _users(volume, host, world)},
                text=f"the VMs that have {volume.name} are the same",
            ),
        ),
        Effect(what=f"disks of {vm.name}", unit="count", before=_count(vm), after=_count(vm) + 1),
        tuple(reasons),
        claims,
    )


def _too_long(action: AttachVolume) -> bool:
    return action.bus == "virtio" and len(action.serial) > _LONGEST_SERIAL


def _others(action: AttachVolume, volume: Volume, host: HostView, vm: Vm, world: World) -> list[str]:
    """Who has it in a way that does not go together with this."""
    found = []
    everywhere = storage.everywhere(volume, host, world.snapshot)
    pools = {seer.name: names for seer, names in everywhere.seers}
    for seer, other in storage.vms_on(volume, host, world.snapshot):
        if (seer.name, other.uuid) == (host.name, vm.uuid):
            continue
        disks = [disk for disk in other.info.disks if storage.is_on(disk, everywhere, pools[seer.name])]
        together = all(
            (disk.shareable and action.shareable) or (disk.readonly and action.readonly) for disk in disks
        )
        if not together:
            found.append(f"{other.name}@{seer.name} has it")
    if not action.readonly:
        for _, each in storage.overlays_of(volume, host, world.snapshot):
            found.append(f"{each.pool}/{each.name} stands on it, and would be ruined by what is written")
    return found


def _users(volume: Volume, host: HostView, world: World) -> list[str]:
    return sorted(f"{vm.name}@{seer.name}" for seer, vm in storage.vms_on(volume, host, world.snapshot))


def _count(vm: Vm) -> int:
    return sum(disk.device == "disk" for disk in vm.info.disks)


def _claims(volume: Volume, host: HostView, vm: Vm, world: World) -> tuple[Claim, ...]:
    """What it takes of the VM's project; nothing new if the volume was made for that."""
    project = project_of(vm)
    if world.owners.get(identity(host, volume)) == project:
        return ()
    kind = type_of(host, volume.pool, world.settings)
    size = volume.capacity or 0
    more = Use(volumes=1, capacity=size, types={kind: VolumeUse(1, size)} if kind else {})
    use = use_of(host, vm, world.settings).plus(more)
    return (Claim(project=project, uuid=vm.uuid, name=vm.name, use=use),)


def _detach(action: DetachVolume, world: World) -> Plan:
    host, vm = find_vm(world, action.vm)
    ref = action.volume
    what = f"detach {ref.pool}/{ref.name} from {vm.name}"
    volume = storage.volume_named(host, ref.pool, ref.name)
    if volume is None:
        where, volume = find_volume(world, ref)
        volume = storage.seen_from(host, volume, where, world.snapshot)
    disk = next(
        (each for each in vm.info.disks if volume is not None and storage.volume_of(each, host) == volume),
        None,
    )
    if disk is None or volume is None:
        there = ", ".join(each.source for each in vm.info.disks if each.source) or "none"
        refuse([f"{vm.name} does not have it (its disks: {there})"], what)
        raise AssertionError
    if disk.device != "disk":
        refuse([f"it is a medium in drive {disk.target}"], what, "`vm media eject` takes it out")
    step = Step(
        id="detach",
        op="volume.detach",
        host=host.name,
        title=f"detach {volume.name} ({disk.target})",
        args={"uuid": vm.uuid, "path": volume.path, "name": volume.name},
        timeout=60.0,
        undo=Undo(
            op="volume.reattach",
            args={"uuid": vm.uuid, "path": volume.path, "xml": {"$from": "remember", "key": "xml"}},
            title=f"attach {volume.name} again",
        ),
    )
    size = f" of {shown(volume.capacity)}" if volume.capacity else ""
    reasons = (Reason(text=f"its guest loses the disk {disk.target}{size}", warning=vm.state.active),)
    return _plan(
        action,
        f"{what} on {host.name}",
        host,
        vm,
        world,
        (remember(host.name, vm.uuid), step),
        (),
        Effect(what=f"disks of {vm.name}", unit="count", before=_count(vm), after=_count(vm) - 1),
        reasons,
        (),
        Danger.CONFIRM,
    )


def _plan(
    action: AttachVolume | DetachVolume,
    title: str,
    host: HostView,
    vm: Vm,
    world: World,
    steps: tuple[Step, ...],
    conditions: tuple[Condition, ...],
    effect: Effect,
    reasons: tuple[Reason, ...],
    claims: tuple[Claim, ...],
    danger: Danger = Danger.NONE,
) -> Plan:
    verb = str(type(action).__struct_config__.tag)
    made = Plan(
        action=action,
        title=title,
        verb=verb,
        host=host.name,
        uuid=vm.uuid,
        name=vm.name,
        reasons=reasons,
        made=world.now,
    )
    if not steps:
        return made
    return replace(
        made,
        steps=framed(host.name, vm.uuid, verb, world.who, steps),
        conditions=(answers(host), is_there(host, vm), *conditions),
        effects=(effect,),
        claims=claims,
        danger=danger,
    )
