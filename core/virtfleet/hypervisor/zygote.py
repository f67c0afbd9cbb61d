"""The engine's end of the zygote: the process that forks one worker per hypervisor.

Importing libvirt and paramiko takes half a second and most of a worker's
memory. The zygote does it once, then forks workers on request, which share
those pages. It is started first thing by `main`, before any other import, so
that its imports overlap with ours; this module therefore imports nothing but
the standard library, and what does the same.

Control messages travel over one SEQPACKET socket: `fork TOKEN` with the
worker's end of a socket pair attached; back come `forked TOKEN PID`,
`exited PID STATUS` and `failed REASON`. The zygote ends when the control socket
does, a worker when its own does.
"""

from __future__ import annotations

import array
import contextlib
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from virtfleet.hypervisor.worklog import open_log


@dataclass(frozen=True, slots=True)
class Forked:
    token: int
    pid: int


@dataclass(frozen=True, slots=True)
class Exited:
    pid: int
    status: int
    """As from waitpid: use os.waitstatus_to_exitcode."""


@dataclass(frozen=True, slots=True)
class Failed:
    reason: str


class Zygote:
    """A running zygote. Requests may be sent before it is ready; they wait in the socket."""

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket) -> None:
        self._process = process
        self._control = control
        self._tokens = 0

    @classmethod
    def start(cls, log: Path | None = None) -> Zygote:
        """Starts it in a session of its own: Ctrl-C and the terminal's hang-up are ours to handle."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sink = _open_log(log)
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "virtfleet.hypervisor.zygote_main", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                env=_environment(),
            )
        finally:
            theirs.close()
            if sink != subprocess.DEVNULL:
                os.close(sink)
        ours.setblocking(False)
        return cls(process, ours)

    @property
    def pid(self) -> int:
        return self._process.pid

    def fileno(self) -> int:
        return self._control.fileno()

    def fork(self) -> tuple[int, socket.socket]:
        """Asks for a worker; returns its token and our end of its socket. OSError: the zygote is gone."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._tokens += 1
        try:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [theirs.fileno()]))]
            self._control.sendmsg([b"fork %d" % self._tokens], ancillary)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        return self._tokens, ours

    def messages(self) -> list[Forked | Exited | Failed]:
        """What the zygote has said since the last call. EOFError: it is gone."""
        found: list[Forked | Exited | Failed] = []
        while True:
            try:
                data = self._control.recv(4096)
            except BlockingIOError:
                return found
            except OSError as error:
                raise EOFError from error
            if not data:
                if found:
                    return found
                raise EOFError
            verb, _, rest = data.decode("utf-8", "replace").partition(" ")
            if verb == "failed":
                found.append(Failed(rest))
                continue
            first, second = (int(part) for part in rest.split())
            found.append(Forked(first, second) if verb == "forked" else Exited(first, second))

    def close(self) -> None:
        """Ends it. Workers end by themselves when their sockets are closed."""
        self._control.close()
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(1.0)

    def reap(self) -> None:
        """Collects a zygote that has died, so that it does not stay a zombie."""
        self._control.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(1.0)


def _open_log(log: Path | None) -> int:
    if log is None:
        return subprocess.DEVNULL
    try:
        return open_log(log)
    except OSError:
        return subprocess.DEVNULL  # a console without a log is better than no console


def _environment() -> dict[str, str]:
    """Ours, with the source roots of this very process, so that both run the same code."""
    environment = dict(os.environ)
    root = str(Path(__file__).resolve().parents[2])
    known = environment.get("PYTHONPATH", "")
    if root not in known.split(os.pathsep):
        environment["PYTHONPATH"] = os.pathsep.join(part for part in (root, known) if part)
    environment.pop("LIBVIRT_DEFAULT_URI", None)
    environment.setdefault("MALLOC_ARENA_MAX", "1")  # an arena per thread would double a worker's memory
    return environment
