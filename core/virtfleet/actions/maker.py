"""Gathers what the plan of a new VM consists of: steps, conditions, effects, reasons."""

from __future__ import annotations

from typing import Any

import msgspec

from virtfleet.actions.common import answers, name_is_free, release, takes_vms, warning
from virtfleet.actions.macs import Macs
from virtfleet.actions.tying import conditions_of, limits_of, words_of
from virtfleet.actions.world import World
from virtfleet.decide.quotas import type_of
from virtfleet.model import HostView
from virtfleet.model.action import CreateVm
from virtfleet.model.plan import Condition, Danger, Effect, Plan, Reason, Step, Undo
from virtfleet.model.project import DEFAULT, Claim, Use, VolumeUse
from virtfleet.model.spec import DiskSpec, NicSpec, Tied, VmSpec
from virtfleet.query.display import format_value
from virtfleet.query.field import Unit


class Sizes(msgspec.Struct, frozen=True):
    vcpus: int
    memory: int
    disk: int | None
    flavor: str


class Maker:
    """Of one VM on one host. What makes disks and roots adds its steps, then it is defined, then planned."""

    def __init__(
        self,
        action: CreateVm,
        world: World,
        host: HostView,
        sizes: Sizes,
        nics: tuple[NicSpec, ...],
        tied: Tied = Tied(),  # noqa: B008 - frozen
    ) -> None:
        self.action = action
        self.world = world
        self.host = host
        self.sizes = sizes
        self.tied = tied
        self.macs = Macs(world)
        self.nics = [msgspec.structs.replace(nic, mac=self.macs.new()) for nic in nics]
        self.uuid = world.new_uuid()
        self.steps: list[Step] = []
        self.conditions: list[Condition] = [
            answers(host),
            takes_vms(host),
            name_is_free(host.name, action.name),
        ]
        networks = dict.fromkeys(nic.network for nic in self.nics if nic.network)
        self.conditions += [
            Condition(
                kind="network-active", host=host.name, name=network, text=f"network {network} is active"
            )
            for network in networks
        ]
        self.conditions += conditions_of(tied, host, self.uuid, action.name)
        self.effects: list[Effect] = []
        self.reasons: list[Reason] = words_of(tied)
        self.disks: list[DiskSpec] = []
        self.volumes: list[tuple[str, int]] = []
        """Pool and capacity of each disk."""
        self.source = ""
        """How the title says what it is made of."""

    # ---- the definition

    def define(self, kind: Any = "machine", root: str = "") -> None:
        """From what was gathered."""
        spec = VmSpec(
            name=self.action.name,
            uuid=self.uuid,
            memory=self.sizes.memory,
            vcpus=self.sizes.vcpus,
            kind=kind,
            disks=tuple(self.disks),
            nics=tuple(self.nics),
            firmware=self.action.firmware,
            root=root,
            tied=self.tied,
            **self._identity(),
        )
        self.define_with("vm.define", {"spec": msgspec.to_builtins(spec)})

    def define_xml(self, nics: int) -> None:
        """From the XML that was given, with so many NICs."""
        assert self.action.xml is not None  # noqa: S101 - it is why we are here
        args = {
            "name": self.action.name,
            "uuid": self.uuid,
            "file": msgspec.to_builtins(self.action.xml),
            "macs": [self.macs.new() for _ in range(nics)],
            "data": self._identity(),
        }
        self.define_with("vm.define_xml", args)

    def _identity(self) -> dict[str, Any]:
        action = self.action
        return {
            "project": action.project,
            "flavor": self.sizes.flavor,
            "group": action.group,
            "tags": action.tags,
            "title": action.title,
            "description": action.description,
            "protected": action.protected,
        }

    def define_with(self, op: str, args: dict[str, Any]) -> None:
        """The step that defines it, and those after it."""
        action, host = self.action, self.host
        limits = self.world.followed().limits(host.name, action.group) | limits_of(self.tied, host)
        self.steps.append(
            Step(
                id="define",
                op=op,
                host=host.name,
                title=f"define it: {self.sizes.vcpus} vCPU, {size(self.sizes.memory)} of memory",
                args={
                    **args,
                    "who": self.world.who,
                    "verb": "vm.create",
                    "seconds": 900,
                    "limits": limits,
                },
                timeout=30.0,
                undo=Undo(
                    op="vm.undefine",
                    args={"uuid": self.uuid, "name": action.name, "force": True},
                    title=f"undefine {action.name}",
                ),
            )
        )
        if action.autostart:
            self._step("autostart", "vm.autostart", "start it with its host", {"on": True})
        if action.start:
            self._step("start", "vm.start", "start it", {}, 120.0)
            if action.ready != "running":
                what = "an address" if action.ready == "address" else "its SSH to answer"
                self._step(
                    "wait",
                    "vm.wait",
                    f"wait for {what}, at most {action.ready_within:.0f} s",
                    {"ready": action.ready, "seconds": action.ready_within},
                )
        self.steps.append(release(host.name, self.uuid))

    def _step(self, name: str, op: str, title: str, args: dict[str, Any], timeout: float = 30.0) -> None:
        args = {"uuid": self.uuid, **args}
        self.steps.append(Step(id=name, op=op, host=self.host.name, title=title, args=args, timeout=timeout))

    # ---- all of it

    def plan(self) -> Plan:
        host, action = self.host, self.action
        stats = host.stats
        total = stats.memory_total if stats is not None else None
        self.effects[:0] = promises(host, memory=self.sizes.memory, vcpus=self.sizes.vcpus)
        if stats is not None and total is not None and stats.memory_used is not None and action.start:
            free = total - stats.memory_used
            if self.sizes.memory > free:
                self.reasons.append(
                    warning(f"{host.name} has {size(free)} of memory free, less than it may use")
                )
        return Plan(
            action=action,
            title=f"create {action.name} on {host.name}{self.source}",
            verb="vm.create",
            host=host.name,
            uuid=self.uuid,
            name=action.name,
            steps=tuple(self.steps),
            conditions=tuple(self.conditions),
            effects=tuple(self.effects),
            reasons=tuple(self.reasons),
            claims=(self._claim(),),
            danger=Danger.NONE,
            made=self.world.now,
        )

    def _claim(self) -> Claim:
        types: dict[str, VolumeUse] = {}
        for pool, capacity in self.volumes:
            if kind := type_of(self.host, pool, self.world.settings):
                had = types.get(kind, VolumeUse())
                types[kind] = VolumeUse(had.volumes + 1, had.capacity + capacity)
        use = Use(
            vms=1,
            vcpus=self.sizes.vcpus,
            memory=self.sizes.memory,
            volumes=len(self.volumes),
            capacity=sum(capacity for _, capacity in self.volumes),
            types=types,
        )
        return Claim(project=self.action.project or DEFAULT, uuid=self.uuid, name=self.action.name, use=use)


def promises(host: HostView, *, memory: int, vcpus: int) -> list[Effect]:
    """What a host has promised to its VMs, before and after `memory` bytes and `vcpus` more (or fewer)."""
    promised = sum(vm.info.memory_max for vm in host.vms)
    given = sum(vm.info.vcpus_max for vm in host.vms)
    found = [
        Effect(
            what=f"memory promised on {host.name}",
            unit="bytes",
            before=promised,
            after=promised + memory,
            limit=host.stats.memory_total if host.stats is not None else None,
        )
    ]
    if vcpus:
        found.append(
            Effect(
                what=f"vCPUs promised on {host.name}",
                unit="vcpus",
                before=given,
                after=given + vcpus,
                limit=host.facts.cpus or None if host.facts is not None else None,
            )
        )
    return found


def size(count: int) -> str:
    return format_value(count, Unit.BYTES)
