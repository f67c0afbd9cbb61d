"""Every error that virtfleet raises on purpose.

    VirtfleetError
    ├── ConfigError           the fleet file is wrong: what, where, what is accepted    exit 2
    ├── QueryError            a filter expression or column list is wrong               exit 2
    ├── NotFoundError         no such object
    ├── AmbiguousError        a name that several objects bear                          exit 2
    ├── RefusedError          we could, and won't: protection, quota, precondition      exit 4
    │   └── NoRoomError       the host has no room for it: another one may have
    ├── HostError             a host did not do what was asked
    │   ├── UnreachableError  no connection, or it was lost
    │   ├── DeadlineError     no answer in time
    │   ├── AccessError       key, password, permission: a person must act first
    │   └── UnsupportedError  this hypervisor's driver can't
    └── InternalError         a worker or the zygote failed in a way it should not

`code` is stable and machine-readable: it is what `--output json` prints and
what crosses the wire from a worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class VirtfleetError(Exception):
    """Root of the tree: `code` names the kind, `message` says it to a person, `cure` what to try."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, cure: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.cure = cure


class ConfigError(VirtfleetError):
    """The fleet file is wrong. `where` is `file:line` or `file: path.to.key`."""

    code = "config"

    def __init__(self, message: str, *, where: str = "", cure: str = "") -> None:
        super().__init__(f"{where}: {message}" if where else message, cure=cure)
        self.where = where


class QueryError(VirtfleetError):
    """A filter or a column list is wrong; `column` is the 0-based offset in `text`."""

    code = "query"

    def __init__(self, message: str, *, text: str = "", column: int = 0, cure: str = "") -> None:
        super().__init__(message, cure=cure)
        self.text = text
        self.column = column


class NotFoundError(VirtfleetError):
    code = "not-found"


class AmbiguousError(VirtfleetError):
    code = "ambiguous"


class RefusedError(VirtfleetError):
    code = "refused"


class NoValidHostError(RefusedError):
    """No host can take a VM. `refused`: how many of those that came to it each filter refused."""

    code = "no-valid-host"

    def __init__(self, message: str, refused: Sequence[tuple[str, int]] = (), cure: str = "") -> None:
        super().__init__(message, cure=cure)
        self.refused = tuple(refused)


class NoRoomError(RefusedError):
    """A host has less left than is wanted. Nothing was changed there; another host may have room."""

    code = "no-room"


class HostError(VirtfleetError):
    code = "host"


class UnreachableError(HostError):
    code = "unreachable"


class DeadlineError(HostError):
    code = "deadline"


class AccessError(HostError):
    code = "access"


class UnsupportedError(HostError):
    code = "unsupported"


class InternalError(VirtfleetError):
    code = "internal"


def _tree(cls: type[VirtfleetError]) -> list[type[VirtfleetError]]:
    return [cls, *(c for sub in cls.__subclasses__() for c in _tree(sub))]


def from_code(code: str, message: str, cure: str = "") -> VirtfleetError:
    """The error that a worker named by its code, raised again on this side of the wire."""
    for cls in _tree(VirtfleetError):
        if cls.code == code:
            return cls(message, cure=cure)
    return InternalError(message, cure=cure)
