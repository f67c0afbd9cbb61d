"""How a state is shown: a glyph, then a word, then a colour, in this order of trust; and how urgent it is.

One table for every state of every noun, so that the same trouble looks the
same everywhere. Colours are named by meaning; a theme gives them. All glyphs
take one cell and none is an emoji.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from virtfleet.model import HostState, HostView, Network, Vm, VmState


class Meaning(StrEnum):
    """What a colour says. Ordinary things have none: they are in the terminal's text colour."""

    GOOD = "good"
    BUSY = "busy"
    WARNING = "warning"
    BAD = "bad"
    MUTED = "muted"


class Look(NamedTuple):
    glyph: str
    word: str
    meaning: Meaning
    urgency: int
    """Sorts states: 0 is the worst trouble, 9 is of no concern."""

    @property
    def text(self) -> str:
        return f"{self.glyph} {self.word}"


_LOOKS = {
    # hosts
    "hung": Look("✖", "hung", Meaning.BAD, 0),
    "unreachable": Look("✖", "unreachable", Meaning.BAD, 1),
    "refused": Look("✖", "refused", Meaning.BAD, 2),
    "asking": Look("!", "asking", Meaning.WARNING, 3),
    "slow": Look("▲", "slow", Meaning.WARNING, 4),
    "connecting": Look("◐", "connecting", Meaning.BUSY, 5),
    "up": Look("●", "up", Meaning.GOOD, 7),
    "disabled": Look("◌", "disabled", Meaning.MUTED, 9),
    # VMs
    "crashed": Look("✖", "crashed", Meaning.BAD, 1),
    "paused": Look("‖", "paused", Meaning.WARNING, 4),
    "shutting-down": Look("◐", "shutting-down", Meaning.BUSY, 5),
    "nostate": Look("◌", "nostate", Meaning.MUTED, 6),
    "running": Look("●", "running", Meaning.GOOD, 7),  # pools too
    "blocked": Look("●", "blocked", Meaning.GOOD, 7),
    "pmsuspended": Look("‖", "pmsuspended", Meaning.MUTED, 8),
    "shutoff": Look("○", "shutoff", Meaning.MUTED, 9),
    # pools and networks
    "inaccessible": Look("✖", "inaccessible", Meaning.BAD, 0),
    "degraded": Look("!", "degraded", Meaning.WARNING, 2),
    "building": Look("◐", "building", Meaning.BUSY, 5),
    "active": Look("●", "active", Meaning.GOOD, 7),
    "inactive": Look("○", "inactive", Meaning.MUTED, 8),
    # severities of events and alerts
    "error": Look("✖", "error", Meaning.BAD, 0),
    "warning": Look("!", "warning", Meaning.WARNING, 1),
    "info": Look("·", "info", Meaning.MUTED, 2),
}

_STUCK = Look("✖", "monitor stuck", Meaning.BAD, 0)
_MIGRATING = Look("⇄", "migrating", Meaning.BUSY, 5)

_BROKEN_PAUSE = {
    "ioerror": "I/O error",
    "crashed": "crashed",
    "postcopy-failed": "post-copy failed",
    "watchdog": "watchdog fired",
    "api-error": "could not be resumed",
}
"""Reasons of a pause that nobody asked for, by how a person would call them."""

_MOVING = frozenset({"migrating", "migration", "postcopy"})
_PASSING = frozenset({"saving", "dumping", "snapshot", "starting-up", "shutting-down"})
"""Reasons of a pause that ends by itself."""


def plain_reason(reason: str) -> str:
    """libvirt's reason in one spelling, whichever client wrote it: `I/O error` is `ioerror`."""
    word = reason.strip().lower().replace("_", "-").replace(" ", "-")
    return "ioerror" if word in ("i/o-error", "io-error") else word.replace("post-copy", "postcopy")


def glyph(state: str) -> Look:
    """The look of a state of a host, VM or pool (`StrEnum` or its text), of `active`/`inactive`, or of a
    severity. An unknown word is shown as it is, muted."""
    look = _LOOKS.get(state)
    return look if look is not None else Look("?", str(state), Meaning.MUTED, 6)


_CLOSED = Look("◍", "up", Meaning.WARNING, 6)


def host_look(host: HostView) -> Look:
    """Its state, with what operators have said of it: up, and disabled for new VMs."""
    look = _LOOKS[host.state]
    said = host.maintenance
    if said is None or not said.word or not host.state.answers:
        return look
    if host.state is HostState.UP:
        look = _CLOSED
    return look._replace(word=f"{look.word}, {said.word}")


def broken_pause(vm: Vm) -> str:
    """Why a paused VM stands still though nobody asked for it; empty: somebody did, or it is not paused."""
    if vm.stats.state is not VmState.PAUSED or not vm.stats.reason:
        return ""
    return _BROKEN_PAUSE.get(plain_reason(vm.stats.reason), "")


def vm_look(vm: Vm) -> Look:
    """The state with what its reason adds: a stuck monitor, an I/O error, a migration."""
    stats = vm.stats
    if stats.monitor_stuck:
        return _STUCK
    look = _LOOKS[stats.state]
    if stats.state is VmState.PAUSED:
        if broken := broken_pause(vm):
            return Look("✖", f"paused: {broken}", Meaning.BAD, 1)
        reason = plain_reason(stats.reason)
        if reason in _MOVING:
            return _MIGRATING
        if reason in _PASSING:
            return Look("◐", reason, Meaning.BUSY, 5)
    elif stats.state is VmState.SHUTOFF and stats.reason == "crashed":
        return _LOOKS["crashed"]
    return look


def network_look(network: Network) -> Look:
    return _LOOKS["active" if network.active else "inactive"]
