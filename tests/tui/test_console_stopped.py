"""A console that was stopped with Ctrl-Z blames no host for it."""

from __future__ import annotations

from tui.watched_console import watched_console

STOPPED = 20.0
"""Seconds: longer than every deadline and every limit of a host's silence."""


def test_our_own_sleep_makes_nobody_hung() -> None:
    with watched_console() as watched:
        watched.until_fresh(4.0)
        watched.stop(STOPPED)
        told = watched.until_fresh(4.0)
        assert set(told.were) <= {"connecting", "up", "slow"}, told
