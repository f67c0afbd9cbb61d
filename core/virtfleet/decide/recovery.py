"""What became of a migration: read from both hosts, whatever a connection said of it. Pure.

Measured, with the process that managed it killed at each call: before the
destination is told to finish, the source stands *paused (migrating)* and the
VM is nowhere else; before the source is told that it is over, it stands so
and the VM runs at the destination. Whoever resumes it then has it twice.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from virtfleet.model import VmState

_MOVING = frozenset({"migrating", "starting-up"})
_POST_COPY = frozenset({"postcopy", "postcopy-failed"})


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """A VM as one host has it."""

    present: bool = False
    """It is defined there, or it runs there."""
    state: VmState = VmState.SHUTOFF
    reason: str = ""
    job: str = ""
    """What libvirt is doing with it: `out`, `in` (migrations), `other`; empty: nothing."""
    name: str = ""
    persistent: bool = True

    @property
    def held(self) -> bool:
        """Stopped in the middle of a migration, at whichever end."""
        return self.state is VmState.PAUSED and self.reason in _MOVING | _POST_COPY

    @property
    def lives(self) -> bool:
        """It runs there, or stands as a person has put it."""
        return self.present and self.state.active and not self.held

    @property
    def text(self) -> str:
        if not self.present:
            return "absent"
        return f"{self.state.value} ({self.reason})" if self.reason else self.state.value


class Outcome(StrEnum):
    STAYED = "stayed"
    """It is at the source as it was, and no migration is under way."""
    UNDER_WAY = "under way"
    """The source's own libvirt is at it."""
    MOVED = "moved"
    """It is at the destination, and gone at the source."""
    LEFT_BEHIND = "left behind"
    """It is at the destination; what stands at the source must go, and must never run."""
    STRANDED = "stranded"
    """Stopped at the source, and nowhere else: it must run on there."""
    STOPPED = "stopped"
    """It was shut off meanwhile, at the source."""
    GONE = "gone"
    """On neither host."""
    TWICE = "twice"
    """It runs on both: only a person can know which is right."""
    UNCLEAR = "unclear"
    """Not to be decided now: a host does not answer, or the two are not done with each other."""


def outcome(source: Side | None, destination: Side | None, *, off: bool = False) -> Outcome:
    """None: that host can't be asked. `off`: of a VM that was off when its move began."""
    if source is None:
        return Outcome.UNCLEAR
    if off and not source.state.active:
        return _definitions(source, destination)
    if source.job == "out":
        return Outcome.UNDER_WAY
    if source.lives:
        # It never runs at the source once the destination may have it, unless somebody resumed it by hand.
        return Outcome.TWICE if destination is not None and destination.lives else Outcome.STAYED
    if destination is None:
        return Outcome.UNCLEAR
    if source.present and source.state.active:
        return _held(source, destination)
    if destination.lives:
        return Outcome.LEFT_BEHIND if source.present else Outcome.MOVED
    if destination.present and destination.state.active:
        return Outcome.UNCLEAR
    if source.present:
        return Outcome.STOPPED
    return Outcome.MOVED if destination.present else Outcome.GONE


def _definitions(source: Side, destination: Side | None) -> Outcome:
    """It is first defined at the destination, then undefined at the source."""
    if destination is None:
        return Outcome.UNCLEAR
    if source.present:
        return Outcome.LEFT_BEHIND if destination.present else Outcome.STAYED
    return Outcome.MOVED if destination.present else Outcome.GONE


def _held(source: Side, destination: Side) -> Outcome:
    if destination.lives:
        return Outcome.LEFT_BEHIND
    if destination.present and destination.state.active:
        return Outcome.UNCLEAR
    # After the switch of a post-copy the newest memory is at the destination alone; and one that is just
    # starting up is somebody else's doing.
    return Outcome.STRANDED if source.reason == "migrating" else Outcome.UNCLEAR


def may_resume(state: VmState, reason: str) -> bool:
    """Whether a paused VM may be resumed by whoever wants to: not in or after a migration."""
    return not (state is VmState.PAUSED and reason in ("migrating", *_POST_COPY))
