"""The plan of removing pools: the definition alone, or with all that is in them, for good."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from virtfleet.actions import pool_conditions, pool_users
from virtfleet.actions.common import refuse, volumes_known, warning
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
    using,
)
from virtfleet.actions.pool_conditions import is_active
from virtfleet.actions.pools import stop_step
from virtfleet.actions.world import World
from virtfleet.hypervisor.builders.pool_types import why_not
from virtfleet.model.action_storage import DeletePool
from virtfleet.model.plan import Condition, Danger, Effect, Plan, Reason, Step, Undo

_EACH = 600.0
"""Seconds that the deletion of one volume may take."""


def plan(action: DeletePool, world: World) -> Plan:
    members = find(world, action.pools)
    if action.volumes == "delete":
        return _with_volumes(action, members, world)
    return _alone(action, members, world)


# ---------------------------------------------------------------- the definition alone


def _alone(action: DeletePool, members: list[Member], world: World) -> Plan:
    title = f"remove pool {names(members)}"
    problems, reasons, cure = list[str](), list[Reason](), ""
    for each in members:
        who = pool_conditions.users(*each, "here", world.snapshot)
        if who:
            problems.append(using(who, each.label))
        elif action.volumes == "refuse" and (why := _keeps_what(each, members, world)):
            problems.append(why)
            cure = "--with-volumes deletes them, --keep-volumes leaves them where they are"
        else:
            reasons.append(Reason(text=_stays(each)))
    refuse(problems, title, cure)
    remembered = [step(each, "remember", "pool.remember", f"remember {each.pool.name}") for each in members]
    steps = [
        *remembered,
        *(stop_step(each, gone=True) for each in members),
        *(_undefine(each) for each in members if each.pool.persistent),
        *_forget_secrets(members),
    ]
    return planned(
        action,
        world,
        members,
        title,
        steps,
        danger=Danger.CONFIRM,
        conditions=[
            condition
            for each in members
            for condition in (
                pool_conditions.in_state(*each),
                pool_conditions.unused(*each, "here"),
                *_holds_no_more(action, each),
            )
        ],
        effects=_gone(members),
        reasons=reasons,
    )


def _keeps_what(member: Member, members: list[Member], world: World) -> str:
    """Why it can't go without a word about what is in it; empty: it can."""
    its = member.backend
    if its.network or not its.erases:
        return ""  # its data are a server's, or devices
    if not is_active(member.pool):
        return f"what is in {member.label} is not known: it is {member.pool.state.value}"
    volumes_known(member.host, f"remove pool {member.label}")
    inside = [volume.name for volume in pool_users.volumes_of(*member)]
    going = {(each.host.name, each.pool.uuid) for each in members}
    others = [
        host.name
        for host, pool in pool_users.seers(*member, world.snapshot)
        if (host.name, pool.uuid) not in going
    ]
    count = max(len(inside), member.pool.volumes or 0)
    if not count or others:
        return ""
    return f"{member.label} has {count} {'volume' if count == 1 else 'volumes'}: {some(inside)}"


def _stays(member: Member) -> str:
    its = member.backend
    if its.network or not its.erases:
        return f"what is in {member.label} stays where it is: {its.what}"
    return f"what is in {member.pool.target or member.pool.source} of {member.host.name} stays there"


def _holds_no_more(action: DeletePool, member: Member) -> tuple[Condition, ...]:
    """What was empty must still be."""
    if action.volumes == "keep" or member.backend.network or not member.backend.erases:
        return ()
    return (pool_conditions.holds(*member, [each.name for each in pool_users.volumes_of(*member)]),)


def _undefine(member: Member) -> Step:
    made = step(member, "undefine", "pool.undefine", f"remove pool {member.pool.name}")
    remembered = f"remember@{member.host.name}/{member.pool.name}"
    return replace(
        made,
        undo=Undo(
            op="pool.define",
            args={
                "xml": {"$from": remembered, "key": "xml"},
                "autostart": {"$from": remembered, "key": "autostart"},
            },
            title=f"define pool {member.pool.name} on {member.host.name} again",
        ),
    )


