"""Plans of media and network interfaces."""

from __future__ import annotations

from virtfleet.actions.common import (
    answers,
    find_vm,
    framed,
    is_there,
    mac_owner,
    mac_problem,
    refuse,
)
from virtfleet.actions.macs import Macs
from virtfleet.actions.world import World
from virtfleet.model import HostView, Vm, VmDisk
from virtfleet.model.action import AttachNic, DetachNic, EjectMedia, InsertMedia
from virtfleet.model.plan import Condition, Danger, Effect, Plan, Reason, Step, Undo

Devices = InsertMedia | EjectMedia | AttachNic | DetachNic


def plan(action: Devices, world: World) -> Plan:
    host, vm = find_vm(world, action.vm)
    match action:
        case InsertMedia():
            return _insert(action, host, vm, world)
        case EjectMedia():
            return _eject(action, host, vm, world)
        case AttachNic():
            return _attach(action, host, vm, world)
        case DetachNic():
            return _detach(action, host, vm, world)


def _plan(
    action: Devices,
    title: str,
    host: HostView,
    vm: Vm,
    world: World,
    step: Step | None,
    effect: Effect,
    *,
    nothing: str = "",
    conditions: tuple[Condition, ...] = (),
    danger: Danger = Danger.NONE,
    reasons: tuple[Reason, ...] = (),
) -> Plan:
    tag = str(type(action).__struct_config__.tag)
    if step is None:
        reasons = (Reason(text=nothing),)
    return Plan(
        action=action,
        title=f"{title} on {host.name}",
        verb=tag,
        host=host.name,
        uuid=vm.uuid,
        name=vm.name,
        steps=framed(host.name, vm.uuid, tag, world.who, (step,)) if step is not None else (),
        conditions=(answers(host), is_there(host, vm), *conditions) if step is not None else (),
        effects=(effect,) if step is not None else (),
        reasons=reasons,
        danger=danger if step is not None else Danger.NONE,
        made=world.now,
    )


def _drive(vm: Vm, target: str, what: str) -> VmDisk:
    drives = [disk for disk in vm.info.disks if disk.device == "cdrom"]
    found = next((disk for disk in drives if target in ("", disk.target)), None)
    if found is None:
        there = ", ".join(disk.target for disk in drives) or "none"
        refuse([f"{vm.name} has no CD-ROM drive {target}".rstrip() + f" (there: {there})"], what)
        raise AssertionError
    return found


def _insert(action: InsertMedia, host: HostView, vm: Vm, world: World) -> Plan:
    what = f"insert {action.pool}/{action.volume}"
    drive = _drive(vm, action.target, what)
    volume = next(
        (each for each in host.volumes if (each.pool, each.name) == (action.pool, action.volume)), None
    )
    if volume is None:
        refuse([f"there is no volume {action.pool}/{action.volume} on {host.name}"], what)
        raise AssertionError
    inside = (
        next((each for each in host.volumes if each.path == drive.source), None) if drive.source else None
    )
    before = {"pool": inside.pool, "volume": inside.name} if inside is not None else None
    ours = {"pool": action.pool, "volume": action.volume}
    step = Step(
        id="insert",
        op="vm.media.insert",
        host=host.name,
        title=f"insert {action.volume} in {drive.target}",
        args={"uuid": vm.uuid, "target": drive.target, "pool": action.pool, "volume": action.volume},
        undo=Undo(
            op="vm.media.insert",
            args={"uuid": vm.uuid, "target": drive.target, **before, "expect": ours},
            title="as it was",
        )
        if before
        else Undo(
            op="vm.media.eject",
            args={"uuid": vm.uuid, "target": drive.target, "expect": ours},
            title="take it out",
        ),
    )
    return _plan(
        action,
        f"insert {action.volume} in {vm.name}",
        host,
        vm,
        world,
        step if drive.source != volume.path else None,
        Effect(what=drive.target, before=drive.source or "empty", after=volume.path),
        nothing="it is in there already",
    )


