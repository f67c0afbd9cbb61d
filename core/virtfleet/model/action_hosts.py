"""What an operator wants done with a host as a whole."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class HostAction(msgspec.Struct, frozen=True, kw_only=True, tag_field="action", forbid_unknown_fields=True):
    host: str


class DisableHost(HostAction, frozen=True, kw_only=True, tag="host.disable"):
    """No new VMs go there; those that are there run on. All operators see it, and why."""

    reason: str = ""


class EnableHost(HostAction, frozen=True, kw_only=True, tag="host.enable"):
    """New VMs may go there again."""


class _ManyHosts(msgspec.Struct, frozen=True, kw_only=True, tag_field="action", forbid_unknown_fields=True):
    hosts: Annotated[tuple[str, ...], Meta(min_length=1)]
    """Together: nothing goes from one of them to another."""
    copy: bool = False
    """Also disks that the other host does not see are taken along, by copying them."""


class DrainHosts(_ManyHosts, frozen=True, kw_only=True, tag="host.drain"):
    """Disabled for new VMs, and their VMs moved elsewhere. The moves are jobs of their own."""

    reason: str = ""
    off: Literal["leave", "move"] = "leave"
    """What becomes of VMs that are off."""


class UndrainHosts(_ManyHosts, frozen=True, kw_only=True, tag="host.undrain"):
    """New VMs may go there again."""

    bring: bool = False
    """Bring home the VMs that left when they were drained, and are elsewhere now."""
