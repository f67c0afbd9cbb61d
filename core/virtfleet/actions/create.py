"""The plan of a new VM: from an image, an installer, given XML, or a container's root folder."""

from __future__ import annotations

import re

import msgspec

from virtfleet.actions.common import check_host, name_problem, refuse, warning
from virtfleet.actions.maker import Maker, Sizes
from virtfleet.actions.maker_disks import Disks
from virtfleet.actions.placing import choose, specs_of
from virtfleet.actions.quotas import within_quota
from virtfleet.actions.tying import asks
from virtfleet.actions.world import World
from virtfleet.errors import ConfigError, RefusedError
from virtfleet.model import HostView
from virtfleet.model.action import CreateVm
from virtfleet.model.plan import Plan, Reason, Step, Undo
from virtfleet.model.spec import NicSpec, Tied

_MEMORY = 1 << 30
_VCPUS = 1
_NUMBER = re.compile(r"%0?[0-9]?d")
_TARBALLS = (".tar", ".tar.gz", ".tgz", ".tar.xz")


def expand(action: CreateVm, count: int, first: int = 1) -> list[CreateVm]:
    """The action once for each number in its name's pattern (web-%02d). ConfigError: no place for one."""
    found = _NUMBER.search(action.name)
    if found is None:
        if count > 1:
            raise ConfigError(
                f"{action.name!r} has no place for a number, for {count} VMs", cure="like web-%02d"
            )
        return [action]
    names = [
        action.name[: found.start()] + found[0] % number + action.name[found.end() :]
        for number in range(first, first + count)
    ]
    return [msgspec.structs.replace(action, name=name) for name in names]


def plan(action: CreateVm, world: World) -> Plan:
    sizes = sizes_of(action, world)
    problems = [problem] if (problem := name_problem(action.name)) else []
    sources = {"image": action.image, "ISO": action.iso, "XML": action.xml, "root": action.root}
    if len(given := [name for name, value in sources.items() if value]) != 1:
        problems.append(f"one of image, ISO, XML and root makes a VM; given: {', '.join(given) or 'none'}")
    refuse(problems, "create a VM")
    if action.host:
        host = check_host(world, action.host)
        if any(vm.name == action.name for vm in host.vms):
            problems.append(f"a VM called {action.name} is on {host.name} already")
    image = world.images.get(action.image) if action.image else None
    iso = world.images.get(action.iso) if action.iso else None
    problems += [
        f"{each.name} is on {each.host}, not on {action.host}"
        for each in (image, iso)
        if action.host and each is not None and each.host and each.host != action.host
    ]
    refuse(problems, f"create {action.name}")
    if action.root and asks(specs_of(action.flavor, world, sizes, f"create {action.name}")):
        problems.append(
            f"a container can't be given the CPUs, pages or devices that {action.flavor} asks for"
        )
    refuse(problems, f"create {action.name}")
    where = choose(action, world, sizes)
    host = world.snapshot.hosts[where.host]
    networks, reasons = _networks(action, world, host, problems)
    refuse(problems, f"create {action.name}")
    tied = where.tied if action.xml is None else Tied()
    maker = Maker(action, world, host, sizes, networks, tied)
    maker.reasons = [*where.reasons, *maker.reasons, *reasons]
    if tied != where.tied:
        text = (
            f"the CPUs, pages and devices that {action.flavor} asks for are not put into XML that was given"
        )
        maker.reasons.append(warning(text))
    if action.root:
        _container(maker)
    elif action.xml is not None and world.given is not None:
        maker.source = f" from {action.xml.path}"
        maker.define_xml(world.given.nics)
        if world.given.disks:
            maker.reasons.append(Reason(text=f"uses {', '.join(world.given.disks)}, which are not made"))
    else:
        disks = Disks(maker, image, iso)
        if image is not None:
            disks.from_image(image)
        elif iso is not None:
            disks.to_install(iso)
        if action.seed is not None:
            disks.seed(action.seed, image)
        maker.define()
    made = maker.plan()
    within_quota(made.claims, world, f"create {action.name}")
    return made


def sizes_of(action: CreateVm, world: World) -> Sizes:
    flavors = world.settings.flavors
    if action.flavor and action.flavor not in flavors:
        raise RefusedError(
            f"create {action.name}: the fleet file knows no flavor {action.flavor}",
            cure=f"flavors: {', '.join(flavors) or 'none'}; or give --vcpus and --memory",
        )
    if world.given is not None:  # its XML says it
        return Sizes(world.given.vcpus, world.given.memory, None, action.flavor)
    flavor = flavors.get(action.flavor)
    return Sizes(
        action.vcpus or (flavor.vcpus if flavor else _VCPUS),
        action.memory or (flavor.memory if flavor else _MEMORY),
        action.disk if action.disk is not None else (flavor.disk or None) if flavor else None,
        action.flavor,
    )


def _networks(
    action: CreateVm, world: World, host: HostView, problems: list[str]
) -> tuple[tuple[NicSpec, ...], list[Reason]]:
    """NICs without MACs yet."""
    wanted = list(action.networks)
    reasons: list[Reason] = []
    known = {network.name: network for network in host.networks}
    if action.xml is not None:
        needed = world.given.networks if world.given is not None else ()
        problems += [f"there is no network {each} on {host.name}" for each in needed if each not in known]
        return (), reasons
    if not wanted:
        if "default" in known and known["default"].active:
            wanted = ["default"]
            reasons.append(Reason(text=f"on network default, which {host.name} has: no other was asked for"))
        else:
            reasons.append(
                Reason(text="without a network: none was given, and there is no network `default`")
            )
    nics = []
    for each in wanted:
        kind, colon, name = each.partition(":")
        if colon and kind == "bridge":
            nics.append(NicSpec(mac="", bridge=name))
        elif each not in known:
            some = ", ".join(known) or "none"
            problems.append(f"there is no network {each} on {host.name} (there: {some})")
        elif not known[each].active:
            problems.append(f"network {each} on {host.name} is not active")
        else:
            nics.append(NicSpec(mac="", network=each))
    return tuple(nics), reasons


def _container(maker: Maker) -> None:
    root = maker.action.root
    maker.source = f" as a container on {root}"
    if root.endswith(_TARBALLS):
        target = f"/var/lib/virtfleet/containers/{maker.uuid}"
        maker.steps.append(
            Step(
                id="unpack",
                op="container.unpack",
                host=maker.host.name,
                title=f"unpack {root} to {target}",
                args={"root": target, "path": root},
                timeout=120.0,
                undo=Undo(op="container.remove", args={"root": target}, title=f"remove {target}"),
            )
        )
        root = target
    maker.define("container", root)
