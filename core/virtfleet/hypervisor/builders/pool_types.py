"""What libvirt's storage backends can do to pools: the one table that is offered, planned and refused from.

Read from libvirt 9's sources and tried on the lab. What a host's libvirt was
built with is another matter: its pool capabilities tell (`HostFacts.pool_types`).
"""

from __future__ import annotations

from dataclasses import dataclass

VERBS = ("create", "start", "stop", "refresh", "autostart", "build", "delete", "resize", "discover")


@dataclass(frozen=True, slots=True)
class Backend:
    type: str
    what: str
    """What such a pool is, for people."""
    needs: tuple[str, ...] = ()
    """What must be given: target, host, path, name, device, adapter, initiator."""
    takes: tuple[str, ...] = ()
    """What may be given besides: format, auth ..."""
    target: str = ""
    """The usual one; {name} is the source's name."""
    folder: bool = False
    """Its target is a folder that building makes, and that deleting the pool removes when it is empty."""
    makes: str = ""
    """What building makes on its devices; data on them are lost."""
    formats: tuple[str, ...] = ()
    """Accepted formats of the source; empty: libvirt does not care."""
    goes_away: bool = False
    """Stopping it takes the storage from the host (unmounts, logs out, deactivates)."""
    finds: bool = False
    """Sources of it can be found: by libvirt; for iscsi-direct by ourselves (pool_discovery.py says why)."""
    grows: str = ""
    """filesystem, group, or empty."""
    no_growth: str = "its server decides how large it is"
    erases: str = "volumes"
    """How its volumes go: `volumes` one by one; empty: libvirt can't."""
    ends: str = ""
    """What goes after them with --with-volumes: folder, group, zpool."""
    auth: str = ""
    """chap or ceph."""
    network: bool = False
    """Its storage is a server's, and outlives the pool."""


_ISCSI = "its volumes are the SAN's LUNs"
_ALL = (
    Backend("dir", "a folder of the host", ("target",), folder=True, grows="filesystem", ends="folder"),
    Backend("fs", "a filesystem on a device of the host", ("device", "target"), ("format",), folder=True,
            makes="a filesystem", goes_away=True, grows="filesystem", ends="folder",
            formats=("auto", "ext2", "ext3", "ext4", "ufs", "iso9660", "udf", "gfs", "gfs2", "vfat", "hfs+",
                     "xfs", "ocfs2", "vmfs")),
    Backend("netfs", "a folder of a file server", ("host", "path", "target"), ("format",), folder=True,
            goes_away=True, finds=True, network=True, ends="folder",
            formats=("auto", "nfs", "glusterfs", "cifs")),
    Backend("logical", "a volume group of LVM", ("name",), ("device", "format", "target"), "/dev/{name}",
            makes="a volume group", goes_away=True, finds=True, grows="group", ends="group",
            formats=("lvm2",)),
    Backend("disk", "the partitions of a disk", ("device",), ("format", "target"), "/dev",
            makes="a partition table", no_growth="a disk has the size it has",
            formats=("dos", "dvh", "gpt", "mac", "bsd", "pc98", "sun", "lvm2")),
    Backend("iscsi", "the LUNs of a SAN, by the kernel's initiator", ("host", "device"),
            ("initiator", "target", "auth"), "/dev/disk/by-path", goes_away=True, finds=True,
            no_growth=_ISCSI, erases="", auth="chap", network=True),
    Backend("iscsi-direct", "the LUNs of a SAN, by QEMU itself", ("host", "device", "initiator"), ("auth",),
            finds=True,
            no_growth=_ISCSI, erases="", auth="chap", network=True),
    Backend("scsi", "the LUNs of a SCSI adapter", ("adapter",), ("target",), "/dev/disk/by-path",
            no_growth="its volumes are the adapter's LUNs", erases=""),
    Backend("mpath", "the multipath devices of the host", (), ("target",), "/dev/mapper",
            no_growth="its volumes are devices of the host", erases=""),
    Backend("gluster", "a volume of GlusterFS, by QEMU itself", ("host", "name"), ("path",), finds=True,
            network=True),
    Backend("rbd", "a pool of Ceph", ("host", "name"), ("auth",), auth="ceph", network=True),
    Backend("zfs", "a pool of ZFS", ("name",), ("device",), makes="a pool of ZFS", ends="zpool",
            no_growth="`zpool add` or `zpool online -e` on the host does it"),
)  # fmt: skip
BACKENDS = {each.type: each for each in _ALL}
"""By libvirt's word for the type."""


def backend(kind: str) -> Backend:
    """ValueError: no type that can be handled, and which can."""
    try:
        return BACKENDS[kind]
    except KeyError:
        raise ValueError(
            f"{kind!r} is no type of pool that is known here; accepted: {', '.join(BACKENDS)}"
        ) from None


def why_not(kind: str, verb: str, offered: tuple[str, ...] = ()) -> str:
    """Why a verb can't be done to pools of a type; empty: it can.

    `offered`: the types that the host's libvirt was built with; empty: not told.
    """
    if kind not in BACKENDS:
        return f"pools of type {kind} are not known here"
    its = BACKENDS[kind]
    if verb in ("create", "start") and offered and kind not in offered:
        return f"its libvirt has no {kind} pools; it has {', '.join(offered)}"
    if verb == "build" and not (its.folder or its.makes):
        return f"{its.what} is not for libvirt to make"
    if verb == "resize" and not its.grows:
        return f"a pool of type {kind} can't be resized: {its.no_growth}"
    if verb == "discover" and not its.finds:
        return f"libvirt can't look for sources of pools of type {kind}"
    if verb == "delete-volumes" and not its.erases:
        return f"libvirt can't delete what is in a pool of type {kind}: {its.no_growth}"
    return ""


def usual_target(kind: str, name: str = "") -> str:
    """Where libvirt expects it unless told otherwise; empty: such a pool has none, or it must be given."""
    its = BACKENDS.get(kind)
    return its.target.format(name=name) if its is not None else ""


def split_host(text: str) -> tuple[str, int]:
    """HOST, HOST:PORT, [V6], [V6]:PORT or V6 as name and port (0: the usual). ValueError: none of them."""
    if text.startswith("["):
        name, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"{text!r} is no HOST, HOST:PORT or [ADDRESS]:PORT")
        port = rest[1:]
    elif text.count(":") > 1:
        name, port = text, ""
    else:
        name, _, port = text.partition(":")
    if not name or name.startswith("-") or any(not (c.isalnum() or c in "-._:%") for c in name):
        raise ValueError(f"{text!r} is no HOST, HOST:PORT or [ADDRESS]:PORT")
    if (":" in text and not text.count(":") > 1) or (text.startswith("[") and port):
        if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
            raise ValueError(f"{port!r} of {text!r} is no port; accepted: 1 to 65535")
        return name, int(port)
    return name, 0
