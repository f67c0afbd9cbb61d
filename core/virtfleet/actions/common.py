"""What the planning of many verbs shares: finding the VM, checking names, steps that frame a change."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from virtfleet.actions.world import World
from virtfleet.errors import NotFoundError, RefusedError
from virtfleet.model import HostState, HostView, Vm
from virtfleet.model.action import VmRef
from virtfleet.model.plan import Condition, Effect, Reason, Step, Undo
from virtfleet.query.display import format_value
from virtfleet.query.field import Unit

MIB = 1 << 20
_LONGEST_NAME = 200
"""Bytes in UTF-8: a file may be called so, with a suffix, and file names have at most 255."""
_CLAIM_SECONDS = 900
"""A claim stands so long unless it is renewed; a job whose console died does not block a VM for ever."""
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


def check_host(world: World, name: str) -> HostView:
    """A host that answers and whose data is fresh. NotFoundError, RefusedError with what to do."""
    host = world.snapshot.hosts.get(name)
    if host is None:
        raise NotFoundError(f"no host {name!r} in this fleet")
    if host.state is HostState.DISABLED:
        raise RefusedError(f"{name} is disabled: {host.reason}", cure="enable it in the fleet file")
    if not host.state.answers:
        raise RefusedError(
            f"{name} is {host.state.value}: {host.reason or 'it does not answer'}",
            cure=host.cure or "try again later",
        )
    if host.is_stale(world.monotonic) and not world.stale_ok:
        age = host.age(world.monotonic)
        old = "has not told anything yet" if age is None else f"was last heard {age:.0f} s ago"
        raise RefusedError(f"{name} {old}: what is known of it may not be true", cure="wait, or reconnect it")
    return host


def find_vm(world: World, ref: VmRef) -> tuple[HostView, Vm]:
    """The VM that is meant, on a host that answers. NotFoundError, RefusedError."""
    host = check_host(world, ref.host)
    for vm in host.vms:
        if vm.uuid == ref.uuid:
            return host, vm
    raise NotFoundError(
        f"{ref.name or ref.uuid} is no longer on {ref.host}", cure=_elsewhere(world, ref) or "it was deleted"
    )


def _elsewhere(world: World, ref: VmRef) -> str:
    places = [
        host.name for host in world.snapshot.hosts.values() if any(vm.uuid == ref.uuid for vm in host.vms)
    ]
    return f"it is on {', '.join(places)} now" if places else ""


def refuse(reasons: Sequence[str], what: str, cure: str = "") -> None:
    """RefusedError with all the reasons at once, if there are any."""
    if reasons:
        raise RefusedError(f"{what}: {'; '.join(reasons)}", cure=cure)


def volumes_known(host: HostView, what: str) -> None:
    """RefusedError: its pools or volumes were not read yet, so nothing can be said about disks."""
    if host.freshness.pools is None or (host.pools and host.freshness.volumes is None):
        raise RefusedError(
            f"{what}: the pools and volumes of {host.name} are not known yet", cure="wait until they are read"
        )


def name_problem(name: str, what: str = "name") -> str:
    """Why a VM or volume can't be called so; empty: it can."""
    if not name:
        return f"the {what} is empty"
    if not name.isprintable():
        return f"the {what} {name!a} has control characters or line breaks in it"
    if (length := len(name.encode("utf-8", "surrogatepass"))) > _LONGEST_NAME:
        return f"the {what} has {length} bytes, at most {_LONGEST_NAME} are accepted"
    if "/" in name:
        return f"the {what} {name!r} has a slash in it"
    if name.startswith((".", "-")) or name != name.strip():
        return f"the {what} {name!r} may not begin with a dot or a dash, nor with or end in a space"
    return ""


def mac_problem(mac: str) -> str:
    """Why this is no MAC address of an interface; empty: it is one."""
    if not _MAC.fullmatch(mac.lower()):
        return f"{mac!r} is no MAC address like 52:54:00:12:34:56"
    return "" if int(mac[:2], 16) & 1 == 0 else f"{mac} is a multicast address"


