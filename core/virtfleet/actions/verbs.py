"""What can be done to a VM, as data: both faces offer from this table, and explain why something can't be.

`applies` looks at one row and is quick: it is asked for each key and menu. The
plan says the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from virtfleet.model import VmState
from virtfleet.query.rows import VmRow

_ON = (VmState.RUNNING, VmState.BLOCKED)


@dataclass(frozen=True, slots=True)
class Verb:
    name: str
    """What people type after `vm`, and the console's name of the command."""
    title: str
    """For menus: begins with the verb."""
    doc: str
    key: str = ""
    """Of the console; capitals for the hard form. Empty: in the menu alone."""
    applies: Callable[[VmRow], str] = lambda row: ""
    """Why it makes no sense for this VM now; empty: it does."""
    foot: int = 0
    """Place in the console's footer; 0: not there."""


def _answers(row: VmRow) -> str:
    host = row.host
    return "" if host.state.answers else f"{host.name} is {host.state.value}"


def _off(row: VmRow) -> str:
    return _answers(row) or (f"{row.vm.name} is {row.vm.state.value}" if row.vm.state.active else "")


def _active(row: VmRow) -> str:
    return _answers(row) or ("" if row.vm.state.active else f"{row.vm.name} is {row.vm.state.value}")


def _running(row: VmRow) -> str:
    return _answers(row) or ("" if row.vm.state in _ON else f"{row.vm.name} is {row.vm.state.value}")


def _paused(row: VmRow) -> str:
    paused = row.vm.state in (VmState.PAUSED, VmState.SUSPENDED)
    return _answers(row) or ("" if paused else f"{row.vm.name} is {row.vm.state.value}")


def _unprotected(row: VmRow) -> str:
    return f"{row.vm.name} is protected" if row.vm.info.protected else ""


def _off_hard(row: VmRow) -> str:
    return _active(row) or _unprotected(row)


def _deletable(row: VmRow) -> str:
    return _answers(row) or _unprotected(row)


def _saved(row: VmRow) -> str:
    return _off(row) or ("" if row.vm.info.managed_save else f"{row.vm.name} has no saved state")


def _has_drive(row: VmRow) -> str:
    drive = any(disk.device == "cdrom" for disk in row.vm.info.disks)
    return _answers(row) or ("" if drive else f"{row.vm.name} has no CD-ROM drive")


def _has_medium(row: VmRow) -> str:
    full = any(disk.device == "cdrom" and disk.source for disk in row.vm.info.disks)
    return _has_drive(row) or ("" if full else f"{row.vm.name} has no medium in its drive")


def _has_nic(row: VmRow) -> str:
    return _answers(row) or ("" if row.vm.info.nics else f"{row.vm.name} has no NIC")


def _has_console(row: VmRow) -> str:
    return _running(row) or ("" if row.vm.info.consoles else f"{row.vm.name} has no serial console")


def _renamable(row: VmRow) -> str:
    return _off(row) or (f"{row.vm.name} has snapshots" if row.vm.info.snapshots else "")


VERBS: tuple[Verb, ...] = (
    Verb("start", "Start", "Start it, from its saved state if there is one", "b", _off, 21),
    Verb("shutdown", "Shut down", "Ask its guest to shut down, and wait until it has", "s", _active, 22),
    Verb("poweroff", "Power off", "Pull the plug: the guest is not asked", "S", _off_hard),
    Verb("reboot", "Reboot", "Ask its guest to reboot", "r", _running),
    Verb("reset", "Reset", "Press the reset button: the guest is not asked", "X", _off_hard),
    Verb("suspend", "Suspend", "Stop its CPUs; it stays in memory", "p", _running),
    Verb("resume", "Resume", "Let it run on", "u", _paused),
    Verb("console", "Console", "Its serial console", "c", _has_console, 23),
    Verb("save", "Save", "Its memory to the host's disk, and off", "", _active),
    Verb("restore", "Restore", "Start from its saved state", "", _saved),
    Verb("resize", "Resize", "Give it more or fewer vCPUs, more or less memory", "m", _answers),
    Verb("snapshot", "Snapshot", "Keep its present state", "n", _answers),
    Verb("snapshots", "Snapshots", "Its snapshots: revert to one, delete one", "N", _answers),
    Verb("tag", "Tag", "Put tags on it, or take them off", "t", _answers),
    Verb("describe", "Describe", "Its title and description", "", _answers),
    Verb("assign", "Assign", "To a project or a group", "a", _answers),
    Verb("protect", "Protect or unprotect", "Refuse to delete, power off, reset, revert it", "P", _answers),
    Verb("autostart", "Autostart on or off", "Start it with its host", "A", _answers),
    Verb("rename", "Rename", "Another name; it must be off", "", _renamable),
    Verb("edit", "Edit XML", "Its XML in your editor", "E", _answers),
    Verb("clone", "Clone", "A copy, full or linked", "v", _answers),
    Verb("media", "Insert medium", "A volume into its CD-ROM drive", "i", _has_drive),
    Verb("eject", "Eject medium", "Take the medium out", "I", _has_medium),
    Verb("attach", "Attach NIC", "Another network interface", "", _answers),
    Verb("detach", "Detach NIC", "Take a network interface away", "", _has_nic),
    Verb("delete", "Delete", "It, and if asked its volumes, for good", "D", _deletable),
)
BY_NAME = {verb.name: verb for verb in VERBS}
