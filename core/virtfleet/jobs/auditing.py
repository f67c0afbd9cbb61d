"""Who did what to which object, and what it was before and after: written when a job ends, never changed."""

from __future__ import annotations

import time

from virtfleet.errors import VirtfleetError
from virtfleet.jobs.executor import Runner
from virtfleet.jobs.journal import Journal
from virtfleet.model.job import AuditEntry, Job

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

    async def before(self, job: Job) -> str:
        """The VM's XML, where the verb will change it; empty where it is unknown."""
        plan = job.plan
        return "" if plan.verb in _NEW else await self._xml(job)

    async def after(self, job: Job, before: str) -> None:
        """Writes the entry."""
        plan = job.plan
        entry = AuditEntry(
            time=time.time(),
            who=job.who,
            origin=job.origin,
            job=job.id,
            verb=plan.verb,
            kind=plan.kind,
            host=plan.host,
            uuid=plan.uuid,
            name=plan.name,
            outcome=job.state.value,
            detail="; ".join(part for part in (plan.title, job.error) if part),
            before=before,
            after=await self._xml(job),
        )
        await self._journal.audit(entry)

    async def _xml(self, job: Job) -> str:
        """As it is defined, without secrets; empty: it is not there, or its host does not say."""
        plan = job.plan
        if plan.verb not in _CHANGES_XML or not plan.uuid or not plan.host:
            return ""
        args = {"uuid": plan.uuid, "inactive": True}
        try:
            return str(await self._runner.run(plan.host, "vm.xml", args, _TIMEOUT, lambda *_: None))
        except VirtfleetError:
            return ""
