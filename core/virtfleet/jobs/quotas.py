"""Quotas kept in the store: what jobs have claimed and hosts may not show yet, counted when a job is added.

A claim is met by the VM it is for, and the greater of the two counts: so
nothing is counted twice, however late a host is seen. It counts as long as
its job may still act, and for some time after it is done, until everybody has
seen the VM. All that happens in the transaction that writes the job down, one
after another for each project: with a store that operators share, two of them
at once can't exceed a quota together.
"""

from __future__ import annotations

import time
import zlib

import msgspec
import sqlalchemy as sa

from virtfleet.decide.quotas import Room, excess, with_claims
from virtfleet.errors import RefusedError
from virtfleet.jobs.schema import claims, jobs
from virtfleet.model.job import Job, JobState
from virtfleet.model.project import Claim, Use

_SEEN = 600.0
"""Seconds after which everybody has seen what a job has made."""
_OURS = 7312646
"""First half of the number of PostgreSQL's lock; the second is the project's."""
_COUNT = tuple(state.value for state in JobState if state.active or state is JobState.BROKEN)
_OF_VOLUMES = '{"vms":0,%'
"""What is written of a use without a VM."""
_GOES = ("vm.delete", "volume.delete")


def claim(connection: sa.Connection, job: Job, room: Room | None) -> None:
    """Writes down what the job's plan claims. RefusedError: there is no room for it, with the figures."""
    plan = job.plan
    if plan.verb in _GOES or (plan.claims and plan.kind != "volume") or job.origin.startswith("undo "):
        _forget(connection, plan.uuid)
    if not plan.claims:
        return
    if room is not None:
        if connection.dialect.name == "postgresql":  # SQLite writes one transaction at a time anyway
            number = zlib.crc32(room.project.encode()) - (1 << 31)
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_OURS, number)))
        have = with_claims(room.have, _standing(connection, room))
        if reasons := excess(room.project, have, plan.claims, room.quota):
            raise RefusedError(f"{plan.title}: {'; '.join(reasons)}", cure="raise its quota, or make room")
    connection.execute(
        claims.insert(),
        [
            {
                "job": job.id,
                "project": each.project,
                "uuid": each.uuid,
                "use": msgspec.json.encode(each.use).decode(),
            }
            for each in plan.claims
        ],
    )


def _standing(connection: sa.Connection, room: Room) -> list[Claim]:
    """The claims on a project that count."""
    alive = sa.or_(
        jobs.c.state.in_(_COUNT),
        sa.and_(jobs.c.state == JobState.DONE.value, jobs.c.ended > time.time() - _SEEN),
    )
    lasting = sa.and_(jobs.c.state == JobState.DONE.value, claims.c.use.like(_OF_VOLUMES))
    query = (
        sa.select(claims.c.uuid, claims.c.use, alive.label("alive"))
        .join(jobs, jobs.c.id == claims.c.job)
        .where(claims.c.project == room.project, sa.or_(alive, lasting))
    )
    return [
        Claim(project=room.project, uuid=uuid, use=msgspec.json.decode(use, type=Use))
        for uuid, use, counts in connection.execute(query)
        if uuid not in room.attached and (counts or uuid in room.loose)
    ]


def _forget(connection: sa.Connection, uuid: str) -> None:
    """What was claimed for a VM by jobs that are done: it is going, or a new claim takes their place."""
    done = sa.select(jobs.c.id).where(jobs.c.state == JobState.DONE.value)
    connection.execute(claims.delete().where(claims.c.uuid == uuid, claims.c.job.in_(done)))
