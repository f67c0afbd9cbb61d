"""Plans of what a VM is called and belongs to: name, title, tags, project, protection, autostart."""

from __future__ import annotations

from typing import Any

from virtfleet.actions.common import (
    answers,
    find_vm,
    framed,
    is_in_state,
    is_there,
    name_is_free,
    name_problem,
    refuse,
)
from virtfleet.actions.quotas import claim_for, within_quota
from virtfleet.actions.world import World
from virtfleet.model import HostView, Vm
from virtfleet.model.action import AssignVm, DescribeVm, ProtectVm, RenameVm, SetAutostart, TagVm
from virtfleet.model.plan import Condition, Danger, Effect, Plan, Reason, Step, Undo
from virtfleet.model.project import DEFAULT, Claim

Identity = RenameVm | DescribeVm | AssignVm | TagVm | ProtectVm | SetAutostart
_LONGEST_TAG = 100
_LONGEST_DESCRIPTION = 4000


def plan(action: Identity, world: World) -> Plan:
    host, vm = find_vm(world, action.vm)
    match action:
        case RenameVm():
            return _rename(action, host, vm, world)
        case DescribeVm():
            return _describe(action, host, vm, world)
        case AssignVm():
            return _assign(action, host, vm, world)
        case TagVm():
            return _tag(action, host, vm, world)
        case ProtectVm():
            return _protect(action, host, vm, world)
        case SetAutostart():
            return _autostart(action, host, vm, world)


def _plan(
    action: Identity,
    title: str,
    host: HostView,
    vm: Vm,
    world: World,
    step: Step | None,
    effects: list[Effect],
    *,
    nothing: str = "",
    conditions: tuple[Condition, ...] = (),
    danger: Danger = Danger.NONE,
    claims: tuple[Claim, ...] = (),
) -> Plan:
    tag = str(type(action).__struct_config__.tag)
    return Plan(
        action=action,
        title=f"{title} on {host.name}",
        verb=tag,
        host=host.name,
        uuid=vm.uuid,
        name=vm.name,
        steps=framed(host.name, vm.uuid, tag, world.who, (step,)) if step is not None else (),
        conditions=(answers(host), is_there(host, vm), *conditions) if step is not None else (),
        effects=tuple(effects) if step is not None else (),
        reasons=() if step is not None else (Reason(text=nothing),),
        claims=claims,
        danger=danger if step is not None else Danger.NONE,
        made=world.now,
    )


def _rename(action: RenameVm, host: HostView, vm: Vm, world: World) -> Plan:
    problems = [problem] if (problem := name_problem(action.name)) else []
    if action.name == vm.name:
        return _plan(
            action, f"rename {vm.name}", host, vm, world, None, [], nothing="it is called so already"
        )
    if any(other.name == action.name for other in host.vms):
        problems.append(f"a VM called {action.name} is on {host.name} already")
    if vm.state.active:
        problems.append(f"{vm.name} is {vm.state.value}; only a VM that is off can be renamed")
    if vm.info.snapshots:
        problems.append(f"{vm.name} has {vm.info.snapshots} snapshots; libvirt renames none that has")
    if vm.info.managed_save:
        problems.append(f"{vm.name} has a saved state; libvirt renames none that has")
    refuse(problems, f"rename {vm.name}")
    step = Step(
        id="rename",
        op="vm.rename",
        host=host.name,
        title=f"rename it to {action.name}",
        args={"uuid": vm.uuid, "name": action.name, "was": vm.name},
        undo=Undo(
            op="vm.rename",
            args={"uuid": vm.uuid, "name": vm.name, "ours": action.name},
            title=f"rename it back to {vm.name}",
        ),
    )
    return _plan(
        action,
        f"rename {vm.name} to {action.name}",
        host,
        vm,
        world,
        step,
        [Effect(what="name", before=vm.name, after=action.name)],
        conditions=(is_in_state(host, vm), name_is_free(host.name, action.name)),
    )


def _describe(action: DescribeVm, host: HostView, vm: Vm, world: World) -> Plan:
    wanted = {"title": action.title, "description": action.description}
    if action.title is not None and ("\n" in action.title or not action.title.isprintable()):
        refuse(["a title is one line without control characters"], f"describe {vm.name}")
    if action.description is not None and len(action.description) > _LONGEST_DESCRIPTION:
        refuse([f"a description has at most {_LONGEST_DESCRIPTION} characters"], f"describe {vm.name}")
    before = {"title": vm.info.title, "description": vm.info.description}
    change = {key: text for key, text in wanted.items() if text is not None and text != before[key]}
    step = Step(
        id="describe",
        op="vm.describe",
        host=host.name,
        title=f"set its {' and '.join(change)}",
        args={"uuid": vm.uuid, **change},
        undo=Undo(
            op="vm.describe",
            args={
                "uuid": vm.uuid,
                **{key: before[key] for key in change},
                "exact": {"$from": "describe", "key": "was"},
                "ours": change,
            },
            title=f"set its {' and '.join(change)} back",
        ),
    )
    effects = [
        Effect(what=key, before=before[key] or "none", after=text or "none") for key, text in change.items()
    ]
    return _plan(
        action,
        f"describe {vm.name}",
        host,
        vm,
        world,
        step if change else None,
        effects,
        nothing="it is described so already",
    )


