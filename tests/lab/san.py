"""A SAN in user space on one host of a lab: tgt with two targets over one file each, one of them with CHAP.

The kernel's initiator knows no namespaces; QEMU's and libvirt's own (`iscsi-direct`) do.
"""

from __future__ import annotations

import shutil
import signal

from lab import proc
from lab.errors import LabError, LabUnavailable
from lab.host import LabHost
from lab.run import wait_until

OPEN = "iqn.2026-01.lab:open"
CLOSED = "iqn.2026-01.lab:closed"
USER = "lab"
SIZE = 32 << 20


class San:
    """tgtd on `host`, gone when the host is powered off or the lab is taken down."""

    def __init__(self, host: LabHost, password: str) -> None:
        self.host = host
        self.address = host.address
        self.password = password

    def start(self) -> None:
        """`LabUnavailable` without tgt."""
        if shutil.which("tgtd", path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
            raise LabUnavailable("missing: tgtd (see tests/lab/packages.txt)")
        daemon = f"setsid tgtd -f --iscsi portal={self.address}:3260 </dev/null >/var/log/tgtd.log 2>&1 &"
        self.host.exec(["sh", "-c", daemon], check=True)
        wait_until(lambda: self._tell("sys", "show") is not None, "the SAN is up", timeout=15)
        for number, name in enumerate((OPEN, CLOSED), 1):
            file = f"/srv/san-{number}.img"
            self.host.exec(["truncate", "-s", str(SIZE), file], check=True)
            self._must("target", "new", "--tid", str(number), "-T", name)
            self._must("logicalunit", "new", "--tid", str(number), "--lun", "1", "-b", file)
            self._must("target", "bind", "--tid", str(number), "-I", "ALL")
        self._must("account", "new", "--user", USER, "--password", self.password)
        self._must("account", "bind", "--tid", "2", "--user", USER)

    def freeze(self) -> None:
        """Its connections stand, and nothing answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        for pid in self.host.pids("tgtd"):
            proc.kill(pid, number)

    def _tell(self, mode: str, op: str, *more: str) -> str | None:
        done = self.host.exec(["tgtadm", "--lld", "iscsi", "--mode", mode, "--op", op, *more])
        return done.stdout if done.returncode == 0 else None

    def _must(self, mode: str, op: str, *more: str) -> None:
        if self._tell(mode, op, *more) is None:
            raise LabError(f"tgtadm {mode} {op} failed on {self.host.name}")
