"""Evidence that a directory on two hosts is the same storage: a file that both of them see.

Names, UUIDs and paths prove nothing: every host has a pool `default` on
/var/lib/libvirt/images. Only directories on a network or cluster filesystem
can be shared at all, so only there a small file with a random ID is looked
for, and left behind once (never in read-only mode). Without SSH there is no
evidence, and the pool counts as the host's own.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from typing import TYPE_CHECKING

from virtfleet.errors import HostError
from virtfleet.hypervisor import procfs
from virtfleet.hypervisor.lanes import Runner
from virtfleet.hypervisor.reach import Reach
from virtfleet.hypervisor.watch_host import HostWatch
from virtfleet.model import Pool, PoolState

if TYPE_CHECKING:
    from collections.abc import Sequence

FILE = ".virtfleet-storage-id"

_SHAREABLE = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "ceph", "fuse.ceph", "glusterfs", "fuse.glusterfs", "fuse.sshfs"}
    | {"ocfs2", "gfs2", "gpfs", "lustre", "beegfs", "fuse.mfs", "fuse.moosefs", "fuse.lizardfs"}
    | {"fuse.juicefs", "9p", "virtiofs", "afs", "orangefs"}
)
_DIRECTORIES = frozenset({"dir", "fs", "netfs", "gluster"})
_ID = re.compile(r"[0-9a-f-]{36}")

_CREATE = """umask 022
printf '%s\\n' "$2" > "$1.$2" || exit
ln -- "$1.$2" "$1" 2>/dev/null || (set -C; cat -- "$1.$2" > "$1") 2>/dev/null
rm -f -- "$1.$2"
"""
"""Makes the file whole or not at all, and never over another: of two consoles that try at once one wins,
and both read what it wrote. Where there are no hard links (SMB), exclusive creation has to do."""

_ATTEMPTS = 3
"""Rounds in which a file is tried to be made; a directory that can't be written to is then left in peace."""

_TIMEOUT = 5.0


class SharedStorage:
    """Finds the identity of pools; remembers what it found for as long as the connection lasts."""

    def __init__(self, reach: Reach, host: HostWatch, *, read_only: bool) -> None:
        self._reach = reach
        self._host = host
        self._read_only = read_only
        self._runner = Runner("probe") if reach.transport_answers else None
        self._found: dict[tuple[str, str], str] = {}
        self._tried: dict[tuple[str, str], int] = {}

    async def identity(self, pool: Pool) -> str | None:
        """`probe:ID`, or None: not shareable, or no evidence."""
        if self._runner is None or pool.type not in _DIRECTORIES or pool.state is not PoolState.RUNNING:
            return None
        key = (pool.uuid, pool.target)
        if key in self._found:
            return self._found[key] or None
        attempts = self._tried[key] = self._tried.get(key, 0) + 1
        if attempts == 1:
            await self._host.read_mounts()
        if procfs.fs_of(self._host.mounts, pool.target) not in _SHAREABLE:
            self._found[key] = ""
            return None
        path = f"{pool.target.rstrip('/')}/{FILE}"
        try:
            async with asyncio.timeout(3 * _TIMEOUT):
                found = await self._runner.submit(lambda: self._probe(path))
        except (HostError, TimeoutError):
            return None  # not cached: the next round tries again
        if found or attempts >= _ATTEMPTS:
            self._found[key] = found
        return found or None

    def close(self) -> None:
        if self._runner is not None:
            self._runner.close()

    def _probe(self, path: str) -> str:
        """In the runner's thread; "" where there is no file and none can be made."""
        found = self._read(path)
        if not found and not self._read_only:
            self._run(["sh", "-c", _CREATE, "sh", path, str(uuid.uuid4())])
            found = self._read(path)
        return found

    def _read(self, path: str) -> str:
        match = _ID.match(self._run(["head", "-c", "64", "--", path]))
        return f"probe:{match[0]}" if match else ""

    def _run(self, argv: Sequence[str]) -> str:
        return self._reach.run(argv, _TIMEOUT).out.decode("ascii", "replace")
