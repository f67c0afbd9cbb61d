"""One at a time on a host, whoever it is: a lock that operators on different machines share.

Read-modify-write of a VM (its metadata, its definition) happens under it:
measured without, two clients that added 50 tags each kept 65 of 100. Over SSH
the lock is `flock` held by a program of the host, whose end is the end of our
channel; with a lease, because a cut link keeps the channel.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import paramiko

from virtfleet.errors import DeadlineError, HostError, RefusedError, UnreachableError
from virtfleet.hypervisor.call import Call

_FOLDERS = ("/var/lib/virtfleet/locks", "/run/lock/virtfleet")
"""The first that can be used; the second for who is not root."""
LEASE = 60
"""Seconds after which a lock is free again, whatever became of who took it."""
_WAIT = 20
"""Seconds to wait for whoever has it."""
_SCRIPT = """
for folder in "$1" "$2"; do
    # What is above the locks is not for all to write: other files of ours are there.
    umask 022
    mkdir -p -m 1777 "$folder" 2>/dev/null
    umask 0
    file=$folder/$3
    # In a shell of its own: one whose `exec` fails ends. And what another user made is not opened to be made.
    [ -e "$file" ] || [ -L "$file" ] || ( : >>"$file" ) 2>/dev/null
    if [ -f "$file" ] && [ ! -L "$file" ] && [ -r "$file" ]; then
        exec 9<"$file"
        flock -w "$4" 9 || { echo busy; exit 0; }
        echo locked
        exec timeout "$5" cat
    fi
done
"""
_GREETING = 64
_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")
_AT_ONCE = 2
"""Locks that one worker holds at once: an SSH server opens ten sessions by default, and others need them."""
_APART = frozenset({"capacity"})
"""Not counted among those: who holds another one waits for it, and would wait for himself."""


class Locks:
    """The locks of one worker: tasks of ours wait here first, not with a session of the SSH server each."""

    def __init__(self) -> None:
        self._mine: dict[str, asyncio.Lock] = {}
        self._room = asyncio.Semaphore(_AT_ONCE)

    def of(self, name: str) -> asyncio.Lock:
        return self._mine.setdefault(name, asyncio.Lock())

    def room(self, name: str) -> contextlib.AbstractAsyncContextManager[None]:
        return contextlib.nullcontext() if name in _APART else self._room


_locks = Locks()


@contextlib.asynccontextmanager
async def host_lock(call: Call, name: str) -> AsyncIterator[bool]:
    """While it is held nobody else of ours acts on `name`. False: only we ourselves are kept out, since the
    host can't hold locks.

    RefusedError: somebody had it all the time. `name`: letters, digits, dots and dashes.
    """
    if not _NAME.fullmatch(name):
        raise HostError(f"not a name for a lock: {name!r}")
    async with _locks.of(name), _locks.room(name):
        if call.reach.transport_answers:
            async with _over_ssh(call, name):
                yield True
        elif call.reach.is_local and not call.reach.one_connection:
            async with _local(name):
                yield True
        else:
            yield False


@contextlib.asynccontextmanager
async def _over_ssh(call: Call, name: str) -> AsyncIterator[None]:
    argv = ["sh", "-c", _SCRIPT, "virtfleet", *_FOLDERS, name, str(_WAIT), str(LEASE)]
    channel = await asyncio.to_thread(call.reach.exec, argv, call.deadline)
    began = time.monotonic()
    try:
        word = await asyncio.to_thread(_greeting, channel)
        if word == "busy":
            raise RefusedError("somebody else is changing it just now", cure="try again")
        if word != "locked":
            raise HostError("the host can't hold locks: is `flock` installed there?")
        yield
        if time.monotonic() - began > LEASE - 1:
            raise DeadlineError("the change took longer than its lock")
    finally:
        with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
            channel.close()


def _greeting(channel: paramiko.Channel) -> str:
    channel.settimeout(_WAIT + 10.0)
    data = b""
    try:
        while not data.endswith(b"\n") and len(data) < _GREETING:
            more = channel.recv(_GREETING)
            if not more:
                break
            data += more
    except TimeoutError:
        raise DeadlineError("the host did not give the lock in time") from None
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise UnreachableError(f"the connection was lost: {error}") from None
    return data.decode("ascii", "replace").strip()


@contextlib.asynccontextmanager
async def _local(name: str) -> AsyncIterator[None]:
    fd = _open(name)
    try:
        until = time.monotonic() + _WAIT
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise RefusedError("somebody else is changing it just now", cure="try again") from None
                await asyncio.sleep(0.05)
        yield
    finally:
        os.close(fd)


def _open(name: str) -> int:
    for folder in map(Path, _FOLDERS):
        with contextlib.suppress(OSError):
            if not folder.is_dir():
                folder.mkdir(parents=True)
                folder.chmod(0o1777)
            fd = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            with contextlib.suppress(OSError):
                os.fchmod(fd, 0o666)
            return fd
    raise HostError("this machine can't hold locks: neither of its lock folders can be written")
