"""A town whose things jobs make, change and destroy, half of the way at first; and what befalls who does it.

A job is watched over its lives: each is a `JobBook` of its own on the same
file. In a life, at any moment, before and after each word to the journal and
before, in the middle of and after each deed, the process can be killed or
somebody can cancel.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from unit.job_worlds import VM
from virtfleet.errors import HostError, InternalError, NotFoundError, RefusedError, UnreachableError
from virtfleet.jobs.book import JobBook
from virtfleet.jobs.journal import Journal
from virtfleet.model.action import StartVm
from virtfleet.model.job import Job
from virtfleet.model.plan import Plan, Step, Undo

HALF = "half"
"""What a thing is in the middle of a deed; nothing may be left so."""

FAULTS: Mapping[str, Callable[[], Exception]] = {
    "refused": lambda: RefusedError("no"),
    "broken": lambda: HostError("it broke"),
    "lost": lambda: UnreachableError("gone"),
    "mistake": lambda: KeyError("a mistake of ours"),
}


class Killed(BaseException):
    """The process ended here, as far as the journal and the town can tell."""


@dataclass
class Fate:
    """Of one life: what happens at which moment, counted from 1."""

    moments: Mapping[int, str] = field(default_factory=dict)
    """kill or cancel."""
    now: int = 0
    cancel: Callable[[], None] = lambda: None
    killed: asyncio.Event = field(default_factory=asyncio.Event)

    def moment(self) -> None:
        if self.killed.is_set():
            raise Killed
        self.now += 1
        what = self.moments.get(self.now)
        if what == "kill":
            self.killed.set()
            raise Killed
        if what == "cancel":
            with contextlib.suppress(RefusedError, NotFoundError):
                self.cancel()


class Town:
    """Things by name. `ours` are those that jobs made: only these may be unmade."""

    def __init__(self, things: Mapping[str, str] | None = None) -> None:
        self.things = dict(things or {})
        self.ours: set[str] = set()
        self.fate = Fate()
        self.faults: dict[int, tuple[str, str]] = {}
        """At the n-th deed, from 1: when (before, half, after), and which of FAULTS."""
        self.deeds: list[str] = []
        self.host_comes_back = True

    async def run(
        self,
        host: str,
        op: str,
        args: dict[str, Any],
        timeout: float,
        on_progress: Callable[[int, int, str], None],
    ) -> Any:
        if op == "vm.xml":
            return "<domain/>"
        fate, name = self.fate, str(args["name"])
        self.deeds.append(f"{op} {name}")
        when, fault = self.faults.get(len(self.deeds), ("", ""))
        fate.moment()
        await asyncio.sleep(0)
        if when == "before":
            raise FAULTS[fault]()
        result, end = self._begin(op, name, args)
        fate.moment()
        await asyncio.sleep(0)
        if when == "half":
            raise FAULTS[fault]()
        end()
        fate.moment()
        if when == "after":
            raise FAULTS[fault]()
        return result

    def _begin(self, op: str, name: str, args: Mapping[str, Any]) -> tuple[Any, Callable[[], None]]:
        """The first half of a deed: its result, and its other half."""
        if op == "remember":
            if name not in self.things:
                raise NotFoundError(f"no {name}")
            if self.things[name] == HALF:
                raise AssertionError("what is half changed must not be remembered")
            return {"value": self.things[name]}, lambda: None
        if op == "make":
            if name in self.things and not (args.get("again") and name in self.ours):
                raise RefusedError(f"there is a {name} already")
            self.ours.add(name)
            value = "made"
        elif op == "change":
            if name not in self.things:
                raise NotFoundError(f"no {name}")
            value = str(args["value"])
        elif op == "unmake" and name not in self.ours:
            return {}, lambda: None
        else:  # unmake, destroy
            if name in self.things:
                self.things[name] = HALF
            return {}, lambda: self._forget(name)
        self.things[name] = HALF
        return {"value": value}, lambda: self.things.update({name: value})

    def _forget(self, name: str) -> None:
        self.things.pop(name, None)
        self.ours.discard(name)

    async def answers(self, host: str, within: float) -> bool:
        await asyncio.sleep(0)
        return self.host_comes_back


# ---------------------------------------------------------------- plans


def _step(op: str, name: str, **more: Any) -> Step:
    more.setdefault("args", {"name": name})
    return Step(id=f"{op}-{name}", op=op, host="hv1", title=f"{op} {name}", **more)


def make(name: str) -> Step:
    return _step("make", name, undo=Undo(op="unmake", args={"name": name}))


def change(name: str) -> tuple[Step, Step]:
    """As operations whose undo needs to know what was: that is in the journal before anything changes."""
    was = {"$from": f"remember-{name}", "key": "value"}
    return (
        _step("remember", name),
        _step(
            "change",
            name,
            args={"name": name, "value": "changed"},
            undo=Undo(op="change", args={"name": name, "value": was}),
        ),
    )


def destroy(name: str) -> Step:
    return _step("destroy", name, final=True)


def plan_of(*steps: Step) -> Plan:
    return Plan(
        action=StartVm(vm=VM),
        title="a plan",
        verb="vm.tag",
        host="hv1",
        uuid=VM.uuid,
        name=VM.name,
        steps=steps,
    )


def goal_of(plan: Plan, start: Mapping[str, str]) -> dict[str, str]:
    """What the town is when all of it is done."""
    things = dict(start)
    for step in plan.steps:
        name = step.args["name"]
        if step.op == "make":
            things[name] = "made"
        elif step.op == "change":
            things[name] = "changed"
        elif step.op == "destroy":
            things.pop(name, None)
    return things


# ---------------------------------------------------------------- lives


@contextlib.contextmanager
def journals_share_its_fate(town: Town) -> Iterator[None]:
    """Each word to a journal is two moments; the dead write and read no more."""
    save, in_thread = Journal.save, Journal._in_thread

    async def fated_save(self: Journal, *args: Any, **more: Any) -> None:
        town.fate.moment()
        await save(self, *args, **more)
        town.fate.moment()

    async def fated_in_thread(self: Journal, work: Callable[[], Any]) -> Any:
        if town.fate.killed.is_set():
            raise InternalError("dead")
        return await in_thread(self, work)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "save", fated_save)
        patch.setattr(Journal, "_in_thread", fated_in_thread)
        yield


async def live(
    folder: Path,
    town: Town,
    fate: Fate,
    begin: Callable[[JobBook], Any],
    **store: Any,
) -> Job | None:
    """One life of a job, begun by `begin(book)`. The job as it ended; None: killed before."""
    town.fate = fate
    book = JobBook(folder, town, **store)
    await book.open()
    job: Job = await begin(book)
    fate.cancel = lambda: book.cancel(job.id)
    ends = asyncio.ensure_future(book.wait(job.id))
    dies = asyncio.ensure_future(fate.killed.wait())
    try:
        async with asyncio.timeout(30):
            await asyncio.wait({ends, dies}, return_when=asyncio.FIRST_COMPLETED)
            if fate.killed.is_set():
                return None
            return await ends
    finally:
        for task in (ends, dies):
            task.cancel()
        await asyncio.gather(ends, dies, return_exceptions=True)
        left = book._owner
        await book.close()
        if left is not None and fate.killed.is_set():
            left._path.touch()  # as a crash leaves it: there, and held by nobody
