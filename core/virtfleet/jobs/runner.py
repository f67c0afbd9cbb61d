"""What jobs need of whoever runs their steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

Report = Callable[[int, int, str], None]
"""done, total, text."""


class Runner(Protocol):
    """Who runs the operations of steps: the engine."""

    async def run(
        self, host: str, op: str, args: dict[str, Any], timeout: float, on_progress: Report
    ) -> Any: ...

    async def answers(self, host: str, within: float) -> bool:
        """Waits until a host answers again; False: not within these seconds."""
        ...
