"""What the planning of many verbs shares: finding the VM, checking names, steps that frame a change."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from virtfleet.actions.world import World
from virtfleet.errors import NotFoundError, RefusedError
from virtfleet.model import HostState, HostView, Vm, Volume
from virtfleet.model.action import Action, VmRef, verb_of
from virtfleet.model.plan import Condition, Danger, Effect, Plan, Reason, Step, Undo

_LONGEST_NAME = 200
LONGEST_WORD = 100
"""Characters of a tag, a project, a group."""
_LONGEST_TITLE = 500
_LONGEST_DESCRIPTION = 4000
_LONGEST_DEVICE = 15
"""Linux's limit for names of network devices."""
_MAC_TRIES = 64
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


def name_problem(name: str, what: str = "name") -> str:
    """Why a VM or volume can't be called so; empty: it can."""
    if not name:
        return f"the {what} is empty"
    if len(name) > _LONGEST_NAME:
        return f"the {what} has {len(name)} characters, at most {_LONGEST_NAME} are accepted"
    if not name.isprintable():
        return f"the {what} {name!a} has control characters or line breaks in it"
    if "/" in name:
        return f"the {what} {name!r} has a slash in it"
    if name.startswith((".", "-")) or name != name.strip():
        return f"the {what} {name!r} may not begin with a dot or a dash, nor with or end in a space"
    return ""


def tag_problem(tag: str) -> str:
    """Why this is no tag; empty: it is one."""
    if tag and tag.isprintable() and " " not in tag and "," not in tag and len(tag) <= LONGEST_WORD:
        return ""
    return f"{tag!r} is no tag: one word of at most {LONGEST_WORD} printable characters"


def title_problem(title: str) -> str:
    if not title.isprintable():
        return "a title is one line without control characters"
    long = len(title) > _LONGEST_TITLE
    return f"a title has at most {_LONGEST_TITLE} characters" if long else ""


def description_problem(text: str) -> str:
    if not all(letter.isprintable() or letter in "\n\t" for letter in text):
        return "a description has no control characters in it"
    long = len(text) > _LONGEST_DESCRIPTION
    return f"a description has at most {_LONGEST_DESCRIPTION} characters" if long else ""


def group_problem(group: str) -> str:
    if group.isprintable() and len(group) <= LONGEST_WORD:
        return ""
    return f"a group has at most {LONGEST_WORD} printable characters"


def project_problem(world: World, project: str) -> str:
    """An unknown project is refused where the fleet file names projects."""
    if not project.isprintable() or len(project) > LONGEST_WORD:
        return f"a project has at most {LONGEST_WORD} printable characters"
    known = world.settings.projects
    if project and known and project not in known:
        return f"the fleet file knows no project {project} (there: {', '.join(known)})"
    return ""


def mac_problem(mac: str) -> str:
    """Why this is no MAC address of an interface; empty: it is one."""
    if not _MAC.fullmatch(mac.lower()):
        return f"{mac!r} is no MAC address like 52:54:00:12:34:56"
    return "" if int(mac[:2], 16) & 1 == 0 else f"{mac} is a multicast address"


def bridge_problem(name: str) -> str:
    """Why no bridge can be called so; empty: one can. Whether there is one, nobody tells us."""
    if 0 < len(name) <= _LONGEST_DEVICE and name.isprintable() and not set(name) & set("/ :"):
        return ""
    return f"{name!r} is no bridge's name: 1 to {_LONGEST_DEVICE} characters, no space, slash or colon"


def mac_owner(world: World, mac: str) -> str:
    """NAME@HOST of the VM that has this MAC; empty: none that is known."""
    for host in world.snapshot.hosts.values():
        for vm in host.vms:
            if any(nic.mac.lower() == mac.lower() for nic in vm.info.nics):
                return f"{vm.name}@{host.name}"
    return ""


