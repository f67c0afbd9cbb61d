"""`host drain`, `host undrain`: plan, show, ask; then what is said of the hosts, then move after move."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from virtfleet.actions import drainer
from virtfleet.actions.drainer import Carry
from virtfleet.errors import VirtfleetError
from virtfleet.headless import acting, diagnostics, hosts, planning, session
from virtfleet.headless.acting import Outcome
from virtfleet.headless.diagnostics import Exit
from virtfleet.headless.job_tables import Watcher, show_jobs
from virtfleet.headless.options import Options
from virtfleet.model.action import DrainHosts, MigrateVm, UndrainHosts
from virtfleet.model.job import Job, JobState
from virtfleet.model.plan import Plan

if TYPE_CHECKING:
    from virtfleet.engine import Engine

_SEEN_WITHIN = 10.0
"""Seconds until what was said of a host stands in the snapshot."""


def run(action: DrainHosts | UndrainHosts, options: Options, parallel: int | None) -> int:
    """The exit code: 0 all went (or came home) that should, 3 some, 1 or 4 none."""
    settings = options.settings()
    _, errors = hosts.known(action.hosts, settings)
    if errors:
        raise errors[0]

    async def work(engine: Engine) -> int:
        await engine.settled(acting.GROUPS, timeout=options.timeout)
        missing = session.missing(engine.snapshot, ("stats",), options.timeout)
        diagnostics.unreachable(missing)
        plan = await engine.plan(action)
        if options.dry_run:
            planning.show([plan], options)
            return Exit.DONE
        if not await acting.agreed([plan], options):
            diagnostics.note("nothing was done")
            return Exit.REFUSED
        return await _carry_out(engine, action, plan, options, parallel)

    return session.run(options, settings, work)


async def _carry_out(
    engine: Engine, action: DrainHosts | UndrainHosts, plan: Plan, options: Options, parallel: int | None
) -> int:
    outcome = Outcome()
    await engine.jobs.open()
    if plan.steps:
        ids: list[str] = []
        job = await engine.apply(plan, origin="command line")
        ids.append(job.id)
        try:
            outcome.jobs.append(await engine.finished(job.id))
        except asyncio.CancelledError:
            await acting.undo_all(engine, ids)
            raise
        if outcome.jobs[0].state is not JobState.DONE:
            show_jobs(outcome.jobs, options)
            return outcome.code()
        await _said(engine, action)
    outcome.jobs += await _gone_on_with(engine, action)
    stay = 0
    groups = drainer.together(engine.settings)
    if isinstance(action, DrainHosts):
        found = await engine.desk.drain(action, engine.jobs_known)
        moves = drainer.away(found, engine.snapshot, copy=action.copy, groups=groups)
        for each in found.staying:
            diagnostics.note(f"{each.vm.name} stays on {each.vm.host}: {each.why}")
        # What was asked to stay does.
        stay = sum(each.vm.active or action.off == "move" for each in found.staying)
    elif action.bring:
        from virtfleet.actions.draining import homecomers

        left = homecomers(engine.snapshot, action.hosts)
        moves = drainer.home(left, copy=action.copy, groups=groups)
    else:
        moves = []
    await _move(engine, moves, outcome, parallel)
    if outcome.jobs or options.output != "table":
        show_jobs(outcome.jobs, options)
    for error in outcome.errors:
        diagnostics.report(error, as_json=options.as_json)
    if not plan.steps and not moves and options.output == "table":
        diagnostics.note(f"{plan.title}: nothing to do")
    code = outcome.code()
    return Exit.PARTIAL if code == Exit.DONE and stay else code


async def _gone_on_with(engine: Engine, action: DrainHosts | UndrainHosts) -> list[Job]:
    """Moves from and to these hosts whose process is gone: what they began is brought to an end first."""
    mine = [
        job
        for job in engine.jobs_known
        if job.state is JobState.INTERRUPTED
        and isinstance(job.plan.action, MigrateVm)
        and {job.plan.host, job.plan.action.to} & set(action.hosts)
    ]
    ids: list[str] = []
    for job in mine:
        with contextlib.suppress(VirtfleetError):  # somebody else has just taken it
            ids.append((await engine.jobs.resume(job.id)).id)
    try:
        ended = [await engine.jobs.wait(number) for number in ids]
    except asyncio.CancelledError:
        await acting.undo_all(engine, ids)
        raise
    if ended:
        await _sampled(engine, time.monotonic())
    return ended


async def _sampled(engine: Engine, since: float) -> None:
    """Until each host that answers was sampled after this (CLOCK_MONOTONIC)."""
    await _until(
        engine,
        lambda: all(
            not host.state.answers or (host.freshness.stats or 0.0) > since
            for host in engine.snapshot.hosts.values()
        ),
    )


async def _move(engine: Engine, moves: list[Carry], outcome: Outcome, parallel: int | None) -> None:
    """All of them; interrupted, those under way are undone: they are where they were."""
    from virtfleet.actions.draining import usual_per_host

    watcher = Watcher(engine, ())

    batch = f"{int(time.time() * 1000):x}"
    try:
        done = await drainer.carry(
            engine,
            moves,
            per_host=parallel or usual_per_host(engine.settings),
            origin="command line",
            batch=batch,
            told=lambda job: watcher.follow(job.id),
        )
    except asyncio.CancelledError:
        watcher.close()
        # Also those that were begun a moment ago and not told of yet.
        await acting.undo_all(engine, [job.id for job in engine.jobs.active])
        raise
    finally:
        watcher.close()
    outcome.jobs += done.jobs
    outcome.errors += done.errors


async def _said(engine: Engine, action: DrainHosts | UndrainHosts) -> None:
    """Until the snapshot has what was said of the hosts: placement looks there."""
    closed = isinstance(action, DrainHosts)
    await _until(
        engine, lambda: all(bool(engine.snapshot.hosts[name].closed) == closed for name in action.hosts)
    )


async def _until(engine: Engine, condition: Callable[[], bool]) -> None:
    """A while; what does not come true then is told by what follows."""
    changed = asyncio.Event()
    leave = engine.subscribe(lambda _: changed.set())
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SEEN_WITHIN):
                while not condition():
                    changed.clear()
                    await changed.wait()
    finally:
        leave()
