"""A domain's XML that somebody gives to make a VM of: what it would take, read before it is planned."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from virtfleet.errors import RefusedError
from virtfleet.hypervisor.views.safexml import Element, parse
from virtfleet.model.action import FileRef

_LARGEST = 1 << 20
_UNITS = {"b": 1, "bytes": 1}
for _power, _letter in enumerate("kmgt", 1):
    _UNITS |= {_letter: 1024**_power, f"{_letter}ib": 1024**_power, f"{_letter}b": 1000**_power}
"""libvirt's, for sizes in XML."""


class GivenXml(NamedTuple):
    vcpus: int
    memory: int
    """Bytes."""
    nics: int
    networks: tuple[str, ...]
    disks: tuple[str, ...]
    """Paths or names of what it uses; they are not made."""
    container: bool


def read(file: FileRef) -> GivenXml:
    """RefusedError: it can't be read, or is no domain's XML. Blocks."""
    try:
        with Path(file.path).open("rb") as opened:
            data = opened.read(_LARGEST + 1)
    except OSError as error:
        raise RefusedError(f"{file.path} can't be read: {error.strerror}") from None
    if len(data) > _LARGEST:
        raise RefusedError(f"{file.path} is larger than {_LARGEST >> 20} MiB")
    try:
        root = parse(data.decode("utf-8"))
        if root.tag != "domain":
            raise ValueError(f"its root is <{root.tag}>, not <domain>")
        return GivenXml(
            vcpus=_count(root, "vcpu"),
            memory=_memory(root),
            nics=len(root.findall("devices/interface")),
            networks=tuple(
                source.get("network", "")
                for source in root.iterfind("devices/interface[@type='network']/source")
            ),
            disks=tuple(_sources(root)),
            container=root.get("type") == "lxc",
        )
    except ValueError as error:
        raise RefusedError(f"{file.path} is no VM's XML: {error}") from None


def _sources(root: Element) -> list[str]:
    found = [source for disk in root.iterfind("devices/disk") if (source := disk.find("source")) is not None]
    names = (each.get("file") or each.get("dev") or each.get("volume") or each.get("name") for each in found)
    return [name for name in names if name]


def _count(root: Element, tag: str) -> int:
    text = (root.findtext(tag) or "").strip() or "1"
    if not text.isdecimal() or not 0 < int(text) < 1 << 16:
        raise ValueError(f"<{tag}> is {text[:40]!r}, not a number of virtual CPUs")
    return int(text)


def _memory(root: Element) -> int:
    element = root.find("memory")
    text = (element.text or "").strip() if element is not None else ""
    unit = element.get("unit", "KiB").lower() if element is not None else ""
    if not text.isdecimal() or unit not in _UNITS or not 0 < (size := int(text) * _UNITS[unit]) < 1 << 60:
        raise ValueError(f"<memory> is {f'{text[:40]} {unit[:10]}'.strip()!r}, not a size")
    return size
