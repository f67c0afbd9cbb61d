"""libvirt's events, named and coalesced.

Callbacks come in libvirt's event thread; they only take the plain values and
hand them to the loop. A reboot sends STOPPED and STARTED a moment apart (as
Nova's driver found); the coalescer holds a stop back and shows the pair as
one.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import libvirt

from virtfleet.hypervisor.views.vmdata import JOB, ROOM
from virtfleet.model import Severity
from virtfleet.model.text import clean

HOLD_STOPS = 1.5
"""Seconds a stop waits for the start that would make it a restart."""

_LIFECYCLE = {
    libvirt.VIR_DOMAIN_EVENT_DEFINED: "defined",
    libvirt.VIR_DOMAIN_EVENT_UNDEFINED: "undefined",
    libvirt.VIR_DOMAIN_EVENT_STARTED: "started",
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED: "suspended",
    libvirt.VIR_DOMAIN_EVENT_RESUMED: "resumed",
    libvirt.VIR_DOMAIN_EVENT_STOPPED: "stopped",
    libvirt.VIR_DOMAIN_EVENT_SHUTDOWN: "shutting down",
    libvirt.VIR_DOMAIN_EVENT_PMSUSPENDED: "pmsuspended",
    libvirt.VIR_DOMAIN_EVENT_CRASHED: "crashed",
}
_STOPPED = {
    libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED: "crashed",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_DESTROYED: "powered off",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_FAILED: "failed",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_MIGRATED: "migrated away",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_SAVED: "saved",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN: "shut down",
}
_STARTED = {
    libvirt.VIR_DOMAIN_EVENT_STARTED_MIGRATED: "migrated here",
    libvirt.VIR_DOMAIN_EVENT_STARTED_RESTORED: "restored",
}
_SUSPENDED = {
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED_IOERROR: "I/O error",
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED_WATCHDOG: "watchdog",
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED: "migration",
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED_API_ERROR: "failed API call",
}
_POOL = {0: "defined", 1: "undefined", 2: "started", 3: "stopped", 4: "created", 5: "deleted"}
_DEVICES = "pci_"
"""Node devices that we care for: each start of a VM is told of its network card's end on the host, too."""
_NETWORK = {0: "defined", 1: "undefined", 2: "started", 3: "stopped"}


@dataclass(frozen=True, slots=True)
class Raw:
    """One event as libvirt told it, in plain values."""

    kind: str
    uuid: str
    name: str
    what: str
    detail: str = ""
    severity: Severity = Severity.INFO


class Coalescer:
    """Turns a stop and the start that follows it into one restart. Pure: the clock is the caller's."""

    def __init__(self, hold: float = HOLD_STOPS) -> None:
        self._hold = hold
        self._held: dict[str, tuple[float, Raw]] = {}

    def feed(self, raw: Raw, now: float) -> list[Raw]:
        """What to show at once; a stop shows up later, from `due`."""
        if raw.kind != "vm":
            return [raw]
        held = self._held.pop(raw.uuid, None)
        if raw.what == "stopped" and raw.detail in ("shut down", "powered off"):
            self._held[raw.uuid] = (now + self._hold, raw)
            return [held[1]] if held else []
        if raw.what == "started" and held:
            return [Raw("vm", raw.uuid, raw.name, "restarted", held[1].detail)]
        return [held[1], raw] if held else [raw]

    def due(self, now: float) -> list[Raw]:
        """Stops that nothing followed."""
        ripe = [uuid for uuid, (at, _) in self._held.items() if at <= now]
        return [self._held.pop(uuid)[1] for uuid in ripe]

    @property
    def next_due(self) -> float | None:
        return min((at for at, _ in self._held.values()), default=None)


_thread: threading.Thread | None = None


def start_event_loop() -> None:
    """Registers libvirt's own event loop and runs it in a thread; once per process, before any connection."""
    global _thread
    if _thread is not None:
        return
    libvirt.virEventRegisterDefaultImpl()

    def run() -> None:
        while True:
            with contextlib.suppress(libvirt.libvirtError):
                libvirt.virEventRunDefaultImpl()

    _thread = threading.Thread(target=run, name="libvirt-events", daemon=True)
    _thread.start()


_PASSING = frozenset({JOB, ROOM})
"""Namespaces of what stands in a VM's metadata only while somebody works on it."""


