"""Placement explained: on which hosts a VM could be, which is best, and why not the others.

Of a VM that is there, or of one that a form describes; then it lies over the
form, and there is no way from it but back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from virtfleet.errors import NotFoundError
from virtfleet.model.action import CreateVm
from virtfleet.query.rows import VmRow
from virtfleet_tui.console import Console, Place
from virtfleet_tui.panels.cases import CasePanel, case_foot
from virtfleet_tui.panels.list_panel import ListPanel
from virtfleet_tui.panels.nouns import find
from virtfleet_tui.screens.decided import FootedList
from virtfleet_tui.widgets.hanging import Line

if TYPE_CHECKING:
    from virtfleet.decide.explain import Explanation

_AWAY = frozenset(
    {"open", "view", "backward", "forward", "command", "create", "events", "reconnect", "command_palette"}
)
"""What would leave the form that lies below."""


class PlacementScreen(FootedList):
    """Hosts × filters for the VM of `place`, or for `asked`, a VM that is to be."""

    def __init__(self, console: Console, place: Place, asked: CreateVm | None = None) -> None:
        super().__init__(console, place)
        if asked is None and place.subject is None:
            raise ValueError("placement of nothing")
        self._asked = asked

    @property
    def _whom(self) -> str:
        if self._asked is not None:
            return f"new VM {self._asked.name}".rstrip()
        assert self.place.subject is not None  # noqa: S101 - one of the two is there
        return self.place.subject.name

    @property
    def title_text(self) -> str:
        return f"placement of {self._whom}"

    def make_panel(self) -> ListPanel:
        here = self.place.subject.host if self._asked is None and self.place.subject is not None else ""
        return CasePanel(
            self.console,
            f"Hosts for {self._whom}",
            self._explain,
            here,
            filter_text=self.place.filter,
            id="only",
        )

    async def _explain(self) -> Explanation:
        fleet = self.console.fleet
        if self._asked is not None:
            return await fleet.desk.explain(self._asked, fleet.jobs.jobs)
        subject = self.place.subject
        row = find(fleet.snapshot, subject) if subject is not None else None
        if not isinstance(row, VmRow):
            raise NotFoundError(f"{self._whom} is no longer there")
        return await fleet.desk.explain_for(row.host, row.vm, fleet.jobs.jobs)

    def foot(self, row: Any) -> Sequence[Line]:
        panel = self.panel
        if not isinstance(panel, CasePanel) or panel.explanation is None or (case := panel.case()) is None:
            return ()
        return case_foot(case, panel.asked, panel.explanation.winner)

    def open_row(self, row: Any) -> None:
        if self._asked is None:
            super().open_row(row)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if self._asked is not None and action in _AWAY:
            return False
        return super().check_action(action, parameters)
