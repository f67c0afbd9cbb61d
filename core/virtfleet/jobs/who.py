"""Who asks, from where, and under which number: what journal, audit log and claims say of a person."""

from __future__ import annotations

import getpass
import os
import secrets
import socket
import string

_DIGITS = string.digits + string.ascii_lowercase


def whoami() -> str:
    """user@machine; behind sudo, the user who called it."""
    try:
        user = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def origin_of(face: str) -> str:
    """The face, with the address that the operator came from over SSH."""
    address = os.environ.get("SSH_CONNECTION", "").partition(" ")[0]
    return f"{face}, from {address}" if address and face else face


class Numbers:
    """Ids of jobs: short, they sort by time, no two are equal in a process, and hardly two in a team."""

    def __init__(self) -> None:
        self._last = 0

    def next(self, now: float) -> str:
        self._last = max(self._last + 1, int(now * 1000))
        return f"{_text(self._last)}{secrets.choice(_DIGITS)}{secrets.choice(_DIGITS)}"


def _text(number: int) -> str:
    text = ""
    while number:
        number, digit = divmod(number, len(_DIGITS))
        text = _DIGITS[digit] + text
    return text
