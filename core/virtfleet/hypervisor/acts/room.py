"""How much of a host is promised, whether one more fits, and who steps back when too many came at once. Pure.

What counts is what is defined: a VM that is off may be started, and one that
will be larger after its next boot is counted as that.

Where operators share no lock, each defines its VM with a mark in it, reads
again, and counts everything that is there, marked or not. Who finds that all
of it fits is in, and takes the mark off. Of any that got in, the last to define
its VM has counted all the others: so the host is never over, whatever the
order. If it does not fit, all look at the same row of marks by UUID, and those
for whom the ones before leave no room step back; the others wait until they
have gone. The first of the row never has to: so not all step back.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping, Sequence

import msgspec
from lxml import etree

from virtfleet.hypervisor.views.pinning import pinning
from virtfleet.hypervisor.views.reading import child, content, integer, size
from virtfleet.hypervisor.views.safexml import Element, parse
from virtfleet.hypervisor.views.vmdata import ROOM, VM, metadata_of, namespaced
from virtfleet.model import VmInfo
from virtfleet.query.numbers import ranges

ROOM_PREFIX = "virtfleet-room"
_COUNTED = ("vcpus", "memory", "vms", "group")


class GroupLimit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At most `most` VMs of a group on the host; with `project`, of this project's alone."""

    name: str
    most: int
    project: str | None = None


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be promised on a host in all, after ratios and reserves. None: as much as you like."""

    vcpus: int | None = None
    memory: int | None = None
    """Bytes."""
    vms: int | None = None
    group: GroupLimit | None = None
    cpus: tuple[int, ...] = ()
    """CPUs that no other VM may have for itself."""
    devices: tuple[str, ...] = ()
    """PCI devices that no other VM may have, by address."""

    @property
    def detailed(self) -> bool:
        """Whether only the descriptions of VMs tell if one more fits."""
        return self.group is not None or bool(self.cpus or self.devices)


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """What one VM was promised."""

    uuid: str
    vcpus: int
    memory: int
    """Bytes."""
    name: str = ""
    group: str = ""
    project: str = ""
    cpus: tuple[int, ...] = ()
    """Of the host, that it has for itself."""
    devices: tuple[str, ...] = ()
    """Of the host, that it has, by PCI address."""
    mark: str = ""
    """Of who is not yet sure to stay: a word of its own."""
    before: tuple[int, int] | None = None
    """With a mark: vCPUs and memory that it has anyway. None: it goes if it must step back."""


class Verdict(enum.Enum):
    STAY = "stay"
    WAIT = "wait"
    BACK = "back"


def promise_of(xml: str) -> Promise:
    """What a domain's XML promises. ValueError: it is no domain's XML."""
    root = parse(xml)
    if root.tag != "domain":
        raise ValueError("this is no domain's XML")
    metadata = child(root, "metadata")
    data = child(metadata, f"{{{VM}}}vm")
    mark = child(metadata, f"{{{ROOM}}}room")
    had = None if mark is None else (integer(mark.get("vcpus", "")), integer(mark.get("memory", "")))
    info = VmInfo(uuid="", name="", **pinning(root)._asdict())
    return Promise(
        uuid=content(child(root, "uuid"), 64),
        name=content(child(root, "name")),
        cpus=info.dedicated,
        devices=info.pci,
        vcpus=max(0, integer(content(child(root, "vcpu"))) or 0),
        memory=size(child(root, "memory"), "KiB") or 0,
        group=content(child(data, f"{{{VM}}}group")),
        project=content(child(data, f"{{{VM}}}project")),
        mark="" if mark is None else _word_of(mark),
        before=None if had is None or had[0] is None or had[1] is None else (had[0], had[1]),
    )


def _word_of(mark: Element) -> str:
    return (mark.get("id") or "?")[:64]


def mark_xml(word: str, before: tuple[int, int] | None) -> str:
    """The mark of somebody who is not yet sure to stay."""
    mark = etree.Element("room", id=word)
    if before is not None:
        mark.set("vcpus", str(before[0]))
        mark.set("memory", str(before[1]))
    return str(etree.tostring(mark, encoding="unicode"))


def marked(xml: str, word: str) -> str:
    """A domain's XML with the mark of a VM that is to be made."""
    root = parse(unmarked(xml))
    metadata = metadata_of(root)
    metadata.append(namespaced(mark_xml(word, None), ROOM, ROOM_PREFIX))
    return str(etree.tostring(root, encoding="unicode"))


def unmarked(xml: str) -> str:
    """A domain's XML without the mark that it may have from the VM it is a copy of."""
    if ROOM not in xml:
        return xml
    root = parse(xml)
    for metadata in root.findall("metadata"):
        for old in metadata.findall(f"{{{ROOM}}}room"):
            metadata.remove(old)
    return str(etree.tostring(root, encoding="unicode"))


def larger(one: Promise, other: Promise | None) -> Promise:
    """Of the same VM as it runs and as it will: what it may come to take."""
    if other is None:
        return one
    return msgspec.structs.replace(
        one,
        vcpus=max(one.vcpus, other.vcpus),
        memory=max(one.memory, other.memory),
        cpus=tuple(sorted({*one.cpus, *other.cpus})),
        devices=tuple(dict.fromkeys((*one.devices, *other.devices))),
    )


