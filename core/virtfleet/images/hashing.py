"""SHA-256 of local files, remembered as long as a file looks the same: images are large and used often."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

from virtfleet.errors import ConfigError
from virtfleet.model.action import FileRef

_CHUNK = 1 << 20
_KEPT = 500
_SMALL = 1 << 20
"""Bytes up to which reading is as quick as remembering."""


def sha256(path: Path, cache: Path | None = None, progress: Callable[[int, int], None] | None = None) -> str:
    """Hex digest of a file. `cache`: a file of ours that remembers. OSError. Blocks."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "not a regular file", str(path))
        key = f"{path.resolve()}:{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"
        known = _load(cache) if cache is not None and status.st_size > _SMALL else {}
        if key in known:
            return known[key]
        digest, done = hashlib.sha256(), 0
        while data := file.read(_CHUNK):
            digest.update(data)
            done += len(data)
            if progress is not None:
                progress(done, status.st_size)
    found = digest.hexdigest()
    if cache is not None and status.st_size > _SMALL:
        _save(cache, known | {key: found})
    return found


def file_ref(path: str) -> FileRef:
    """A file as it is now. ConfigError: it can't be read."""
    try:
        full = Path(path).resolve()
        return FileRef(str(full), sha256(full), full.stat().st_size)
    except OSError as error:
        raise ConfigError(f"can't be read: {error.strerror}", where=path) from None


def _load(cache: Path) -> dict[str, str]:
    try:
        found = json.loads(cache.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _save(cache: Path, known: dict[str, str]) -> None:
    """What can't be remembered is found again; two writers at once lose nothing that matters."""
    kept = dict(list(known.items())[-_KEPT:])
    new = cache.with_suffix(f".{os.getpid()}.new")
    try:
        new.write_text(json.dumps(kept))
        new.replace(cache)
    except OSError:
        new.unlink(missing_ok=True)
