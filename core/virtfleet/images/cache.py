"""The folder of what can be had again: fetched images."""

from __future__ import annotations

import os
from pathlib import Path

from virtfleet.errors import ConfigError


def cache_dir() -> Path:
    """~/.cache/virtfleet or $XDG_CACHE_HOME/virtfleet, made with mode 0700. ConfigError: it can't be made."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    path = (Path(given) if given.startswith("/") else Path.home() / ".cache") / "virtfleet"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"the cache folder {path} can't be made: {error.strerror}") from None
    return path
