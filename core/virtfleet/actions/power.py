"""Plans of power verbs."""

from __future__ import annotations

from typing import Any

from virtfleet.actions import storage
from virtfleet.actions.common import (
    answers,
    find_vm,
    framed,
    is_in_state,
    is_there,
    refuse,
    state_effect,
    warning,
)
from virtfleet.actions.world import World
from virtfleet.decide.recovery import may_resume
from virtfleet.model import HostView, Vm, VmState
from virtfleet.model.action import (
    PowerOffVm,
    RebootVm,
    ResetVm,
    RestoreVm,
    ResumeVm,
    SaveVm,
    ShutdownVm,
    StartVm,
    SuspendVm,
)
from virtfleet.model.plan import Condition, Danger, Plan, Reason, Step

Power = StartVm | ShutdownVm | RebootVm | ResetVm | PowerOffVm | SuspendVm | ResumeVm | SaveVm | RestoreVm
_ON = (VmState.RUNNING, VmState.BLOCKED)
_SHUTDOWN_GRACE = 30.0


def plan(action: Power, world: World) -> Plan:
    host, vm = find_vm(world, action.vm)
    match action:
        case StartVm() | RestoreVm():
            return _start(action, host, vm, world)
        case ShutdownVm():
            return _shutdown(action, host, vm, world)
        case RebootVm():
            return _running(action, "reboot", host, vm, world, "vm.reboot", "running", Danger.CONFIRM)
        case ResetVm():
            return _off_hard(action, "reset", host, vm, world, "vm.reset", "running")
        case PowerOffVm():
            return _off_hard(action, "power off", host, vm, world, "vm.poweroff", "shutoff")
        case SuspendVm():
            if vm.state is VmState.PAUSED:
                return _nothing(action, "suspend", host, vm, f"{vm.name} is paused already", world)
            return _running(action, "suspend", host, vm, world, "vm.suspend", "paused", Danger.CONFIRM)
        case ResumeVm():
            return _resume(action, host, vm, world)
        case SaveVm():
            return _save(action, host, vm, world)


def _plan(
    action: Power,
    verb: str,
    host: HostView,
    vm: Vm,
    world: World,
    *steps: Step,
    after: str,
    danger: Danger = Danger.NONE,
    reasons: tuple[Reason, ...] = (),
    conditions: tuple[Condition, ...] = (),
) -> Plan:
    tag = str(type(action).__struct_config__.tag)
    return Plan(
        action=action,
        title=f"{verb} {vm.name} on {host.name}",
        verb=tag,
        host=host.name,
        uuid=vm.uuid,
        name=vm.name,
        steps=framed(host.name, vm.uuid, tag, world.who, steps) if steps else (),
        conditions=(answers(host), is_there(host, vm), is_in_state(host, vm), *conditions) if steps else (),
        effects=(state_effect(vm, after),) if steps else (),
        reasons=reasons,
        danger=danger if steps else Danger.NONE,
        made=world.now,
    )


def _nothing(action: Power, verb: str, host: HostView, vm: Vm, why: str, world: World) -> Plan:
    return _plan(action, verb, host, vm, world, after=vm.state.value, reasons=(Reason(text=why),))


def _step(op: str, host: HostView, vm: Vm, title: str, timeout: float = 30.0, **args: Any) -> Step:
    return Step(
        id=op.removeprefix("vm."),
        op=op,
        host=host.name,
        title=title,
        args={"uuid": vm.uuid, **args},
        timeout=timeout,
    )


def _start(action: StartVm | RestoreVm, host: HostView, vm: Vm, world: World) -> Plan:
    restore = isinstance(action, RestoreVm)
    verb = "restore" if restore else "start"
    if vm.state.active:
        return _nothing(action, verb, host, vm, f"{vm.name} is {vm.state.value} already", world)
    saved = vm.info.managed_save
    if restore and not saved:
        refuse([f"{vm.name} has no saved state"], f"restore {vm.name}", "start it")
    below = storage.dependants(host, vm, world.snapshot)
    refuse(
        [
            f"the disk of {', '.join(each.users)} stands on its disk {each.target}, and would be ruined"
            for each in below
            if each.users
        ],
        f"{verb} {vm.name}",
        "delete what stands on it, or make a full clone and start that",
    )
    discard = isinstance(action, StartVm) and action.discard_saved
    paused = isinstance(action, StartVm) and action.paused
    reasons = [
        warning(f"{each.overlay} stands on its disk {each.target}: what it writes ruins that")
        for each in below
    ]
    if saved and discard:
        reasons.append(warning("its saved state is lost"))
    elif saved:
        reasons.append(Reason(text="it goes on from its saved state"))
    stats = host.stats
    if stats is not None and stats.memory_total is not None and stats.memory_used is not None:
        free = stats.memory_total - stats.memory_used
        if vm.info.memory_max > free:
            reasons.append(
                warning(f"it may use {vm.info.memory_max >> 20} MiB of memory, {free >> 20} MiB are free")
            )
    step = _step("vm.start", host, vm, "start it", 120.0, paused=paused, discard_saved=discard, saved=restore)
    return _plan(
        action,
        verb,
        host,
        vm,
        world,
        step,
        after="paused" if paused else "running",
        danger=Danger.CONFIRM if saved and discard else Danger.NONE,
        reasons=tuple(reasons),
    )


