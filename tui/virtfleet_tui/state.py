"""What the console remembers of its operator's taste: columns, order, theme, hints put away.

It is kept as JSON in the state folder and never in the fleet file, which is
the user's own. It is a convenience: a file that is missing, broken or of a
later version is ignored, and one that can't be written costs a log line.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from pathlib import Path

import msgspec

_log = logging.getLogger(__name__)

FILE_NAME = "console.json"
_MAX_SIZE = 1_000_000
_MAX_WIDTH = 200


class ListTaste(msgspec.Struct):
    """How one kind of list is wanted."""

    columns: list[str] | None = None
    """Field names from left to right; None: as they fit."""
    widths: dict[str, int] = {}
    """Cells of the columns whose width was chosen."""
    sort: list[str] = []
    """Field names, "-" before descending ones; empty: the list's own order."""
    faults_first: bool = False
    """Rows in trouble at the top, whatever the order of the rest."""


class Taste(msgspec.Struct):
    theme: str = ""
    lists: dict[str, ListTaste] = {}
    """By name of the kind: vm, host ..."""
    dismissed: list[str] = []
    """Hints that were put away."""

    def of(self, kind: str) -> ListTaste:
        return self.lists.setdefault(kind, ListTaste())


def load(folder: Path) -> Taste:
    """The taste kept in `folder`, or the usual one if there is none that can be read."""
    path = folder / FILE_NAME
    try:
        if path.stat().st_size > _MAX_SIZE:
            raise ValueError(f"larger than {_MAX_SIZE} bytes")
        taste = msgspec.json.decode(path.read_bytes(), type=Taste)
    except FileNotFoundError:
        return Taste()
    except (OSError, ValueError) as error:
        _log.warning("%s is ignored: %s", path, error)
        return Taste()
    for each in taste.lists.values():
        each.widths = {name: min(max(width, 1), _MAX_WIDTH) for name, width in each.widths.items()}
    return taste


def encode(taste: Taste) -> bytes:
    return msgspec.json.format(msgspec.json.encode(taste), indent=1)


def write(folder: Path, content: bytes) -> bool:
    """Replace the kept taste as a whole: a reader sees the old or the new. False: it could not be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, temporary = tempfile.mkstemp(prefix=f".{FILE_NAME}.", dir=folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.replace(temporary, folder / FILE_NAME)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        _log.warning("the console's settings could not be kept in %s: %s", folder, error)
        return False
    return True
