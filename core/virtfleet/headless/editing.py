"""`vm edit`: the XML in the operator's editor, then as a diff, then as a plan like any other."""

from __future__ import annotations

import asyncio
import difflib
import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from virtfleet.errors import ConfigError, RefusedError
from virtfleet.headless import acting, diagnostics, planning
from virtfleet.headless.options import Options
from virtfleet.headless.vm_verbs import ref
from virtfleet.model.action import EditVm

if TYPE_CHECKING:
    from virtfleet.engine import Engine
    from virtfleet.model.action import Action
    from virtfleet.query.rows import VmRow

_LIMIT = 4 << 20
_RED, _GREEN, _RESET = "\x1b[31m", "\x1b[32m", "\x1b[0m"


def run(name: str, path: str | None, options: Options) -> int:
    """`vm edit VM`, or with `path`: the new XML from this file."""
    text = _read(path) if path is not None else None
    if text is None and not planning.can_ask():
        raise RefusedError("an editor needs a terminal", cure="give the new XML with --file")

    async def make(row: VmRow, engine: Engine) -> Action | None:
        given = await engine.request(row.host.name, "vm.edited", {"uuid": row.vm.uuid}, options.timeout)
        xml = given["xml"]
        edited = text if text is not None else await asyncio.to_thread(edit, xml, row.vm.name)
        if edited.strip() == xml.strip():
            diagnostics.note("nothing was changed")
            return None
        for line in diff(xml, edited, colour=planning.colours()):
            diagnostics.plain(line)
        return EditVm(vm=ref(row), xml=edited, was=given["was"])

    return acting.on_one_vm(name, options, make)


def edit(text: str, name: str) -> str:
    """`text` after the operator edited it. RefusedError: the editor failed. Blocks."""
    command = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)[:60]
    with tempfile.TemporaryDirectory(prefix="virtfleet-") as folder:
        file = Path(folder) / f"{safe}.xml"
        file.write_text(text, encoding="utf-8")
        try:
            ended = subprocess.run([*command, str(file)], check=False)
        except OSError as error:
            raise RefusedError(f"{command[0]}: {error.strerror}", cure="set $EDITOR") from None
        if ended.returncode:
            raise RefusedError(f"{command[0]} ended with {ended.returncode}; nothing was changed")
        return _read(str(file))


def diff(before: str, after: str, *, colour: bool) -> list[str]:
    """Unified, without the heads."""
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=2))[2:]
    if not colour:
        return lines
    paint = {"+": _GREEN, "-": _RED}
    return [f"{paint[line[0]]}{line}{_RESET}" if line[:1] in paint else line for line in lines]


def _read(path: str) -> str:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"can't be read: {error.strerror}", where=path) from None
    if len(data) > _LIMIT:
        raise ConfigError(f"{len(data)} bytes are no VM's XML", where=path)
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ConfigError("not UTF-8", where=path) from None
