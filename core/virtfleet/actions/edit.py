"""The plan of an edited definition."""

from __future__ import annotations

from virtfleet.actions.common import answers, find_vm, framed, is_there, refuse, remember
from virtfleet.actions.world import World
from virtfleet.hypervisor.views.safexml import parse
from virtfleet.model.action import EditVm
from virtfleet.model.plan import Danger, Effect, Plan, Reason, Step, Undo

_LARGEST = 4 << 20


def plan(action: EditVm, world: World) -> Plan:
    host, vm = find_vm(world, action.vm)
    problems = []
    if not vm.info.persistent:
        problems.append(f"{vm.name} is transient: it has no definition to edit")
    if len(action.xml) > _LARGEST:
        problems.append(f"{len(action.xml)} characters are no VM's XML")
    if not problems and _has_password(action.xml):
        problems.append(
            "there is a password in it, which would be written to the journal; set it on the host"
        )
    refuse(problems, f"edit {vm.name}")
    step = Step(
        id="redefine",
        op="vm.redefine",
        host=host.name,
        title="check the XML and define it anew",
        args={"uuid": vm.uuid, "xml": action.xml, "was_sha256": action.was},
        timeout=40.0,
        undo=Undo(
            op="vm.redefine",
            args={
                "uuid": vm.uuid,
                "xml": {"$from": "remember", "key": "xml"},
                "was": {"$from": "redefine", "key": "after"},
            },
            title="define it as it was",
        ),
    )
    reasons = (Reason(text="it counts from its next boot on"),) if vm.state.active else ()
    return Plan(
        action=action,
        title=f"edit the XML of {vm.name} on {host.name}",
        verb="vm.edit",
        host=host.name,
        uuid=vm.uuid,
        name=vm.name,
        steps=framed(host.name, vm.uuid, "vm.edit", world.who, (remember(host.name, vm.uuid), step)),
        conditions=(answers(host), is_there(host, vm)),
        effects=(Effect(what="definition", before="as it is", after="as edited"),),
        reasons=reasons,
        danger=Danger.CONFIRM,
        made=world.now,
    )


def _has_password(xml: str) -> bool:
    """Whether it brings a secret. XML that can't be read is for the host to refuse."""
    try:
        root = parse(xml)
    except ValueError:
        return False
    return any("passwd" in each.attrib for each in root.iterfind("devices/graphics"))
