"""Doors: local sockets through which libvirt reaches a host over streams that we own.

libvirt blocks in C and can't be told to stop; but it gives up at once when its
socket closes. So it is given a Unix socket of ours, and what comes in there is
carried to the host over a channel of the one SSH connection. `cut` closes the
socket under a call that is stuck.

Two threads carry one connection, each blocking in its own direction: neither a
full SSH window nor a slow reader can stop the other way, so no deadlock; and
no wake-up is spent on looking.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

from virtfleet.errors import UnreachableError

MAX_PATH = 107
"""Bytes that fit into sockaddr_un."""
_CHUNK = 1 << 17
_CREDENTIALS = struct.Struct("3i")


class Upstream(Protocol):
    """The far end: a socket, a paramiko channel, a LibvirtChannel. `recv` gives b"" at the end.

    `close`, after `shutdown`, must free a `recv` or `sendall` that blocks in another thread.
    """

    def recv(self, size: int, /) -> bytes: ...
    def sendall(self, data: bytes, /) -> object: ...
    def shutdown(self, how: int, /) -> object: ...
    def close(self) -> object: ...


@runtime_checkable
class _Explains(Protocol):
    """An upstream that knows why it ended."""

    def failure(self) -> str: ...


class Door:
    """A listening Unix socket; each connection to it is joined to an upstream of its own. Thread-safe."""

    def __init__(
        self,
        path: str | Path,
        open_upstream: Callable[[], Upstream],
        *,
        idle: float | None = None,
        on_idle: Callable[[Door], None] | None = None,
        listener: socket.socket | None = None,
        admits: Callable[[socket.socket], bool] | None = None,
    ) -> None:
        """Listens at once. `open_upstream` is called in a thread of the door for each connection.

        `on_idle(door)` is called in the door's thread whenever nobody was connected for `idle` seconds.

        `listener`: a socket that listens already, in place of the path; `admits(client)` then says who may
        come in (the folder of a path keeps strangers out).

        Raises ValueError: path too long (107 bytes), or its folder is open to others; OSError.
        """
        self._path = str(path)
        self._open_upstream = open_upstream
        self._idle = idle
        self._on_idle = on_idle
        self._used = time.monotonic()
        self._lock = threading.Lock()
        self._pairs: set[_Pair] = set()
        self._closed = False
        self._last_error: Exception | None = None
        self._listener = listener or listen(self._path)
        self._admits = admits or is_ours
        self._listener.settimeout(idle)
        self._thread = threading.Thread(target=self._accept, name="door", daemon=True)
        self._thread.start()

    @property
    def path(self) -> str:
        return self._path

    @property
    def connections(self) -> int:
        """Connections open now."""
        return len(self._pairs)

    @property
    def last_error(self) -> Exception | None:
        """Why the newest connection failed (libvirt itself only says "end of file"); None: it did not."""
        return self._last_error

    def cut(self) -> None:
        """Close every connection at once (the door stays open): frees the calls that wait on it."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            pair.cut()

    def close(self) -> None:
        """`cut`, stop listening, remove the socket. May be called twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        with contextlib.suppress(OSError):
            os.unlink(self._path)
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                self._nobody_came()
                continue
            except OSError:
                if self._closed:
                    return
                time.sleep(0.1)  # out of descriptors, perhaps: the client waits in the queue
                continue
            if not self._admits(client):
                client.close()
                continue
            pair = _Pair(client, self._open_upstream, self._failed, self._gone)
            with self._lock:
                if self._closed:
                    client.close()
                    return
                self._pairs.add(pair)
                self._last_error = None
            pair.start()

    def _nobody_came(self) -> None:
        with self._lock:
            idle = not self._pairs and time.monotonic() - self._used >= (self._idle or 0.0)
        if idle and self._on_idle is not None:
            self._on_idle(self)

    def _failed(self, error: Exception) -> None:
        self._last_error = error

    def _gone(self, pair: _Pair) -> None:
        with self._lock:
            self._pairs.discard(pair)
            self._used = time.monotonic()


class _Pair:
    """A client of the door and its upstream."""

    def __init__(
        self,
        client: socket.socket,
        open_upstream: Callable[[], Upstream],
        failed: Callable[[Exception], None],
        gone: Callable[[_Pair], None],
    ) -> None:
        self._client = client
        self._open_upstream = open_upstream
        self._failed = failed
        self._gone = gone
        self._lock = threading.Lock()
        self._cut = False

    def start(self) -> None:
        threading.Thread(target=self._run, name="door-out", daemon=True).start()

    def cut(self) -> None:
        """Free the client, and let our threads clear up the rest: that may wait for a dead link."""
        with self._lock:
            self._cut = True
            self._shut_client(socket.SHUT_RDWR)

    def _run(self) -> None:
        try:
            upstream = self._open_upstream()
        except Exception as error:  # whatever it is: a thread's traceback would help nobody
            self._failed(error)  # before the client hears of it: who sees the call fail, finds the reason
        else:
            back = threading.Thread(target=self._carry_back, args=(upstream,), name="door-in", daemon=True)
            back.start()
            self._carry_out(upstream)
            back.join()
            _close(upstream)
        self._gone(self)
        with self._lock:
            self._client.close()

    def _carry_out(self, upstream: Upstream) -> None:
        """Client to upstream, until the client is done."""
        try:
            while data := self._client.recv(_CHUNK):
                upstream.sendall(data)
            if self._cut or _hung_up(self._client):
                _close(upstream)
            else:
                upstream.shutdown(socket.SHUT_WR)
        except Exception:  # an upstream of any kind may fail in any way: it is over then
            _close(upstream)

    def _carry_back(self, upstream: Upstream) -> None:
        """Upstream to client, until the upstream is done."""
        answered = False
        try:
            while data := upstream.recv(_CHUNK):
                answered = True
                self._client.sendall(data)
        except Exception:
            self._shut_client(socket.SHUT_RDWR)
            return
        if (
            not answered
            and not self._cut
            and isinstance(upstream, _Explains)
            and (said := upstream.failure())
        ):
            self._failed(UnreachableError(said))
        self._shut_client(socket.SHUT_WR)

    def _shut_client(self, how: int) -> None:
        with contextlib.suppress(OSError):
            self._client.shutdown(how)


def _close(upstream: Upstream) -> None:
    """Ends it both ways, so that a thread that reads or writes there comes back."""
    with contextlib.suppress(Exception):
        upstream.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(Exception):
        upstream.close()


def _hung_up(client: socket.socket) -> bool:
    """Whether the client closed its socket for good, and not only its writing half."""
    poll = select.poll()
    poll.register(client, 0)  # POLLHUP is told unasked
    return bool(poll.poll(0))


def is_ours(client: socket.socket) -> bool:
    """Whether a process of this user, or root, has come in. The folder keeps others out; this makes sure."""
    data = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, _ = _CREDENTIALS.unpack(data)
    return user in (0, os.geteuid())


def listen(path: str) -> socket.socket:
    """A Unix socket that only this user reaches. Raises as `Door`."""
    if len(os.fsencode(path)) > MAX_PATH:
        raise ValueError(f"path of a socket longer than {MAX_PATH} bytes: {path}")
    folder = os.stat(os.path.dirname(path) or ".")
    if stat.S_IMODE(folder.st_mode) & 0o077 or folder.st_uid != os.geteuid():
        raise ValueError(f"others may enter the folder of {path}")
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(path)
        os.chmod(path, 0o600)
        listener.listen(16)
    except OSError:
        listener.close()
        raise
    return listener
