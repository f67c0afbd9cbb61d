"""Ways to a guest from the command line: its serial console, SSH and screen, all through its host."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import shutil
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from virtfleet.errors import RefusedError, VirtfleetError
from virtfleet.headless import diagnostics, finding, output, raw_terminal, session
from virtfleet.headless.diagnostics import Exit
from virtfleet.headless.listing import emit
from virtfleet.headless.options import Options
from virtfleet.query.clock import Clock
from virtfleet.query.nouns import NOUNS
from virtfleet.query.rows import VmRow

if TYPE_CHECKING:
    from virtfleet.engine import Engine

_GROUPS = ("stats",)
_DAY = 86400.0
_ENDING = 5.0
"""Seconds for words of parting with the host."""
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def _on_vm(name: str, options: Options, work: Callable[[VmRow, Engine], Awaitable[int]]) -> int:
    """`work` on the VM of that name, with no other host connected. AmbiguousError, NotFoundError."""
    settings = options.settings()
    want = finding.wanted(name, settings.hosts)
    settings = session.only(settings, finding.hosts_to_ask(NOUNS["vm"], [want], settings.hosts))

    async def found(engine: Engine) -> int:
        await engine.settled(_GROUPS, timeout=options.timeout)
        missing = session.missing(engine.snapshot, _GROUPS, options.timeout)
        diagnostics.unreachable(missing)
        noun = NOUNS["vm"].with_clock(Clock.at(time.monotonic(), time.time()))
        return await work(finding.find(noun, list(noun.rows(engine.snapshot)), want), engine)

    return session.run(options, settings, found, _GROUPS)


# ---------------------------------------------------------------- console


def console(name: str, options: Options, *, force: bool, device: str, escape: bytes) -> int:
    """`vm console VM`. RefusedError: no terminal, in use, or the VM is off."""
    if not raw_terminal.is_there():
        raise RefusedError("a console needs a terminal to be shown on", cure="run it without a pipe")

    async def work(row: VmRow, engine: Engine) -> int:
        args = {"uuid": row.vm.uuid, "device": device, "force": force}
        opened = await engine.request(row.host.name, "console.open", args, options.timeout)
        rows, columns = raw_terminal.size()
        key = f"ctrl-{chr(escape[0] | 0x40).lower()}"
        diagnostics.note(f"console of {row.vm.name} on {row.host.name}; {key} leaves")
        diagnostics.note(f"a serial line tells no size; for the guest: stty rows {rows} cols {columns}")
        reader, writer = await asyncio.open_unix_connection(opened["path"])
        terminal = raw_terminal.RawTerminal()
        try:
            with terminal.opened():
                left = await _converse(terminal, reader, writer, escape)
        finally:
            writer.close()
        diagnostics.plain("")
        if left:
            diagnostics.note(f"left the console of {row.vm.name}; it goes on")
            return Exit.DONE
        return await _tell_why(engine, row, opened["id"])

    return _on_vm(name, options, work)


async def _converse(
    terminal: raw_terminal.RawTerminal,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    escape: bytes,
) -> bool:
    """Until the operator leaves (true) or the console ends."""

    async def show() -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 14):
                await terminal.show(data)

    async def type_() -> None:
        async for data in terminal.keys():
            before, pressed, _ = data.partition(escape)
            with contextlib.suppress(ConnectionError):
                writer.write(before)
                await writer.drain()
            if pressed:
                return

    showing, typing = asyncio.ensure_future(show()), asyncio.ensure_future(type_())
    try:
        await asyncio.wait({showing, typing}, return_when=asyncio.FIRST_COMPLETED)
        if showing.done():
            showing.result()
        return typing.done()
    finally:
        showing.cancel()
        typing.cancel()
        await asyncio.gather(showing, typing, return_exceptions=True)


async def _tell_why(engine: Engine, row: VmRow, number: str) -> int:
    try:
        status = await engine.request(row.host.name, "console.status", {"id": number}, _ENDING)
    except VirtfleetError as error:
        diagnostics.note(f"the console ended: {error.message}")
        return Exit.FAILED
    diagnostics.note(f"the console ended: {status['reason']}")
    return Exit.FAILED if status["failed"] else Exit.DONE


# ---------------------------------------------------------------- ssh


def ssh(
    name: str,
    options: Options,
    command: Sequence[str],
    *,
    login: str,
    identity: str,
    port: int,
    more: Sequence[str],
) -> int:
    """`vm ssh VM [-- COMMAND]`. RefusedError: off, no address known, or no ssh here."""
    program = shutil.which("ssh")
    if program is None:
        raise RefusedError("there is no ssh here", cure="install the OpenSSH client")

    async def work(row: VmRow, engine: Engine) -> int:
        args = {"uuid": row.vm.uuid, "port": port, "idle": _DAY}
        opened = await engine.request(row.host.name, "ssh.open", args, options.timeout)
        user = login or _image_user(row, engine)
        argv = [program, *ssh_options(row.vm.uuid, opened["port"], more)]
        argv += ["-l", user] if user else []
        argv += ["-i", identity] if identity else []
        argv += ["--", _host_word(row), *command]
        try:
            return await _run(argv)
        finally:
            await _close(engine, row, opened["id"])

    return _on_vm(name, options, work)


def ssh_options(uuid: str, port: int, more: Sequence[str] = ()) -> list[str]:
    """What makes ssh go through the forward at `port` of the loopback, and know the host key by the UUID."""
    said = [
        "HostName=127.0.0.1",
        f"Port={port}",
        f"HostKeyAlias=virtfleet-{uuid}",
        "CheckHostIP=no",
        "ProxyJump=none",
        "ProxyCommand=none",
        "ControlMaster=no",
        "ControlPath=none",  # a master of a port that another VM had would lead to that one
    ]
    return [word for each in (*said, *more) for word in ("-o", each)]


def _host_word(row: VmRow) -> str:
    """What the user's ssh_config may know the VM by; never an option or anything that ssh would expand."""
    return row.vm.name if _PLAIN_NAME.fullmatch(row.vm.name) else row.vm.uuid