def _forget_secrets(members: list[Member]) -> Iterator[Step]:
    """Last, since nobody can give them back."""
    for each in members:
        if each.backend.auth:
            made = step(each, "secret", "pool.forget-secret", f"forget the secret of {each.pool.name}")
            xml = {"$from": f"remember@{each.host.name}/{each.pool.name}", "key": "xml"}
            yield replace(made, args={"xml": xml}, final=True)


# ---------------------------------------------------------------- with all that is in it


def _with_volumes(action: DeletePool, members: list[Member], world: World) -> Plan:
    title = f"delete pool {names(members)} and all that is in it"
    problems, reasons = list[str](), list[Reason]()
    first = [same[0] for same in storages(members)]
    for each in first:
        volumes_known(each.host, title)
        if why := why_not(each.pool.type, "delete-volumes"):
            problems.append(why)
        if not is_active(each.pool):
            problems.append(f"{each.label} is {each.pool.state.value}: what is in it can't be seen")
        if who := pool_conditions.users(*each, "everywhere", world.snapshot):
            problems.append(using(who, each.label))
        if quiet := pool_users.silent(*each, world.snapshot):
            problems.append(f"{some(quiet)} may use it and {'does' if len(quiet) == 1 else 'do'} not answer")
        inside = pool_users.volumes_of(*each)
        if each.pool.volumes is not None and each.pool.volumes > len(inside) + 1:
            problems.append(f"not all {each.pool.volumes} volumes of {each.label} are known yet")
        reasons += _what_goes(each, members, world)
    refuse(problems, title)
    steps = [
        *(step(each, "remember", "pool.remember", f"remember {each.pool.name}") for each in members),
        *(_empty(each) for each in first),
        *(stop_step(each, gone=True) for each in members),
        *(_end(each) for each in first if each.backend.ends),
        *(_undefine(each) for each in members if each.pool.persistent),
        *_forget_secrets(members),
        *tell_peers(members, world.snapshot),
    ]
    return planned(
        action,
        world,
        members,
        title,
        steps,
        danger=Danger.IRREVERSIBLE,
        conditions=[
            condition
            for each in first
            for condition in (
                pool_conditions.in_state(*each),
                pool_conditions.unused(*each, "everywhere"),
                pool_conditions.holds(*each, [volume.name for volume in pool_users.volumes_of(*each)]),
            )
        ],
        effects=[
            *_gone(members),
            *(
                Effect(
                    what=f"pool {each.label} allocated", unit="bytes", before=each.pool.allocation, after=0
                )
                for each in first
            ),
        ],
        reasons=reasons,
    )


def _what_goes(member: Member, members: list[Member], world: World) -> Iterator[Reason]:
    inside = [volume.name for volume in pool_users.volumes_of(*member)]
    if inside:
        count = f"{len(inside)} {'volume goes' if len(inside) == 1 else 'volumes go'}"
        yield warning(f"{count} with {member.label}: {some(inside, 10)}")
    going = {(each.host.name, each.pool.uuid) for each in members}
    for host, pool in pool_users.seers(*member, world.snapshot):
        if (host.name, pool.uuid) not in going:
            yield warning(f"{host.name} has this storage too, as pool {pool.name}: it loses them as well")


def _empty(member: Member) -> Step:
    inside = [volume.name for volume in pool_users.volumes_of(*member)]
    many = f"the {len(inside)} volumes" if len(inside) != 1 else f"volume {inside[0]}"
    made = step(member, "empty", "pool.empty", f"delete {many} of pool {member.pool.name}", _EACH)
    return replace(made, args={**made.args, "volumes": inside}, final=True)


def _end(member: Member) -> Step:
    what = {"folder": f"the folder {member.pool.target}, if it is empty", "group": "the volume group"}
    title = f"remove {what.get(member.backend.ends, 'the pool of ZFS')}"
    made = step(member, "end", "pool.end", title, _EACH)
    return replace(made, args={**args_of(member), "folder": member.backend.ends == "folder"}, final=True)


def _gone(members: list[Member]) -> list[Effect]:
    return [
        Effect(what=f"pool {each.label} state", before=each.pool.state.value, after=None) for each in members
    ]
