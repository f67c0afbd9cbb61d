"""A storage pool's XML as `Pool`, and the question of when two hosts have the same pool.

Never by name, UUID or path: one directory pooled on two hosts has two UUIDs,
and every host has a pool `default` in /var/lib/libvirt/images. A network pool
is what its normalised source says; a directory is what a probe file proves.
"""

from __future__ import annotations

import ipaddress
import posixpath

import msgspec

from virtfleet.hypervisor.states import pool_state
from virtfleet.hypervisor.views.reading import attribute, child, children, content, integer, size
from virtfleet.hypervisor.views.safexml import Element, parse
from virtfleet.model import Pool
from virtfleet.model.text import clean

ABSURD = 2**60
"""A Ceph cluster without a manager says 16 EiB available; no pool of an exbibyte is believed."""

_DEFAULT_PORTS = {"iscsi": 3260, "rbd": 6789, "gluster": 24007, "netfs": 2049}


class PoolParts(msgspec.Struct, frozen=True, gc=False):
    """What a pool's XML tells. Sizes in bytes; None: not told, or not to be believed."""

    uuid: str
    name: str
    type: str
    target: str
    source: str
    """For a person: host:dir, volume group, device ..."""
    identity: str | None
    """`TYPE:NORMALISED-SOURCE` of a network pool; None: local, or its source does not tell hosts apart."""
    local: str
    """What stands for it on its own host: its target, or its source where the target is none of its own."""
    capacity: int | None
    allocation: int | None
    available: int | None


def pool_parts(xml: str) -> PoolParts:
    """Reads a pool's XML. ValueError: it is none; anything odd gives a default."""
    root = parse(xml)
    if root.tag != "pool":
        raise ValueError(f"not a pool's XML: <{clean(str(root.tag), 60)}>")
    uuid = content(child(root, "uuid"), 64)
    name = content(child(root, "name")) or uuid
    kind = attribute(root, "type")
    target = content(child(root, "target", "path"))
    source = child(root, "source")
    shown = _source(kind, source)
    own = target if kind not in ("disk", "scsi", "mpath", "iscsi", "iscsi-direct", "zfs") else ""
    local = posixpath.normpath(own) if own else f"{kind}/{shown or name}"
    capacity, allocation, available = _sizes(root)
    return PoolParts(
        uuid,
        name,
        kind,
        target,
        shown,
        identity_of_source(kind, source),
        local,
        capacity,
        allocation,
        available,
    )


def identity(parts: PoolParts, host: str, probe: str = "") -> str:
    """The pool's identity on `host`; `probe` is the ID in a file that was found in its directory."""
    if probe:
        return f"probe:{clean(probe, 64)}"
    return parts.identity or f"local:{host}:{parts.local}"


def pool(
    xml: str,
    *,
    host: str,
    state: int,
    volumes: int | None = None,
    autostart: bool = False,
    persistent: bool = True,
    probe: str = "",
) -> Pool:
    """A pool of `host` in libvirt's `state` (its number). ValueError: `xml` is no pool's XML."""
    parts = pool_parts(xml)
    return Pool(
        uuid=parts.uuid,
        name=parts.name,
        type=parts.type,
        state=pool_state(state),
        identity=identity(parts, host, probe),
        target=parts.target,
        source=parts.source,
        capacity=parts.capacity,
        allocation=parts.allocation,
        available=parts.available,
        volumes=volumes,
        autostart=autostart,
        persistent=persistent,
    )


def _sizes(root: Element) -> tuple[int | None, int | None, int | None]:
    """Capacity, allocation and available as far as they can be true.

    A pool that is not running says 0 for all; so does a cluster that cannot
    tell. `available` above the capacity is an underflow of the driver's.
    """
    capacity = size(child(root, "capacity"))
    if not capacity or capacity >= ABSURD:
        return None, None, None
    allocation = size(child(root, "allocation"))
    if allocation is not None and allocation >= ABSURD:
        allocation = None
    available = size(child(root, "available"))
    if available is not None and available > capacity:
        available = None if allocation is None or allocation > capacity else capacity - allocation
    return capacity, allocation, available


