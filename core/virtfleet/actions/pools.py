"""Plans of what is done to pools that are there: start, stop, refresh, autostart, build, resize."""

from __future__ import annotations

from msgspec.structs import replace

from virtfleet.actions import pool_conditions
from virtfleet.actions.common import refuse, warning
from virtfleet.actions.pool_common import (
    Member,
    args_of,
    find,
    names,
    planned,
    some,
    step,
    storages,
    tell_peers,
)
from virtfleet.actions.pool_conditions import is_active
from virtfleet.actions.world import World
from virtfleet.hypervisor.builders.pool_types import why_not
from virtfleet.model.action_storage import (
    AutostartPool,
    BuildPool,
    RefreshPool,
    ResizePool,
    StartPool,
    StopPool,
)
from virtfleet.model.plan import Danger, Effect, Plan, Reason, Step, Undo

Verbs = StartPool | StopPool | RefreshPool | AutostartPool | BuildPool | ResizePool

START = 120.0
"""Seconds that logging in, mounting, or looking what is there may take."""
_BUILD = 1800.0
"""A large filesystem takes its time to be made, or to grow."""


def plan(action: Verbs, world: World) -> Plan:
    members = find(world, action.pools)
    match action:
        case StartPool():
            return _start(action, members, world)
        case StopPool():
            return _stop(action, members, world)
        case RefreshPool():
            return _refresh(action, members, world)
        case AutostartPool():
            return _autostart(action, members, world)
        case BuildPool():
            return _build(action, members, world)
        case ResizePool():
            return _resize(action, members, world)


def offered(member: Member, verb: str) -> str:
    facts = member.host.facts
    return why_not(member.pool.type, verb, facts.pool_types if facts is not None else ())


def _start(action: StartPool, members: list[Member], world: World) -> Plan:
    todo = [each for each in members if not is_active(each.pool)]
    title = f"start pool {names(todo or members)}"
    refuse([f"{each.label}: {why}" for each in todo if (why := offered(each, "start"))], title)
    steps = [
        replace(
            step(each, "start", "pool.start", f"start pool {each.pool.name}", START),
            undo=Undo(
                op="pool.stop",
                args={
                    **args_of(each),
                    "if": {"$from": f"start@{each.host.name}/{each.pool.name}", "key": "started"},
                },
                title=f"stop pool {each.pool.name} on {each.host.name} again",
            ),
        )
        for each in todo
    ]
    return planned(
        action,
        world,
        members,
        title,
        steps,
        conditions=[pool_conditions.in_state(*each) for each in todo],
        effects=_states(todo, "running"),
        reasons=_idle([each for each in members if each not in todo], "is active already"),
    )  # fmt: skip


def _stop(action: StopPool, members: list[Member], world: World) -> Plan:
    todo = [each for each in members if is_active(each.pool)]
    title = f"stop pool {names(todo or members)}"
    problems, reasons, conditions = list[str](), list[Reason](), [pool_conditions.in_state(*m) for m in todo]
    for each in todo:
        running = pool_conditions.users(*each, "running", world.snapshot)
        if not each.pool.persistent:
            problems.append(f"{each.label} has no definition: stopped, it would be gone for good")
        if each.backend.goes_away:
            conditions.append(pool_conditions.unused(*each, "running"))
            if running:
                problems.append(f"{some(running)} on {each.host.name} would lose disks")
        elif running:
            reasons.append(
                warning(f"{some(running)} on {each.host.name} run on, but can't be started again meanwhile")
            )
    refuse(problems, title, "shut the VMs down first")
    return planned(
        action,
        world,
        members,
        title,
        [stop_step(each) for each in todo],
        danger=Danger.CONFIRM,
        conditions=conditions,
        effects=_states(todo, "inactive"),
        reasons=[*reasons, *_idle([each for each in members if each not in todo], "is inactive already")],
    )


def stop_step(member: Member, *, gone: bool = False) -> Step:
    """`gone`: it is no harm if the pool is gone afterwards."""
    made = step(member, "stop", "pool.stop", f"stop pool {member.pool.name}", START)
    return replace(
        made,
        args={**made.args, "gone": True} if gone else made.args,
        undo=Undo(
            op="pool.restart",
            args={**args_of(member), "if": {"$from": made.id, "key": "stopped"}},
            title=f"start pool {member.pool.name} on {member.host.name} again",
        ),
    )


def _refresh(action: RefreshPool, members: list[Member], world: World) -> Plan:
    title = f"refresh pool {names(members)}"
    refuse([f"{each.label} is inactive" for each in members if not is_active(each.pool)], title, "start it")
    steps = [
        step(each, "refresh", "pool.refresh", f"look what is in pool {each.pool.name}", START)
        for each in members
    ]
    return planned(action, world, members, title, [*steps, *tell_peers(members, world.snapshot)])


