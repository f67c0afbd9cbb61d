"""The zygote process: import everything a worker needs, then fork workers on request.

Run as `python -m virtfleet.hypervisor.zygote_main FD` by zygote.py. Single
threaded for its whole life: forking a process with threads is asking for a
deadlock, so nothing imported here may start one (numpy would).
"""

from __future__ import annotations

import array
import faulthandler
import gc
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any, NoReturn

LOOK_AT_LOG = 60.0
"""Seconds after which it is seen to that the log stays small."""
NICE = 5
"""Workers give way to the console: a key must be answered even while hundreds of them take their samples."""


def main(fd: int) -> NoReturn:
    control = socket.socket(fileno=fd)
    control.set_inheritable(False)
    gc.disable()  # collections on the way would find little and take 30 ms; workers enable it again
    # paramiko imports invoke for `Match exec` alone, which is never run here: a tenth of the memory saved.
    # asyncio does without ssl, which no worker needs (libvirt brings its own TLS): 1.3 MB.
    sys.modules["invoke"] = sys.modules["ssl"] = None  # type: ignore[assignment]
    try:
        from virtfleet.hypervisor import worker, worklog
    except Exception as error:  # whatever it is, the engine must hear of it
        control.send(f"failed {type(error).__name__}: {error}"[:4000].encode())
        os._exit(1)
    faulthandler.enable()
    _warm_up()
    gc.freeze()  # what is loaded now stays shared with every worker
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_read, False)
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    sources: list[Any] = [control, wake_read]
    while True:
        readable, _, _ = select.select(sources, [], [], LOOK_AT_LOG)
        worklog.trim(sys.stderr.fileno())
        if wake_read in readable:
            _drain(wake_read)
            _report_exits(control)
        if control in readable:
            received = _receive(control)
            if received is None:
                os._exit(0)
            token, end = received
            pid = os.fork()
            if pid == 0:
                _become_worker(worker.main, control, end, (wake_read, wake_write))
            end.close()
            _send(control, f"forked {token} {pid}")


def _become_worker(
    run: Callable[[socket.socket], int], control: socket.socket, end: socket.socket, pipe: tuple[int, int]
) -> NoReturn:
    status = 1
    try:
        gc.enable()
        os.nice(NICE)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for fd in pipe:
            os.close(fd)
        control.close()
        status = run(end)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(status)


def _receive(control: socket.socket) -> tuple[int, socket.socket] | None:
    fds = array.array("i")
    space = socket.CMSG_SPACE(fds.itemsize)
    try:
        data, ancillary, _, _ = control.recvmsg(256, space, socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        return None  # the engine was killed
    if not data:
        return None
    for level, kind, payload in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(payload[: fds.itemsize])
    return int(data.split()[1]), socket.socket(fileno=fds[0])


def _warm_up() -> None:
    """What fails here costs the workers memory and nothing else: it is noted in the log."""
    try:
        from virtfleet.hypervisor.warm_up import warm_up

        warm_up()
    except Exception:  # whatever it is: a zygote that dies of it would be started again for ever
        sys.excepthook(*sys.exc_info())


def _report_exits(control: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _send(control, f"exited {pid} {status}")


def _send(control: socket.socket, text: str) -> None:
    try:
        control.send(text.encode())
    except OSError:
        os._exit(0)


def _drain(fd: int) -> None:
    try:
        while os.read(fd, 512):
            pass
    except BlockingIOError:
        pass


if __name__ == "__main__":
    main(int(sys.argv[1]))
