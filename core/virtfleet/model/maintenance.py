"""What an operator has said of a host for all others to see: disabled for new VMs, being drained."""

from __future__ import annotations

import msgspec


class Mark(msgspec.Struct, frozen=True, gc=False):
    """Who said so, when (Unix time), and why."""

    by: str
    since: float
    reason: str = ""

    @property
    def words(self) -> str:
        """`by ann@desk: new kernel`."""
        return f"by {self.by}: {self.reason}" if self.reason else f"by {self.by}"


class Maintenance(msgspec.Struct, frozen=True, gc=False):
    """What the host's own file says; nothing at all where there is none."""

    disabled: Mark | None = None
    """New VMs go elsewhere; those that are there run on."""
    draining: Mark | None = None
    """Its VMs are being moved away, or were."""
    problem: str = ""
    """Why its file can't be read or understood: nobody knows whether it is disabled."""
    shared: bool = True
    """Whether other operators see it: it stands on the host, not on this machine alone."""

    @property
    def word(self) -> str:
        """Stable: draining, disabled, unreadable; empty: none of them."""
        if self.draining is not None:
            return "draining"
        if self.disabled is not None:
            return "disabled"
        return "unreadable" if self.problem else ""

    @property
    def mark(self) -> Mark | None:
        """The one that `word` names."""
        return self.draining or self.disabled

    @property
    def closed(self) -> str:
        """Why no new VM may go there; empty: they may."""
        if self.draining is not None:
            return f"being drained {self.draining.words}"
        if self.disabled is not None:
            return f"disabled for new VMs {self.disabled.words}"
        return f"may be disabled: {self.problem}" if self.problem else ""
