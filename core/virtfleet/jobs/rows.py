"""Jobs as rows of the tables and back, and the statements that write them.

The statements are built once: building one costs more than running it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import bindparam

from virtfleet.errors import RefusedError
from virtfleet.jobs.progress import progress_of
from virtfleet.jobs.schema import audit, jobs, log, steps
from virtfleet.model.job import AuditEntry, Job, JobState, StepRecord, StepState
from virtfleet.model.plan import Plan

said = logging.getLogger(__name__)

ADD_JOB = jobs.insert()
ADD_STEP = steps.insert()
ADD_LINE = log.insert()
ADD_ENTRY = audit.insert()
_IS_OURS = sa.exists().where(jobs.c.id == bindparam("for_job"), jobs.c.owner == bindparam("for_owner"))
SAVE_JOB = (
    jobs.update()
    .where(jobs.c.id == bindparam("for_job"), jobs.c.owner == bindparam("for_owner"))
    .values({name: bindparam(name) for name in ("state", "error", "cure", "started", "ended")})
)
SAVE_STEP = (
    steps.update()
    .where(steps.c.job == bindparam("for_job"), steps.c.n == bindparam("for_n"), _IS_OURS)
    .values({name: bindparam(name) for name in ("state", "began", "ended", "result", "error")})
)
"""Nothing is changed if somebody else has the job by now."""

_AT_ONCE = 500
"""Jobs whose steps one query asks for."""


class Stored(msgspec.Struct, frozen=True):
    """A job as the journal has it, with who runs it."""

    job: Job
    owner: str
    """Token of an owner; see owners.py."""


class LogLine(msgspec.Struct, frozen=True):
    time: float
    """Unix time."""
    text: str


def row_of_job(job: Job, owner: str) -> dict[str, Any]:
    """RefusedError: there is text in its plan that can't be written down."""
    return {
        "id": job.id,
        "created": job.created,
        "who": job.who,
        "origin": job.origin,
        "batch": job.batch,
        "plan": _json(job.plan),
        "owner": owner,
        **state_of_job(job),
    }


def state_of_job(job: Job) -> dict[str, Any]:
    """What of a job changes."""
    return {
        "state": job.state.value,
        "error": job.error,
        "cure": job.cure,
        "started": job.started,
        "ended": job.ended,
    }


def rows_of_steps(job: Job) -> list[dict[str, Any]]:
    return [
        {"job": job.id, "n": n, "id": record.id, **state_of_step(record)}
        for n, record in enumerate(job.records)
    ]


def state_of_step(record: StepRecord) -> dict[str, Any]:
    """What of a step changes."""
    return {
        "state": record.state.value,
        "began": record.began,
        "ended": record.ended,
        "result": None if record.result is None else _json(record.result),
        "error": record.error,
    }


def stored(connection: sa.Connection, wanted: sa.ColumnElement[bool]) -> list[Stored]:
    """The jobs for which `wanted` holds, oldest first; without those of a newer version of us."""
    query = sa.select(jobs).where(wanted).order_by(jobs.c.created, jobs.c.id)
    rows = connection.execute(query).mappings().all()
    numbers = [row["id"] for row in rows]
    records: dict[str, list[StepRecord]] = {number: [] for number in numbers}
    for start in range(0, len(numbers), _AT_ONCE):
        some = sa.select(steps).where(steps.c.job.in_(numbers[start : start + _AT_ONCE]))
        for row in connection.execute(some.order_by(steps.c.job, steps.c.n)).mappings():
            records[row["job"]].append(_record(row))
    found = []
    for row in rows:
        try:
            found.append(Stored(_job(row, records[row["id"]]), row["owner"]))
        except ValueError as error:  # of msgspec, too
            said.warning("job %s is of another version: %s", row["id"], error)
    return found


def entries(rows: Sequence[Any]) -> tuple[AuditEntry, ...]:
    return tuple(AuditEntry(**{name: value for name, value in row.items() if name != "n"}) for row in rows)


def _json(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:
        raise RefusedError("it holds text that is not Unicode, perhaps the name of a file") from None


def _record(row: Any) -> StepRecord:
    return StepRecord(
        id=row["id"],
        state=StepState(row["state"]),
        began=row["began"],
        ended=row["ended"],
        result=None if row["result"] is None else msgspec.json.decode(row["result"]),
        error=row["error"],
    )


def _job(row: Any, records: list[StepRecord]) -> Job:
    plan = msgspec.json.decode(row["plan"], type=Plan)
    return Job(
        id=row["id"],
        plan=plan,
        state=JobState(row["state"]),
        records=tuple(records),
        progress=progress_of(plan, records),
        error=row["error"],
        cure=row["cure"],
        who=row["who"],
        origin=row["origin"],
        batch=row["batch"],
        created=row["created"],
        started=row["started"],
        ended=row["ended"],
    )