def _eject(action: EjectMedia, host: HostView, vm: Vm, world: World) -> Plan:
    drive = _drive(vm, action.target, f"eject the medium of {vm.name}")
    inside = (
        next((each for each in host.volumes if each.path == drive.source), None) if drive.source else None
    )
    step = Step(
        id="eject",
        op="vm.media.eject",
        host=host.name,
        title=f"take {drive.source} out of {drive.target}",
        args={"uuid": vm.uuid, "target": drive.target},
        undo=Undo(
            op="vm.media.insert",
            args={
                "uuid": vm.uuid,
                "target": drive.target,
                "pool": inside.pool,
                "volume": inside.name,
                "expect": {},
            },
            title="put it back",
        )
        if inside is not None
        else None,
    )
    return _plan(
        action,
        f"eject the medium of {vm.name}",
        host,
        vm,
        world,
        step if drive.source else None,
        Effect(what=drive.target, before=drive.source, after="empty"),
        nothing=f"{drive.target} is empty",
    )


def _attach(action: AttachNic, host: HostView, vm: Vm, world: World) -> Plan:
    problems = []
    if bool(action.network) == bool(action.bridge):
        problems.append("a network or a bridge: one of the two")
    network = next((each for each in host.networks if each.name == action.network), None)
    if action.network and network is None:
        some = ", ".join(each.name for each in host.networks) or "none"
        problems.append(f"there is no network {action.network} on {host.name} (there: {some})")
    elif network is not None and not network.active:
        problems.append(f"network {action.network} is not active")
    if action.mac:
        if problem := mac_problem(action.mac):
            problems.append(problem)
        elif owner := mac_owner(world, action.mac):
            problems.append(f"{action.mac} belongs to {owner}")
    refuse(problems, f"attach a NIC to {vm.name}")
    mac = action.mac.lower() or Macs(world).new()
    model = action.model or next((nic.model for nic in vm.info.nics if nic.model), "") or "virtio"
    where = f"network {action.network}" if action.network else f"bridge {action.bridge}"
    step = Step(
        id="attach",
        op="vm.nic.attach",
        host=host.name,
        title=f"attach {mac} to {where}",
        args={
            "uuid": vm.uuid,
            "mac": mac,
            "network": action.network,
            "bridge": action.bridge,
            "model": model if host.facts is None or host.facts.hypervisor != "LXC" else "",
        },
        undo=Undo(op="vm.nic.detach", args={"uuid": vm.uuid, "mac": mac}, title=f"detach {mac}"),
    )
    conditions: tuple[Condition, ...] = ()
    if action.network:
        conditions = (
            Condition(kind="network-active", host=host.name, name=action.network, text=f"{where} is active"),
        )
    count = len(vm.info.nics)
    return _plan(
        action,
        f"attach a NIC to {vm.name}",
        host,
        vm,
        world,
        step,
        Effect(what="NICs", unit="count", before=count, after=count + 1),
        conditions=conditions,
    )


def _detach(action: DetachNic, host: HostView, vm: Vm, world: World) -> Plan:
    nic = next((each for each in vm.info.nics if each.mac.lower() == action.mac.lower()), None)
    if nic is None:
        some = ", ".join(each.mac for each in vm.info.nics) or "none"
        refuse([f"{vm.name} has no NIC {action.mac} (there: {some})"], "detach a NIC")
        raise AssertionError
    step = Step(
        id="detach",
        op="vm.nic.detach",
        host=host.name,
        title=f"detach {nic.mac} from {nic.source}",
        args={"uuid": vm.uuid, "mac": nic.mac},
        undo=Undo(
            op="vm.nic.attach",
            args={
                "uuid": vm.uuid,
                "mac": nic.mac,
                "network": nic.source if nic.type == "network" else "",
                "bridge": nic.source if nic.type == "bridge" else "",
                "model": nic.model,
            },
            title=f"attach {nic.mac} again",
        )
        if nic.type in ("network", "bridge")
        else None,
    )
    count = len(vm.info.nics)
    return _plan(
        action,
        f"detach {nic.mac} from {vm.name}",
        host,
        vm,
        world,
        step,
        Effect(what="NICs", unit="count", before=count, after=count - 1),
        danger=Danger.CONFIRM,
        reasons=(Reason(text=f"its guest loses {', '.join(nic.addresses)}"),) if nic.addresses else (),
    )
