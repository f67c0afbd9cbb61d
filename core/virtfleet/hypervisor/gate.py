"""Holds a stream back where libvirt itself would not.

libvirt's client takes whatever comes for a stream and queues it without end.
The daemon does better: it reads no further from a guest's console as long as
its last packet has not gone out. So the brake is put where the bytes are ours,
between SSH and libvirt: what is not read there fills a small SSH window, and
the guest waits.
"""

from __future__ import annotations

import threading

from virtfleet.hypervisor.doors import Upstream


class Gate:
    """Open at first. Thread-safe."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()

    def hold(self, held: bool) -> None:
        """Let nothing through from now on, or go on."""
        if held:
            self._open.clear()
        else:
            self._open.set()

    def guard(self, upstream: Upstream) -> Upstream:
        """`upstream`, read only while the gate is open."""
        return _Guarded(upstream, self._open)


class _Guarded:
    def __init__(self, upstream: Upstream, opened: threading.Event) -> None:
        self._upstream = upstream
        self._opened = opened

    def recv(self, size: int, /) -> bytes:
        self._opened.wait()
        return self._upstream.recv(size)

    def sendall(self, data: bytes, /) -> object:
        return self._upstream.sendall(data)

    def shutdown(self, how: int, /) -> object:
        return self._upstream.shutdown(how)

    def close(self) -> object:
        self._opened.set()  # whoever waits shall find that it is over
        return self._upstream.close()

    def failure(self) -> str:
        """Why it ended, if the upstream can say."""
        explain = getattr(self._upstream, "failure", None)
        return str(explain()) if explain is not None else ""
