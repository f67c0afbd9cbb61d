"""Moving VMs between hosts, as actions."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from virtfleet.model.action_base import Bytes, Count, _VmAction

Seconds = Annotated[float, Meta(gt=0)]


class MigrateVm(_VmAction, frozen=True, kw_only=True, tag="vm.migrate"):
    """To another host: one that runs without a stop, one that is off by its definition."""

    to: str = ""
    """Host; empty: chosen, with the reason."""
    copy: Literal["none", "all"] = "none"
    """`all`: every disk that the other host is not shown to see, too; one that both see never is."""
    keep: bool = False
    """Leave the copied disks' old volumes where they were."""
    live: bool = True
    """False: its CPUs are stopped while its memory moves."""
    bandwidth: Bytes = 0
    """Bytes per second at most; 0: no limit."""
    auto_converge: bool = False
    """Slow its CPUs down when it writes faster than can be sent."""
    post_copy: bool = False
    """When it does not converge: let it run on at the other host and fetch the rest from there."""
    compressed: bool = False
    parallel: Count | None = None
    """So many connections; None: one."""
    max_downtime: Seconds | None = None
    """Seconds that it may stand still at the end; None: the hypervisor's own (0.3)."""
    within: Seconds | None = None
    """Seconds after which one that does not converge is given up, or `post_copy` begins; None: by its memory,
    800 s for each GiB."""
    with_group: bool = False
    """Its whole group is being moved: that the others are elsewhere yet is no obstacle."""


class SettleVm(_VmAction, frozen=True, kw_only=True, tag="vm.settle"):
    """One that stands in a migration which nobody carries on: both hosts are asked where it is."""

    other: str = ""
    """Where it was to go; empty: the one other host that shows it."""
