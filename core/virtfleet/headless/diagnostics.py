"""The only owner of stderr and of the exit codes.

0 done · 1 failed · 2 usage or configuration · 3 partial: some hosts did not answer or some items failed,
the rest is printed · 4 refused, with the reasons · 129, 130, 143 ended by SIGHUP, Ctrl-C, SIGTERM
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable
from enum import IntEnum
from typing import TYPE_CHECKING

import msgspec

from virtfleet.errors import AmbiguousError, ConfigError, QueryError, RefusedError, VirtfleetError
from virtfleet.model.text import clean

if TYPE_CHECKING:
    import click

    from virtfleet.model import HostView


class Exit(IntEnum):
    DONE = 0
    FAILED = 1
    USAGE = 2
    PARTIAL = 3
    REFUSED = 4
    HUNG_UP = 129
    INTERRUPTED = 130
    TERMINATED = 143


_CODES: tuple[tuple[type[VirtfleetError], Exit], ...] = (
    (ConfigError, Exit.USAGE),
    (QueryError, Exit.USAGE),
    (AmbiguousError, Exit.USAGE),
    (RefusedError, Exit.REFUSED),
)


def exit_code(error: VirtfleetError) -> Exit:
    return next((code for kind, code in _CODES if isinstance(error, kind)), Exit.FAILED)


def _say(text: str) -> None:
    # A closed stderr must not turn a result into a failure.
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def note(text: str) -> None:
    """Something a person should know, and a script may ignore."""
    _say(f"virtfleet: {text}")


def plain(text: str) -> None:
    """A line for a person at the terminal, as it is."""
    _say(text)


_status_shown = False


def status(text: str) -> None:
    """A line that is written over by the next one, on a terminal; elsewhere nothing. Empty: away with it."""
    global _status_shown
    with contextlib.suppress(OSError, ValueError):
        if not sys.stderr.isatty() or (not text and not _status_shown):
            return
        columns = os.get_terminal_size(sys.stderr.fileno()).columns or 80
        sys.stderr.write(f"\r\x1b[K{clean(text)[: columns - 1]}")
        sys.stderr.flush()
        _status_shown = bool(text)


def ask(question: str) -> str:
    """One line from the terminal; empty when there is none. Blocks: nothing is under way yet."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(question)
        sys.stderr.flush()
    try:
        return sys.stdin.readline().rstrip("\n")
    except (OSError, ValueError):
        return ""


def report(error: VirtfleetError, *, as_json: bool = False) -> int:
    """Say what went wrong and what to try; returns the exit code. `as_json`: one JSON object on one line."""
    if as_json:
        body: dict[str, str | int] = {"code": error.code, "message": str(error), "cure": error.cure}
        if isinstance(error, QueryError):
            body["column"] = error.column
        _say(msgspec.json.encode({"error": body}).decode())
        return exit_code(error)
    _say(f"virtfleet: {error}")
    if isinstance(error, QueryError) and error.text:
        _say(f"    {clean(error.text)}")
        _say(f"    {' ' * error.column}^")
    if error.cure:
        _say(f"    {error.cure}")
    return exit_code(error)


def usage(error: click.ClickException) -> int:
    """Say what is wrong with the command line; returns the exit code."""
    with contextlib.suppress(OSError, ValueError):
        error.show(file=sys.stderr)
    return Exit.USAGE


def broken(error: BaseException) -> int:
    """Something that should not happen: one line, and where it happened, for a bug report."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    _say(f"virtfleet: internal error: {type(error).__name__}: {clean(str(error), 300)}{where}")
    return Exit.FAILED


def unreachable(hosts: Iterable[tuple[HostView, str]]) -> None:
    """One line for each host whose data is missing, with the reason and what to try."""
    for host, reason in hosts:
        _say(f"virtfleet: {host.name} is {host.state}: {reason}")
        if host.cure:
            _say(f"    {host.cure}")
