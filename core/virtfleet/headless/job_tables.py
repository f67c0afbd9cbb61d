"""Jobs on the terminal: a line that says how far they are, and what became of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from virtfleet.headless import diagnostics, formats, output, table
from virtfleet.headless.listing import emit, style_of
from virtfleet.headless.options import Options
from virtfleet.model.job import Job, JobState
from virtfleet.query.clock import Clock
from virtfleet.query.columns import default_columns, parse_columns
from virtfleet.query.display import format_duration, format_value
from virtfleet.query.field import Unit
from virtfleet.query.jobs import job_look
from virtfleet.query.nouns import NOUNS

if TYPE_CHECKING:
    from virtfleet.engine import Engine


class Watcher:
    """Keeps one line on the terminal true while jobs run; without a terminal it says nothing."""

    def __init__(self, engine: Engine, ids: Sequence[str]) -> None:
        self._ids = list(ids)
        self._engine = engine
        self._stop = engine.jobs.subscribe(lambda job: self._show())
        self._open = True

    def follow(self, number: str) -> None:
        """One more."""
        self._ids.append(number)

    def close(self) -> None:
        if self._open:
            self._open = False
            self._stop()
            diagnostics.status("")

    def _show(self) -> None:
        jobs = [self._engine.jobs.get(number) for number in self._ids]
        diagnostics.status(progress_line(jobs))


def progress_line(jobs: Sequence[Job]) -> str:
    """`3/20 done · web-04: upload debian12 41 % · 12 MB/s · 4 s left`."""
    running = [job for job in jobs if job.state in (JobState.RUNNING, JobState.UNDOING, JobState.CANCELLING)]
    parts = []
    if len(jobs) > 1:
        parts.append(f"{sum(not job.state.active for job in jobs)}/{len(jobs)} done")
    if running:
        job = max(running, key=lambda each: each.progress.fraction)
        progress = job.progress
        verb = "" if job.state is JobState.RUNNING else f"{job.state.value}, "
        parts.append(f"{job.plan.name}: {verb}{progress.text or job.title} {100 * progress.fraction:.0f} %")
        if progress.rate:
            parts.append(format_value(progress.rate, Unit.RATE))
        if progress.eta is not None:
            parts.append(f"{format_duration(progress.eta)} left")
    return " · ".join(parts)


def show_jobs(jobs: Sequence[Job], options: Options) -> None:
    """What became of `jobs`: a line for each, or their fields as data."""
    if options.output == "table" and not options.columns:
        output.lines([outcome_line(job) for job in jobs])
        return
    list_jobs(jobs, options)


def outcome_line(job: Job) -> str:
    """`● done  start web-01 on hv1  0.4 s`."""
    took = format_duration(job.ended - job.started) if job.ended and job.started else ""
    look = job_look(job)
    words = [look.text, job.title, *([took] if took else [])]
    if job.state.active:
        words.append(f"as job {job.id}")
    elif job.error:
        words.append(f"— {job.error}")
    if address := next((str(r.result["address"]) for r in job.records if _has_address(r.result)), ""):
        words.append(f"at {address}")
    if job.state.resumable:
        words.append(f"(`job resume {job.id}` or `job rollback {job.id}`)")
    return "  ".join(words)


def _has_address(result: object) -> bool:
    return isinstance(result, dict) and bool(result.get("address"))


def list_jobs(jobs: Sequence[Job], options: Options) -> None:
    """A table of jobs, or their fields in the form asked for."""
    now = time.monotonic()
    noun = NOUNS["job"].with_clock(Clock.at(now, time.time()))
    if options.columns:
        fields = parse_columns(options.columns, noun)
    else:
        fields = default_columns(noun) if options.output == "table" else noun.fields
    if options.output == "table":
        output.lines(table.render(list(jobs), fields, noun, style_of(options), now))
        return
    emit(options, "job", [formats.item(job, fields) for job in jobs], (), now, [each.name for each in fields])
