"""The plan for a VM that stands in a migration which nobody carries on, whoever began it.

A client that dies between the two hosts leaves the VM paused here, and perhaps
running there. Only both hosts together tell which; so both must answer.
"""

from __future__ import annotations

from virtfleet.actions.common import answers, check_host, find_vm, framed, is_there, refuse
from virtfleet.actions.world import World
from virtfleet.decide.recovery import may_resume
from virtfleet.errors import RefusedError
from virtfleet.model import HostView, Vm
from virtfleet.model.action_moving import SettleVm
from virtfleet.model.plan import Danger, Plan, Reason, Step


def plan(action: SettleVm, world: World) -> Plan:
    here, vm = find_vm(world, action.vm)
    needless = may_resume(vm.state, vm.stats.reason)
    if needless:
        there = here
    else:
        there = check_host(world, _other(action, here, vm, world))
        refuse(
            ["it is where it stands; the other host is asked for"] if there.name == here.name else [],
            f"settle {vm.name}",
        )
    two = {
        "source": here.name,
        "to": there.name,
        "uuid": vm.uuid,
        "name": vm.name,
        "idle": True,
        "arrive": {
            "uuid": vm.uuid,
            "name": vm.name,
            "autostart": vm.info.autostart,
            "keeper": world.new_uuid(),  # nothing was kept
        },
    }
    step = Step(
        id="settle",
        op="vm.move.back",
        host=here.name,
        title=f"ask {here.name} and {there.name}: if it is there it is taken away here, else it runs on here",
        args=two,
        timeout=120.0,
    )
    return Plan(
        action=action,
        title=f"settle {vm.name} on {here.name}",
        verb="vm.settle",
        host=here.name,
        uuid=vm.uuid,
        name=vm.name,
        steps=() if needless else framed(here.name, vm.uuid, "vm.settle", world.who, [step]),
        conditions=() if needless else (answers(here), answers(there), is_there(here, vm)),
        reasons=(Reason(text=f"{vm.name} stands in no migration"),) if needless else (),
        danger=Danger.NONE if needless else Danger.CONFIRM,
        made=world.now,
    )


def _other(action: SettleVm, here: HostView, vm: Vm, world: World) -> str:
    """The host that it was to go to. RefusedError: nobody can tell."""
    if action.other:
        return action.other
    found = [
        view.name
        for view in world.snapshot.hosts.values()
        if view.name != here.name and any(each.uuid == vm.uuid for each in view.vms)
    ]
    if len(found) == 1:
        return found[0]
    why = f"{', '.join(found)} show it" if found else "no other host shows it"
    raise RefusedError(
        f"settle {vm.name}: where it was to go is not known: {why}",
        cure="give --other HOST: where it was to go",
    )
