"""Plans of volumes: create, delete, clone, extend."""

from __future__ import annotations

from typing import Any

from virtfleet.actions import storage
from virtfleet.actions.common import answers, name_problem, pool_has_room, refuse, volume_is_free, warning
from virtfleet.actions.quotas import within_quota
from virtfleet.actions.volume_choice import (
    FILES,
    Chosen,
    choose_pool,
    claimed,
    find_volume,
    grows,
    identity,
    room_effects,
    shown,
)
from virtfleet.actions.world import World
from virtfleet.decide.quotas import project_of, type_of, use_of
from virtfleet.model import HostView, Volume
from virtfleet.model.action_volumes import CloneVolume, CreateVolume, DeleteVolume, ExtendVolume
from virtfleet.model.plan import Condition, Danger, Effect, Plan, Reason, Step, Undo
from virtfleet.model.project import Claim, Use, VolumeUse

Verbs = CreateVolume | DeleteVolume | CloneVolume | ExtendVolume
SECTOR = 512


def plan(action: Verbs, world: World) -> Plan:
    match action:
        case CreateVolume():
            return _create(action, world)
        case DeleteVolume():
            return _delete(action, world)
        case CloneVolume():
            return _clone(action, world)
        case ExtendVolume():
            return _extend(action, world)


def size_problem(size: int) -> list[str]:
    return [] if size > 0 and size % SECTOR == 0 else [f"{size} bytes are no whole sectors of {SECTOR} bytes"]


def format_of(chosen: Chosen, wanted: str, what: str) -> str:
    """RefusedError: its pool can't hold that."""
    kind = chosen.pool.type
    if wanted == "qcow2" and kind not in FILES:
        refuse(
            [f"pool {chosen.pool.name} is of type {kind}: its volumes are raw"], what, "leave --format out"
        )
    return wanted or ("qcow2" if kind in FILES and not chosen.thick else "raw")


# ---- create, clone


def _create(action: CreateVolume, world: World) -> Plan:
    what = f"create volume {action.name}"
    problem = name_problem(action.name)
    refuse([*([problem] if problem else []), *size_problem(action.size)], what)
    chosen = choose_pool(
        world, what, action.size, host=action.host, pool=action.pool, type=action.type, project=action.project
    )
    form = format_of(chosen, action.format, what)
    args: dict[str, Any] = {"capacity": action.size, "format": form}
    if chosen.thick:
        args |= {"allocation": action.size, "preallocate": form == "qcow2"}
    elif form == "raw":
        args["allocation"] = 0
    step = Step(
        id="create",
        op="volume.create",
        host=chosen.host.name,
        title=f"create volume {action.name} of {shown(action.size)} ({form}) in pool {chosen.pool.name}",
        args={"pool": chosen.pool.name, "name": action.name, **args},
        timeout=600.0 if chosen.thick else 60.0,
        undo=_undo(chosen, action.name, {"capacity": action.size, "format": form}),
    )
    return _made(action, action.name, action.size, action.project, chosen, step, what, world)


def _clone(action: CloneVolume, world: World) -> Plan:
    host, volume = find_volume(world, action.volume)
    what = f"clone {volume.name}"
    size = volume.capacity or 0
    problem = name_problem(action.name)
    problems = [problem] if problem else []
    if not size:
        problems.append(f"the size of {volume.name} is not known")
    problems += written_by(volume, host, world, "would be copied while it changes")
    refuse(problems, what)
    pool = action.pool or ("" if action.type else volume.pool)
    chosen = choose_pool(
        world, what, size, host=host.name, pool=pool, type=action.type, project=action.project
    )
    if (chosen.pool.name, action.name) == (volume.pool, volume.name):
        refuse(["that is its own name"], what)
    same = volume.format if volume.format in ("qcow2", "raw") and chosen.pool.type in FILES else ""
    form = format_of(chosen, action.format or same or "raw", what)
    step = Step(
        id="clone",
        op="volume.clone",
        host=host.name,
        title=f"copy {volume.pool}/{volume.name} to {action.name} ({form}) in pool {chosen.pool.name}",
        args={
            "pool": chosen.pool.name,
            "name": action.name,
            "from_pool": volume.pool,
            "from_volume": volume.name,
            "format": form,
        },
        timeout=600.0,
        bytes=volume.allocation or size,
        pool=chosen.pool.name,
        undo=_undo(chosen, action.name, {"capacity": size, "format": form}),
    )
    there = Condition(
        kind="volume-written-by",
        host=host.name,
        name=volume.name,
        value={"path": volume.path, "hosts": []},
        text=f"no VM that runs writes to {volume.name}",
    )
    return _made(action, action.name, size, action.project, chosen, step, what, world, (there,))


