"""A storage volume's XML as `Volume`."""

from __future__ import annotations

from virtfleet.hypervisor.states import volume_type
from virtfleet.hypervisor.views.reading import LARGEST, attribute, child, content, size
from virtfleet.hypervisor.views.safexml import parse
from virtfleet.model import Volume
from virtfleet.model.text import clean


def volume(xml: str, pool: str) -> Volume:
    """A volume of the pool of this name. ValueError: `xml` is no volume's XML; oddities give defaults."""
    root = parse(xml)
    if root.tag != "volume":
        raise ValueError(f"not a volume's XML: <{clean(str(root.tag), 60)}>")
    target = child(root, "target")
    key = content(child(root, "key"), 4096)
    return Volume(
        pool=clean(pool),
        name=content(child(root, "name")) or key,
        key=key,
        path=content(child(target, "path"), 4096),
        type=attribute(root, "type") or "file",
        format=attribute(child(target, "format"), "type"),
        capacity=size(child(root, "capacity")),
        allocation=size(child(root, "allocation")),
        physical=size(child(root, "physical")),
        backing=content(child(root, "backingStore", "path"), 4096),
    )


def volume_from_info(
    pool: str, name: str, info: tuple[int, int, int] | list[int], path: str = "", key: str = ""
) -> Volume:
    """A volume from `virStorageVolGetInfo` (type, capacity, allocation), where its XML is not to be had."""
    kind, capacity, allocation = info
    return Volume(
        pool=clean(pool),
        name=clean(name),
        key=clean(key or path, 4096),
        path=clean(path, 4096),
        type=volume_type(kind),
        capacity=min(capacity, LARGEST),
        allocation=min(allocation, LARGEST),
    )
