"""A container's root folder from a tarball of this machine, unpacked on the host by its own tar.

The tarball is a stranger's: tar is told to drop absolute names and `..`, and
what is removed again must bear the mark that we made it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Mapping
from typing import Any

import paramiko

from virtfleet.errors import HostError, RefusedError, UnreachableError
from virtfleet.hypervisor.acts.transfer import open_file
from virtfleet.hypervisor.call import Call, Operation
from virtfleet.model.text import clean

_HOME = "/var/lib/virtfleet/containers/"
_ROOT = re.compile(re.escape(_HOME) + r"[0-9a-f-]{36}")
_MARK = ".virtfleet"
_CHUNK = 1 << 16
_COMPRESSION = {".gz": "-z", ".tgz": "-z", ".xz": "-J"}


async def _unpack(call: Call) -> dict[str, Any]:
    root, path = _checked(call), str(call.args["path"])
    if not call.reach.transport_answers:
        raise RefusedError("a tarball needs a host over SSH; give a folder on the host instead")
    loop = asyncio.get_running_loop()
    await _run(call, ["mkdir", "-p", f"{root}/{_MARK}"])
    fd = open_file(path, 0)
    try:
        size = os.fstat(fd).st_size

        def report(done: int) -> None:
            loop.call_soon_threadsafe(call.report, done, size, "unpacking on the host")

        flags = [option for ending, option in _COMPRESSION.items() if path.endswith(ending)]
        argv = ["tar", "-x", *flags, "--numeric-owner", "--no-wildcards", "-C", root, "-f", "-"]
        await asyncio.to_thread(_feed, call, argv, fd, report)
    finally:
        os.close(fd)
    return {"root": root}


def _feed(call: Call, argv: list[str], fd: int, report: Any) -> None:
    channel = call.reach.exec(argv, call.deadline)
    try:
        channel.settimeout(call.deadline)
        done = 0
        while data := os.read(fd, _CHUNK):
            channel.sendall(data)
            done += len(data)
            report(done)
        channel.shutdown_write()
        if (status := channel.recv_exit_status()) != 0:
            words = clean(channel.recv_stderr(2000).decode("utf-8", "replace"), 300)
            raise HostError(f"tar on the host ended with {status}: {words}")
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise UnreachableError(f"the transfer broke off: {error}") from None
    finally:
        with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
            channel.close()


async def _remove(call: Call) -> dict[str, Any]:
    """The undo: only a folder of ours, with our mark in it."""
    root = _checked(call)
    done = await asyncio.to_thread(call.reach.run, ["test", "-d", f"{root}/{_MARK}"], call.deadline)
    if done.rc != 0:
        return {"left": "it does not bear our mark"}
    await _run(call, ["rm", "-rf", "--one-file-system", root])
    return {}


def _checked(call: Call) -> str:
    root = str(call.args["root"])
    if not _ROOT.fullmatch(root):
        raise RefusedError(f"{root} is no folder for containers of ours")
    return root


async def _run(call: Call, argv: list[str]) -> None:
    done = await asyncio.to_thread(call.reach.run, argv, call.deadline)
    if done.rc != 0:
        raise HostError(f"{argv[0]} on the host: {clean(done.err.decode('utf-8', 'replace'), 300)}")


ACTS: Mapping[str, Operation] = {"container.unpack": _unpack, "container.remove": _remove}
