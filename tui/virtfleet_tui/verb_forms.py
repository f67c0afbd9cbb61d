"""What a verb asks before it can be planned, and the action that it then is for one VM. Pure.

A verb that needs nothing has no form. A form for several VMs leaves empty
what they differ in, and what stays empty is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from virtfleet.model import FleetSnapshot
from virtfleet.model import action as actions
from virtfleet.model.action import Action, VmRef
from virtfleet.query.rows import VmRow
from virtfleet.query.units import parse_size
from virtfleet_tui.dialogs.form import Entry, Values


@dataclass(frozen=True, slots=True)
class Known:
    """What forms may suggest and check against."""

    snapshot: FleetSnapshot
    flavors: Sequence[str] = ()
    projects: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Form:
    """`entries`: what is asked about these VMs. `make`: the action for one of them."""

    make: Callable[[VmRow, Values], Action]
    entries: Callable[[Sequence[VmRow], Known], Sequence[Entry]] = lambda rows, known: ()
    one: bool = False
    """Only for one VM at a time."""
    check: Callable[[Mapping[str, str]], str] = lambda values: ""


def ref(row: VmRow) -> VmRef:
    return VmRef(row.host.name, row.vm.uuid, row.vm.name)


def _plain(kind: Callable[..., Action], **fixed: Any) -> Form:
    return Form(lambda row, values: kind(vm=ref(row), **fixed))


def _same(rows: Sequence[VmRow], get: Callable[[VmRow], str]) -> str:
    found = {get(row) for row in rows}
    return found.pop() if len(found) == 1 else ""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.replace(",", " ").split())


def _not_empty(text: str) -> str:
    return "" if text else "may not be empty"


def _whole(text: str) -> str:
    return "" if not text or (text.isdecimal() and int(text) > 0) else "a whole number, 1 or more"


def _size(text: str) -> str:
    if not text:
        return ""
    try:
        parse_size(text)
    except ValueError as error:
        return str(error)
    return ""


def _some(values: Mapping[str, str]) -> str:
    return "" if any(values.values()) else "fill in at least one"


# ---------------------------------------------------------------- entries


def _rename(rows: Sequence[VmRow], known: Known) -> Sequence[Entry]:
    return (Entry("name", "New name", value=rows[0].vm.name, check=_not_empty),)


def _resize(rows: Sequence[VmRow], known: Known) -> Sequence[Entry]:
    memory = _same(rows, lambda row: f"{row.vm.info.memory_max >> 20}MiB")
    return (
        Entry("flavor", "Flavor", "of the fleet file, or the figures below", choices=known.flavors),
        Entry(
            "vcpus",
            "vCPUs",
            f"now {_same(rows, lambda row: str(row.vm.info.vcpus_max)) or 'differing'}",
            check=_whole,
        ),
        Entry("memory", "Memory", f"like 4GiB; now {memory or 'differing'}", check=_size),
    )


def _tags(rows: Sequence[VmRow], known: Known) -> Sequence[Entry]:
    present = sorted({tag for row in rows for tag in row.vm.info.tags})
    return (
        Entry("add", "Add", "tags, with spaces between"),
        Entry("remove", "Remove", f"now: {', '.join(present) or 'none'}", choices=present),
    )


def _describe(rows: Sequence[VmRow], known: Known) -> Sequence[Entry]:
    return (
        Entry("title", "Title", "one line", value=_same(rows, lambda row: row.vm.info.title)),
        Entry("description", "Description", value=_same(rows, lambda row: row.vm.info.description)),
    )


def _assign(rows: Sequence[VmRow], known: Known) -> Sequence[Entry]:
    return (
        Entry(
            "project",
            "Project",
            "empty: none",
            value=_same(rows, lambda row: row.vm.info.project),
            choices=known.projects,
        ),
        Entry("group", "Group", "empty: none", value=_same(rows, lambda row: row.vm.info.group)),
    )


def _shutdown(rows: Sequence[VmRow], known: Known) -> Sequence[Entry]:
    return (
        Entry("wait", "Wait, seconds", "that a guest may take", value="60", check=_whole),
        Entry("force", "Then", "power off what still runs", tick=True),
    )


def _delete(rows: Sequence[VmRow], known: Known) -> Sequence[Entry]:
    running = sum(row.vm.state.active for row in rows)
    entries = [Entry("volumes", "Volumes", "delete its own disks too", tick=True)]
    if running:
        what = "it runs: power it off first" if len(rows) == 1 else f"{running} run: power them off first"
        entries.append(Entry("force", "Force", what, tick=True))
    return entries


def _clone(rows: Sequence[VmRow], known: Known) -> Sequence[Entry]:
    pools = sorted({pool.name for pool in rows[0].host.pools})
    return (
        Entry("name", "New name", value=f"{rows[0].vm.name}-2", check=_not_empty),
        Entry("linked", "Linked", "overlays on its disks instead of copies", tick=True),
        Entry("pool", "Pool", "empty: where the original's disks are", choices=pools),
        Entry("start", "Start", "start it", tick=True),
    )


def _snapshot(rows: Sequence[VmRow], known: Known) -> Sequence[Entry]:
    agent = all(row.vm.info.agent for row in rows)
    entries = [
        Entry("name", "Name", "of the snapshot", check=_not_empty),
        Entry("description", "Description"),
        Entry("disk_only", "Disks only", "without memory, into overlay files", tick=True),
    ]
    if agent:
        entries.append(
            Entry("quiesce", "Quiesce", "the guest agent freezes its filesystems meanwhile", tick=True)
        )
    return entries


def _media(rows: Sequence[VmRow], known: Known) -> Sequence[Entry]:
    isos = sorted(
        f"{each.pool}/{each.name}" for each in rows[0].host.volumes if each.name.lower().endswith(".iso")
    )
    drives = [disk.target for disk in rows[0].vm.info.disks if disk.device == "cdrom"]
    return (
        Entry(
            "volume",
            "Medium",
            "POOL/VOLUME",
            choices=isos,
            check=lambda text: "" if "/" in text else "POOL/VOLUME",
        ),
        Entry("target", "Drive", f"empty: the first of {', '.join(drives) or 'none'}", choices=drives),
    )


def _attach(rows: Sequence[VmRow], known: Known) -> Sequence[Entry]:
    networks = sorted({network.name for network in rows[0].host.networks})
    return (
        Entry("network", "Network", f"here: {', '.join(networks) or 'none'}", choices=networks),
        Entry("bridge", "or bridge", "of the host"),
        Entry("model", "Model", "empty: virtio where there is virtio"),
    )


def _detach(rows: Sequence[VmRow], known: Known) -> Sequence[Entry]:
    nics = rows[0].vm.info.nics
    doc = ", ".join(f"{nic.mac} on {nic.source}" for nic in nics) or "it has none"
    return (
        Entry(
            "mac",
            "MAC",
            doc,
            choices=[nic.mac for nic in nics],
            value=nics[0].mac if nics else "",
            check=_not_empty,
        ),
    )


def _one_of_two(values: Mapping[str, str]) -> str:
    return (
        "" if bool(values["network"]) != bool(values["bridge"]) else "a network or a bridge: one of the two"
    )


# ---------------------------------------------------------------- actions


def _resized(row: VmRow, values: Values) -> Action:
    return actions.ResizeVm(
        vm=ref(row),
        flavor=values["flavor"],
        vcpus=int(values["vcpus"]) if values["vcpus"] else None,
        memory=parse_size(values["memory"]) if values["memory"] else None,
    )


def _inserted(row: VmRow, values: Values) -> Action:
    pool, _, volume = values["volume"].partition("/")
    return actions.InsertMedia(vm=ref(row), pool=pool, volume=volume, target=values["target"])


FORMS: Mapping[str, Form] = {
    "start": _plain(actions.StartVm),
    "reboot": _plain(actions.RebootVm),
    "reset": _plain(actions.ResetVm),
    "poweroff": _plain(actions.PowerOffVm),
    "suspend": _plain(actions.SuspendVm),
    "resume": _plain(actions.ResumeVm),
    "save": _plain(actions.SaveVm),
    "restore": _plain(actions.RestoreVm),
    "shutdown": Form(
        lambda row, values: actions.ShutdownVm(
            vm=ref(row), wait=float(values["wait"] or 60), force=bool(values["force"])
        ),
        _shutdown,
    ),
    "autostart": Form(lambda row, values: actions.SetAutostart(vm=ref(row), on=not row.vm.info.autostart)),
    "protect": Form(lambda row, values: actions.ProtectVm(vm=ref(row), on=not row.vm.info.protected)),
    "rename": Form(lambda row, values: actions.RenameVm(vm=ref(row), name=values["name"]), _rename, one=True),
    "resize": Form(_resized, _resize, check=_some),
    "tag": Form(
        lambda row, values: actions.TagVm(
            vm=ref(row), add=_words(values["add"]), remove=_words(values["remove"])
        ),
        _tags,
        check=_some,
    ),
    "describe": Form(
        lambda row, values: actions.DescribeVm(
            vm=ref(row), title=values["title"], description=values["description"]
        ),
        _describe,
    ),
    "assign": Form(
        lambda row, values: actions.AssignVm(vm=ref(row), project=values["project"], group=values["group"]),
        _assign,
    ),
    "delete": Form(
        lambda row, values: actions.DeleteVm(
            vm=ref(row), volumes="own" if values["volumes"] else "none", force=bool(values.get("force"))
        ),
        _delete,
    ),
    "clone": Form(
        lambda row, values: actions.CloneVm(
            vm=ref(row),
            name=values["name"],
            linked=bool(values["linked"]),
            pool=values["pool"],
            start=bool(values["start"]),
        ),
        _clone,
        one=True,
    ),
    "snapshot": Form(
        lambda row, values: actions.CreateSnapshot(
            vm=ref(row),
            name=values["name"],
            description=values["description"],
            disk_only=bool(values["disk_only"]),
            quiesce=bool(values.get("quiesce")),
        ),
        _snapshot,
    ),
    "media": Form(_inserted, _media, one=True),
    "eject": Form(lambda row, values: actions.EjectMedia(vm=ref(row))),
    "attach": Form(
        lambda row, values: actions.AttachNic(
            vm=ref(row), network=values["network"], bridge=values["bridge"], model=values["model"]
        ),
        _attach,
        one=True,
        check=_one_of_two,
    ),
    "detach": Form(lambda row, values: actions.DetachNic(vm=ref(row), mac=values["mac"]), _detach, one=True),
}
"""By the verb's name. Verbs that open a view of their own (console, edit, snapshots) are the screen's."""
