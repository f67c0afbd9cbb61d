"""One request as an operation sees it: what is asked, on which connection, and whom to tell how far it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from virtfleet.errors import UnreachableError
from virtfleet.hypervisor import wire
from virtfleet.hypervisor.laneset import Lanes
from virtfleet.hypervisor.reach import Reach
from virtfleet.hypervisor.session import Session

Report = Callable[[int, int, str], None]
"""done, total (bytes or steps; 0: unknown), what it does. Each report starts the request's deadline anew."""


@dataclass(frozen=True, slots=True)
class Call:
    session: Session
    args: Mapping[str, Any]
    deadline: float
    """Seconds from the last report."""
    report: Report

    @property
    def settings(self) -> wire.WorkerSettings:
        return self.session.settings

    @property
    def lanes(self) -> Lanes:
        """Raises UnreachableError."""
        if self.session.lanes is None:
            raise UnreachableError("not connected")
        return self.session.lanes

    @property
    def reach(self) -> Reach:
        """Raises UnreachableError."""
        if self.session.reach is None:
            raise UnreachableError("not connected")
        return self.session.reach

    # What jobs give to each of their operations.

    @property
    def job(self) -> str:
        """The job's id; empty outside of jobs."""
        return str(self.args.get("job", ""))

    @property
    def again(self) -> bool:
        """It was begun before, and nobody knows how far it came: look before acting."""
        return bool(self.args.get("again"))

    @property
    def uncertain(self) -> bool:
        """To undo something that was begun and perhaps never done."""
        return bool(self.args.get("uncertain"))


Operation = Callable[[Call], Awaitable[Any]]
