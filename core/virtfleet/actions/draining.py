"""Plans of draining hosts and of taking that back: what is written on them, and which VMs go where.

The plan's own job writes on the hosts; each VM is moved by a job of its own
(drainer.py). What is to be known of a drain stands on its hosts and in the
metadata of the VMs that left: whoever goes on with it, from wherever, needs no
more than that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from virtfleet.actions.common import answers, check_host, refuse, warning
from virtfleet.actions.conditions import marks_of
from virtfleet.actions.hosts import Marks, mark, mark_step, reason_problem
from virtfleet.actions.maker import size
from virtfleet.actions.moving import moving_ask
from virtfleet.actions.placing import promises
from virtfleet.actions.world import World
from virtfleet.config.settings import FleetSettings
from virtfleet.decide.drain import Barred, Drain, Going, Leaving, drain
from virtfleet.decide.ledger import Ledger, Promise
from virtfleet.decide.migration import RULES, Move, obstacles
from virtfleet.decide.moving_disks import disks
from virtfleet.errors import RefusedError
from virtfleet.model import FleetSnapshot, HostView, Maintenance, Vm
from virtfleet.model.action import DrainHosts, UndrainHosts
from virtfleet.model.plan import Condition, Danger, Effect, Plan, Reason, Step
from virtfleet.query.display import format_value
from virtfleet.query.field import Unit

_KEEPER = "virtfleet-room-"
"""How definitions are called that keep room for a VM which comes: they come and go with its job."""
_SHOWN = 100


class Home(NamedTuple):
    """A VM that left a host when that was drained."""

    here: HostView
    vm: Vm
    to: str


def plan(action: DrainHosts | UndrainHosts, world: World) -> Plan:
    hosts = [check_host(world, name) for name in dict.fromkeys(action.hosts)]
    names = ", ".join(host.name for host in hosts)
    if isinstance(action, DrainHosts):
        return _drain(action, hosts, names, world)
    return _undrain(action, hosts, names, world)


# ---- away


def decided(action: DrainHosts, world: World) -> Drain:
    """Where each VM goes. NotFoundError, RefusedError."""
    hosts = [check_host(world, name) for name in dict.fromkeys(action.hosts)]
    ledger = world.followed()
    leaving = [_leaving(action, host, vm, world) for host in hosts for vm in host.vms if not _keeps_room(vm)]
    vms = {(host.name, vm.uuid): vm for host in hosts for vm in host.vms}
    with ledger.beside(promises(world)):
        return drain(
            ledger,
            [host.name for host in hosts],
            leaving,
            world.monotonic,
            barred=_walls(action, ledger, vms),
            per_host=usual_per_host(world.settings),
            at_once=world.settings.limits.total,
        )


def usual_per_host(settings: FleetSettings) -> int:
    """Moves at once at either end: of the steps that a host may have at once one is left for others."""
    return max(1, settings.limits.per_host - 1)


def _keeps_room(vm: Vm) -> bool:
    return vm.name.startswith(_KEEPER) and not vm.state.active


def _leaving(action: DrainHosts, host: HostView, vm: Vm, world: World) -> Leaving:
    info, stats = vm.info, vm.stats
    stays = "; ".join(obstacles(vm))
    if not vm.state.active and action.off == "leave":
        stays = "it is off; `--off move` takes it along"
    busy = stats.cpu_pct * stats.vcpus / 100.0 if stats.cpu_pct is not None else None
    return Leaving(
        host=host.name,
        uuid=vm.uuid,
        name=vm.name,
        ask=moving_ask(host, vm, world),
        promise=Promise("", vm.uuid, vm.name, info.vcpus_max, info.memory_max, group=info.group),
        active=vm.state.active,
        stays=stays,
        busy=busy,
    )


def _walls(action: DrainHosts, ledger: Ledger, vms: dict[tuple[str, str], Vm]) -> Barred:
    def barred(leaving: Leaving, host: str) -> str:
        vm = vms[leaving.host, leaving.uuid]
        views, rows = ledger.views, ledger.rows
        move = Move(views[rows[leaving.host]], views[rows[host]], vm)
        for _, rule in RULES:
            if why := rule(move):
                return why
        copies, lacking = disks(ledger, move.here, move.there, vm.info)
        if lacking:
            return lacking[0][0]
        if copies and not (action.copy and vm.state.active):
            return f"it does not see {copies[0].target}: a copy would be needed"
        return ""

    return barred


def _drain(action: DrainHosts, hosts: Sequence[HostView], names: str, world: World) -> Plan:
    title = f"drain {names}"
    problems = [problem] if (problem := reason_problem(action.reason)) else []
    problems += [said.problem for host in hosts if (said := host.maintenance) is not None and said.problem]
    refuse(problems, title)
    found = decided(action, world)
    made = mark(world, action.reason)
    steps = [
        mark_step(
            f"mark-{number}",
            host,
            {"draining": made, "disabled": (host.maintenance or Maintenance()).disabled or made},
            _present(host),
            f"write on {host.name} that it is being drained",
        )
        for number, host in enumerate(hosts, 1)
    ]
    reasons = [Reason(text=_goes(each)) for each in found.going[:_SHOWN]]
    reasons += [
        _stays(each.vm.name, each.vm.host, each.why, each.vm.active) for each in found.staying[:_SHOWN]
    ]
    if found.going:
        count = len(found.going)
        waves = "1 wave" if found.waves == 1 else f"{found.waves} waves"
        reasons.append(Reason(text=f"{count} of {count + len(found.staying)} VMs go, in {waves}"))
    return _plan(action, title, hosts, steps, _predicted(found), reasons, world, bool(found.going))


def _goes(each: Going) -> str:
    memory = size(each.vm.promise.memory)
    return f"{each.wave}. {each.vm.name} ({memory}) from {each.vm.host} to {each.to}: {_load(each)}"


def _load(each: Going) -> str:
    load = each.there
    said = f"{size(int(load.memory))} of {size(int(load.memory_limit))} promised there then"
    if load.cpu_pct is not None:
        said += f", {format_value(load.cpu_pct, Unit.PERCENT)} CPU"
    return said


def _stays(name: str, host: str, why: str, active: bool) -> Reason:
    text = f"{name} stays on {host}: {why}"
    return warning(text) if active else Reason(text=text)


def _predicted(found: Drain) -> list[Effect]:
    """Of each host that takes VMs: what is promised there before and after."""
    last: dict[str, Going] = {each.to: each for each in found.going}
    taken: dict[str, int] = {}
    for each in found.going:
        taken[each.to] = taken.get(each.to, 0) + each.vm.promise.memory
    return [
        Effect(
            what=f"memory promised on {name}",
            unit="bytes",
            before=int(each.there.memory) - taken[name],
            after=int(each.there.memory),
            limit=int(each.there.memory_limit),
        )
        for name, each in last.items()
    ]


def _present(host: HostView) -> Marks:
    said = host.maintenance or Maintenance()
    return {"draining": said.draining, "disabled": said.disabled}


# ---- and home


def homecomers(snapshot: FleetSnapshot, hosts: Iterable[str]) -> list[Home]:
    """VMs that left these hosts when they were drained, the largest first."""
    wanted = frozenset(hosts)
    found = [
        Home(view, vm, home)
        for view in snapshot.hosts.values()
        if view.state.answers
        for vm in view.vms
        # Of several the one it left last.
        if (home := next((each for each in reversed(vm.info.drained_from) if each in wanted), ""))
        and home != view.name
    ]
    return sorted(found, key=lambda each: (-each.vm.info.memory_max, each.vm.name))


def _undrain(action: UndrainHosts, hosts: Sequence[HostView], names: str, world: World) -> Plan:
    title = f"undrain {names}"
    steps, reasons = [], list[Reason]()
    for number, host in enumerate(hosts, 1):
        was = _present(host)
        said = host.maintenance
        if said is not None and said.problem:
            raise RefusedError(f"{title}: {said.problem}", cure=f"`host enable {host.name}` puts it aside")
        if not any(was.values()):
            reasons.append(Reason(text=f"{host.name} takes new VMs already"))
            continue
        reasons.append(Reason(text=f"{host.name} was {host.closed}"))
        text = f"take back what is written on {host.name}"
        steps.append(mark_step(f"mark-{number}", host, dict.fromkeys(was), was, text))
    left = homecomers(world.snapshot, action.hosts)
    for each in left[:_SHOWN]:
        where = f"{each.vm.name} ({size(each.vm.info.memory_max)})"
        stays = f"{where} stays on {each.here.name}, where it came from {each.to}"
        goes = f"{where} from {each.here.name} home to {each.to}"
        reasons.append(Reason(text=goes if action.bring else stays))
    if left and not action.bring:
        reasons.append(Reason(text="`host undrain --return` brings them home"))
    return _plan(action, title, hosts, steps, [], reasons, world, bool(left) and action.bring)


# ---- both


def _plan(
    action: DrainHosts | UndrainHosts,
    title: str,
    hosts: Sequence[HostView],
    steps: Sequence[Step],
    effects: Sequence[Effect],
    reasons: Sequence[Reason],
    world: World,
    moves: bool,
) -> Plan:
    alone = [host.name for host in hosts if host.maintenance is not None and not host.maintenance.shared]
    if alone:
        text = f"what is said of {', '.join(alone)} is kept on this machine: other operators can't see it"
        reasons = [*reasons, warning(text)]
    marks = [
        Condition(kind="host-marks", host=host.name, value=marks_of(host), text="nobody said otherwise")
        for host in hosts
    ]
    return Plan(
        action=action,
        title=title,
        verb=str(type(action).__struct_config__.tag),
        kind="host",
        host=hosts[0].name,
        name=", ".join(host.name for host in hosts),
        steps=tuple(steps),
        conditions=(*(answers(host) for host in hosts), *marks),
        effects=tuple(effects),
        reasons=tuple(reasons),
        danger=Danger.CONFIRM if moves else Danger.NONE,
        made=world.now,
    )