def _autostart(action: AutostartPool, members: list[Member], world: World) -> Plan:
    todo = [each for each in members if each.pool.autostart != action.on]
    title = f"{'start' if action.on else 'do not start'} pool {names(todo or members)} with its host"
    refuse([f"{each.label} has no definition" for each in todo if not each.pool.persistent], title)
    steps = []
    for each in todo:
        made = step(each, "autostart", "pool.autostart", f"set autostart {'on' if action.on else 'off'}")
        undo = Undo(op="pool.autostart", args={**args_of(each), "on": not action.on})
        steps.append(replace(made, args={**made.args, "on": action.on}, undo=undo))
    word = {True: "on", False: "off"}
    return planned(
        action,
        world,
        members,
        title,
        steps,
        effects=[
            Effect(what=f"pool {each.label} autostart", before=word[not action.on], after=word[action.on])
            for each in todo
        ],
        reasons=_idle([m for m in members if m not in todo], f"has autostart {word[action.on]} already"),
    )


def _build(action: BuildPool, members: list[Member], world: World) -> Plan:
    title = f"build pool {names(members)}"
    problems = [f"{each.label}: {why}" for each in members if (why := offered(each, "build"))]
    problems += [f"{each.label} is {each.pool.state.value}" for each in members if is_active(each.pool)]
    makes = [each for each in members if each.backend.makes]
    if any(len(same) > 1 for same in storages(makes)):
        problems.append("the second host would build over what the first has built: name one")
    if action.overwrite and len(makes) < len(members):
        problems.append("there is nothing to overwrite: building makes a folder alone")
    refuse(problems, title)
    steps = []
    for each in members:
        how = "overwrite" if action.overwrite else "new" if each.backend.makes else "folder"
        what = f"make {each.backend.makes}" if each.backend.makes else f"make the folder {each.pool.target}"
        made = step(each, "build", "pool.build", f"{what} for pool {each.pool.name}", _BUILD)
        steps.append(replace(made, args={**made.args, "how": how}, final=action.overwrite))
    lost = [
        warning(f"all that is on {each.pool.source or each.pool.target} of {each.host.name} is lost")
        for each in (makes if action.overwrite else ())
    ]
    return planned(
        action,
        world,
        members,
        title,
        steps,
        danger=Danger.IRREVERSIBLE if action.overwrite else Danger.CONFIRM if makes else Danger.NONE,
        conditions=[pool_conditions.in_state(*each) for each in members],
        reasons=lost,
    )


def _resize(action: ResizePool, members: list[Member], world: World) -> Plan:
    first = [same[0] for same in storages(members)]
    title = f"resize pool {names(first)}"
    problems = [f"{each.label}: {why}" for each in first if (why := offered(each, "resize"))]
    problems += [f"{each.label} is inactive" for each in first if not is_active(each.pool)]
    device = action.device
    if device and any(each.backend.grows != "group" for each in first):
        problems.append("only a volume group can be given a device more")
    if device and (not device.startswith("/dev/") or ".." in device or not device.isprintable()):
        problems.append(f"{device!a} is no device; accepted: /dev/NAME")
    if device and len(first) > 1:
        problems.append("a device can be given to one pool alone")
    if len(members) > len(first) and any(each.backend.grows == "group" for each in first):
        problems.append("a volume group that several hosts see is grown on one of them: name it")
    refuse(problems, title)
    steps = []
    for each in first:
        group = each.backend.grows == "group"
        what = (
            f"add {device} to volume group {each.pool.source}"
            if device
            else f"let volume group {each.pool.source} use all that its devices have"
            if group
            else f"let the filesystem of {each.pool.target} use all that its device has"
        )
        made = step(each, "grow", "pool.grow", what, _BUILD)
        args = {**made.args, "how": each.backend.grows, "device": device}
        steps.append(replace(made, args=args))
    return planned(
        action,
        world,
        first,
        title,
        [*steps, *tell_peers(first, world.snapshot)],
        danger=Danger.CONFIRM,
        conditions=[pool_conditions.in_state(*each) for each in first],
        reasons=[Reason(text="what has grown can't be made smaller again")],
    )


def _states(members: list[Member], after: str) -> list[Effect]:
    return [
        Effect(what=f"pool {each.label} state", before=each.pool.state.value, after=after) for each in members
    ]


def _idle(members: list[Member], why: str) -> list[Reason]:
    return [Reason(text=f"{each.label} {why}") for each in members]