def _image_user(row: VmRow, engine: Engine) -> str:
    """The account of the fleet's images, if they all have the same and the VM was made here; else ssh's own
    default. Which image a VM was made from is written nowhere."""
    users = {image.user for image in engine.settings.images.values()}
    return users.pop() if len(users) == 1 and row.vm.info.flavor else ""


async def _run(argv: Sequence[str]) -> int:
    """A program that has our terminal; its exit code, 128 and more for a signal."""
    process = await asyncio.create_subprocess_exec(*argv)
    try:
        code = await process.wait()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        raise
    return code if code >= 0 else 128 - code


async def _close(engine: Engine, row: VmRow, number: str) -> None:
    with contextlib.suppress(VirtfleetError):
        await engine.request(row.host.name, "forward.close", {"id": number}, _ENDING)


# ---------------------------------------------------------------- display


def display(name: str, options: Options, *, viewer: str, only_print: bool, kind: str) -> int:
    """`vm display VM`. RefusedError: off; NotFoundError: it has no screen."""

    async def work(row: VmRow, engine: Engine) -> int:
        args = {"uuid": row.vm.uuid, "kind": kind, "idle": _DAY}
        opened = await engine.request(row.host.name, "display.open", args, options.timeout)
        try:
            return await _show_display(row, opened)
        finally:
            await _close(engine, row, opened["id"])

    async def _show_display(row: VmRow, opened: dict[str, Any]) -> int:
        address = uri(opened)
        program = None if only_print else _viewer(viewer, opened)
        if options.output != "table":
            item = {
                "name": row.vm.name,
                "host": row.host.name,
                "uuid": row.vm.uuid,
                "address": address,
                **opened,
            }
            del item["id"]
            emit(options, "display", [item], (), time.monotonic(), list(item))
        elif program is None:
            output.lines([f"remote-viewer {shlex.quote(address)}"])
        if opened["password"]:
            diagnostics.note("it asks for the password that is in the VM's definition")
        if program is None:
            diagnostics.note("open until Ctrl-C")
            await asyncio.Event().wait()
            return Exit.DONE
        diagnostics.note(f"{address} is {row.vm.name}, shown by {program[0]}")
        return await _run(program)

    return _on_vm(name, options, work)


def uri(opened: dict[str, Any]) -> str:
    """What viewers take: vnc://127.0.0.1:PORT."""
    host, port = opened["host"], opened["port"]
    if opened["tls"]:
        return f"{opened['kind']}://{host}?tls-port={port}"
    return f"{opened['kind']}://{host}:{port}"


def _viewer(wanted: str, opened: dict[str, Any]) -> list[str] | None:
    """The program to start; None: none is here, or there is no screen for its window."""
    address = uri(opened)
    if wanted:
        words = shlex.split(wanted)
        if not words:
            raise RefusedError("--viewer names no program")
        if shutil.which(words[0]) is None:
            raise RefusedError(f"there is no {words[0]} here", cure="--print says what to start elsewhere")
        return [word.replace("{}", address) for word in words] if "{}" in wanted else [*words, address]
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return None
    if shutil.which("remote-viewer"):
        return ["remote-viewer", address]
    if opened["kind"] == "vnc" and shutil.which("vncviewer"):
        return ["vncviewer", f"{opened['host']}::{opened['port']}"]
    return None
