"""The lanes of one host: which connections there are, and what each is for."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Callable

from virtfleet.hypervisor.lanes import Lane
from virtfleet.hypervisor.reach import Reach


class Lanes:
    """The connections of one host.

    monitor   cheap statistics and descriptions, every tick; the host is judged by it
    detail    whatever asks a QEMU monitor or a guest agent, and so may get stuck on one VM
    storage   pools and volumes: a dead storage must not stop the VM panel
    long      what an operator asks for
    """

    def __init__(
        self, reach: Reach, on_stuck: Callable[[], None], patience: Callable[[], bool], *, few: bool = False
    ) -> None:
        """`few`: only what a short command needs, one lane to read on and one to ask around with."""

        def lane(name: str) -> Lane:
            opener, door = reach.opener(name)
            return Lane(name, opener, door=door, on_stuck=on_stuck, patience=patience)

        self._make = lane
        self._forget = reach.forget
        self._numbers = itertools.count(1)
        self._alone = reach.one_connection
        self.monitor = lane("monitor")
        if reach.one_connection:
            self.detail = self.storage = self.long = self.monitor
            return
        self.long = lane("long")
        self.detail, self.storage = (self.monitor, self.monitor) if few else (lane("detail"), lane("storage"))

    @contextlib.asynccontextmanager
    async def extra(self) -> AsyncIterator[Lane]:
        """A lane for one call that takes long (saving a VM, copying a volume): no other waits for it."""
        if self._alone:
            yield self.long
            return
        name = f"extra{next(self._numbers)}"
        lane = self._make(name)
        try:
            yield lane
        finally:
            await lane.close()
            self._forget(name)

    async def close(self) -> None:
        for lane in {self.monitor, self.detail, self.storage, self.long}:
            await lane.close()
