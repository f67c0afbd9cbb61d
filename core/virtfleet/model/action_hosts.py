"""What an operator wants done with a host as a whole."""

from __future__ import annotations

import msgspec


class HostAction(msgspec.Struct, frozen=True, kw_only=True, tag_field="action", forbid_unknown_fields=True):
    host: str


class DisableHost(HostAction, frozen=True, kw_only=True, tag="host.disable"):
    """No new VMs go there; those that are there run on. All operators see it, and why."""

    reason: str = ""


class EnableHost(HostAction, frozen=True, kw_only=True, tag="host.enable"):
    """New VMs may go there again."""
