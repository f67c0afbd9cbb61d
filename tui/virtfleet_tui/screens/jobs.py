"""The view of jobs (`:jobs`): what is being changed, what was, and what waits for a word."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import ClassVar

from textual.binding import BindingType

from virtfleet.errors import VirtfleetError
from virtfleet.jobs.undoing import UNDOABLE, undo_plan
from virtfleet.model.job import Job, JobState
from virtfleet.model.plan import Plan
from virtfleet_tui.dialogs.plan import PlanDialog
from virtfleet_tui.dialogs.text import TextDialog
from virtfleet_tui.keys import ANYWHERE, GRID, JOB, OBJECT, bindings
from virtfleet_tui.panels.jobs import JobPanel
from virtfleet_tui.panels.list_panel import ListPanel
from virtfleet_tui.screens.lists import OneList

_FITS: Mapping[str, Callable[[Job], bool]] = {
    "cancel_job": lambda job: job.state.active,
    "resume_job": lambda job: job.state.resumable,
    "roll_back_job": lambda job: job.state.resumable,
    "undo_job": lambda job: job.state is JobState.DONE and job.plan.verb in UNDOABLE,
}
"""For which jobs a key makes sense."""


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

    @property
    def targets(self) -> list[Job]:
        """What keys are about: the marked ones, else the selected one."""
        return [row for row in self.panel.grid.targets() if isinstance(row, Job)]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        fits = _FITS.get(action)
        if fits is not None:
            return self.is_mounted and not self.console.read_only and any(map(fits, self.targets))
        if action == "job_log":
            return self.is_mounted and self.job is not None
        if action in ("verb", "verbs", "create"):
            return False
        return super().check_action(action, parameters)

    def action_cancel_job(self) -> None:
        for job in filter(_FITS["cancel_job"], self.targets):
            try:
                self.console.fleet.jobs.cancel(job.id)
            except VirtfleetError as error:
                self.say(error.message, "warning")

    async def action_resume_job(self) -> None:
        await self._each("resume", self.console.fleet.jobs.resume, filter(_FITS["resume_job"], self.targets))

    async def action_roll_back_job(self) -> None:
        await self._each(
            "roll back", self.console.fleet.jobs.roll_back, filter(_FITS["roll_back_job"], self.targets)
        )

    async def _each(self, how: str, act: Callable[[str], Awaitable[Job]], jobs: Iterable[Job]) -> None:
        """`act` on each of these."""
        begun, wrong = list[Job](), list[str]()
        for job in jobs:
            try:
                begun.append(await act(job.id))
            except VirtfleetError as error:
                wrong.append(f"{job.title}: {error.message}")
        if wrong:
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            self.say(f"{how}: {wrong[0]}{more}", "bad")
        elif begun:
            self.say(f"{how}: {begun[0].title if len(begun) == 1 else f'{len(begun)} jobs'} …", "busy")

    def action_undo_job(self) -> None:
        """Its plan first: what was done since then may stand on it."""
        self.app.run_worker(self._undo(self.targets), exclusive=False, exit_on_error=False)

    async def _undo(self, jobs: Sequence[Job]) -> None:
        plans, refused, fit = list[Plan](), list[tuple[str, str]](), set[str]()
        for job in jobs:
            try:
                plans.append(undo_plan(job))
                fit.add(job.id)
            except VirtfleetError as error:
                refused.append((job.title, error.message))
        if await self.app.push_screen_wait(PlanDialog(plans, refused)):
            await self._each("undo", self.console.fleet.jobs.undo, [job for job in jobs if job.id in fit])

    async def action_job_log(self) -> None:
        job = self.job
        if job is None:
            return
        lines = [f"job {job.id}: {job.who}, {job.origin}", ""]
        lines += [
            f"{time.strftime('%H:%M:%S', time.localtime(line.time))}  {line.text}"
            for line in await self.console.fleet.jobs.log(job.id)
        ]
        if job.error:
            lines += ["", job.error, *([job.cure] if job.cure else [])]
        self.app.push_screen(TextDialog(job.title, "\n".join(lines)))