def _undo(chosen: Chosen, name: str, made: dict[str, Any]) -> Undo:
    pool = chosen.pool.name
    return Undo(
        op="volume.delete",
        args={"pool": pool, "name": name, "made": made},
        title=f"delete volume {name} in pool {pool}",
    )


def _made(
    action: CreateVolume | CloneVolume,
    name: str,
    size: int,
    project: str,
    chosen: Chosen,
    step: Step,
    what: str,
    world: World,
    conditions: tuple[Condition, ...] = (),
) -> Plan:
    """The plan of a new volume."""
    host, pool = chosen.host, chosen.pool
    claims = claimed(chosen, name, size, project, world, what)
    verb = str(type(action).__struct_config__.tag)
    return Plan(
        action=action,
        title=f"{what} in {pool.name} on {host.name}"
        if isinstance(action, CreateVolume)
        else f"{what} to {pool.name}/{name} on {host.name}",
        verb=verb,
        kind="volume",
        host=host.name,
        uuid=claims[0].uuid,
        name=name,
        steps=(step,),
        conditions=(
            answers(host),
            volume_is_free(host, pool.name, name, what),
            pool_has_room(host, pool.name, size if chosen.thick else 0),
            *conditions,
        ),
        effects=room_effects(chosen, size, world),
        reasons=chosen.reasons,
        claims=claims,
        made=world.now,
    )


# ---- who has it


def written_by(volume: Volume, host: HostView, world: World, why: str) -> list[str]:
    """Why it can't be read as a whole now; empty: it can."""
    names = [f"{vm.name}@{seer.name}" for seer, vm in storage.writers(volume, host, world.snapshot)]
    return [f"{', '.join(names)} runs and writes to it: it {why}"] if names else []


def silent(volume: Volume, host: HostView, world: World) -> list[Reason]:
    names = storage.silent_seers(volume, host, world.snapshot)
    if not names:
        return []
    return [warning(f"{', '.join(names)} may see it, too, and can't be asked who uses it")]


# ---- delete


def _delete(action: DeleteVolume, world: World) -> Plan:
    host, volume = find_volume(world, action.volume)
    what = f"delete {volume.pool}/{volume.name}"
    users = [f"{vm.name}@{seer.name} has it" for seer, vm in storage.vms_on(volume, host, world.snapshot)]
    users += [
        f"{each.pool}/{each.name} stands on it"
        for _, each in storage.overlays_of(volume, host, world.snapshot)
    ]
    refuse(users, what, "detach it, or delete what stands on it, first")
    step = Step(
        id="delete",
        op="volume.delete",
        host=host.name,
        title=f"delete volume {volume.name} in pool {volume.pool}",
        args={"pool": volume.pool, "name": volume.name, "path": volume.path, "overlays": True},
        timeout=60.0,
        final=True,
    )
    return Plan(
        action=action,
        title=f"{what} on {host.name}",
        verb="volume.delete",
        kind="volume",
        host=host.name,
        uuid=identity(host, volume),
        name=volume.name,
        steps=(step,),
        conditions=(
            answers(host),
            Condition(
                kind="volume-unused",
                host=host.name,
                name=volume.name,
                value=volume.path,
                text=f"nobody uses {volume.name}",
            ),
        ),
        effects=(
            Effect(
                what=f"volume {volume.pool}/{volume.name}",
                unit="bytes",
                before=volume.allocation or 0,
                after=None,
            ),
        ),
        reasons=tuple(silent(volume, host, world)),
        danger=Danger.IRREVERSIBLE,
        made=world.now,
    )


# ---- extend


