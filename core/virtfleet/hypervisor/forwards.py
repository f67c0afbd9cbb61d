"""A port on this machine's loopback that leads to somewhere behind the host.

What connects there is carried over the host's one SSH connection, as `ssh -L`
does. Others on this machine could connect to such a port too: where the kernel
tells whose a connection is, only this user's are let in.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
from collections.abc import Callable
from pathlib import Path

from virtfleet.hypervisor.doors import Door, Upstream

LOOPBACK = "127.0.0.1"
_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")


class Forwards:
    """The open ones of this worker. Thread-safe as far as doors are."""

    def __init__(self) -> None:
        self._doors: dict[str, Door] = {}
        self._numbers = itertools.count(1)

    def open(self, upstream: Callable[[], Upstream], idle: float) -> tuple[str, int]:
        """(id, port). It closes by itself when nobody was connected for `idle` seconds. Raises OSError."""
        listener = socket.create_server((LOOPBACK, 0), backlog=16)
        port = int(listener.getsockname()[1])
        name = f"{os.getpid()}-{next(self._numbers)}"
        door = Door(
            "", upstream, idle=idle, on_idle=lambda _: self._unused(name), listener=listener, admits=ours
        )
        self._doors[name] = door
        return name, port

    def close(self, name: str) -> bool:
        """Ends a forward and what goes through it; whether there was one."""
        door = self._doors.pop(name, None)
        if door is not None:
            door.close()
        return door is not None

    def _unused(self, name: str) -> None:
        self.close(name)

    def last_error(self, name: str) -> str:
        """Why the newest connection failed; empty: it did not."""
        door = self._doors.get(name)
        return str(door.last_error) if door is not None and door.last_error is not None else ""


def ours(client: socket.socket) -> bool:
    """Whether a process of this user, or root, has come in over the loopback."""
    with contextlib.suppress(OSError, ValueError):
        owner = _owner(client.getpeername(), client.getsockname())
        return owner is None or owner in (0, os.geteuid())
    return False


def _owner(peer: tuple[str, int], local: tuple[str, int]) -> int | None:
    """Whose the other end of a loopback connection is; None: this kernel does not tell."""
    near, far = _as_kernel(peer), _as_kernel(local)
    told = False
    for table in _TABLES:
        with contextlib.suppress(OSError):
            for line in Path(table).read_text("ascii").splitlines()[1:]:
                told = True
                fields = line.split()
                if fields[1].endswith(near) and fields[2].endswith(far):
                    return int(fields[7])
    if told:
        raise ValueError("a connection that the kernel does not list")
    return None


def _as_kernel(address: tuple[str, int]) -> str:
    """As /proc/net/tcp writes it: the IPv4 address as a number of this machine's, and the port."""
    packed = int.from_bytes(socket.inet_aton(address[0]), "little" if _LITTLE else "big")
    return f"{packed:08X}:{address[1]:04X}"


_LITTLE = socket.htons(1) != 1
