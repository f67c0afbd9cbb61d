"""Plans of moves: where to, what goes along, what each of the two hosts does."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from virtfleet.actions import storage
from virtfleet.actions.common import (
    answers,
    check_host,
    claim,
    find_vm,
    is_in_state,
    is_there,
    keeps,
    name_is_free,
    pool_has_room,
    refuse,
    volume_is_free,
    warning,
)
from virtfleet.actions.maker import promises, size
from virtfleet.actions.peers import Peer, peer
from virtfleet.actions.placing import ask_for
from virtfleet.actions.placing import promises as promised
from virtfleet.actions.world import World
from virtfleet.config.settings import HostSettings
from virtfleet.decide.ask import Ask
from virtfleet.decide.migration import Fit, Way, obstacles, ways
from virtfleet.decide.moving_disks import Copy
from virtfleet.errors import NotFoundError, NoValidHostError, RefusedError
from virtfleet.model import HostView, Vm
from virtfleet.model.action_moving import MigrateVm
from virtfleet.model.plan import Condition, Danger, Effect, Plan, Reason, Step, Undo

_GIB = 1 << 30
_STALLED = 120.0
"""Seconds without progress after which a move is given up."""
_PER_GIB = 800.0
"""Seconds for each GiB that a move may take until it counts as not converging, as in Nova."""
_CLAIM = 900
_SLOW = 10 << 20
"""Bytes per second below which no move is planned: for how long it is said to be worked on."""
_SHOWN = 6


def plan(action: MigrateVm, world: World) -> Plan:
    here, vm = find_vm(world, action.vm)
    what = f"migrate {vm.name}"
    refuse(obstacles(vm), what)
    if action.to == here.name:
        raise RefusedError(f"{what}: it is on {here.name} already")
    _check_options(action, vm, what)
    way = _chosen(action, here, vm, world, what)
    there = check_host(world, way.host)
    end = peer(world.settings.hosts.get(there.name) or HostSettings(uri=there.uri))
    if end is None:
        raise RefusedError(
            f"{what}: no address of {there.name} is known that {here.name} could reach",
            cure=f"give {there.name} a migration_address in the fleet file",
        )
    return _Planner(action, here, there, vm, way, end, world).plan()


def matrix(here: HostView, vm: Vm, world: World, *, with_group: bool = False) -> tuple[Way, ...]:
    """Each other host, as a place for the VM. `with_group`: the rule of its group is not asked."""
    ledger = world.followed()
    ask = moving_ask(here, vm, world)
    if with_group:
        ask = replace(ask, group="")
    with ledger.beside(promised(world)):
        return ways(ledger, ask, here, vm, world.monotonic)


def moving_ask(here: HostView, vm: Vm, world: World) -> Ask:
    """What it needs of another host, as it runs now."""
    info = vm.info
    running = vm.state.active
    return replace(
        ask_for(here, vm, world),
        machine=info.machine,
        firmware=info.firmware,
        cpu_model=info.cpu_model if running and info.cpu_mode == "custom" else "",
    )


def _check_options(action: MigrateVm, vm: Vm, what: str) -> None:
    problems = []
    if not vm.state.active and action.copy != "none":
        problems.append(
            "the disks of a VM that is off are not copied yet: start it, or have them on shared storage"
        )
    if action.parallel and action.compressed:
        problems.append("compression and parallel connections exclude each other")
    if action.parallel and action.post_copy:
        problems.append("post-copy and parallel connections exclude each other")
    refuse(problems, what)


def _chosen(action: MigrateVm, here: HostView, vm: Vm, world: World, what: str) -> Way:
    """The host that was asked for, or the best. RefusedError, NoValidHostError with each host's reasons."""
    found = matrix(here, vm, world, with_group=action.with_group)
    if action.to:
        if action.to not in world.snapshot.hosts:
            raise NotFoundError(f"no host {action.to!r} in this fleet")
        way = next(each for each in found if each.host == action.to)
        if why := _why_not(action, way):
            raise NoValidHostError(f"{what} to {way.host}: {why}", _counts([way]), _mend(action, way))
        return way
    for way in found:
        if not _why_not(action, way):
            return way
    said = "; ".join(f"{way.host}: {_why_not(action, way)}" for way in found[:_SHOWN])
    more = f"; and {len(found) - _SHOWN} more hosts" if len(found) > _SHOWN else ""
    raise NoValidHostError(
        f"{what}: no valid host: {said or 'there is no other'}{more}",
        _counts(found),
        next((mend for way in found if (mend := _mend(action, way))), ""),
    )