def _extend(action: ExtendVolume, world: World) -> Plan:
    host, volume = find_volume(world, action.volume)
    what = f"extend {volume.pool}/{volume.name}"
    old = volume.capacity
    problems = size_problem(action.size)
    if old is None:
        problems.append("its size is not known")
    elif action.size < old:
        problems.append(f"it has {shown(old)}, and {shown(action.size)} are less: extending never shrinks")
    for _, each in storage.overlays_of(volume, host, world.snapshot):
        problems.append(f"{each.pool}/{each.name} stands on it")
    on = [each for each in storage.vms_on(volume, host, world.snapshot) if each[1].state.active]
    if len(on) > 1:
        names = ", ".join(f"{vm.name}@{seer.name}" for seer, vm in on)
        problems.append(f"{names} run on it together, and only one of them could be told")
    if on and not storage.writers(volume, host, world.snapshot):
        names = ", ".join(f"{vm.name}@{seer.name}" for seer, vm in on)
        problems.append(f"{names} runs and has it read-only: QEMU can't make it larger then")
    if volume.format not in ("qcow2", "raw", ""):
        problems.append(f"volumes of format {volume.format} can't be extended")
    refuse(problems, what)
    old = old or 0
    reasons = silent(volume, host, world)
    if on:
        # Its host alone may write to it now.
        seer, vm = on[0]
        host, volume = seer, storage.seen_from(seer, volume, host, world.snapshot) or volume
        reasons.append(Reason(text=f"through {vm.name}, which runs: its guest sees the new size at once"))
    size = action.size
    if size == old:
        steps: tuple[Step, ...] = ()
        reasons = [Reason(text="it has that size already")]
    else:
        grows(world, what, host, volume, size - old)
        steps = (_extend_step(host, volume, old, size),)
    claims = _extended(volume, host, size, world) if steps else ()
    within_quota(claims, world, what)
    return Plan(
        action=action,
        title=f"{what} to {shown(size)} on {host.name}",
        verb="volume.extend",
        kind="volume",
        host=host.name,
        uuid=identity(host, volume),
        name=volume.name,
        steps=steps,
        conditions=(
            answers(host),
            Condition(
                kind="volume-size",
                host=host.name,
                name=volume.name,
                value={"pool": volume.pool, "size": old},
                text=f"{volume.name} has {shown(old)}",
            ),
            Condition(
                kind="volume-run-by",
                host=host.name,
                name=volume.name,
                value={"path": volume.path, "hosts": sorted({seer.name for seer, _ in on})},
                text=f"{volume.name} is used by VMs that run {'on ' + on[0][0].name if on else 'nowhere'}",
            ),
        )
        if steps
        else (),
        effects=(Effect(what=f"volume {volume.pool}/{volume.name}", unit="bytes", before=old, after=size),)
        if steps
        else (),
        reasons=tuple(reasons),
        claims=claims,
        made=world.now,
    )


def _extend_step(host: HostView, volume: Volume, old: int, size: int) -> Step:
    args = {"pool": volume.pool, "name": volume.name, "path": volume.path, "old": old, "new": size}
    return Step(
        id="extend",
        op="volume.extend",
        host=host.name,
        title=f"extend volume {volume.name} in pool {volume.pool} from {shown(old)} to {shown(size)}",
        args=args,
        timeout=120.0,
        undo=Undo(
            op="volume.extend.leave",
            args=args,
            title=f"look what became of {volume.name}",
        ),
    )


def _extended(volume: Volume, host: HostView, size: int, world: World) -> tuple[Claim, ...]:
    """For the VM that has it; of one that no VM has, for the project that it was made for, if we know."""
    more = size - (volume.capacity or 0)
    kind = type_of(host, volume.pool, world.settings)
    grown = Use(capacity=more, types={kind: VolumeUse(0, more)} if kind else {})
    users = storage.vms_on(volume, host, world.snapshot)
    if users:
        seer, vm = users[0]
        use = use_of(seer, vm, world.settings).plus(grown)
        return (Claim(project=project_of(vm), uuid=vm.uuid, name=vm.name, use=use),)
    uuid = identity(host, volume)
    if project := world.owners.get(uuid, ""):
        use = Use(volumes=1, capacity=size, types={kind: VolumeUse(1, size)} if kind else {})
        return (Claim(project=project, uuid=uuid, name=volume.name, use=use),)
    return ()
