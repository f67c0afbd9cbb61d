"""What all actions are made of."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Bytes = Annotated[int, Meta(ge=0, extra={"bytes": True})]
"""In files also 512MiB, 10GiB (the mark is config/shape.py's)."""
Count = Annotated[int, Meta(ge=1)]


class VmRef(msgspec.Struct, frozen=True, gc=False):
    """One VM and no other: two VMs of one name on two hosts are never mixed up."""

    host: str
    uuid: str
    name: str = ""
    """As it was when the action was made; for people."""

    @property
    def label(self) -> str:
        return f"{self.name or self.uuid}@{self.host}"


class FileRef(msgspec.Struct, frozen=True, gc=False):
    """A local file, read by the worker when its step comes; a file that changed since is refused."""

    path: str
    sha256: str = ""
    size: int = 0


class _Action(msgspec.Struct, frozen=True, kw_only=True, tag_field="action", forbid_unknown_fields=True):
    pass


class _VmAction(_Action, frozen=True, kw_only=True):
    vm: VmRef
