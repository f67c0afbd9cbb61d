"""The plan of a VM's size: what counts now, what at its next boot."""

from __future__ import annotations

from virtfleet.actions.common import answers, find_vm, framed, is_in_state, is_there, refuse, warning
from virtfleet.actions.host_room import limits, no_room
from virtfleet.actions.maker import promises
from virtfleet.actions.quotas import claim_for, within_quota
from virtfleet.actions.tying import alone
from virtfleet.actions.world import World
from virtfleet.config.settings import Flavor
from virtfleet.errors import RefusedError
from virtfleet.model import HostView, Vm
from virtfleet.model.action import ResizeVm
from virtfleet.model.plan import Danger, Effect, Plan, Reason, Step, Undo
from virtfleet.model.project import Claim
from virtfleet.query.display import format_value
from virtfleet.query.field import Unit

_LEAST_MEMORY = 1 << 20


def plan(action: ResizeVm, world: World) -> Plan:
    host, vm = find_vm(world, action.vm)
    flavors = world.settings.flavors
    if action.flavor and action.flavor not in flavors:
        raise RefusedError(
            f"resize {vm.name}: the fleet file knows no flavor {action.flavor}",
            cure=f"flavors: {', '.join(flavors) or 'none'}",
        )
    flavor = flavors.get(action.flavor)
    vcpus = action.vcpus or (flavor.vcpus if flavor else None)
    memory = action.memory or (flavor.memory if flavor else None)
    problems = []
    if memory is not None and memory < _LEAST_MEMORY:
        problems.append(f"{memory} bytes of memory are too few")
    if (
        memory is not None
        and host.stats is not None
        and (total := host.stats.memory_total)
        and memory > max(total, vm.info.memory_max)
    ):
        problems.append(f"{host.name} has {_size(total)} of memory in all, {_size(memory)} are wanted")
    if not vm.info.persistent:
        problems.append(f"{vm.name} is transient")
    info = vm.info
    wants_vcpus = vcpus if vcpus is not None and vcpus != info.vcpus_max else None
    wants_memory = memory if memory is not None and memory // 1024 != info.memory_max // 1024 else None
    problems += _in_cells(vm, wants_vcpus, wants_memory)
    refuse(problems, f"resize {vm.name}")
    renamed = bool(action.flavor) and action.flavor != info.flavor
    claims: tuple[Claim, ...] = ()
    if wants_vcpus or wants_memory:
        claims = (claim_for(host, vm, world, vcpus=wants_vcpus, memory=wants_memory),)
        within_quota(claims, world, f"resize {vm.name}")
        refuse(no_room(host, vm, world, wants_vcpus, wants_memory), f"resize {vm.name}")
    effects, reasons = _effects(host, vm, wants_vcpus, wants_memory)
    steps: list[Step] = []
    if wants_vcpus or wants_memory:
        sizes = {"vcpus": wants_vcpus, "memory": wants_memory}
        before = {
            "vcpus": info.vcpus_max if wants_vcpus else None,
            "memory": info.memory_max if wants_memory else None,
        }
        words = ", ".join(_words(wants_vcpus, wants_memory))
        steps.append(
            Step(
                id="resize",
                op="vm.resize",
                host=host.name,
                title=f"set {words}",
                args={"uuid": vm.uuid, **sizes, "limits": limits(host, world)},
                timeout=40.0,
                undo=Undo(
                    op="vm.resize", args={"uuid": vm.uuid, **before, "expect": sizes}, title="set them back"
                ),
            )
        )
    if renamed:
        steps.append(
            Step(
                id="flavor",
                op="vm.metadata",
                host=host.name,
                title=f"note its flavor, {action.flavor}",
                args={"uuid": vm.uuid, "change": {"set": {"flavor": action.flavor}}},
                timeout=40.0,
                undo=Undo(
                    op="vm.metadata", args={"uuid": vm.uuid, "change": {"set": {"flavor": info.flavor}}}
                ),
            )
        )
    if renamed and (text := _not_carried_out(vm, action.flavor, world)):
        reasons.append(warning(text))
    elif (wants_vcpus or 0) > info.vcpus_max and (own := alone(vm)):
        reasons.append(warning(f"it keeps {own} for itself; more vCPUs have none of their own"))
    if not steps:
        reasons = [Reason(text="it has that size already")]
    return Plan(
        action=action,
        title=f"resize {vm.name} on {host.name}" + (f" to {action.flavor}" if action.flavor else ""),
        verb="vm.resize",
        host=host.name,
        uuid=vm.uuid,
        name=vm.name,
        steps=framed(host.name, vm.uuid, "vm.resize", world.who, steps) if steps else (),
        conditions=(answers(host), is_there(host, vm), is_in_state(host, vm)) if steps else (),
        effects=tuple(effects),
        reasons=tuple(reasons),
        claims=claims,
        danger=Danger.CONFIRM if steps and vm.state.active else Danger.NONE,
        made=world.now,
    )