def mac_owner(world: World, mac: str) -> str:
    """NAME@HOST of the VM that has this MAC; empty: none that is known."""
    for host in world.snapshot.hosts.values():
        for vm in host.vms:
            if any(nic.mac.lower() == mac.lower() for nic in vm.info.nics):
                return f"{vm.name}@{host.name}"
    return ""


# ---------------------------------------------------------------- conditions


def is_there(host: HostView, vm: Vm) -> Condition:
    return Condition(
        kind="vm-is", host=host.name, uuid=vm.uuid, name=vm.name, text=f"{vm.name} is on {host.name}"
    )


def is_in_state(host: HostView, vm: Vm) -> Condition:
    return Condition(
        kind="vm-active",
        host=host.name,
        uuid=vm.uuid,
        name=vm.name,
        value=vm.state.active,
        text=f"{vm.name} is {vm.state.value}",
    )


def answers(host: HostView) -> Condition:
    return Condition(kind="host-answers", host=host.name, text=f"{host.name} answers")


def takes_vms(host: HostView) -> Condition:
    """No operator has disabled it for new VMs."""
    return Condition(kind="host-open", host=host.name, text=f"{host.name} takes new VMs")


def name_is_free(host: str, name: str) -> Condition:
    return Condition(kind="vm-name-free", host=host, name=name, text=f"no VM on {host} is called {name}")


def keeps(host: HostView, vm: Vm) -> Condition:
    """As many snapshots as now, and a saved state or none as now."""
    return Condition(
        kind="vm-keeps",
        host=host.name,
        uuid=vm.uuid,
        name=vm.name,
        value={"snapshots": vm.info.snapshots, "saved": vm.info.managed_save},
        text=f"{vm.name} has the snapshots and the saved state that it had",
    )


def pool_has_room(host: HostView, pool: str, room: int) -> Condition:
    left = format_value(room, Unit.BYTES)
    return Condition(
        kind="pool-active",
        host=host.name,
        name=pool,
        value=room,
        text=f"pool {pool} is active and has {left} left",
    )


def volume_is_free(host: HostView, pool: str, name: str, what: str) -> Condition:
    """RefusedError: there is one of that name already."""
    if any((each.pool, each.name) == (pool, name) for each in host.volumes):
        refuse([f"a volume {name} is in pool {pool} on {host.name} already"], what)
    return Condition(
        kind="volume-free",
        host=host.name,
        name=name,
        value=pool,
        text=f"no volume in {pool} is called {name}",
    )


# ---------------------------------------------------------------- steps


def claim(ref_host: str, uuid: str, verb: str, who: str) -> Step:
    """Says in the VM's own metadata that we are working on it."""
    return Step(
        id="claim",
        op="vm.claim",
        host=ref_host,
        title="say that it is being worked on",
        args={"uuid": uuid, "verb": verb, "who": who, "seconds": _CLAIM_SECONDS},
        timeout=20.0,
        undo=Undo(op="vm.release", args={"uuid": uuid}),
    )


def release(host: str, uuid: str) -> Step:
    return Step(
        id="release",
        op="vm.release",
        host=host,
        title="say that it is free again",
        args={"uuid": uuid},
        timeout=20.0,
    )


def remember(host: str, uuid: str) -> Step:
    """Its definition goes into the journal: then a later step can be undone that nobody saw end."""
    return Step(
        id="remember", op="vm.remember", host=host, title="remember its definition", args={"uuid": uuid}
    )


def framed(host: str, uuid: str, verb: str, who: str, steps: Iterable[Step]) -> tuple[Step, ...]:
    """The steps between claim and release."""
    return (claim(host, uuid, verb, who), *steps, release(host, uuid))


def state_effect(vm: Vm, after: str) -> Effect:
    return Effect(what=f"{vm.name} state", before=vm.state.value, after=after)


def warning(text: str) -> Reason:
    return Reason(text=text, warning=True)