def _shutdown(action: ShutdownVm, host: HostView, vm: Vm, world: World) -> Plan:
    if not vm.state.active:
        return _nothing(action, "shut down", host, vm, f"{vm.name} is {vm.state.value} already", world)
    problems = []
    if vm.state is VmState.PAUSED:
        problems.append(f"{vm.name} is paused, so its guest can't shut down")
    if vm.info.protected and action.force:
        problems.append(f"{vm.name} is protected against being powered off")
    refuse(problems, f"shut down {vm.name}", "resume it, power it off, or take its protection away")
    after = "and then power it off" if action.force else "and then give up"
    step = _step(
        "vm.shutdown",
        host,
        vm,
        f"ask its guest to shut down, wait {action.wait:.0f} s {after}",
        action.wait + _SHUTDOWN_GRACE,
        wait=action.wait,
        force=action.force,
    )
    reasons = [Reason(text="by ACPI, later also by its guest agent" if vm.info.agent else "by ACPI")]
    if action.force:
        reasons.append(warning("what its guest has not written by then is lost"))
    return _plan(
        action,
        "shut down",
        host,
        vm,
        world,
        step,
        after="shutoff",
        danger=Danger.CONFIRM,
        reasons=tuple(reasons),
    )


def _running(
    action: Power, verb: str, host: HostView, vm: Vm, world: World, op: str, after: str, danger: Danger
) -> Plan:
    if vm.state not in _ON:
        refuse([f"{vm.name} is {vm.state.value}"], f"{verb} {vm.name}")
    return _plan(action, verb, host, vm, world, _step(op, host, vm, f"{verb} it"), after=after, danger=danger)


def _off_hard(
    action: PowerOffVm | ResetVm, verb: str, host: HostView, vm: Vm, world: World, op: str, after: str
) -> Plan:
    if not vm.state.active:
        if isinstance(action, PowerOffVm):
            return _nothing(action, verb, host, vm, f"{vm.name} is {vm.state.value} already", world)
        refuse([f"{vm.name} is {vm.state.value}"], f"{verb} {vm.name}", "start it")
    if vm.info.protected:
        refuse([f"{vm.name} is protected"], f"{verb} {vm.name}", "`vm unprotect` first, or shut it down")
    return _plan(
        action,
        verb,
        host,
        vm,
        world,
        _step(op, host, vm, f"{verb} it: its guest is not asked"),
        after=after,
        danger=Danger.CONFIRM,
        reasons=(warning("what its guest has not written is lost"),),
        conditions=(_not_protected(host, vm),),
    )


def _not_protected(host: HostView, vm: Vm) -> Condition:
    return Condition(
        kind="vm-not-protected",
        host=host.name,
        uuid=vm.uuid,
        name=vm.name,
        text=f"{vm.name} is not protected",
    )


def _resume(action: ResumeVm, host: HostView, vm: Vm, world: World) -> Plan:
    if vm.state in _ON:
        return _nothing(action, "resume", host, vm, f"{vm.name} runs already", world)
    if vm.state not in (VmState.PAUSED, VmState.SUSPENDED):
        refuse([f"{vm.name} is {vm.state.value}"], f"resume {vm.name}", "start it")
    if not may_resume(vm.state, vm.stats.reason):
        refuse(
            [f"{vm.name} stands in a migration: resumed, it might run on two hosts"],
            f"resume {vm.name}",
            "resume or roll back the job that moves it (`job list`); if there is none: `vm settle`",
        )
    reasons: tuple[Reason, ...] = ()
    if vm.stats.reason in ("ioerror", "io-error", "I/O error"):
        reasons = (warning("it was paused by an I/O error: look at its storage first"),)
    return _plan(
        action,
        "resume",
        host,
        vm,
        world,
        _step("vm.resume", host, vm, "let it run on"),
        after="running",
        reasons=reasons,
    )


def _save(action: SaveVm, host: HostView, vm: Vm, world: World) -> Plan:
    if not vm.state.active:
        if vm.info.managed_save:
            return _nothing(action, "save", host, vm, f"{vm.name} is saved already", world)
        refuse([f"{vm.name} is {vm.state.value}"], f"save {vm.name}")
    if not vm.info.persistent:
        refuse([f"{vm.name} is transient: its saved state would be lost"], f"save {vm.name}")
    memory = vm.stats.memory or vm.info.memory_max
    step = Step(
        id="save",
        op="vm.save",
        host=host.name,
        title="write its memory to the host's disk",
        args={"uuid": vm.uuid},
        timeout=120.0,
        bytes=memory,
    )
    return _plan(action, "save", host, vm, world, step, after="shutoff, saved", danger=Danger.CONFIRM)