def _why_not(action: MigrateVm, way: Way) -> str:
    if way.fit is Fit.NO:
        return ", ".join(refusal.why for refusal in way.refusals)
    if way.copies and action.copy == "none":
        disks = ", ".join(f"{each.target} ({size(each.capacity)})" for each in way.copies)
        return f"it does not see {disks}: a copy would be needed"
    return ""


def _mend(action: MigrateVm, way: Way) -> str:
    if way.fit is Fit.COPYING and action.copy == "none":
        return "give --copy to have its disks copied"
    return next((refusal.mend for refusal in way.refusals if refusal.mend), "")


def _counts(found: tuple[Way, ...] | list[Way]) -> list[tuple[str, int]]:
    counts: dict[str, int] = {}
    for way in found:
        for refusal in way.refusals:
            counts[refusal.filter] = counts.get(refusal.filter, 0) + 1
    return list(counts.items())


class _Planner:
    def __init__(
        self, action: MigrateVm, here: HostView, there: HostView, vm: Vm, way: Way, end: Peer, world: World
    ) -> None:
        self.action, self.here, self.there, self.vm = action, here, there, vm
        self.copies, self.way, self.end, self.world = way.copies, way, end, world
        self.off = not vm.state.active
        self.keeper = world.new_uuid()

    def plan(self) -> Plan:
        vm, here, there = self.vm, self.here, self.there
        old = [] if self.action.keep else self._old_volumes()
        how = "" if not self.off else ", which is off,"
        return Plan(
            action=self.action,
            title=f"migrate {vm.name}{how} from {here.name} to {there.name}",
            verb="vm.migrate",
            host=here.name,
            uuid=vm.uuid,
            name=vm.name,
            steps=self._steps(old),
            conditions=self._conditions(),
            effects=self._effects(),
            reasons=self._reasons(old),
            danger=Danger.CONFIRM if self.copies or not self.action.live else Danger.NONE,
            made=self.world.now,
        )

    # ---- steps

    def _steps(self, old: list[Copy]) -> tuple[Step, ...]:
        vm, here, there = self.vm, self.here.name, self.there.name
        seconds = _CLAIM + self._bytes() // _SLOW
        first = claim(here, vm.uuid, "vm.migrate", self.world.who)
        steps = [
            replace(first, args={**first.args, "seconds": seconds}),
            Step(
                id="look",
                op="vm.departure",
                host=here,
                title="look what the other host must have",
                args={"uuid": vm.uuid},
            ),
            Step(
                id="room",
                op="vm.room",
                host=there,
                title=f"keep room for it on {there}",
                args={**self._room(), "look": {key: {"$from": "look", "key": key} for key in _LOOKED}},
                timeout=40.0,
                undo=Undo(op="vm.room.back", args={"keeper": self.keeper}, title="give the room back"),
            ),
        ]
        steps += [self._volume(each) for each in self.copies]
        steps.append(self._move())
        steps.append(
            Step(
                id="arrive",
                op="vm.arrive",
                host=there,
                title="see that it is there as it was here, and that it is free again",
                args=self._arrival(),
                timeout=40.0,
            )
        )
        steps += [self._delete(number, each) for number, each in enumerate(old, 1)]
        return tuple(steps)

    def _room(self) -> dict[str, Any]:
        info = self.vm.info
        return {
            "uuid": info.uuid,
            "name": info.name,
            "keeper": self.keeper,
            "vcpus": info.vcpus_max,
            "memory": info.memory_max,
            "arch": info.arch,
            "project": info.project,
            "group": info.group,
            "limits": self.world.followed().limits(self.there.name, info.group),
        }

    def _volume(self, copy: Copy) -> Step:
        volume = {"pool": copy.pool, "name": copy.volume, "format": copy.format, "capacity": copy.capacity}
        made = {"capacity": copy.capacity, "format": copy.format}
        return Step(
            id=f"volume-{copy.target}",
            op="volume.create",
            host=self.there.name,
            title=f"make volume {copy.volume} in pool {copy.pool} for {copy.target}",
            args={**volume, "allocation": 0},
            timeout=60.0,
            undo=Undo(
                op="vm.move.disk.back",
                args={**self._two(), "volume": {"pool": copy.pool, "name": copy.volume, "made": made}},
                title=f"delete volume {copy.volume} in pool {copy.pool}",
            ),
            pool=copy.pool,
        )

    def _two(self) -> dict[str, Any]:
        vm = self.vm
        return {
            "source": self.here.name,
            "to": self.there.name,
            "uuid": vm.uuid,
            "name": vm.name,
            "off": self.off,
            "arrive": self._arrival(),
        }

    def _arrival(self) -> dict[str, Any]:
        info = self.vm.info
        return {"uuid": info.uuid, "name": info.name, "autostart": info.autostart, "keeper": self.keeper}

    def _move(self) -> Step:
        action = self.action
        within = action.within or max(2.0, self.vm.info.memory_max / _GIB) * _PER_GIB
        how = {
            "peer": self.end.control,
            "data": self.end.data,
            "live": action.live,
            "disks": [each.target for each in self.copies],
            "bandwidth": action.bandwidth,
            "auto_converge": action.auto_converge,
            "post_copy": action.post_copy,
            "compressed": action.compressed,
            "parallel": action.parallel or 0,
            "max_downtime": action.max_downtime,
            "within": within,
        }
        return Step(
            id="move",
            op="vm.move",
            host=self.here.name,
            title=f"{'hand it over' if self.off else 'move it'} to {self.there.name}",
            args={**self._two(), "how": how},
            timeout=_STALLED,
            undo=Undo(op="vm.move.back", args=self._two(), title=f"see that it is on {self.here.name}"),
            bytes=self._bytes(),
        )

    def _bytes(self) -> int:
        memory = 0 if self.off else self.vm.stats.memory or self.vm.info.memory_max
        return memory + sum(each.capacity for each in self.copies)

    def _delete(self, number: int, copy: Copy) -> Step:
        return Step(
            id=f"delete-{number}",
            op="volume.delete",
            host=self.here.name,
            title=f"delete the old volume {copy.volume} in pool {copy.pool} on {self.here.name}",
            args={"pool": copy.pool, "name": copy.volume, "path": copy.path},
            timeout=60.0,
            final=True,
        )

    def _old_volumes(self) -> list[Copy]:
        """Those that nothing else stands on."""
        found = []
        for copy in self.copies:
            volume = storage.volume_named(self.here, copy.pool, copy.volume)
            user = (
                None
                if volume is None
                else storage.user_of(volume, self.here, self.vm.uuid, self.world.snapshot)
            )
            if volume is not None and user is None:
                found.append(copy)
        return found

    # ---- what is said of it

    def _conditions(self) -> tuple[Condition, ...]:
        vm, here, there = self.vm, self.here, self.there
        found = [
            answers(here),
            answers(there),
            is_there(here, vm),
            is_in_state(here, vm),
            keeps(here, vm),
            name_is_free(there.name, vm.name),
            Condition(
                kind="vm-sources",
                host=here.name,
                uuid=vm.uuid,
                name=vm.name,
                value=[disk.source for disk in vm.info.disks],
                text="its disks are the same",
            ),
        ]
        for pool in dict.fromkeys(each.pool for each in self.copies):
            need = sum(each.capacity for each in self.copies if each.pool == pool)
            found.append(pool_has_room(there, pool, need))
        found += [volume_is_free(there, each.pool, each.volume, f"migrate {vm.name}") for each in self.copies]
        networks = dict.fromkeys(nic.source for nic in vm.info.nics if nic.type == "network" and nic.source)
        found += [
            Condition(
                kind="network-active", host=there.name, name=name, text=f"network {name} is active there"
            )
            for name in networks
        ]
        return tuple(found)

    def _effects(self) -> tuple[Effect, ...]:
        info = self.vm.info
        found = [Effect(what=f"{info.name} host", before=self.here.name, after=self.there.name)]
        found += promises(self.here, memory=-info.memory_max, vcpus=-info.vcpus_max)
        found += promises(self.there, memory=info.memory_max, vcpus=info.vcpus_max)
        return tuple(found)

    def _reasons(self, old: list[Copy]) -> tuple[Reason, ...]:
        action, found = self.action, list[Reason]()
        if not action.to:
            how = "sees its disks" if self.way.fit is Fit.FITS else "has room for its disks"
            found.append(Reason(text=f"{self.there.name}: the best that {how}"))
        for copy in self.copies:
            fate = "is deleted when it runs there" if copy in old else "stays"
            found.append(
                Reason(text=f"{copy.target} is copied; {copy.pool}/{copy.volume} on {self.here.name} {fate}")
            )
        if not self.off and not action.live:
            found.append(warning("it stands still while its memory moves"))
        if not self.off:
            found.append(
                Reason(text=f"the hosts do it between themselves, over {self.end.control.partition('?')[0]}")
            )
        return tuple(found)


_LOOKED = ("cpu", "arch", "machine", "kind")
