"""How the SSH layer asks a person, and how its deadlines stand still meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from virtfleet.model.prompt import PromptKind


class Asker(Protocol):
    """Asks a person and blocks until there is an answer; given by the worker. Any thread may call it."""

    def __call__(
        self, kind: PromptKind, text: str, *, secret: bool = True, identity: str = "", retry: bool = False
    ) -> str | None:
        """The answer, perhaps one remembered for `identity`; None: declined, or nobody is there.

        `retry`: the answer given before for this identity was wrong, forget it.
        """


def nobody(
    kind: PromptKind, text: str, *, secret: bool = True, identity: str = "", retry: bool = False
) -> str | None:
    """The `Asker` of a place where nobody can be asked."""
    return None


class Deadline:
    """A number of seconds that must suffice for several steps; stands still in `paused`. One thread."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._until - time.monotonic())

    @property
    def passed(self) -> bool:
        return time.monotonic() >= self._until

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time spent inside does not count: a person is thinking."""
        started = time.monotonic()
        try:
            yield
        finally:
            self._until += time.monotonic() - started
