"""The plan of a copy of a VM on its host: full, or linked to the original's disks."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from virtfleet.actions.choose_pool import choose_pool
from virtfleet.actions.common import (
    answers,
    find_vm,
    is_in_state,
    is_there,
    name_is_free,
    name_problem,
    pool_has_room,
    refuse,
    release,
    volume_is_free,
    warning,
)
from virtfleet.actions.host_room import no_room
from virtfleet.actions.macs import Macs
from virtfleet.actions.maker import promises
from virtfleet.actions.maker_disks import seed_step
from virtfleet.actions.quotas import claim_for, within_quota
from virtfleet.actions.room import OVERLAY_ROOM, SEED_ROOM
from virtfleet.actions.tying import alone
from virtfleet.actions.world import World
from virtfleet.model import HostView, Vm, VmDisk, Volume
from virtfleet.model.action import CloneVm, Seed
from virtfleet.model.plan import Condition, Danger, Effect, Plan, Reason, Step, Undo


def plan(action: CloneVm, world: World) -> Plan:
    host, vm = find_vm(world, action.vm)
    problems = [problem] if (problem := name_problem(action.name)) else []
    if any(other.name == action.name for other in host.vms):
        problems.append(f"a VM called {action.name} is on {host.name} already")
    if vm.state.active:
        problems.append(f"{vm.name} is {vm.state.value}: a copy of disks in use would be torn")
    if own := alone(vm):
        problems.append(f"{vm.name} has {own} for itself, which a copy would have, too")
    disks = [disk for disk in vm.info.disks if disk.device == "disk" and disk.source]
    volumes: dict[str, Volume] = {}
    for disk in disks:
        volume = next((each for each in host.volumes if each.path == disk.source), None)
        if volume is None:
            problems.append(f"{disk.target} ({disk.source}) is no volume of a pool")
        else:
            volumes[disk.target] = volume
    seed_disk = next((disk for disk in vm.info.disks if disk.source.endswith(f"/{vm.name}-seed.iso")), None)
    if seed_disk is None and action.seed is not None:
        empty = (disk for disk in vm.info.disks if disk.device == "cdrom" and not disk.source)
        seed_disk = next(empty, None)
        if seed_disk is None:
            problems.append(f"{vm.name} has no empty CD-ROM drive, which a seed needs")
    refuse(problems, f"clone {vm.name}", "shut it down" if vm.state.active else "")
    uuid = world.new_uuid()
    conditions: list[Condition] = [
        answers(host),
        is_there(host, vm),
        is_in_state(host, vm),
        name_is_free(host.name, action.name),
    ]
    steps: list[Step] = []
    replaced: dict[str, Any] = {}
    reasons: list[Reason] = []
    effects: list[Effect] = []
    room: dict[str, int] = {}
    """Bytes that are taken of each pool."""
    for number, disk in enumerate(disks):
        volume = volumes[disk.target]
        step, made = _disk(action, host, disk, volume, number, uuid)
        pool = step.args["pool"]
        conditions.append(volume_is_free(host, pool, made["volume"], f"clone {vm.name}"))
        room[pool] = room.get(pool, 0) + (step.bytes or OVERLAY_ROOM)
        steps.append(step)
        replaced[disk.target] = made
    if seed_disk is not None:
        pool = action.pool or next((each.pool for each in volumes.values()), "")
        pool = choose_pool(host, pool, lambda _: SEED_ROOM)[0].name
        name = f"{action.name}-seed.iso"
        conditions.append(volume_is_free(host, pool, name, f"clone {vm.name}"))
        room[pool] = room.get(pool, 0) + SEED_ROOM
        # What the original's seed gave is on its disk by now: a new one gives the new name.
        steps.append(seed_step(host.name, pool, name, uuid, action.name, action.seed or Seed(), None))
        replaced[seed_disk.target] = {"pool": pool, "volume": name, "format": "raw"}
    if action.linked:
        reasons.append(warning(f"{vm.name} must not be started as long as {action.name} stands on its disks"))
    steps += _definition(action, host, vm, world, uuid, replaced)
    for name, bytes_ in room.items():
        choose_pool(host, name, lambda _, bytes_=bytes_: bytes_)  # type: ignore[misc] # refuses without room
        conditions.append(pool_has_room(host, name, bytes_))
    claims = (replace(claim_for(host, vm, world), uuid=uuid, name=action.name),)
    within_quota(claims, world, f"clone {vm.name}")
    refuse(no_room(host, None, world, vm.info.vcpus_max, vm.info.memory_max), f"clone {vm.name}")
    effects += promises(host, memory=vm.info.memory_max, vcpus=vm.info.vcpus_max)
    kind = "linked clone" if action.linked else "clone"
    return Plan(
        action=action,
        title=f"{kind} {action.name} of {vm.name} on {host.name}",
        verb="vm.clone",
        host=host.name,
        uuid=uuid,
        name=action.name,
        steps=tuple(steps),
        conditions=tuple(conditions),
        effects=tuple(effects),
        reasons=tuple(reasons),
        claims=claims,
        danger=Danger.CONFIRM if action.linked else Danger.NONE,
        made=world.now,
    )


def _disk(
    action: CloneVm, host: HostView, disk: VmDisk, volume: Volume, number: int, uuid: str
) -> tuple[Step, dict[str, Any]]:
    suffix = f"-{disk.target}" if number else ""
    form = "qcow2" if action.linked else (volume.format or disk.format or "raw")
    name = f"{action.name}{suffix}.{'qcow2' if form == 'qcow2' else 'img'}"
    pool = action.pool or volume.pool
    undo_args: dict[str, Any] = {"pool": pool, "name": name, "uuid": uuid}
    if action.linked:
        backing = {
            "pool": volume.pool,
            "volume": volume.name,
            "format": volume.format or disk.format or "raw",
        }
        op, title = "volume.create", f"overlay {name} in pool {pool} on {volume.name}"
        args: dict[str, Any] = {
            "pool": pool,
            "name": name,
            "capacity": volume.capacity or 0,
            "format": "qcow2",
            "backing": backing,
        }
        undo_args["made"] = {"capacity": args["capacity"], "format": "qcow2", "backing": backing}
    else:
        op, title = "volume.clone", f"copy {volume.name} to {name} in pool {pool}"
        args = {
            "pool": pool,
            "name": name,
            "from_pool": volume.pool,
            "from_volume": volume.name,
            "format": form,
        }
    step = Step(
        id=f"disk-{disk.target}",
        op=op,
        host=host.name,
        title=title,
        args=args,
        timeout=600.0,
        bytes=0 if action.linked else volume.allocation or volume.capacity or 0,
        pool="" if action.linked else pool,
        undo=Undo(op="volume.delete", args=undo_args, title=f"delete volume {name} in pool {pool}"),
    )
    return step, {"pool": pool, "volume": name, "format": form}


def _definition(
    action: CloneVm, host: HostView, vm: Vm, world: World, uuid: str, replaced: dict[str, Any]
) -> list[Step]:
    free = Macs(world)
    macs = [free.new() for _ in vm.info.nics]
    steps = [
        Step(
            id="define",
            op="vm.define_xml",
            host=host.name,
            title=f"define {action.name} like {vm.name}, with new MACs",
            args={
                "from_uuid": vm.uuid,
                "name": action.name,
                "uuid": uuid,
                "macs": macs,
                "disks": replaced,
                "who": world.who,
                "verb": "vm.clone",
                "seconds": 900,
                "limits": world.followed().limits(host.name, vm.info.group),
            },
            undo=Undo(
                op="vm.undefine",
                args={"uuid": uuid, "name": action.name, "force": True},
                title=f"undefine {action.name}",
            ),
        )
    ]
    if action.start:
        steps.append(
            Step(
                id="start",
                op="vm.start",
                host=host.name,
                title="start it",
                args={"uuid": uuid},
                timeout=120.0,
            )
        )
    return [*steps, release(host.name, uuid)]
