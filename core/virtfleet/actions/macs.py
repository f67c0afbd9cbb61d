"""New MAC addresses that no VM of the fleet has, as far as is known."""

from __future__ import annotations

from virtfleet.actions.world import World
from virtfleet.errors import RefusedError

_TRIES = 64


class Macs:
    """Looks at the fleet once, when the first is wanted."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._taken: set[str] | None = None

    def new(self) -> str:
        """RefusedError: none was found."""
        if self._taken is None:
            self._taken = {
                nic.mac.lower()
                for host in self._world.snapshot.hosts.values()
                for vm in host.vms
                for nic in vm.info.nics
            }
        for _ in range(_TRIES):
            mac = self._world.new_mac()
            if mac not in self._taken:
                self._taken.add(mac)
                return mac
        raise RefusedError("no free MAC address was found")
