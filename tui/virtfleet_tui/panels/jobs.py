"""The list of jobs: running with progress, interrupted ones that wait for a word, recent ones."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from virtfleet.model import FleetSnapshot
from virtfleet.model.job import Job, JobState
from virtfleet.query.display import format_value
from virtfleet.query.field import Field, Unit
from virtfleet.query.jobs import job_look, step_of
from virtfleet.query.nouns import NOUNS
from virtfleet_tui.bridge import Changes
from virtfleet_tui.console import Console, Subject
from virtfleet_tui.panels.list_panel import ListPanel
from virtfleet_tui.panels.nouns import CLOCK, Listed
from virtfleet_tui.widgets.event_list import when

_TROUBLE = frozenset({JobState.BROKEN, JobState.INTERRUPTED, JobState.FAILED})
_COLUMNS: dict[str, dict[str, Any]] = {
    "created": {"width": 8, "priority": 1, "glance": lambda job: when(job.created, time.time())},
    "state": {"width": 14, "priority": 0},
    "title": {"width": 32, "priority": 0},
    "eta_s": {"width": 6, "priority": 3},
    "took_s": {"width": 6, "priority": 4},
    "who": {"width": 24, "priority": 7},
    # One column says what it does, and when it has failed why: it does one of the two. It is the last, so
    # that it has all the space that is left.
    "step": {
        "title": "STEP OR FAULT",
        "doc": "What it does now; why it failed.",
        "width": 16,
        "priority": 2,
        "glance": lambda job: doing(job),
    },
}
_ORDER = ("created", "state", "title", "eta_s", "took_s", "who", "step")
_BYTES = 1 << 20
"""Below that it is not bytes that a step counts, but seconds of waiting."""


def doing(job: Job) -> str:
    """What it does now, or why it failed, in a line."""
    if job.error and not job.state.active:
        return job.error
    if job.state is JobState.INTERRUPTED:
        return "U goes on with it, B takes it back"
    if job.state is JobState.WAITING:
        return "waits for its turn"
    if job.state.active:
        rate = job.progress.rate if job.progress.total >= _BYTES else None
        speed = f", {format_value(rate, Unit.RATE)}B/s" if rate else ""
        return f"{job.progress.text or step_of(job)}{speed}"
    return ""


def _style(job: Job, field: Field[Any]) -> str:
    if field.name == "state":
        return job_look(job).meaning.value
    if field.name == "step":
        return "" if job.state.active else "bad" if job.state.resumable else "warning"
    return "muted" if field.name in ("created", "id", "who") else ""


def _columns() -> tuple[Field[Any], ...]:
    fields = {field.name: field for field in NOUNS["job"].with_clock(CLOCK).fields}
    order = [*_ORDER, *(name for name in fields if name not in _ORDER)]
    shown = [replace(fields[name], **_COLUMNS.get(name, {})) for name in order]
    return tuple(field if field.name in _COLUMNS else replace(field, priority=9) for field in shown)


JOBS = Listed(
    noun=replace(NOUNS["job"].with_clock(CLOCK), default_sort=("-created",)),
    groups=frozenset(),
    members="",
    of_host=None,
    is_fault=lambda job: job.state in _TROUBLE,
    empty="Nothing has been changed from here yet",
    told=lambda host: True,
    columns=_columns(),
    ages=False,
    style=_style,
    unlit=frozenset({"progress", "eta_s", "rate"}),
    hint="state=running  name=web-1  verb=vm.create  host~^hv  words",
)


class JobPanel(ListPanel):
    """All jobs that are known here, newest first."""

    def __init__(self, console: Console, *, filter_text: str = "", id: str | None = None) -> None:
        super().__init__(console, JOBS, filter_text=filter_text, id=id)

    def show_fleet(self, snapshot: FleetSnapshot, changes: Changes | None) -> None:
        self._snapshot = snapshot
        if changes is None:
            self._reload()

    def show_jobs(self, jobs: Iterable[Job]) -> None:
        """These of them are now so."""
        self.grid.update_rows(jobs)

    def _scoped(self, snapshot: FleetSnapshot) -> Iterable[Any]:
        return self.console.fleet.jobs.jobs

    def subject_of(self, row: Any) -> Subject | None:
        """The VM that it is about, where there is one."""
        plan = row.plan
        if plan.kind != "vm" or not plan.uuid:
            return None
        return Subject("vm", (plan.host, plan.uuid), plan.name, plan.host, plan.uuid)
