"""One host of a lab to change things on: what tests of jobs ask of it, and what is left there afterwards."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from lab.fleet import Lab
from lab.host import LabHost
from lab.watching import Watched, watching
from virtfleet.engine import Engine
from virtfleet.model import Vm
from virtfleet.model.action import Action, CreateVm, Seed, VmRef
from virtfleet.model.job import Job, StepState
from virtfleet.model.plan import Plan

MIB = 1 << 20
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ9b0Z8l1Z0kq0eF3p0nZq7m0YV8oK5w0Q2c5r1y7x3b me@here"
CLAIM = "urn:virtfleet:job:1"
GROUPS = ("stats", "facts", "pools", "volumes", "networks")


@dataclass(frozen=True)
class JobSite:
    """An engine and the host that it changes."""

    lab: Lab
    host: LabHost
    watched: Watched

    @property
    def engine(self) -> Engine:
        return self.watched.engine

    def vm(self, name: str) -> Vm:
        return self.watched.vm(self.host.name, name)

    def ref(self, name: str) -> VmRef:
        return VmRef(self.host.name, self.vm(name).uuid, name)

    def creation(self, name: str, **more: Any) -> CreateVm:
        """A VM with an overlay and a seed, off unless `more` says otherwise."""
        given: dict[str, Any] = {
            "host": self.host.name,
            "memory": 64 * MIB,
            "image": str(self.lab.image),
            "pool": "local",
            "start": False,
            "seed": Seed(ssh_keys=(KEY,)),
        }
        return CreateVm(name=name, **(given | more))

    async def plan(self, action: Action, deadline: float | None = None) -> Plan:
        """`deadline`: seconds that each of its steps has, in the place of its own."""
        made = await self.engine.plan(action)
        if deadline is None:
            return made
        return replace(made, steps=tuple(replace(step, timeout=deadline) for step in made.steps))

    async def begin(self, action: Action, deadline: float | None = None) -> Job:
        return await self.engine.apply(await self.plan(action, deadline))

    async def do(self, action: Action) -> Job:
        """Carries it out to whatever end."""
        return await self.engine.jobs.wait((await self.begin(action)).id)

    async def shown(self, *names: str) -> None:
        """Until the engine sees these VMs and no others."""
        view = self.host.name
        await self.watched.until(
            lambda: {vm.name for vm in self.watched.host(view).vms} == set(names), f"VMs {names} on {view}"
        )

    def when(self, occasion: Callable[[Job], bool], act: Callable[[], object]) -> None:
        """Does it once, in the middle of things: the journal has it, and the step has not begun to act."""
        jobs = self.engine.jobs

        def told(job: Job) -> None:
            if occasion(job):
                leave()
                act()

        leave = jobs.subscribe(told)

    def kill_worker(self) -> None:
        """SIGKILL of the process that speaks with the host."""
        supervisor = self.engine._supervisor
        assert supervisor is not None
        link = supervisor.hosts[self.host.name].link
        if link is not None and link.pid is not None:
            os.kill(link.pid, signal.SIGKILL)

    def names(self) -> set[str]:
        """VMs that the host has."""
        return {line for line in self.host.virsh("list --all --name").splitlines() if line.strip()}

    def volumes(self, pool: str = "local") -> set[str]:
        self.host.virsh(f"pool-refresh {pool}")
        lines = self.host.virsh(f"vol-list {pool}").splitlines()
        return {line.split()[0] for line in lines if line.split()}

    def left(self) -> tuple[set[str], set[str], list[str]]:
        """VMs, volumes, and the VMs that somebody says to be working on, as the host itself has them."""
        uuids = self.host.virsh("list --all --uuid").split()
        claimed = [self.host.virsh(f"domname {each}").strip() for each in uuids if CLAIM in self.xml(each)]
        return self.names(), self.volumes(), sorted(claimed)

    def xml(self, name: str, *, live: bool = False) -> str:
        return self.host.virsh(f"dumpxml {'' if live else '--inactive '}'{name}'")


def begun(step: str) -> Callable[[Job], bool]:
    """The step of this id is in the journal as begun."""
    return lambda job: any(each.id == step and each.state is StepState.BEGUN for each in job.records)


def is_done(step: str) -> Callable[[Job], bool]:
    return lambda job: any(each.id == step and each.state is StepState.DONE for each in job.records)


@asynccontextmanager
async def job_site(lab: Lab, host: str = "hv1", **changes: Any) -> AsyncIterator[JobSite]:
    """With an engine that knows all of the lab; `changes` are made to the settings of its hosts."""
    async with watching(lab, volumes_interval=1.0, pools_interval=1.0, **changes) as watched:
        await watched.engine.settled(GROUPS, timeout=30.0)
        yield JobSite(lab, lab.hosts[host], watched)
