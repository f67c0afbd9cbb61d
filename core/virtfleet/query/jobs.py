"""The fields of a job: what is being done to the fleet, and what was."""

from __future__ import annotations

from virtfleet.model.job import Job, JobState, StepState
from virtfleet.query.field import Field, Unit
from virtfleet.query.looks import Look, Meaning
from virtfleet.query.naming import natural_key

LOOKS = {
    JobState.BROKEN: Look("✖", "broken", Meaning.BAD, 0),
    JobState.INTERRUPTED: Look("!", "interrupted", Meaning.WARNING, 1),
    JobState.UNDOING: Look("◐", "undoing", Meaning.WARNING, 2),
    JobState.CANCELLING: Look("◐", "cancelling", Meaning.WARNING, 3),
    JobState.RUNNING: Look("◐", "running", Meaning.BUSY, 4),
    JobState.WAITING: Look("·", "waiting", Meaning.MUTED, 5),
    JobState.FAILED: Look("✖", "failed", Meaning.BAD, 6),
    JobState.CANCELLED: Look("○", "cancelled", Meaning.MUTED, 7),
    JobState.DONE: Look("●", "done", Meaning.GOOD, 8),
}
"""By how soon somebody should look at it."""


def job_look(job: Job) -> Look:
    """Its state; a running one with how far it is."""
    look = LOOKS[job.state]
    if job.state in (JobState.RUNNING, JobState.UNDOING) and job.progress.steps:
        return look._replace(word=f"{look.word} {100 * job.progress.fraction:.0f} %")
    return look


def step_of(job: Job) -> str:
    """The title of the step that it is at, or that it failed in."""
    for step, record in zip(job.plan.steps, job.records, strict=False):
        if record.state in (StepState.BEGUN, StepState.FAILED, StepState.UNDOING):
            return step.title
    return ""


def _duration(job: Job) -> float | None:
    if job.started is None or job.ended is None:
        return None
    return max(0.0, job.ended - job.started)


FIELDS: tuple[Field[Job], ...] = (
    Field("id", "ID", Unit.TEXT, "What to call it: `job show ID`.", lambda job: job.id, width=12, priority=0),
    Field(
        "state",
        "STATE",
        Unit.TEXT,
        "waiting, running, cancelling, undoing, done, failed, cancelled, broken or interrupted.",
        lambda job: job.state.value,
        sort_key=lambda job: LOOKS[job.state].urgency,
        width=15,
        glance=lambda job: job_look(job).text,
        priority=0,
    ),
    Field("verb", "VERB", Unit.TEXT, "vm.create, vm.resize ...", lambda job: job.plan.verb, width=14),
    Field(
        "name",
        "OBJECT",
        Unit.TEXT,
        "What it is done to.",
        lambda job: job.plan.name,
        sort_key=lambda job: natural_key(job.plan.name),
        width=20,
        priority=1,
    ),
    Field(
        "host", "HOST", Unit.TEXT, "On which host.", lambda job: job.plan.host or None, width=12, priority=2
    ),
    Field("title", "WHAT", Unit.TEXT, "The plan in one line.", lambda job: job.title, width=40, priority=3),
    Field(
        "progress",
        "PROGRESS",
        Unit.PERCENT,
        "How far it is.",
        lambda job: 100.0 if job.state is JobState.DONE else 100.0 * job.progress.fraction,
        width=8,
        priority=3,
    ),
    Field(
        "step",
        "STEP",
        Unit.TEXT,
        "What it does now, or failed in.",
        lambda job: step_of(job) or None,
        width=30,
        priority=6,
    ),
    Field("done", "MOVED", Unit.BYTES, "Bytes moved.", lambda job: job.progress.done or None, priority=8),
    Field("rate", "RATE", Unit.RATE, "Bytes a second, of late.", lambda job: job.progress.rate, priority=6),
    Field("eta_s", "ETA", Unit.SECONDS, "Seconds it still takes.", lambda job: job.progress.eta, priority=4),
    Field("error", "ERROR", Unit.TEXT, "Why it failed.", lambda job: job.error or None, width=40, priority=4),
    Field(
        "who",
        "WHO",
        Unit.TEXT,
        "user@machine that asked for it.",
        lambda job: job.who or None,
        width=16,
        priority=5,
    ),
    Field(
        "origin",
        "FROM",
        Unit.TEXT,
        "console, command line, batch FILE ...",
        lambda job: job.origin or None,
        width=14,
        priority=7,
    ),
    Field(
        "batch",
        "BATCH",
        Unit.TEXT,
        "Jobs that were asked for together share it.",
        lambda job: job.batch or None,
        width=12,
        priority=8,
    ),
    Field(
        "created", "ASKED", Unit.TIME, "When it was asked for.", lambda job: job.created, width=8, priority=4
    ),
    Field("ended", "ENDED", Unit.TIME, "When it ended.", lambda job: job.ended, width=8, priority=7),
    Field("took_s", "TOOK", Unit.SECONDS, "Seconds it took.", _duration, width=8, priority=5),
    Field(
        "uuid",
        "UUID",
        Unit.TEXT,
        "UUID of the object.",
        lambda job: job.plan.uuid or None,
        width=36,
        priority=9,
    ),
)
