"""Taking back a job that is done: a plan of its own, made of what its steps say about their undoing."""

from __future__ import annotations

import time

from msgspec.structs import replace

from virtfleet.errors import RefusedError
from virtfleet.jobs.references import resolved
from virtfleet.jobs.who import whoami
from virtfleet.model.job import Job, JobState
from virtfleet.model.plan import Plan, Step, Undo

UNDOABLE = frozenset(
    {
        "vm.autostart",
        "vm.rename",
        "vm.resize",
        "vm.tag",
        "vm.describe",
        "vm.assign",
        "vm.protect",
        "vm.edit",
        "vm.media.insert",
        "vm.media.eject",
        "vm.nic.attach",
        "vm.nic.detach",
        "host.disable",
        "host.enable",
        "volume.attach",
        "volume.detach",
    }
)
"""Verbs whose jobs can be taken back when they are done."""

_CLAIM, _RELEASE = "vm.claim", "vm.release"


def undo_plan(job: Job) -> Plan:
    """RefusedError: it is not done, or nothing of this kind can be undone.

    What is undone is done again if a later step of the undoing fails.
    """
    if job.state is not JobState.DONE:
        raise RefusedError(
            f"job {job.id} is {job.state.value}: it can't be undone", cure="what is done can be undone"
        )
    if job.plan.verb not in UNDOABLE:
        raise RefusedError(
            f"{job.plan.verb} can't be undone", cure=f"what can be: {', '.join(sorted(UNDOABLE))}"
        )
    results = {record.id: record.result for record in job.records}
    steps = [
        Step(
            id=f"undo-{step.id}",
            op=step.undo.op,
            host=step.host,
            title=step.undo.title or f"take back: {step.title}",
            args=resolved(step.undo.args, results, lenient=True) | {"of_done": True},
            timeout=step.timeout,
            # It was done once: whatever of it is still there is to be kept.
            undo=Undo(
                op=step.op,
                args=resolved(step.args, results, lenient=True) | {"again": True},
                title=f"again: {step.title}",
            ),
            lock=step.lock,
        )
        for step in reversed(job.plan.steps)
        if step.undo is not None and step.op != _CLAIM
    ]
    if not steps:
        raise RefusedError(f"job {job.id} changed nothing that could be undone")
    claims = [
        replace(step, args={**step.args, "who": whoami()}) for step in job.plan.steps if step.op == _CLAIM
    ]
    releases = [step for step in job.plan.steps if step.op == _RELEASE]
    return replace(
        job.plan,
        title=f"undo: {job.plan.title}",
        steps=(*claims, *steps, *releases),
        conditions=(),
        effects=(),
        reasons=(),
        made=time.time(),
    )