def _in_cells(vm: Vm, vcpus: int | None, memory: int | None) -> list[str]:
    """What libvirt does not do to a VM that has NUMA cells."""
    if not vm.info.cells:
        return []
    found = []
    if memory:
        found.append("its memory is divided into NUMA cells, whose sizes only its XML changes")
    if vcpus and vcpus < (least := sum(len(cell.cpus) for cell in vm.info.cells)):
        found.append(f"its NUMA cells have {least} vCPUs, {vcpus} are too few")
    return found


def _not_carried_out(vm: Vm, flavor: str, world: World) -> str:
    """That a flavor asks for other CPUs, pages or devices than the VM was made with; empty: it does not."""
    flavors = world.settings.flavors
    was = _placed(flavors[vm.info.flavor]) if vm.info.flavor in flavors else {}
    asks = _placed(flavors[flavor])
    if was == asks:
        return ""
    keys = ", ".join(sorted(key for key in {*was, *asks} if was.get(key) != asks.get(key)))
    return f"only vCPUs and memory change: what flavor {flavor} says of {keys} holds for new VMs alone"


def _placed(flavor: Flavor) -> dict[str, str]:
    """The extra specs that decide which CPUs, memory and devices of a host a VM has."""
    return {
        key: str(value)
        for key, value in flavor.extra_specs.items()
        if key.startswith(("hw:", "pci_passthrough:"))
    }


def _words(vcpus: int | None, memory: int | None) -> list[str]:
    found = []
    if vcpus:
        found.append(f"{vcpus} vCPU")
    if memory:
        found.append(f"{_size(memory)} of memory")
    return found


def _effects(
    host: HostView, vm: Vm, vcpus: int | None, memory: int | None
) -> tuple[list[Effect], list[Reason]]:
    effects: list[Effect] = []
    reasons: list[Reason] = []
    info, on = vm.info, vm.state.active
    if vcpus:
        effects.append(Effect(what="vCPUs", unit="vcpus", before=info.vcpus_max, after=vcpus))
        if on:
            live = vcpus <= info.vcpus_max
            reasons.append(
                Reason(text="fewer vCPUs now, where its guest lets go of them, else at the next boot")
                if live
                else Reason(text=f"more than {info.vcpus_max} vCPUs only at the next boot")
            )
        if host.facts is not None and host.facts.cpus and vcpus > host.facts.cpus:
            reasons.append(warning(f"more vCPUs than {host.name} has CPUs ({host.facts.cpus})"))
    if memory:
        effects.append(Effect(what="memory", unit="bytes", before=info.memory_max, after=memory))
        if on:
            reasons.append(
                Reason(text="less memory now, by its balloon; the limit at the next boot")
                if memory <= info.memory_max
                else Reason(text=f"more than {_size(info.memory_max)} of memory only at the next boot")
            )
    changes = promises(
        host,
        memory=(memory or info.memory_max) - info.memory_max,
        vcpus=(vcpus or info.vcpus_max) - info.vcpus_max,
    )
    effects += [each for each in changes if each.before != each.after]
    return effects, reasons


def _size(count: int) -> str:
    return format_value(count, Unit.BYTES)
