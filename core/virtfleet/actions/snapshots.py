"""Plans of snapshots."""

from __future__ import annotations

from virtfleet.actions import storage
from virtfleet.actions.common import (
    answers,
    find_vm,
    framed,
    is_in_state,
    is_there,
    name_problem,
    refuse,
    remember,
    warning,
)
from virtfleet.actions.world import World
from virtfleet.model import HostView, Vm
from virtfleet.model.action import CreateSnapshot, DeleteSnapshot, RevertSnapshot
from virtfleet.model.plan import Condition, Danger, Effect, Plan, Reason, Step, Undo

Snapshots = CreateSnapshot | RevertSnapshot | DeleteSnapshot
_QCOW2 = "qcow2"


def plan(action: Snapshots, world: World) -> Plan:
    host, vm = find_vm(world, action.vm)
    match action:
        case CreateSnapshot():
            return _create(action, host, vm, world)
        case RevertSnapshot():
            return _revert(action, host, vm, world)
        case DeleteSnapshot():
            return _delete(action, host, vm, world)


def _plan(
    action: Snapshots,
    title: str,
    host: HostView,
    vm: Vm,
    world: World,
    steps: Step | tuple[Step, ...],
    effect: Effect,
    *,
    danger: Danger,
    reasons: tuple[Reason, ...] = (),
    conditions: tuple[Condition, ...] = (),
) -> Plan:
    tag = str(type(action).__struct_config__.tag)
    steps = steps if isinstance(steps, tuple) else (steps,)
    return Plan(
        action=action,
        title=f"{title} on {host.name}",
        verb=tag,
        host=host.name,
        uuid=vm.uuid,
        name=vm.name,
        steps=framed(host.name, vm.uuid, tag, world.who, steps),
        conditions=(answers(host), is_there(host, vm), *conditions),
        effects=(effect,),
        reasons=reasons,
        danger=danger,
        made=world.now,
    )


def _create(action: CreateSnapshot, host: HostView, vm: Vm, world: World) -> Plan:
    problems = [problem] if (problem := name_problem(action.name, "snapshot's name")) else []
    disks = [disk for disk in vm.info.disks if disk.device == "disk" and not disk.readonly]
    if not disks:
        problems.append(f"{vm.name} has no disk")
    if not action.disk_only:
        problems += [
            f"{disk.target} is {disk.format or 'raw'}, which keeps no snapshots in itself"
            for disk in disks
            if disk.format and disk.format != _QCOW2
        ]
    if action.quiesce and not action.disk_only:
        problems.append("quiesce goes with disk-only snapshots; with memory nothing is in flight")
    if action.quiesce and not vm.info.agent:
        problems.append(f"{vm.name} has no guest agent that answers, which quiesce needs")
    if action.quiesce and not vm.state.active:
        problems.append(f"{vm.name} is {vm.state.value}: there is nothing to quiesce")
    refuse(
        problems, f"snapshot {vm.name}", "disk-only works with every format" if not action.disk_only else ""
    )
    memory = vm.state.active and not action.disk_only
    step = Step(
        id="snapshot",
        op="vm.snapshot.create",
        host=host.name,
        title=f"keep its state as {action.name}" + (", with its memory" if memory else ""),
        args={
            "uuid": vm.uuid,
            "name": action.name,
            "description": action.description,
            "disk_only": action.disk_only,
            "quiesce": action.quiesce,
        },
        timeout=120.0,
        undo=Undo(
            op="vm.snapshot.delete",
            args={"uuid": vm.uuid, "name": action.name, "children": False, "ours": True},
            title=f"delete snapshot {action.name}",
        ),
    )
    reasons = []
    if memory:
        reasons.append(Reason(text="its guest stands still while its memory is written"))
    if action.disk_only:
        reasons.append(Reason(text="its disks go on in new files that stand on the present ones"))
    count = vm.info.snapshots or 0
    return _plan(
        action,
        f"snapshot {action.name} of {vm.name}",
        host,
        vm,
        world,
        step,
        Effect(what="snapshots", unit="count", before=count, after=count + 1),
        danger=Danger.CONFIRM if memory else Danger.NONE,
        reasons=tuple(reasons),
        conditions=(is_in_state(host, vm),),
    )


def _revert(action: RevertSnapshot, host: HostView, vm: Vm, world: World) -> Plan:
    problems = []
    if vm.info.protected:
        problems.append(f"{vm.name} is protected")
    if vm.info.snapshots == 0:
        problems.append(f"{vm.name} has no snapshots")
    problems += [
        f"the disk of {', '.join(each.users)} stands on its disk {each.target}, and would be ruined"
        for each in storage.dependants(host, vm, world.snapshot)
        if each.users
    ]
    refuse(problems, f"revert {vm.name}", "`vm unprotect` first" if vm.info.protected else "")
    step = Step(
        id="revert",
        op="vm.snapshot.revert",
        host=host.name,
        title=f"back to {action.snapshot}",
        args={
            "uuid": vm.uuid,
            "name": action.snapshot,
            "keep": {"$from": "remember", "key": "xml"},
        },
        timeout=120.0,
        final=True,
    )
    return _plan(
        action,
        f"revert {vm.name} to {action.snapshot}",
        host,
        vm,
        world,
        (remember(host.name, vm.uuid), step),
        Effect(what=f"{vm.name} state", before=vm.state.value, after=f"as in {action.snapshot}"),
        danger=Danger.IRREVERSIBLE,
        reasons=(
            warning(f"all that was written since {action.snapshot} is lost"),
            Reason(text="its definition is as it was then; project, tags and protection stay as they are"),
        ),
        conditions=(
            Condition(
                kind="vm-not-protected",
                host=host.name,
                uuid=vm.uuid,
                name=vm.name,
                text="it is not protected",
            ),
        ),
    )


def _delete(action: DeleteSnapshot, host: HostView, vm: Vm, world: World) -> Plan:
    if vm.info.snapshots == 0:
        refuse([f"{vm.name} has no snapshots"], f"delete snapshot {action.snapshot}")
    more = " and all that were made after it" if action.children else ""
    step = Step(
        id="delete",
        op="vm.snapshot.delete",
        host=host.name,
        title=f"forget snapshot {action.snapshot}{more}",
        args={"uuid": vm.uuid, "name": action.snapshot, "children": action.children},
        timeout=120.0,
        final=True,
    )
    count = vm.info.snapshots
    return _plan(
        action,
        f"delete snapshot {action.snapshot} of {vm.name}",
        host,
        vm,
        world,
        step,
        Effect(
            what="snapshots",
            unit="count",
            before=count,
            after=None if action.children or count is None else count - 1,
        ),
        danger=Danger.CONFIRM,
        reasons=(Reason(text="the VM itself stays as it is"),),
    )
