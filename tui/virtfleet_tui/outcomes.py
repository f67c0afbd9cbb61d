"""What the status line says when a job that was asked for here has ended. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from virtfleet.model.job import Job, JobState

_UNDO = "undo of "
"""How the origin of a job begins that takes back another one."""


def to_be_told(job: Job, since: float) -> bool:
    """Whether it was asked for at a console and has ended, after `since` (Unix time): older ones,
    which the journal tells of at the start, are no news."""
    ended = not job.state.active and job.state is not JobState.INTERRUPTED
    return ended and (job.ended or 0.0) >= since and job.origin.startswith(("console", _UNDO))


def outcome(job: Job, jobs: Sequence[Job]) -> tuple[str, str]:
    """In words, and how good it is. `jobs`: all that are known; those of one batch are counted together."""
    mates = [each for each in jobs if each.batch == job.batch] if job.batch else []
    if len(mates) > 1:
        return _of_many(mates)
    if job.state is JobState.DONE:
        return f"done: {job.title}", "good"
    return _trouble(job), "warning" if job.state is JobState.CANCELLED else "bad"


def _trouble(job: Job) -> str:
    return f"{job.state.value}: {job.title}{': ' if job.error else ''}{job.error}"


def _of_many(mates: Sequence[Job]) -> tuple[str, str]:
    left = sum(each.state.active for each in mates)
    done = sum(each.state is JobState.DONE for each in mates)
    wrong = [each for each in mates if not each.state.active and each.state is not JobState.DONE]
    words = [f"{done} of {len(mates)} done"]
    if left:
        words.append(f"{left} under way")
    if wrong:
        words.append(f"{len(wrong)} not (8 shows them): {_trouble(wrong[0])}")
    return ", ".join(words), "bad" if wrong else "busy" if left else "good"