class Registration:
    """Subscribes to what this driver has; `tell` is called in libvirt's thread.

    Every registration holds the connection: without `undo`, closing it frees
    neither its memory nor its descriptors, and its events go on.
    """

    def __init__(self, conn: libvirt.virConnect, tell: Callable[[Raw], None]) -> None:
        self._tell = tell
        self._undo: list[Callable[[], object]] = []
        self.kinds = self._register(conn)
        """What this driver tells of: vm, network, pool. Of all else nobody says when it changes."""

    def undo(self) -> None:
        """Before the connection is closed, whether or not it still lives; in a thread that may block."""
        for each in self._undo:
            with contextlib.suppress(libvirt.libvirtError):
                each()
        self._undo.clear()

    def _register(self, conn: libvirt.virConnect) -> frozenset[str]:
        domains: list[tuple[int, Callable[..., None]]] = [
            (libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._lifecycle),
            (libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, lambda c, d, _: self._vm(d, "rebooted")),
            (
                libvirt.VIR_DOMAIN_EVENT_ID_WATCHDOG,
                lambda c, d, action, _: self._vm(d, "watchdog", level="warning"),
            ),
            (libvirt.VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON, self._io_error),
            (libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, lambda c, d, dev, _: self._vm(d, "device added", dev)),
            (
                libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED,
                lambda c, d, dev, _: self._vm(d, "device removed", dev),
            ),
            (
                libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE,
                lambda c, d, kind, namespace, _: self._metadata(d, namespace),
            ),
            (libvirt.VIR_DOMAIN_EVENT_ID_TUNABLE, lambda c, d, values, _: self._vm(d, "tuned")),
            (libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, self._agent),
            (
                libvirt.VIR_DOMAIN_EVENT_ID_TRAY_CHANGE,
                lambda c, d, dev, why, _: self._vm(d, "medium changed", dev),
            ),
        ]
        kinds: set[str] = set()
        for event, callback in domains:
            with contextlib.suppress(libvirt.libvirtError):
                number = conn.domainEventRegisterAny(None, event, callback, None)
                self._undo.append(partial(conn.domainEventDeregisterAny, number))
                if event == libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE:
                    kinds.add("vm")
        with contextlib.suppress(libvirt.libvirtError):
            lifecycle = libvirt.VIR_NETWORK_EVENT_ID_LIFECYCLE
            number = conn.networkEventRegisterAny(None, lifecycle, self._network, None)
            self._undo.append(partial(conn.networkEventDeregisterAny, number))
            kinds.add("network")
        for event, callback in (
            (libvirt.VIR_STORAGE_POOL_EVENT_ID_LIFECYCLE, self._pool),
            (libvirt.VIR_STORAGE_POOL_EVENT_ID_REFRESH, self._refreshed),
        ):
            with contextlib.suppress(libvirt.libvirtError):
                number = conn.storagePoolEventRegisterAny(None, event, callback, None)
                self._undo.append(partial(conn.storagePoolEventDeregisterAny, number))
                kinds.add("pool")
        devices: list[tuple[int, Callable[..., None]]] = [
            (libvirt.VIR_NODE_DEVICE_EVENT_ID_LIFECYCLE, lambda c, d, event, detail, _: self._device(d)),
            (libvirt.VIR_NODE_DEVICE_EVENT_ID_UPDATE, lambda c, d, _: self._device(d)),
        ]
        for event, callback in devices:
            with contextlib.suppress(libvirt.libvirtError):
                number = conn.nodeDeviceEventRegisterAny(None, event, callback, None)
                self._undo.append(partial(conn.nodeDeviceEventDeregisterAny, number))
        return frozenset(kinds)

    def _device(self, device: Any) -> None:
        name = clean(device.name(), 300)
        if name.startswith(_DEVICES):
            self._tell(Raw("device", "", name, "refreshed"))

    def _vm(self, domain: Any, what: str, detail: str = "", level: str = "info") -> None:
        raw = Raw(
            "vm", domain.UUIDString(), clean(domain.name(), 300), what, clean(detail, 300), Severity(level)
        )
        self._tell(raw)

    def _metadata(self, domain: Any, namespace: str | None) -> None:
        # Claims come and go with every job: nobody wants to read that, but something was changed under them.
        self._vm(domain, "refreshed" if namespace in _PASSING else "metadata changed")

    def _lifecycle(self, conn: Any, domain: Any, event: int, detail: int, _: Any) -> None:
        what = _LIFECYCLE.get(event, f"event {event}")
        word, level = "", "info"
        if event == libvirt.VIR_DOMAIN_EVENT_STOPPED:
            word = _STOPPED.get(detail, "")
            level = "error" if word in ("crashed", "failed") else "info"
        elif event == libvirt.VIR_DOMAIN_EVENT_STARTED:
            word = _STARTED.get(detail, "")
        elif event == libvirt.VIR_DOMAIN_EVENT_SUSPENDED:
            word = _SUSPENDED.get(detail, "")
            level = "error" if word == "I/O error" else "info"
        elif event == libvirt.VIR_DOMAIN_EVENT_CRASHED:
            level = "error"
        self._vm(domain, what, word, level)

    def _io_error(
        self, conn: Any, domain: Any, path: str, alias: str, action: int, reason: str, _: Any
    ) -> None:
        self._vm(domain, "I/O error", f"{reason or 'error'} on {path or alias}", "error")

    def _agent(self, conn: Any, domain: Any, state: int, reason: int, _: Any) -> None:
        self._vm(domain, "agent connected" if state == 1 else "agent disconnected")

    def _network(self, conn: Any, network: Any, event: int, detail: int, _: Any) -> None:
        self._tell(
            Raw("network", network.UUIDString(), clean(network.name(), 300), _NETWORK.get(event, "changed"))
        )

    def _pool(self, conn: Any, pool: Any, event: int, detail: int, _: Any) -> None:
        self._tell(Raw("pool", pool.UUIDString(), clean(pool.name(), 300), _POOL.get(event, "changed")))

    def _refreshed(self, conn: Any, pool: Any, _: Any) -> None:
        self._tell(Raw("pool", pool.UUIDString(), clean(pool.name(), 300), "refreshed"))
