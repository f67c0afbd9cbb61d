"""Who did what to which object, and what it was before and after: written when a job ends, never changed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from virtfleet.errors import VirtfleetError
from virtfleet.jobs.who import whoami
from virtfleet.model.job import AuditEntry, Job
from virtfleet.model.plan import Plan

if TYPE_CHECKING:
    from virtfleet.jobs.journal import Journal
    from virtfleet.jobs.runner import Runner

_CHANGES_XML = frozenset(
    {
        "vm.create",
        "vm.clone",
        "vm.delete",
        "vm.rename",
        "vm.resize",
        "vm.tag",
        "vm.describe",
        "vm.assign",
        "vm.protect",
        "vm.edit",
        "vm.snapshot.create",
        "vm.snapshot.revert",
        "vm.snapshot.delete",
        "vm.media.insert",
        "vm.media.eject",
        "vm.nic.attach",
        "vm.nic.detach",
    }
)
"""Verbs after which the XML of the VM is another one."""
_NEW = frozenset({"vm.create", "vm.clone"})
_TIMEOUT = 5.0


class Auditor:
    def __init__(self, journal: Journal, runner: Runner) -> None:
        self._journal = journal
        self._runner = runner

    async def begins(self, job: Job) -> None:
        """Keeps what the VM is now in the journal: a job may end in another process than it began in."""
        if job.plan.verb not in _NEW and (xml := await self._xml(job.plan)):
            await self._journal.keep_before(job.id, xml)

    async def entry(self, job: Job) -> AuditEntry:
        """What is to be written when it ends, in one transaction with its end."""
        before = await self._journal.before(job.id)
        after = await self._xml(job.plan)
        return _entry(job.plan, job.who, job.origin, job.id, job.state.value, job.error, before, after)

    async def refused(self, plan: Plan, origin: str, reasons: Sequence[str]) -> None:
        """Writes down what somebody wanted done, and was not begun."""
        why = "; ".join(reasons)
        await self._journal.audit(_entry(plan, whoami(), origin, "", "refused", why, "", ""))

    async def _xml(self, plan: Plan) -> str:
        """As it is defined, without secrets; empty: it is not there, or its host does not say."""
        if plan.verb not in _CHANGES_XML or not plan.uuid or not plan.host:
            return ""
        args = {"uuid": plan.uuid, "inactive": True}
        try:
            return str(await self._runner.run(plan.host, "vm.xml", args, _TIMEOUT, lambda *_: None))
        except VirtfleetError:
            return ""


def _entry(
    plan: Plan, who: str, origin: str, job: str, outcome: str, why: str, before: str, after: str
) -> AuditEntry:
    return AuditEntry(
        time=time.time(),
        who=who,
        origin=origin,
        job=job,
        verb=plan.verb,
        kind=plan.kind,
        host=plan.host,
        uuid=plan.uuid,
        name=plan.name,
        outcome=outcome,
        detail="; ".join(part for part in (plan.title, why) if part),
        before=before,
        after=after,
    )