def _metadata(host: HostView, vm: Vm, title: str, change: dict[str, Any], inverse: dict[str, Any]) -> Step:
    return Step(
        id="metadata",
        op="vm.metadata",
        host=host.name,
        title=title,
        args={"uuid": vm.uuid, "change": change},
        timeout=40.0,
        undo=Undo(
            op="vm.metadata",
            args={
                "uuid": vm.uuid,
                "change": inverse,
                "exact": {"$from": "metadata", "key": "inverse"},
                "ours": change.get("set", {}),
            },
            title=f"take back: {title}",
        ),
    )


def _assign(action: AssignVm, host: HostView, vm: Vm, world: World) -> Plan:
    before = {"project": vm.info.project, "group": vm.info.group}
    wanted = {"project": action.project, "group": action.group}
    for key, text in wanted.items():
        if text and (not text.isprintable() or len(text) > _LONGEST_TAG):
            refuse([f"a {key} has at most {_LONGEST_TAG} printable characters"], f"assign {vm.name}")
    known = world.settings.projects
    if action.project and known and action.project not in known:
        refuse(
            [f"the fleet file knows no project {action.project}"],
            f"assign {vm.name}",
            f"projects: {', '.join(known)}",
        )
    change = {key: text for key, text in wanted.items() if text is not None and text != before[key]}
    claims: tuple[Claim, ...] = ()
    if "project" in change:
        claims = (claim_for(host, vm, world, project=action.project or DEFAULT),)
        within_quota(claims, world, f"assign {vm.name}")
    words = ", ".join(f"{key} {text or 'none'}" for key, text in change.items())
    step = _metadata(host, vm, f"set {words}", {"set": change}, {"set": {key: before[key] for key in change}})
    effects = [
        Effect(what=key, before=before[key] or "none", after=text or "none") for key, text in change.items()
    ]
    return _plan(
        action,
        f"assign {vm.name}",
        host,
        vm,
        world,
        step if change else None,
        effects,
        nothing="it is assigned so already",
        claims=claims,
    )


def _tag(action: TagVm, host: HostView, vm: Vm, world: World) -> Plan:
    problems = [
        f"{tag!r} is no tag: one word of at most {_LONGEST_TAG} printable characters"
        for tag in (*action.add, *action.remove)
        if not tag or not tag.isprintable() or " " in tag or "," in tag or len(tag) > _LONGEST_TAG
    ]
    both = sorted(set(action.add) & set(action.remove))
    problems += [f"{tag} is to be added and removed" for tag in both]
    refuse(problems, f"tag {vm.name}")
    add = [tag for tag in dict.fromkeys(action.add) if tag not in vm.info.tags]
    remove = [tag for tag in dict.fromkeys(action.remove) if tag in vm.info.tags]
    words = " ".join([*(f"+{tag}" for tag in add), *(f"−{tag}" for tag in remove)])
    step = _metadata(
        host,
        vm,
        f"tags {words}",
        {"add_tags": add, "remove_tags": remove},
        {"add_tags": remove, "remove_tags": add},
    )
    after = [*(tag for tag in vm.info.tags if tag not in remove), *add]
    return _plan(
        action,
        f"tag {vm.name} {words}".rstrip(),
        host,
        vm,
        world,
        step if add or remove else None,
        [Effect(what="tags", before=" ".join(vm.info.tags) or "none", after=" ".join(after) or "none")],
        nothing="it is tagged so already",
    )


def _protect(action: ProtectVm, host: HostView, vm: Vm, world: World) -> Plan:
    verb = "protect" if action.on else "unprotect"
    step = _metadata(
        host,
        vm,
        "protect it" if action.on else "take its protection away",
        {"set": {"protected": action.on}},
        {"set": {"protected": vm.info.protected}},
    )
    differs = vm.info.protected != action.on
    return _plan(
        action,
        f"{verb} {vm.name}",
        host,
        vm,
        world,
        step if differs else None,
        [Effect(what="protected", before=_yes(vm.info.protected), after=_yes(action.on))],
        nothing="it is protected already" if action.on else "it is not protected",
    )


def _autostart(action: SetAutostart, host: HostView, vm: Vm, world: World) -> Plan:
    if not vm.info.persistent:
        refuse([f"{vm.name} is transient"], f"autostart {vm.name}")
    words = "start it with its host" if action.on else "no longer start it with its host"
    step = Step(
        id="autostart",
        op="vm.autostart",
        host=host.name,
        title=words,
        args={"uuid": vm.uuid, "on": action.on},
        undo=Undo(
            op="vm.autostart", args={"uuid": vm.uuid, "on": vm.info.autostart}, title="as it was before"
        ),
    )
    return _plan(
        action,
        f"autostart {vm.name}: {'on' if action.on else 'off'}",
        host,
        vm,
        world,
        step if vm.info.autostart != action.on else None,
        [Effect(what="autostart", before=_yes(vm.info.autostart), after=_yes(action.on))],
        nothing="it is so already",
    )


def _yes(on: bool) -> str:
    return "yes" if on else "no"
