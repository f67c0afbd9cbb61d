"""Plans of what operators say of a host: disabled for new VMs, and taken back."""

from __future__ import annotations

from typing import Any

import msgspec

from virtfleet.actions.common import answers, check_host, refuse, warning
from virtfleet.actions.conditions import marks_of
from virtfleet.actions.world import World
from virtfleet.model import HostView, Maintenance, Mark
from virtfleet.model.action import DisableHost, EnableHost
from virtfleet.model.plan import Condition, Danger, Effect, Plan, Reason, Step, Undo
from virtfleet.model.text import clean

Hosts = DisableHost | EnableHost
Marks = dict[str, Mark | None]
_LONGEST_REASON = 300


def plan(action: Hosts, world: World) -> Plan:
    host = check_host(world, action.host)
    said = host.maintenance or Maintenance()
    match action:
        case DisableHost():
            return _disable(action, host, said, world)
        case EnableHost():
            return _enable(action, host, said, world)


def mark(world: World, reason: str) -> Mark:
    """What the operator says now."""
    return Mark(clean(world.who), world.now, reason)


def reason_problem(reason: str) -> str:
    """Why this is no reason to write down; empty: it is one."""
    if len(reason) > _LONGEST_REASON:
        return f"the reason has {len(reason)} characters, at most {_LONGEST_REASON} are accepted"
    return "" if clean(reason) == reason else f"the reason {reason!a} has control characters in it"


def _disable(action: DisableHost, host: HostView, said: Maintenance, world: World) -> Plan:
    title = f"disable {host.name}"
    refuse([problem] if (problem := reason_problem(action.reason)) else [], title)
    if said.disabled is not None:
        return _nothing(
            action, title, host, world, f"{host.name} is disabled for new VMs {said.disabled.words}"
        )
    refuse([said.problem] if said.problem else [], title, f"`host enable {host.name}` puts that file aside")
    change: Marks = {"disabled": mark(world, action.reason)}
    step = mark_step("disable", host, change, {"disabled": None}, f"write on {host.name} that it is disabled")
    here = len(host.vms)
    reasons = [Reason(text=f"its {here} VMs stay and run on: `host drain` moves them")] if here else []
    return _plan(action, title, host, world, step, "disabled", reasons=tuple(reasons))


def _enable(action: EnableHost, host: HostView, said: Maintenance, world: World) -> Plan:
    title = f"enable {host.name}"
    was: Marks = {"disabled": said.disabled, "draining": said.draining}
    change: Marks = {key: None for key, each in was.items() if each is not None}
    if not change and not said.problem:
        return _nothing(action, title, host, world, f"{host.name} takes new VMs already")
    text = f"take back what is written on {host.name}"
    reasons = [Reason(text=f"it was {said.closed}")]
    if said.problem:
        text = f"put the file on {host.name} aside and begin anew"
        reasons = [warning(f"{said.problem}: who wrote it, and what for, is not known")]
        change = {"disabled": None, "draining": None}
    if said.draining is not None:
        reasons.append(warning("a job that still drains it goes on: look with `job list`"))
    step = mark_step(
        "enable", host, change, {key: was[key] for key in change}, text, aside=bool(said.problem)
    )
    danger = Danger.CONFIRM if said.problem or said.draining is not None else Danger.NONE
    return _plan(action, title, host, world, step, "takes new VMs", danger=danger, reasons=tuple(reasons))


def mark_step(
    id_: str, host: HostView, change: Marks, was: Marks, title: str, *, aside: bool = False
) -> Step:
    """Writes marks to the host's own file. `was`: what stands there now, and nothing else may."""
    after, before = _plain(change), _plain(was)
    return Step(
        id=id_,
        op="host.mark",
        host=host.name,
        title=title,
        args={"set": after, "expect": before} | ({"aside": True} if aside else {}),
        # It may have to wait for its lock.
        timeout=60.0,
        undo=Undo(
            op="host.mark",
            args={"set": before, "expect": after, "undo": True},
            title=f"put back what was written on {host.name}",
        ),
    )


def _plain(marks: Marks) -> dict[str, Any]:
    return {key: None if each is None else msgspec.to_builtins(each) for key, each in marks.items()}


def _plan(
    action: Hosts,
    title: str,
    host: HostView,
    world: World,
    step: Step,
    after: str,
    *,
    danger: Danger = Danger.NONE,
    reasons: tuple[Reason, ...] = (),
) -> Plan:
    said = host.maintenance
    if said is not None and not said.shared:
        reasons += (
            warning(
                f"{host.name} has no place for it that we reach: it is kept on this machine, "
                "and other operators can't see it"
            ),
        )
    return Plan(
        action=action,
        title=title,
        verb=str(type(action).__struct_config__.tag),
        kind="host",
        host=host.name,
        name=host.name,
        steps=(step,),
        conditions=(
            answers(host),
            Condition(kind="host-marks", host=host.name, value=marks_of(host), text="nobody said otherwise"),
        ),
        effects=(Effect(what=host.name, before=host.closed or "takes new VMs", after=after),),
        reasons=reasons,
        danger=danger,
        made=world.now,
    )


def _nothing(action: Hosts, title: str, host: HostView, world: World, why: str) -> Plan:
    return Plan(
        action=action,
        title=title,
        verb=str(type(action).__struct_config__.tag),
        kind="host",
        host=host.name,
        name=host.name,
        reasons=(Reason(text=why),),
        made=world.now,
    )
