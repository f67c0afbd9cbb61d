"""libvirt's numbers for states and reasons, by name.

Tables of our own, so that nothing here needs libvirt to be imported; the
numbers are part of its stable API (`virDomainState` and its reasons,
`virStoragePoolState`, `virStorageVolType`).
"""

from __future__ import annotations

from virtfleet.model import PoolState, VmState

VM_STATES = (
    VmState.NOSTATE,
    VmState.RUNNING,
    VmState.BLOCKED,
    VmState.PAUSED,
    VmState.SHUTDOWN,
    VmState.SHUTOFF,
    VmState.CRASHED,
    VmState.SUSPENDED,
)

_REASONS: dict[VmState, tuple[str, ...]] = {
    VmState.RUNNING: (
        "",
        "booted",
        "migrated",
        "restored",
        "from-snapshot",
        "unpaused",
        "migration-cancelled",
        "save-cancelled",
        "wakeup",
        "crashed",
        "postcopy",
        "postcopy-failed",
    ),
    VmState.PAUSED: (
        "",
        "user",
        "migrating",
        "saving",
        "dumping",
        "ioerror",
        "watchdog",
        "from-snapshot",
        "shutting-down",
        "snapshot",
        "crashed",
        "starting-up",
        "postcopy",
        "postcopy-failed",
        "api-error",
    ),
    VmState.SHUTDOWN: ("", "user"),
    VmState.SHUTOFF: (
        "",
        "shutdown",
        "destroyed",
        "crashed",
        "migrated",
        "saved",
        "failed",
        "from-snapshot",
        "daemon",
    ),
    VmState.CRASHED: ("", "panicked"),
}

_POOL_STATES = (
    PoolState.INACTIVE,
    PoolState.BUILDING,
    PoolState.RUNNING,
    PoolState.DEGRADED,
    PoolState.INACCESSIBLE,
)

_VOLUME_TYPES = ("file", "block", "dir", "network", "netdir", "ploop")


def vm_state(number: object) -> VmState:
    """State of a VM; what a newer libvirt may add is `nostate`."""
    return VM_STATES[number] if isinstance(number, int) and 0 <= number < 8 else VmState.NOSTATE


def vm_reason(state: VmState, number: object) -> str:
    """Why it is in that state: booted, migrated, ioerror ...; "" where libvirt does not say."""
    reasons = _REASONS.get(state, ())
    return reasons[number] if isinstance(number, int) and 0 <= number < len(reasons) else ""


def pool_state(number: object) -> PoolState:
    """State of a pool; an unknown number is `inaccessible`, because nothing can be promised of it."""
    return _POOL_STATES[number] if isinstance(number, int) and 0 <= number < 5 else PoolState.INACCESSIBLE


def volume_type(number: object) -> str:
    """file, block, dir, network, netdir or ploop; "" for an unknown number."""
    return _VOLUME_TYPES[number] if isinstance(number, int) and 0 <= number < 6 else ""
