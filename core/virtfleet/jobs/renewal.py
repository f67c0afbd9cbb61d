"""Keeps a running job's claim on its VM from running out: some jobs take longer than a claim stands.

A claim has an end, so that a console that died blocks nobody for ever. While
the job runs its claim is renewed in good time, beside its steps and never in
their way; a renewal that fails is tried again, and harms nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from virtfleet.errors import VirtfleetError
from virtfleet.model.job import Job, StepState
from virtfleet.model.plan import Step

log = logging.getLogger(__name__)

_CLAIMING = ("vm.claim", "vm.define", "vm.define_xml")
_PART = 3
"""A claim is renewed when a third of its time has gone."""
_WITHIN = 30.0

Ask = Callable[[str, str, dict[str, Any], float], Awaitable[Any]]
"""host, operation, arguments, seconds."""


@contextlib.asynccontextmanager
async def renewed(job: Callable[[], Job], ask: Ask) -> AsyncIterator[None]:
    """While it lasts the claims that the job's steps have made are renewed. `job`: as it is now."""
    seconds = min((float(step.args["seconds"]) for step in _claims(job())), default=0.0)
    if not seconds:
        yield
        return
    task = asyncio.ensure_future(_renew(job, ask, seconds))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _renew(job: Callable[[], Job], ask: Ask, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds / _PART)
        now = job()
        made = {record.id for record in now.records if record.state is StepState.DONE}
        for step in _claims(now):
            if step.id in made:
                uuid = step.args.get("uuid") or _of_spec(step.args)
                args = {"uuid": uuid, "of": now.id, "seconds": step.args["seconds"]}
                try:
                    await ask(step.host, "vm.renew", args, _WITHIN)
                except VirtfleetError as error:
                    log.info("the claim on %s: %s", now.plan.name, error)


def _claims(job: Job) -> list[Step]:
    return [step for step in job.plan.steps if step.op in _CLAIMING and step.args.get("seconds")]


def _of_spec(args: Mapping[str, Any]) -> str:
    spec = args.get("spec")
    return str(spec.get("uuid", "")) if isinstance(spec, Mapping) else ""
