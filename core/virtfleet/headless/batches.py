"""Carries out a batch file: resolves names, plans, shows, asks, and runs what does not wait for another."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from virtfleet.actions.batch import Batch, Item, action_of, read
from virtfleet.actions.desired import Changes, changes
from virtfleet.errors import ConfigError, NotFoundError, RefusedError, VirtfleetError
from virtfleet.headless import acting, diagnostics, finding, output, planning, session
from virtfleet.headless.acting import Outcome
from virtfleet.headless.diagnostics import Exit
from virtfleet.headless.job_tables import show_jobs
from virtfleet.headless.options import Options
from virtfleet.headless.vm_create import file_ref
from virtfleet.model import HostView, Vm
from virtfleet.model.action import Action, CreateVm, FileRef, VmRef
from virtfleet.model.job import JobState
from virtfleet.model.plan import Plan
from virtfleet.query.clock import Clock
from virtfleet.query.filter import compile_filter
from virtfleet.query.nouns import NOUNS
from virtfleet.query.plans import sign
from virtfleet.query.rows import VmRow

if TYPE_CHECKING:
    from virtfleet.engine import Engine

_LIMIT = 8 << 20
_SEEN_WITHIN = 10.0
"""Seconds until what a job did is seen; on a host that answers it takes one sample."""


@dataclass
class Task:
    """One action of a batch on its way. `action` is made when it is its turn: its VM may be made before."""

    id: str
    title: str
    make: Callable[[], Action]
    needs: tuple[str, ...] = ()
    plan: Plan | None = None
    """None: not to be planned before what it needs is done."""
    failed: bool = False
    done: asyncio.Event = field(default_factory=asyncio.Event)


def load(path: str) -> Batch:
    """The batch in a file, `-`: on stdin. ConfigError: FILE:LINE and what is wrong."""
    try:
        data = sys.stdin.buffer.read(_LIMIT + 1) if path == "-" else Path(path).read_bytes()
        text = data.decode()
    except OSError as error:
        raise ConfigError(f"can't be read: {error.strerror}", where=path) from None
    except UnicodeDecodeError:
        raise ConfigError("not UTF-8", where=path) from None
    if len(data) > _LIMIT:
        raise ConfigError("larger than 8 MiB", where=path)
    return read(text, path, Path.cwd() if path == "-" else Path(path).resolve().parent)


def plan(path: str, options: Options, *, prune: bool) -> int:
    """`plan FILE`."""
    return apply(path, replace(options, dry_run=True), prune=prune)


def apply(path: str, options: Options, *, prune: bool) -> int:
    """`apply FILE`."""
    batch = load(path)
    if prune and not batch.prune:
        raise ConfigError(
            "--prune needs `prune: FILTER` in the file, which says what may be deleted", where=path
        )
    settings = options.settings()

    async def work(engine: Engine) -> int:
        await engine.settled(acting.GROUPS, timeout=options.timeout)
        missing = session.missing(engine.snapshot, ("stats",), options.timeout)
        diagnostics.unreachable(missing)
        if missing and (batch.wanted or prune):
            raise RefusedError(
                f"{len(missing)} hosts did not answer: a VM that one of them has would be made again",
                cure="wait for them, or leave them out of the fleet file with disabled: true",
            )
        tasks = _tasks(batch, engine, prune)
        return await _carry_out(engine, tasks, options, path)

    return session.run(options, settings, work)


# ---------------------------------------------------------------- tasks


def _tasks(batch: Batch, engine: Engine, prune: bool) -> list[Task]:
    tasks = [task for item in batch.items for task in _of_item(item, engine)]
    if batch.wanted or prune:
        found = changes(
            batch.wanted, engine.snapshot, engine.settings.flavors, _prunable(batch.prune if prune else "")
        )
        for note in found.notes:
            diagnostics.note(note)
        tasks += _of_changes(found)
    return tasks


def _prunable(text: str) -> Callable[[HostView, Vm], bool]:
    if not text:
        return lambda host, vm: False
    noun = NOUNS["vm"].with_clock(Clock.at(time.monotonic(), time.time()))
    matches = compile_filter(text, noun).matches
    return lambda host, vm: matches(VmRow(host, vm))


def _of_changes(found: Changes) -> list[Task]:
    tasks = [_ready(f"create {index}", action) for index, action in enumerate(found.create)]
    for index, actions in enumerate(found.change):
        before: tuple[str, ...] = ()
        for number, action in enumerate(actions):
            task = _ready(f"change {index}.{number}", action, before)
            tasks.append(task)
            before = (task.id,)
    return tasks + [_ready(f"delete {index}", action) for index, action in enumerate(found.delete)]


def _ready(name: str, action: Action, needs: tuple[str, ...] = ()) -> Task:
    action = hashed(action)
    return Task(name, name, lambda: action, needs)


def _of_item(item: Item, engine: Engine) -> list[Task]:
    """One task for each VM that the item means now; one that finds its VM later if there is none yet."""
    if not item.vm:
        action = hashed(action_of(item, None))
        return [Task(item.id, f"{item.action} {item.fields.get('name', '')}", lambda: action, item.needs)]
    refs = matching(item.vm, engine)
    if not refs and not item.needs:
        raise NotFoundError(f"{item.where}: no VM {item.vm}")

    def make(vm: VmRef) -> Action:
        return action_of(item, vm)

    def later() -> Action:
        found = matching(item.vm, engine)
        if len(found) != 1:
            raise NotFoundError(f"{item.where}: {len(found) or 'no'} VMs are called {item.vm}")
        return make(found[0])

    if not refs:
        return [Task(item.id, f"{item.action} {item.vm}", later, item.needs)]
    if len(refs) > 1 and not any(letter in item.vm for letter in "*?["):
        places = ", ".join(vm.label for vm in refs)
        raise ConfigError(f"{len(refs)} VMs are called {item.vm}: {places}", where=item.where)
    return [
        Task(item.id, f"{item.action} {vm.label}", lambda vm=vm: make(vm), item.needs)  # type: ignore[misc]
        for vm in refs
    ]


def matching(text: str, engine: Engine) -> list[VmRef]:
    """The VMs that `text` means: NAME, NAME@HOST, a UUID, or a pattern of names."""
    want = finding.wanted(text, engine.settings.hosts)
    return [
        VmRef(host.name, vm.uuid, vm.name)
        for host in engine.snapshot.hosts.values()
        if want.host in ("", host.name)
        for vm in host.vms
        if vm.name == want.name or vm.uuid == want.name.lower() or fnmatchcase(vm.name, want.name)
    ]


def hashed(action: Action) -> Action:
    """With the hashes of the local files that it names."""
    if not isinstance(action, CreateVm):
        return action
    seed = action.seed
    if seed is not None:
        seed = msgspec.structs.replace(
            seed, user_data=_hashed(seed.user_data), network_config=_hashed(seed.network_config)
        )
    return msgspec.structs.replace(action, xml=_hashed(action.xml), seed=seed)


def _hashed(file: FileRef | None) -> FileRef | None:
    return None if file is None else file_ref(file.path)


# ---------------------------------------------------------------- doing it


async def _carry_out(engine: Engine, tasks: Sequence[Task], options: Options, path: str) -> int:
    outcome = Outcome()
    waiting = {task.id for task in tasks}
    for task in tasks:
        try:
            beside = [each.plan for each in tasks if each.plan is not None]
            task.plan = await engine.plan(task.make(), beside=beside)
        except VirtfleetError as error:
            if not waiting.intersection(task.needs):
                task.failed = True
                outcome.errors.append(error)
    known = [task.plan for task in tasks if task.plan is not None]
    if options.dry_run:
        planning.show(known, options)
        for task in tasks:
            if task.plan is None and not task.failed:
                diagnostics.note(f"{task.title}: planned when {', '.join(task.needs)} is done")
        if options.output == "table":
            output.lines(["", summary(known)])
        outcome.idle = len(known)
        for problem in outcome.errors:
            diagnostics.report(problem, as_json=options.as_json)
        return outcome.code()
    todo = [each for each in known if each.steps]
    if outcome.errors:
        for problem in outcome.errors:
            diagnostics.report(problem, as_json=options.as_json)
        diagnostics.note("nothing was done: a batch is begun only when all of it can be planned")
        return Exit.REFUSED
    if todo and not await acting.agreed(todo, options):
        diagnostics.note("nothing was done")
        return Exit.REFUSED
    by_id: dict[str, list[Task]] = {}
    for task in tasks:
        by_id.setdefault(task.id, []).append(task)
    ids: list[str] = []
    turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
    try:
        await asyncio.gather(*(_run(engine, task, by_id, outcome, ids, turns, path) for task in tasks))
    except asyncio.CancelledError:
        await acting.undo_all(engine, ids)
        raise
    outcome.jobs = [engine.jobs.get(number) for number in ids]
    if outcome.jobs or options.output != "table":
        show_jobs(outcome.jobs, options)
    elif not outcome.errors:
        diagnostics.note("everything is so already: nothing was done")
    for problem in outcome.errors:
        diagnostics.report(problem, as_json=options.as_json)
    return outcome.code()


async def _run(
    engine: Engine,
    task: Task,
    by_id: Mapping[str, Iterable[Task]],
    outcome: Outcome,
    ids: list[str],
    turns: Mapping[str, asyncio.Lock],
    path: str,
) -> None:
    """One task, when all that it needs are done; not at all when one of them failed."""
    try:
        for need in task.needs:
            for other in by_id.get(need, ()):
                await other.done.wait()
                if other.failed:
                    task.failed = True
        if task.failed:
            outcome.errors.append(
                RefusedError(f"{task.title}: not begun, since {', '.join(task.needs)} failed")
            )
            return
        try:
            # What it needs may have changed the world since it was planned.
            made = await engine.plan(task.make()) if task.needs or task.plan is None else task.plan
        except VirtfleetError as error:
            task.failed = True
            outcome.errors.append(error)
            return
        if not made.steps:
            outcome.idle += 1
            return
        async with turns[made.uuid]:  # who works on a VM keeps all others away from it
            try:
                job = await engine.apply(made, origin=f"batch {path}", batch=Path(path).name)
            except VirtfleetError as error:
                task.failed = True
                outcome.errors.append(error)
                return
            ids.append(job.id)
            ended = await engine.jobs.wait(job.id)
        task.failed = ended.state is not JobState.DONE
        if not task.failed and any(task.id in other.needs for each in by_id.values() for other in each):
            await _seen(engine, made)
    finally:
        task.done.set()


async def _seen(engine: Engine, plan: Plan) -> None:
    """Until what was done stands in the snapshot: what needs it is planned from that."""
    ended = time.monotonic()
    changed = asyncio.Event()

    def is_seen() -> bool:
        host = engine.snapshot.hosts[plan.host]
        is_new = plan.verb in ("vm.create", "vm.clone")
        return (host.freshness.stats or 0.0) > ended and (
            not is_new or any(vm.uuid == plan.uuid for vm in host.vms)
        )

    leave = engine.subscribe(lambda _: changed.set())
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SEEN_WITHIN):
                while not is_seen():
                    changed.clear()
                    await changed.wait()
    finally:
        leave()


def summary(plans: Sequence[Plan]) -> str:
    """`+ 3 to create, ~ 1 to change, − 0 to delete, 4 as they shall be`."""
    count = {each: sum(sign(plan) == each for plan in plans) for each in "+~−="}
    return (
        f"+ {count['+']} to create, ~ {count['~']} to change, − {count['−']} to delete, "
        f"{count['=']} as {'it' if count['='] == 1 else 'they'} shall be"
    )
