"""The journal on the terminal: jobs, their logs, going on with them. Hosts are connected to only for that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from virtfleet.errors import VirtfleetError
from virtfleet.headless import acting, diagnostics, output, planning, session
from virtfleet.headless.acting import Outcome
from virtfleet.headless.diagnostics import Exit
from virtfleet.headless.job_tables import Watcher, list_jobs, outcome_line, show_jobs
from virtfleet.headless.listing import emit
from virtfleet.headless.options import Options
from virtfleet.model.job import Job, JobState, StepState
from virtfleet.query.clock import Clock
from virtfleet.query.columns import parse_sort, sort_rows
from virtfleet.query.display import format_duration, format_value
from virtfleet.query.field import Unit
from virtfleet.query.filter import compile_filter
from virtfleet.query.nouns import NOUNS

if TYPE_CHECKING:
    from virtfleet.engine import Engine
    from virtfleet.jobs.book import JobBook

_ALL = 100_000
_MARKS = {
    StepState.DONE: "✔",
    StepState.BEGUN: "?",
    StepState.FAILED: "✖",
    StepState.UNDOING: "?",
    StepState.UNDONE: "○",
    StepState.PENDING: " ",
}


def _with_book(options: Options, work: Callable[[JobBook], Awaitable[int]]) -> int:
    """Without any connection to a host."""

    async def run() -> int:
        from virtfleet.engine import Engine

        engine = Engine(options.settings(), keep_history=False, zygote=options.zygote)
        try:
            await engine.jobs.open()
            return await work(engine.jobs)
        finally:
            await engine.stop()

    return asyncio.run(run())


def list_all(options: Options, *, everything: bool) -> int:
    """`job list`."""

    async def work(book: JobBook) -> int:
        if everything:
            await book.open(_ALL)
        noun = NOUNS["job"].with_clock(Clock.at(time.monotonic(), time.time()))
        matches = compile_filter(options.filter, noun).matches
        spec = parse_sort(options.sort, noun) or noun.default_sort
        jobs = sort_rows((job for job in book.jobs if matches(job)), spec, noun.fields)
        list_jobs(jobs, options)
        waiting = [job for job in jobs if job.state.resumable]
        if waiting and options.output == "table":
            diagnostics.note(
                f"{len(waiting)} unfinished: `job resume ID` goes on, `job rollback ID` takes it back"
            )
        return Exit.DONE

    return _with_book(options, work)


def show(numbers: Sequence[str], options: Options) -> int:
    """`job show ID...`."""

    async def work(book: JobBook) -> int:
        jobs = [await book.find(number) for number in numbers]
        if options.output != "table":
            list_jobs(jobs, options)
            return Exit.DONE
        for index, job in enumerate(jobs):
            output.lines([*([""] if index else []), *_card(job)])
        return Exit.DONE

    return _with_book(options, work)


def _card(job: Job) -> list[str]:
    lines = [outcome_line(job), f"    id         {job.id}", f"    asked by   {job.who}, {job.origin}"]
    lines.append(f"    asked at   {format_value(job.created, Unit.TIME)}")
    if job.cure:
        lines.append(f"    try        {job.cure}")
    lines.append("    steps")
    for step, record in zip(job.plan.steps, job.records, strict=True):
        took = format_duration(record.ended - record.began) if record.began and record.ended else ""
        tail = f"  {record.error}" if record.error else f"  {took}" if took else ""
        lines.append(f"      {_MARKS[record.state]} {step.title} on {step.host or 'this machine'}{tail}")
    return lines


def log(number: str, options: Options) -> int:
    """`job log ID`."""

    async def work(book: JobBook) -> int:
        job = await book.find(number)
        lines = await book.log(job.id)
        if options.output == "table":
            output.lines(
                f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(each.time))}  {each.text}"
                for each in lines
            )
        else:
            items = [{"time": each.time, "text": each.text} for each in lines]
            emit(options, "log", items, (), time.monotonic(), ["time", "text"])
        return Exit.DONE

    return _with_book(options, work)


def cancel(numbers: Sequence[str], options: Options) -> int:
    """`job cancel ID...`: also of another process, which takes back what was done."""

    async def work(book: JobBook) -> int:
        ids = [(await book.find(number)).id for number in numbers]
        for number in ids:
            book.cancel(number)
        async with asyncio.timeout(options.timeout + 60):
            ended = [await book.wait(number) for number in ids]
        show_jobs(ended, options)
        return Exit.DONE

    return _with_book(options, work)


def go_on(how: str, numbers: Sequence[str], options: Options) -> int:
    """`job resume|rollback|undo ID...`."""

    async def work(engine: Engine) -> int:
        book = engine.jobs
        await book.open()
        outcome = Outcome()
        jobs = [await book.find(number) for number in numbers]
        await engine.settled(("stats",), options.timeout, {job.plan.host for job in jobs if job.plan.host})
        plans = [job.plan for job in jobs]
        if options.dry_run:
            planning.show(plans, options)
            return Exit.DONE
        ids = []
        for job in jobs:
            try:
                begun = await {"resume": book.resume, "rollback": book.roll_back, "undo": book.undo}[how](
                    job.id
                )
            except VirtfleetError as error:
                outcome.errors.append(error)
            else:
                ids.append(begun.id)
        watcher = Watcher(engine, ids)
        try:
            outcome.jobs = [await book.wait(number) for number in ids]
        finally:
            watcher.close()
        show_jobs(outcome.jobs, options)
        for problem in outcome.errors:
            diagnostics.report(problem, as_json=options.as_json)
        if how == "rollback" and not outcome.errors:
            return Exit.DONE if all(job.state is JobState.CANCELLED for job in outcome.jobs) else Exit.FAILED
        return outcome.code()

    return session.run(options, options.settings(), work)


def run_detached(number: str, options: Options) -> int:
    """`job run ID`: carries out a job that another process wrote down, then ends."""

    async def work(engine: Engine) -> int:
        book = engine.jobs
        await book.open()
        job = await book.find(number)
        await engine.settled(acting.GROUPS, options.timeout, {job.plan.host} if job.plan.host else None)
        await book.resume(job.id)
        ended = await book.wait(job.id)
        return Exit.DONE if ended.state is JobState.DONE else Exit.FAILED

    return session.run(options, options.settings(), work)
