"""Which VMs' QEMU does not answer, while libvirtd and the others do.

The first bulk call waits for a QEMU that is stuck, even with `NOWAIT`; later
ones pass it by. (Since QEMU 7.1 the CPU time alone makes libvirtd ask it.) So
behind a call that is late, another lane asks libvirtd, without touching any
QEMU, which of them it has been waiting for; if there is one, the late call is
given up.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import libvirt

from virtfleet.errors import DeadlineError
from virtfleet.hypervisor import domains, happenings
from virtfleet.hypervisor.lanes import Lane, Meter
from virtfleet.model import Severity, VmInfo

LATE = 1.9
"""Seconds that a call may take before somebody is suspected of delaying it."""
AFTER = 1.8
"""Seconds of waiting for a monitor that make it stuck."""
WITHIN = 3.0
"""Seconds that libvirtd has to say whom it waits for."""
_NOBODY = 10.0
"""Seconds for which nobody is suspected any more when nobody was stuck: then the host is merely slow."""
_ASKED_AT_ONCE = 50
"""VMs asked about in one go, so that a slow link meets the deadline."""


class StuckVms:
    """The VMs known to be stuck. `tell(info, stuck)` is called when one becomes so, or answers again."""

    def __init__(
        self, meter: Meter, info: Callable[[str], VmInfo | None], tell: Callable[[VmInfo, bool], None]
    ) -> None:
        self._meter = meter
        self._info = info
        self._tell = tell
        self._uuids: set[str] = set()
        self._not_before = 0.0

    def __contains__(self, uuid: str) -> bool:
        return uuid in self._uuids

    def forget(self, uuid: str) -> None:
        """The VM is gone."""
        self._uuids.discard(uuid)

    def answered(self, uuid: str) -> None:
        if uuid in self._uuids:
            self._uuids.discard(uuid)
            self._say(uuid, False)

    async def delays(self, age: float, lanes: Iterable[Lane], suspects: Sequence[str]) -> bool:
        """Whether a call that began `age` seconds ago waits in vain for one of `suspects` (UUIDs).

        Asked on the first of `lanes` that is free. Costs nothing while the call is not late.
        """
        lane = next((each for each in lanes if not each.busy), None)
        if age < LATE or lane is None or not suspects or time.monotonic() < self._not_before:
            return False
        with contextlib.suppress(DeadlineError):
            if await self.find(lane, suspects):
                return True
        self._not_before = time.monotonic() + _NOBODY
        return False

    async def find(self, lane: Lane, suspects: Sequence[str], deadline: float = WITHIN) -> bool:
        """Asks on `lane` which of `suspects` (UUIDs) are stuck; whether any is. Raises as `Lane.call`."""

        def ask(conn: libvirt.virConnect, part: Iterable[str]) -> set[str]:
            return {uuid for uuid in part if domains.stuck(conn, uuid, self._meter, AFTER)}

        found: set[str] = set()
        for start in range(0, len(suspects), _ASKED_AT_ONCE):
            found |= await lane.call(partial(ask, part=suspects[start : start + _ASKED_AT_ONCE]), deadline)
        new = found - self._uuids
        self._uuids |= found
        for uuid in new:
            self._say(uuid, True)
        return bool(found)

    def _say(self, uuid: str, stuck: bool) -> None:
        info = self._info(uuid)
        if info is not None:
            self._tell(info, stuck)


def event(info: VmInfo, stuck: bool) -> happenings.Raw:
    """What the event panes are told."""
    if stuck:
        what, detail, severity = "monitor stuck", "its QEMU does not answer; the host does", Severity.ERROR
    else:
        what, detail, severity = "monitor answers again", "", Severity.INFO
    return happenings.Raw("vm", info.uuid, info.name, what, detail, severity)


def answered(record: domains.Record, info: VmInfo) -> bool:
    """Whether libvirtd got an answer from this VM's QEMU, by what only QEMU can tell."""
    if any(key.endswith((".rd.reqs", ".halted")) for key in record):
        return True
    return not info.disks and "balloon.current" in record and "vcpu.0.time" not in record
