"""Where virtfleet keeps what is not the user's: state that lasts, and sockets that don't."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from virtfleet.errors import ConfigError

_LONGEST_RUNTIME = 56
"""Bytes of the runtime folder's path; with what follows, a Unix socket's path may have 107."""


def _xdg(variable: str, fallback: str) -> Path:
    """The XDG base folder. A relative path there is to be ignored, says its specification."""
    given = os.environ.get(variable, "")
    return Path(given) if given.startswith("/") else Path.home() / fallback


def config_dir() -> Path:
    """~/.config/virtfleet or $XDG_CONFIG_HOME/virtfleet. Read only; it may not exist."""
    return _xdg("XDG_CONFIG_HOME", ".config") / "virtfleet"


def state_dir() -> Path:
    """~/.local/state/virtfleet or $XDG_STATE_HOME/virtfleet, made with mode 0700.

    ConfigError: it can't be made, or belongs to another user.
    """
    path = _xdg("XDG_STATE_HOME", ".local/state") / "virtfleet"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"the state folder {path} can't be made: {error.strerror}") from None
    return _checked(path, tighten=True)


def runtime_dir() -> Path:
    """A 0700 folder for sockets: in $XDG_RUNTIME_DIR if that is ours alone and its path short enough, else
    /tmp/virtfleet-UID.

    ConfigError: somebody else made /tmp/virtfleet-UID, or it is a link.
    """
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    path = Path(given) / "virtfleet"
    if not given.startswith("/") or len(os.fsencode(path)) > _LONGEST_RUNTIME or not _is_private(Path(given)):
        # Anybody may write in /tmp, so what is found there is trusted only after the check.
        path = Path("/tmp") / f"virtfleet-{os.geteuid()}"  # noqa: S108
    try:
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"the folder for sockets {path} can't be made: {error.strerror}") from None
    return _checked(path, tighten=False)


def _open_folder(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _is_private(path: Path) -> bool:
    try:
        fd = _open_folder(path)
    except OSError:
        return False
    try:
        status = os.fstat(fd)
        return status.st_uid == os.geteuid() and not stat.S_IMODE(status.st_mode) & 0o077
    finally:
        os.close(fd)


def _checked(path: Path, *, tighten: bool) -> Path:
    """`path`, a real folder of ours that nobody else can enter. `tighten`: close it to others if need be."""
    try:
        fd = _open_folder(path)
    except OSError:
        raise ConfigError(f"{path} is not a folder", cure=f"remove {path}") from None
    try:
        status = os.fstat(fd)
        if status.st_uid != os.geteuid():
            raise ConfigError(f"{path} belongs to another user (uid {status.st_uid})", cure=f"remove {path}")
        mode = stat.S_IMODE(status.st_mode)
        if mode & 0o077:
            if not tighten:
                raise ConfigError(f"others can enter {path} (mode {mode:04o})", cure=f"chmod 700 {path}")
            os.fchmod(fd, 0o700)
    finally:
        os.close(fd)
    return path
