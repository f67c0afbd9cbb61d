"""libvirt's errors in our words: what kind it is, what a person should read, what to try."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import libvirt

from virtfleet.errors import (
    AccessError,
    DeadlineError,
    HostError,
    NotFoundError,
    RefusedError,
    UnreachableError,
    UnsupportedError,
)
from virtfleet.model.text import clean

T = TypeVar("T")
D = TypeVar("D")

_GONE = {
    libvirt.VIR_ERR_NO_DOMAIN,
    libvirt.VIR_ERR_NO_NETWORK,
    libvirt.VIR_ERR_NO_STORAGE_POOL,
    libvirt.VIR_ERR_NO_STORAGE_VOL,
    libvirt.VIR_ERR_NO_DOMAIN_SNAPSHOT,
}
_UNSUPPORTED = {
    libvirt.VIR_ERR_NO_SUPPORT,
    libvirt.VIR_ERR_OPERATION_UNSUPPORTED,
    libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED,
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
}
_ACCESS = {libvirt.VIR_ERR_AUTH_FAILED, libvirt.VIR_ERR_AUTH_CANCELLED, libvirt.VIR_ERR_ACCESS_DENIED}
_LATE = {libvirt.VIR_ERR_OPERATION_TIMEOUT, libvirt.VIR_ERR_AGENT_UNRESPONSIVE}
_LOST = {libvirt.VIR_ERR_RPC, libvirt.VIR_ERR_INVALID_CONN, libvirt.VIR_ERR_NO_CONNECT}


def translate(error: libvirt.libvirtError) -> HostError | NotFoundError | RefusedError:
    """The same error as one of errors.py; its text is cleaned, since a host wrote it."""
    code = error.get_error_code()
    message = clean(error.get_error_message() or str(error), 500)
    if code in _GONE:
        return NotFoundError(message)
    if code in _UNSUPPORTED or (code == libvirt.VIR_ERR_INVALID_ARG and "unsupported flags" in message):
        return UnsupportedError(f"libvirt's driver for this host can't do that: {message}")
    if code in _ACCESS:
        return AccessError(
            message, cure="check the user's rights on the libvirt socket (group libvirt, polkit)"
        )
    if code in _LATE:
        return DeadlineError(message)
    if code in _LOST:
        return UnreachableError(message, cure="is libvirtd running on the host?")
    if code == libvirt.VIR_ERR_OPERATION_INVALID:
        return RefusedError(message)
    if code in (libvirt.VIR_ERR_SYSTEM_ERROR, libvirt.VIR_ERR_INTERNAL_ERROR):
        return _system(message)
    return HostError(message)


def _system(message: str) -> HostError:
    lowered = message.lower()
    if "permission denied" in lowered or "authentication" in lowered:
        return AccessError(
            message, cure="check the user's rights on the libvirt socket (group libvirt, polkit)"
        )
    if "no such file" in lowered and "sock" in lowered:
        return UnreachableError(message, cure="start libvirtd (or virtqemud) on the host")
    if "client socket is closed" in lowered:
        return UnreachableError("libvirtd closed the connection", cure="is libvirtd running on the host?")
    lost = (
        "connection refused",
        "connection reset",
        "unable to connect",
        "end of file",
        "broken pipe",
        "cannot recv",
    )
    if any(word in lowered for word in lost):
        return UnreachableError(message, cure="is libvirtd running on the host?")
    return HostError(message)


def optional(ask: Callable[[], T], default: D) -> T | D:
    """What libvirt says, or `default` where this driver can't; a lost connection still raises."""
    try:
        return ask()
    except libvirt.libvirtError as error:
        if isinstance(translate(error), UnreachableError):
            raise
        return default