def alone(want: Promise, limits: Limits) -> Promise:
    """`want` with the CPUs and devices that its claim asks for; a description alone, of a VM that is made
    from somebody's XML or grows, asks for none."""
    return msgspec.structs.replace(want, cpus=limits.cpus, devices=limits.devices)


def shortfall(present: Sequence[Promise], want: Promise, limits: Limits) -> list[str]:
    """Why `want` does not fit, with the figures; empty: it fits. What `present` has of the same UUID is taken
    for how it was: what does not grow is not asked about, on a full host either."""
    used = dict.fromkeys(_COUNTED, 0)
    was: Promise | None = None
    for each in present:
        if each.uuid == want.uuid:
            was = each
        else:
            _add(used, each, limits)
    had, wanted = dict.fromkeys(_COUNTED, 0), dict.fromkeys(_COUNTED, 0)
    if was is not None:
        _add(had, was, limits)
    _add(wanted, want, limits)
    return [
        *(
            _says(key, wanted[key], used[key], most, limits)
            for key, most in _most(limits).items()
            if wanted[key] > had[key] and used[key] + wanted[key] > most
        ),
        *_taken(present, want),
    ]


def _taken(present: Sequence[Promise], want: Promise) -> list[str]:
    """Who has what `want` has to have for itself."""
    found = []
    for each in present:
        if each.uuid == want.uuid:
            continue
        name = each.name or each.uuid
        if cpus := sorted(set(want.cpus).intersection(each.cpus)):
            found.append(f"{name} has CPU {ranges(cpus)} for itself")
        found += [f"{name} has device {device}" for device in each.devices if device in want.devices]
    return found


def verdict(
    present: Sequence[Promise], want: Promise, limits: Limits, stale: Collection[str] = ()
) -> Verdict:
    """What becomes of `want`, which is defined and marked as `present` shows it.

    `stale`: marks of whoever has long done nothing; they are counted, but nobody waits for them to go.
    """
    ours = msgspec.structs.replace(want, mark=want.mark or "?")
    everyone = [ours, *(each for each in present if each.uuid != want.uuid)]
    if not shortage(everyone, ours, limits):
        return Verdict.STAY
    row = [each for each in everyone if each is ours or (each.mark and each.mark not in stale)]
    row.sort(key=lambda each: each.uuid)
    names = {each.uuid for each in row}
    inside = [each for each in everyone if each.uuid not in names]
    # Who only wants to grow has what it had in any case.
    inside += [less for each in row if (less := _without(each)) is not None]
    for each in row:
        admitted = [other for other in inside if other.uuid != each.uuid]
        admitted.append(each)
        if not shortage(admitted, each, limits):
            inside = admitted
            if each is ours:
                return Verdict.WAIT
        elif each is ours:
            return Verdict.BACK
    raise AssertionError("unreachable")


def hopeless(present: Sequence[Promise], want: Promise, limits: Limits) -> list[str]:
    """Why `want` would not fit even if all that are marked stepped back; empty: it might."""
    certain = [_without(each) if each.mark else each for each in present if each.uuid != want.uuid]
    was = [each for each in present if each.uuid == want.uuid]
    return shortfall([*was, *(each for each in certain if each is not None)], want, limits)


def shortage(present: Sequence[Promise], want: Promise, limits: Limits) -> list[str]:
    """As `shortfall`, of a VM that is there already, marked: whether it may stay, or stay as large."""
    less = _without(want)
    others = [each for each in present if each.uuid != want.uuid]
    return shortfall(others if less is None else [*others, less], want, limits)


def _without(each: Promise) -> Promise | None:
    """What is left of who steps back."""
    if each.before is None:
        return None
    return msgspec.structs.replace(each, vcpus=each.before[0], memory=each.before[1], mark="", before=None)


def _most(limits: Limits) -> Mapping[str, int]:
    most = {
        "vcpus": limits.vcpus,
        "memory": limits.memory,
        "vms": limits.vms,
        "group": limits.group.most if limits.group is not None else None,
    }
    return {key: value for key, value in most.items() if value is not None}


def _add(sums: dict[str, int], each: Promise, limits: Limits) -> None:
    sums["vcpus"] += each.vcpus
    sums["memory"] += each.memory
    sums["vms"] += 1
    group = limits.group
    if group is not None and each.group == group.name and group.project in (None, each.project):
        sums["group"] += 1


def _says(key: str, wanted: int, used: int, most: int, limits: Limits) -> str:
    left = max(0, most - used)
    if key == "vcpus":
        return f"{wanted} vCPU wanted, {left} of {most} left"
    if key == "memory":
        return f"{_size(wanted)} of memory wanted, {_size(left)} of {_size(most)} left"
    if key == "vms":
        return f"{used} VMs are there, of at most {most}"
    name = limits.group.name if limits.group is not None else ""
    return f"{used} VMs of group {name} are there, of at most {most}"


def _size(value: int) -> str:
    """To read: 5.2 GiB, 512 MiB."""
    return f"{value / 2**30:.4g} GiB" if value >= 1 << 30 else f"{value / 2**20:.4g} MiB"
