"""A small world for jobs to act in: named things that steps make, with faults where a test wants them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from virtfleet.errors import HostError, RefusedError, UnreachableError
from virtfleet.jobs.journal import Journal
from virtfleet.model.action import StartVm, VmRef
from virtfleet.model.job import Job
from virtfleet.model.plan import Plan, Step, Undo

VM = VmRef("hv1", "uuid-1", "web-1")
Fault = tuple[str, Callable[[], BaseException]]


class Killed(BaseException):
    """The process ended here, as far as the journal can tell."""


class World:
    """Things by name. `faults`: what happens at the n-th operation (from 1): before it acts, when it has half
    acted, or after."""

    def __init__(self) -> None:
        self.things: set[str] = set()
        self.halves: set[str] = set()
        """Things that are half made."""
        self.mine: set[str] = set()
        """Made by our job: only these may be taken away."""
        self.values: dict[str, str] = {}
        self.calls: list[tuple[str, str, bool, bool]] = []
        self.faults: dict[int, Fault] = {}
        self.answering = True
        self.hold: asyncio.Event | None = None
        self.at_once = self.most = 0
        self.takes = 0.0
        """Seconds that an operation takes."""

    @property
    def state(self) -> tuple[set[str], set[str], dict[str, str]]:
        return set(self.things), set(self.halves), dict(self.values)

    async def run(
        self,
        host: str,
        op: str,
        args: dict[str, Any],
        timeout: float,
        on_progress: Callable[[int, int, str], None],
    ) -> Any:
        if op == "vm.xml":
            return f"<domain>{sorted(self.things)}</domain>"
        again, uncertain = bool(args.get("again")), bool(args.get("uncertain"))
        self.calls.append((op, str(args.get("name")), again, uncertain))
        fault = self.faults.get(len(self.calls), ("", RuntimeError))
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await asyncio.sleep(self.takes)
            if self.hold is not None:
                await self.hold.wait()
            return self._act(op, args, fault, on_progress)
        finally:
            self.at_once -= 1

    def _act(
        self, op: str, args: dict[str, Any], fault: Fault, on_progress: Callable[[int, int, str], None]
    ) -> Any:
        name, again, (when, make) = str(args.get("name")), bool(args.get("again")), fault
        if when == "before":
            raise make()
        was = self.values.get(name, "")
        if op == "make":
            on_progress(1, 2, "half")
            if name in self.things | self.halves and not (again and name in self.mine):
                raise RefusedError(f"there is a {name} already")
            self.mine.add(name)
            if when == "half":
                self.halves |= {name} - self.things
                raise make()
            self.halves.discard(name)
            self.things.add(name)
        elif op == "unmake":
            if name in self.mine:
                self.halves.discard(name)
                self.things.discard(name)
        elif op == "set":
            self.values[name] = str(args["value"])
        elif op == "destroy":
            self.things.discard(name)
        if when:
            raise make()
        return {"was": was} if op == "look" else {"path": f"/{name}"}

    async def answers(self, host: str, within: float) -> bool:
        return self.answering


def make(name: str, **more: Any) -> Step:
    return Step(
        id=name,
        op="make",
        host="hv1",
        title=f"make {name}",
        args={"name": name},
        undo=Undo(op="unmake", args={"name": name}),
        **more,
    )


def change(name: str) -> tuple[Step, Step]:
    """To "new", after what it was has been remembered."""
    look = Step(id=f"look-{name}", op="look", host="hv1", title=f"look at {name}", args={"name": name})
    undo = Undo(op="set", args={"name": name, "value": {"$from": look.id, "key": "was"}})
    args = {"name": name, "value": "new"}
    return look, Step(id=f"set-{name}", op="set", host="hv1", title=f"change {name}", args=args, undo=undo)


def destroy(name: str) -> Step:
    return Step(
        id=f"destroy-{name}",
        op="destroy",
        host="hv1",
        title=f"destroy {name}",
        args={"name": name},
        final=True,
    )


def plan(*steps: Step, verb: str = "vm.tag") -> Plan:
    return Plan(
        action=StartVm(vm=VM), title="a plan", verb=verb, host="hv1", uuid=VM.uuid, name=VM.name, steps=steps
    )


class DyingJournal(Journal):
    """Ends the process, as it were, at its n-th word, before or after that is written."""

    def __init__(self, *place: Any, dies_at: int = 0, after: bool = False) -> None:
        super().__init__(*place)
        self.words = 0
        self.dies_at = dies_at
        self.after = after

    async def save(self, job: Job, *args: Any, **more: Any) -> None:
        self.words += 1
        if self.words == self.dies_at and not self.after:
            raise Killed
        await super().save(job, *args, **more)
        if self.words == self.dies_at:
            raise Killed


ERRORS: dict[str, Callable[[], BaseException]] = {
    "refused": lambda: RefusedError("no"),
    "broken": lambda: HostError("it broke"),
    "lost": lambda: UnreachableError("gone"),
    "killed": Killed,
}
