"""What ends a job at once, without taking anything back: what can't be written down must not act."""

from __future__ import annotations

from virtfleet.errors import InternalError


class StoreError(InternalError):
    """The journal can't be written or read."""


class TakenError(StoreError):
    """Another process runs the job now, because we seemed to be gone: hands off."""
