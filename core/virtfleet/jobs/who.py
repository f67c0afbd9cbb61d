"""Who asks, and from where: what the journal, the audit log and claims say of a person."""

from __future__ import annotations

import getpass
import os
import socket


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
