"""The only owner of stdout: data, nothing else; and the way out of the process."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn


class Closed(Exception):  # noqa: N818 - not an error: the reader has seen enough
    """Whoever read our output is gone (`| head`): end silently."""


def data(content: bytes) -> None:
    """Write bytes: formats that are UTF-8 by definition. Raises Closed."""
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        _silence()
        raise Closed from None


def lines(content: Iterable[str]) -> None:
    """Write lines of text; what the terminal's encoding lacks becomes a question mark. Raises Closed."""
    text = "".join(f"{line}\n" for line in content)
    data(text.encode(sys.stdout.encoding or "utf-8", "replace"))


def encoding() -> str:
    """What the terminal reads."""
    return sys.stdout.encoding or "utf-8"


def is_terminal() -> bool:
    try:
        return os.isatty(1)
    except OSError:
        return False


def colour() -> bool:
    """Whether to colour: a terminal that can, and nobody said NO_COLOR (no-color.org: set and not empty)."""
    return is_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def width() -> int | None:
    """Cells to fit into: COLUMNS, else the terminal's; None where nothing limits a line (a pipe)."""
    given = os.environ.get("COLUMNS", "")
    if given.isdigit() and int(given) > 0:
        return int(given)
    if not is_terminal():
        return None
    try:
        return os.get_terminal_size(1).columns or None
    except OSError:
        return None


def height() -> int | None:
    """Lines of the terminal; None without one."""
    if not is_terminal():
        return None
    try:
        return os.get_terminal_size(1).lines or None
    except OSError:
        return None


class Screen:
    """A picture that is painted again and again in place, on a terminal. Use as a context."""

    def __enter__(self) -> Screen:
        data(b"\x1b[?25l\x1b[2J")
        return self

    def paint(self, content: Iterable[str]) -> None:
        """Show these lines, as many as there is room for. Raises Closed."""
        room = (height() or 24) - 1
        text = "".join(f"{line}\x1b[K\n" for line in list(content)[:room])
        data(f"\x1b[H{text}\x1b[J".encode(sys.stdout.encoding or "utf-8", "replace"))

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(Closed):
            data(b"\x1b[?25h")


_before_leaving: list[Callable[[], None]] = []


@contextlib.contextmanager
def restoring(restore: Callable[[], None]) -> Iterator[None]:
    """`restore` is called once at the end of this context, also where that is the end of the process."""
    _before_leaving.append(restore)
    try:
        yield
    finally:
        if restore in _before_leaving:
            _before_leaving.remove(restore)
            restore()


def leave(code: int) -> NoReturn:
    """End the process at once with `code`: nothing of ours is left to tidy, and Python's own tidying of
    some hundred modules would cost a quick command more than its work."""
    while _before_leaving:
        with contextlib.suppress(Exception):
            _before_leaving.pop()()
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        _silence()
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    os._exit(code)


def _silence() -> None:
    """Point stdout to nowhere, so that no later flush fails again."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
