"""What is known of an image before it is uploaded."""

from __future__ import annotations

import msgspec


class ImageFacts(msgspec.Struct, frozen=True, kw_only=True):
    """`path` is a local file; empty for one that must be fetched first (`url`), or that is a volume."""

    format: str
    """qcow2, raw or iso; by content."""
    size: int
    """Bytes of the file; 0: unknown before it is fetched."""
    virtual_size: int
    """Bytes that a guest sees."""
    path: str = ""
    sha256: str = ""
    url: str = ""
    pool: str = ""
    volume: str = ""
    host: str = ""
    """A volume that is there already: where."""
    name: str = ""
    """How people call it."""
    arch: str = ""
    """Which machines can run it, where the fleet file says it."""
    user: str = ""
    """The account that its cloud-init gives keys to."""

    @property
    def volume_name(self) -> str:
        """The name under which its content is kept in a pool."""
        return f"virtfleet-{self.sha256[:16]}.{self.format}"
