"""Verbs that change something: find what is meant, plan, show, ask, do, tell. One path for all of them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from virtfleet.errors import AmbiguousError, RefusedError, VirtfleetError
from virtfleet.headless import diagnostics, finding, planning, session
from virtfleet.headless.diagnostics import Exit
from virtfleet.headless.job_tables import Watcher, show_jobs
from virtfleet.headless.options import Options
from virtfleet.model.action import Action
from virtfleet.model.job import Job, JobState
from virtfleet.model.plan import Danger, Plan
from virtfleet.query.clock import Clock
from virtfleet.query.filter import compile_filter
from virtfleet.query.nouns import NOUNS
from virtfleet.query.rows import VmRow

if TYPE_CHECKING:
    from virtfleet.config.settings import FleetSettings
    from virtfleet.engine import Engine

_DEVICES = "pci_passthrough:alias"
GROUPS = ("stats", "facts", "pools", "volumes", "networks")
"""What a plan may look at."""


_TIDYING = 60.0
"""Seconds that the undoing of cancelled jobs may take, before they are left to `job rollback`."""


def groups_for(settings: FleetSettings, flavor: str) -> tuple[str, ...]:
    """What must be known before a VM of a flavor can be placed; PCI devices come last, and seldom matter."""
    known = settings.flavors.get(flavor)
    return (*GROUPS, "devices") if known is not None and _DEVICES in known.extra_specs else GROUPS


@dataclass
class Outcome:
    """What became of each thing that was asked for."""

    jobs: list[Job] = field(default_factory=list)
    errors: list[VirtfleetError] = field(default_factory=list)
    idle: int = 0
    """Plans in which there was nothing to do."""

    def code(self) -> int:
        """0 all done, 3 some, else why nothing was."""
        failed = [job for job in self.jobs if job.state is not JobState.DONE and not job.state.active]
        done = len(self.jobs) - len(failed) + self.idle
        if not failed and not self.errors:
            return Exit.DONE
        if any(isinstance(error, AmbiguousError) for error in self.errors) and not done:
            return Exit.USAGE
        if done:
            return Exit.PARTIAL
        return Exit.FAILED if failed else diagnostics.exit_code(self.errors[0])


def on_one_vm(name: str, options: Options, make: Callable[[VmRow, Engine], Awaitable[Action | None]]) -> int:
    """Do what `make` says to the VM of that name; None: nothing. AmbiguousError, NotFoundError."""
    settings = options.settings()
    want = finding.wanted(name, settings.hosts)
    settings = session.only(settings, finding.hosts_to_ask(NOUNS["vm"], [want], settings.hosts))

    async def work(engine: Engine) -> int:
        await engine.settled(GROUPS, timeout=options.timeout)
        diagnostics.unreachable(session.missing(engine.snapshot, ("stats",), options.timeout))
        noun = NOUNS["vm"].with_clock(Clock.at(time.monotonic(), time.time()))
        action = await make(finding.find(noun, list(noun.rows(engine.snapshot)), want), engine)
        return Exit.DONE if action is None else await carry_out(engine, [action], options)

    return session.run(options, settings, work)


def on_vms(
    names: Sequence[str], options: Options, make: Callable[[VmRow], Action], *, everywhere: bool = False
) -> int:
    """Do what `make` says to each VM that is named, or that passes --filter.

    `everywhere`: ask all hosts, also when the names tell where the VMs are: others may use what is theirs.
    """
    if bool(names) == bool(options.filter):
        raise RefusedError("name the VMs, or give --filter EXPR: one of the two")
    settings = options.settings()
    wants = [finding.wanted(name, settings.hosts) for name in names]
    narrow = bool(wants) and not everywhere
    hosts = finding.hosts_to_ask(NOUNS["vm"], wants, settings.hosts) if narrow else None
    settings = session.only(settings, hosts)

    async def work(engine: Engine) -> int:
        await engine.settled(GROUPS, timeout=options.timeout)
        noun = NOUNS["vm"].with_clock(Clock.at(time.monotonic(), time.time()))
        everything = list(noun.rows(engine.snapshot))
        missing = session.missing(engine.snapshot, ("stats",), options.timeout)
        errors: list[VirtfleetError] = []
        if options.filter:
            matches = compile_filter(options.filter, noun).matches
            rows = [row for row in everything if matches(row)]
            if not rows:
                diagnostics.note(f"no VM matches {options.filter}")
        else:
            rows, errors = finding.find_all(noun, everything, wants)
        diagnostics.unreachable(missing)
        code = await carry_out(engine, [make(row) for row in rows], options, errors)
        return Exit.PARTIAL if code == Exit.DONE and missing and options.filter else code

    return session.run(options, settings, work)


async def carry_out(
    engine: Engine,
    actions: Sequence[Action],
    options: Options,
    errors: Sequence[VirtfleetError] = (),
    origin: str = "command line",
    *,
    partial: bool = False,
) -> int:
    """Plan and do `actions`; `errors` are of those that came to nothing before. Returns the exit code.

    `partial`: of new VMs as many as can be; otherwise all or none.
    """
    plans, failed = await engine.plan_all(actions, partial=partial)
    outcome = Outcome(errors=[*errors, *failed])
    return await carry_out_plans(engine, plans, options, outcome, origin)


async def carry_out_plans(
    engine: Engine, plans: Sequence[Plan], options: Options, outcome: Outcome, origin: str
) -> int:
    """Show or do these plans. Returns the exit code."""
    if options.dry_run:
        planning.show(plans, options)
        for error in outcome.errors:
            diagnostics.report(error, as_json=options.as_json)
        outcome.idle = len(plans)
        return outcome.code()
    for plan in plans:
        if not plan.steps:
            outcome.idle += 1
            reasons = ": " + "; ".join(reason.text for reason in plan.reasons) if plan.reasons else ""
            diagnostics.note(f"{plan.title}{reasons}")
    todo = [plan for plan in plans if plan.steps]
    if todo and not await agreed(todo, options):
        diagnostics.note("nothing was done")
        return Exit.REFUSED
    await perform(engine, todo, options, outcome, origin)
    if outcome.jobs or options.output != "table":
        show_jobs(outcome.jobs, options)
    for error in outcome.errors:
        diagnostics.report(error, as_json=options.as_json)
    return outcome.code()


async def agreed(plans: Sequence[Plan], options: Options) -> bool:
    """Whether to go on: nothing dangerous in them, --yes, or the person said so.

    RefusedError: dangerous, and there is nobody to ask.
    """
    dangerous = [plan for plan in plans if plan.danger is not Danger.NONE]
    if not dangerous or options.yes:
        return True
    if options.no_input or not planning.can_ask():
        raise RefusedError(
            f"{dangerous[0].title}: this needs a yes, and there is no terminal to ask on",
            cure="give --yes to do it, --dry-run to see what would be done",
        )
    planning.tell(plans, "")
    return await asyncio.to_thread(planning.confirm, plans)


async def perform(
    engine: Engine, plans: Sequence[Plan], options: Options, outcome: Outcome, origin: str
) -> None:
    """Run these plans at once, within the limits of hosts and pools, and wait for all.

    Interrupted: cancels what runs and waits until it is undone.
    """
    batch = f"{int(time.time() * 1000):x}" if len(plans) > 1 else ""
    ids: list[str] = []
    for plan in plans:
        try:
            job = await engine.apply(plan, origin=origin, batch=batch, detached=options.no_wait)
        except VirtfleetError as error:
            outcome.errors.append(error)
        else:
            ids.append(job.id)
    if options.no_wait:
        outcome.jobs += [engine.jobs.get(number) for number in ids]
        for number in ids:
            hand_over(number, options)
        return
    watcher = Watcher(engine, ids)
    try:
        ended = await asyncio.gather(*(engine.finished(number) for number in ids))
        outcome.jobs += ended
        watcher.close()
        tell_of_attempts(engine, ids, ended)
    except asyncio.CancelledError:
        watcher.close()
        await undo_all(engine, [job.id for job in engine.jobs.active])
        raise
    finally:
        watcher.close()


def tell_of_attempts(engine: Engine, ids: Sequence[str], ended: Sequence[Job]) -> None:
    """Says of what was tried in another place first."""
    for number, job in zip(ids, ended, strict=True):
        if job.id != number:
            first = engine.jobs.get(number)
            diagnostics.note(f"{first.title}: {first.error}; so instead: {job.title}")


def hand_over(number: str, options: Options) -> None:
    """Leaves a job to a process of its own, which outlives this one and its terminal."""
    words = ["--demo"] if options.demo else []
    words += ["--connect", options.connect] if options.connect else []
    words += ["--fleet", os.path.abspath(options.fleet)] if options.fleet else []
    subprocess.Popen(
        [sys.executable, "-m", "virtfleet_tui", *words, "--no-input", "job", "run", number],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


async def undo_all(engine: Engine, ids: Sequence[str]) -> None:
    """Cancel what is still active and wait, a while, until it is undone."""
    active = [number for number in ids if engine.jobs.get(number).state.active]
    if not active:
        return
    diagnostics.note(
        f"undoing {len(active)} {'job' if len(active) == 1 else 'jobs'}; again: leave it to `job rollback`"
    )
    for number in active:
        engine.jobs.cancel(number)
    try:
        async with asyncio.timeout(_TIDYING):
            await asyncio.gather(*(engine.jobs.wait(number) for number in active))
    except TimeoutError:
        diagnostics.note("not all could be undone in time: see `job list`")