def free_macs(world: World, count: int) -> list[str]:
    """New MACs, all different, that no VM of the fleet has, as far as is known."""
    if not count:
        return []
    found: list[str] = []
    for _ in range(_MAC_TRIES):
        wanted = set(found)
        while len(found) < count:
            mac = world.new_mac()
            if mac not in wanted:
                wanted.add(mac)
                found.append(mac)
        # One look at the whole fleet, however many are wanted.
        taken = {
            nic.mac.lower()
            for host in world.snapshot.hosts.values()
            for vm in host.vms
            for nic in vm.info.nics
            if nic.mac.lower() in wanted
        }
        if not taken:
            return found
        found = [mac for mac in found if mac not in taken]
    raise RefusedError("no free MAC address was found")


def free_mac(world: World) -> str:
    """A new MAC that no VM of the fleet has, as far as is known."""
    return free_macs(world, 1)[0]


def volumes_known(host: HostView, what: str) -> None:
    """RefusedError: its pools or volumes were not read yet, so nothing can be said about disks."""
    if host.freshness.pools is None or (host.pools and host.freshness.volumes is None):
        raise RefusedError(
            f"{what}: the pools and volumes of {host.name} are not known yet", cure="wait until they are read"
        )


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


def name_is_free(host: str, name: str) -> Condition:
    return Condition(kind="vm-name-free", host=host, name=name, text=f"no VM on {host} is called {name}")


def is_not_protected(host: HostView, vm: Vm) -> Condition:
    return Condition(
        kind="vm-not-protected",
        host=host.name,
        uuid=vm.uuid,
        name=vm.name,
        text=f"{vm.name} is not protected",
    )


def has_snapshots(host: HostView, vm: Vm) -> Condition:
    """As many as now, and a saved state or none as now."""
    return Condition(
        kind="vm-keeps",
        host=host.name,
        uuid=vm.uuid,
        name=vm.name,
        value={"snapshots": vm.info.snapshots, "saved": vm.info.managed_save},
        text=f"{vm.name} has the snapshots and the saved state that it had",
    )


def volume_is_free(host: str, pool: str, name: str) -> Condition:
    return Condition(
        kind="volume-free", host=host, name=name, value=pool, text=f"no volume in {pool} is called {name}"
    )


def volume_is(host: str, volume: Volume) -> Condition:
    """It is there and is what it was: what it stands on, its format, its size."""
    return Condition(
        kind="volume-is",
        host=host,
        name=volume.name,
        value={
            "pool": volume.pool,
            "path": volume.path,
            "format": volume.format,
            "capacity": volume.capacity,
            "backing": volume.backing,
        },
        text=f"{volume.pool}/{volume.name} is what it was",
    )


def pool_has(host: str, pool: str, room: int, text: str) -> Condition:
    """`room`: bytes; `text`: the same for people."""
    return Condition(
        kind="pool-active",
        host=host,
        name=pool,
        value=room,
        text=f"pool {pool} on {host} is active and has {text} left",
    )


def network_is_active(host: str, network: str) -> Condition:
    return Condition(
        kind="network-active", host=host, name=network, text=f"network {network} on {host} is active"
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


def warning(text: str) -> Reason:
    return Reason(text=text, warning=True)


def vm_plan(
    action: Action,
    title: str,
    host: HostView,
    vm: Vm,
    world: World,
    steps: Sequence[Step],
    *,
    effects: Sequence[Effect] = (),
    conditions: Sequence[Condition] = (),
    reasons: Sequence[Reason] = (),
    nothing: str = "",
    danger: Danger = Danger.NONE,
) -> Plan:
    """The plan of a change to one VM: the steps are framed by claim and release, the conditions begin with
    the host and the VM. Without steps it is a plan of nothing, and `nothing` says why."""
    verb = verb_of(action)
    if not steps:
        return Plan(
            action=action,
            title=f"{title} on {host.name}",
            verb=verb,
            host=host.name,
            uuid=vm.uuid,
            name=vm.name,
            reasons=(Reason(text=nothing),) if nothing else tuple(reasons),
            made=world.now,
        )
    return Plan(
        action=action,
        title=f"{title} on {host.name}",
        verb=verb,
        host=host.name,
        uuid=vm.uuid,
        name=vm.name,
        steps=framed(host.name, vm.uuid, verb, world.who, steps),
        conditions=(answers(host), is_there(host, vm), *conditions),
        effects=tuple(effects),
        reasons=tuple(reasons),
        danger=danger,
        made=world.now,
    )