# ---------------------------------------------------------------- sources


def _source(kind: str, source: Element | None) -> str:
    """The source for a person."""
    hosts = ",".join(_written(each) for each in children(source, "host"))
    name = content(child(source, "name"))
    directory = attribute(child(source, "dir"), "path")
    device = ",".join(found for each in children(source, "device") if (found := attribute(each, "path")))
    if kind == "netfs":
        return f"{hosts}:{directory}"
    if kind == "gluster":
        return f"{hosts}:{name}{directory if directory not in ('', '/') else ''}"
    if kind in ("rbd", "sheepdog"):
        return f"{name}@{hosts}" if hosts else name
    if kind in ("iscsi", "iscsi-direct"):
        return f"{hosts}/{device}"
    if kind == "scsi":
        adapter = child(source, "adapter")
        return attribute(adapter, "name", "wwpn") or attribute(child(adapter, "parentaddr"), "unique_id")
    return name or device or directory


def _written(host: Element) -> str:
    name, port = attribute(host, "name"), attribute(host, "port")
    return f"{name}:{port}" if port else name


def identity_of_source(kind: str, source: Element | None) -> str | None:
    """`TYPE:SOURCE`, equal for the same storage however its source is written; None for a local pool."""
    directory = attribute(child(source, "dir"), "path")
    name = content(child(source, "name"))
    if kind == "netfs":
        return _netfs(attribute(child(source, "format"), "type"), source, directory)
    if kind == "gluster":
        hosts = _hosts(source, "gluster")
        return f"gluster:{hosts}:{_volume(name, directory)}" if hosts and name else None
    if kind == "rbd":
        hosts = _hosts(source, "rbd")
        return f"rbd:{hosts}/{name}" if hosts and name else None
    if kind in ("iscsi", "iscsi-direct"):
        # The same target by the kernel's initiator on one host and by libiscsi on another is one storage.
        hosts = _hosts(source, "iscsi")
        target = attribute(child(source, "device"), "path").lower()
        return f"iscsi:{hosts}/{target}" if hosts and target else None
    if kind == "sheepdog":
        hosts = _hosts(source, "sheepdog")
        return f"sheepdog:{hosts}/{name}" if hosts and name else None
    if kind == "vstorage":
        return f"vstorage:{name}" if name else None
    return None


def _netfs(form: str, source: Element | None, directory: str) -> str | None:
    if not directory:
        return None
    if form == "glusterfs":
        hosts = _hosts(source, "gluster")
        volume, _, rest = directory.strip("/").partition("/")
        return f"gluster:{hosts}:{_volume(volume, rest)}" if hosts and volume else None
    hosts = _hosts(source, "netfs")
    if not hosts:
        return None
    path = posixpath.normpath("/" + directory.lstrip("/"))
    return f"netfs:cifs:{hosts}:{path.lower()}" if form == "cifs" else f"netfs:{hosts}:{path}"


def _volume(name: str, directory: str) -> str:
    path = posixpath.normpath("/" + directory.strip("/"))
    return name if path == "/" else name + path


def _hosts(source: Element | None, kind: str) -> str:
    """Hosts of a source, normalised and sorted; "" where one is missing or only means "myself"."""
    found = set()
    for host in children(source, "host"):
        name = _host(attribute(host, "name"))
        if not name:
            return ""
        port = integer(attribute(host, "port")) or 0
        usual = port in (0, -1, _DEFAULT_PORTS.get(kind), 3300 if kind == "rbd" else 0)
        found.add(name if usual else f"{name}:{port}")
    return ",".join(sorted(found))


def _host(name: str) -> str:
    """A host name or address in its one form; "" for the loopback, which is another machine on every host."""
    name = name.strip().lower().rstrip(".")
    try:
        address = ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return "" if name == "localhost" or name.startswith("localhost.") else name
    if address.is_loopback or address.is_unspecified:
        return ""
    return f"[{address}]" if address.version == 6 else str(address)
