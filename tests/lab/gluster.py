"""A pool that all hosts share: GlusterFS in user space, its server on the first host, a mount on every one.

libvirt knows GlusterFS as shared storage, so a live migration between the hosts is safe without being forced.
A folder shared by bind mounts is not (libvirt calls it unsafe), and the kernel's NFS knows no namespaces.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from lab.host import LabHost

POOL = "shared"
BRICK = "brick"

_OPTIONS = {
    # A dead server is noticed in 5 s instead of 42.
    "network.ping-timeout": "5",
    # Caches of one host must not hide what another wrote.
    "performance.quick-read": "off",
    "performance.read-ahead": "off",
    "performance.io-cache": "off",
    "performance.stat-prefetch": "off",
    "performance.md-cache-timeout": "0",
    "performance.write-behind": "off",
    "performance.open-behind": "off",
    "storage.owner-uid": "0",
}


def start(hosts: Sequence[LabHost]) -> None:
    """Make the volume, mount it on every host, and see to it that a host that reboots mounts it again."""
    server = hosts[0]
    server.exec(["/etc/lab/start", "glusterd"], 60, check=True)
    server.exec(["mkdir", "-p", f"/srv/{BRICK}/data"], check=True)
    gluster = ["gluster", "--mode=script", "volume"]
    server.exec([*gluster, "create", POOL, f"{server.address}:/srv/{BRICK}/data"], 60, check=True)
    options = [word for pair in _OPTIONS.items() for word in pair]
    server.exec([*gluster, "set", POOL, *options], 60, check=True)
    server.exec([*gluster, "start", POOL], 60, check=True)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda host: _mount(host, server), hosts))


def _mount(host: LabHost, server: LabHost) -> None:
    (host.folder / "etc" / "lab" / "shared").write_text(f"{server.address} /srv/{POOL}\n")
    host.exec(["/etc/lab/start", "shared"], 60, check=True)
    host.virsh(f"pool-refresh {POOL}")
