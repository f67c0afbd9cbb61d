"""The view of jobs (`:jobs`): what is being changed, what was, and what waits for a word."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar

from textual.binding import BindingType

from virtfleet.errors import VirtfleetError
from virtfleet.model.job import Job
from virtfleet_tui.dialogs.text import TextDialog
from virtfleet_tui.keys import ANYWHERE, GRID, JOB, OBJECT, bindings
from virtfleet_tui.panels.jobs import JobPanel
from virtfleet_tui.panels.list_panel import ListPanel
from virtfleet_tui.screens.lists import OneList


class JobsScreen(OneList):
    """All jobs that are known here, newest first."""

    contexts: ClassVar[tuple[str, ...]] = (JOB, GRID, OBJECT, ANYWHERE)
    BINDINGS: ClassVar[list[BindingType]] = bindings(JOB)

    def make_panel(self) -> ListPanel:
        return JobPanel(self.console, filter_text=self.place.filter, id="only")

    @property
    def title_text(self) -> str:
        return "jobs"

    @property
    def job(self) -> Job | None:
        """The selected one."""
        row = self.panel.grid.selected
        return row if isinstance(row, Job) else None

    def show_jobs(self, jobs: Sequence[Job]) -> None:
        """These of them are now so."""
        panel = self.panel
        if isinstance(panel, JobPanel):
            panel.show_jobs(jobs)
        if self.job in jobs:
            self.show_keys()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        job = self.job if self.is_mounted else None
        if action == "cancel_job":
            return job is not None and job.state.active and not self.console.read_only
        if action in ("resume_job", "roll_back_job"):
            return job is not None and job.state.resumable and not self.console.read_only
        if action == "job_log":
            return job is not None
        if action in ("verb", "verbs", "create"):
            return False
        return super().check_action(action, parameters)

    def action_cancel_job(self) -> None:
        if self.job is not None:
            try:
                self.console.fleet.jobs.cancel(self.job.id)
            except VirtfleetError as error:
                self.say(error.message, "warning")

    async def action_resume_job(self) -> None:
        await self._go_on("resume")

    async def action_roll_back_job(self) -> None:
        await self._go_on("roll back")

    async def _go_on(self, how: str) -> None:
        job = self.job
        if job is None:
            return
        jobs = self.console.fleet.jobs
        try:
            await (jobs.resume(job.id) if how == "resume" else jobs.roll_back(job.id))
        except VirtfleetError as error:
            self.say(f"{how}: {error.message}", "bad")
        else:
            self.say(f"{how}: {job.title} …", "busy")

    async def action_job_log(self) -> None:
        job = self.job
        if job is None:
            return
        lines = [f"{job.who}, {job.origin}", ""]
        lines += [
            f"{time.strftime('%H:%M:%S', time.localtime(line.time))}  {line.text}"
            for line in await self.console.fleet.jobs.log(job.id)
        ]
        if job.error:
            lines += ["", job.error, *([job.cure] if job.cure else [])]
        self.app.push_screen(TextDialog(job.title, "\n".join(lines)))
