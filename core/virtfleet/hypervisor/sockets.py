"""The sockets that libvirt opened by itself, found so that they can be shut down.

Over SSH libvirt speaks through a `Door`, a socket of ours. Its own transports
(local socket, TCP, TLS, ESX's HTTPS) can't be put behind one without harm: a
certificate is checked against the name in the URI, and SASL over a Unix socket
does without the encryption that a TCP listener demands. But their sockets are
in this process, and shutting one down frees the call that waits on it just as
well (measured: 0.4 ms), while connecting too.

Which socket is whose? Connections are opened one at a time; what is new
afterwards belongs to the lane that opened. Sockets are told by their inode,
since numbers of descriptors are used again.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import threading
import time
from collections.abc import Collection, Iterator

from virtfleet.errors import UnreachableError

_AGAIN = 0.05
_KEEP_AT_IT = 1.0
"""Seconds of looking again: a name may have several addresses, and libvirt tries the next."""
_DESCRIPTORS = "/dev/fd"


class Sockets:
    """The sockets of one host, by lane. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._opening: Plug | None = None
        self._before: frozenset[int] = frozenset()
        """Sockets that are not of the connection being opened."""
        self._plugs: dict[str, Plug] = {}

    def plug(self, lane: str) -> Plug:
        """For the connection of a lane, and those that follow it."""
        with self._changed:
            return self._plugs.setdefault(lane, Plug(self))

    def cut(self) -> None:
        """Shuts down all of them."""
        for plug in list(self._plugs.values()):
            plug.cut()

    def _cut(self, plug: Plug) -> None:
        with self._changed:
            plug._cuts += 1
            self._changed.notify_all()
            if self._opening is plug:
                threading.Thread(target=self._keep_cutting, args=(plug, plug._cuts), daemon=True).start()
                return
        _shut(plug._inodes)

    def _keep_cutting(self, plug: Plug, number: int) -> None:
        """Until the opening has failed, or the lane gives up on it."""
        until = time.monotonic() + _KEEP_AT_IT
        while time.monotonic() < until:
            with self._changed:
                if self._opening is not plug or plug._cuts != number:
                    return
                _shut(_open_sockets().keys() - self._before)
            time.sleep(_AGAIN)

    def _take_turn(self, plug: Plug) -> None:
        with self._changed:
            cuts = plug._cuts
            while self._opening is not None:
                self._changed.wait()
                if plug._cuts != cuts:
                    raise UnreachableError("given up while another lane was connecting")
            self._opening, self._before = plug, frozenset(_open_sockets())
            plug._inodes = frozenset()

    def _end_turn(self, plug: Plug) -> None:
        with self._changed:
            plug._inodes = frozenset(_open_sockets()) - self._before
            self._opening = None
            self._changed.notify_all()


class Plug:
    """The sockets of one lane; fits `lanes.Cuttable`."""

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets
        self._inodes: frozenset[int] = frozenset()
        self._cuts = 0

    @contextlib.contextmanager
    def opening(self) -> Iterator[None]:
        """Around whatever opens the lane's connection; one lane at a time.

        Raises UnreachableError when `cut` came while waiting for the turn.
        """
        self._sockets._take_turn(self)
        try:
            yield
        finally:
            self._sockets._end_turn(self)

    def cut(self) -> None:
        """Shuts the lane's sockets down, also those that are just connecting: frees the call on them."""
        self._sockets._cut(self)


def _open_sockets() -> dict[int, int]:
    """Inode and descriptor of every socket of this process."""
    found: dict[int, int] = {}
    for name in os.listdir(_DESCRIPTORS):
        with contextlib.suppress(
            OSError, ValueError
        ):  # the descriptor of the listing itself is closed by now
            status = os.fstat(int(name))
            if stat.S_ISSOCK(status.st_mode):
                found[status.st_ino] = int(name)
    return found


def _shut(inodes: Collection[int]) -> None:
    for inode, descriptor in _open_sockets().items():
        if inode not in inodes:
            continue
        with contextlib.suppress(OSError):
            copy = os.dup(descriptor)  # ours: the original may be closed, and its number used, at any time
            if os.fstat(copy).st_ino != inode:
                os.close(copy)
                continue
            with socket.socket(fileno=copy) as end:
                end.shutdown(socket.SHUT_RDWR)
