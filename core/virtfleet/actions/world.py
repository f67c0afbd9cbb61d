"""All that a plan may look at: values, prepared beforehand, so that planning itself is pure and quick."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from virtfleet.config.settings import FleetSettings
from virtfleet.images.facts import ImageFacts
from virtfleet.model import FleetSnapshot

_OUI = (0x52, 0x54, 0x00)
"""QEMU's and KVM's prefix of MAC addresses."""


def new_uuid() -> str:
    return str(uuid.uuid4())


def new_mac() -> str:
    """Of QEMU's range. Whether it is free is for the plan to see."""
    return ":".join(f"{byte:02x}" for byte in (*_OUI, *random.randbytes(3)))  # noqa: S311 - no secret


@dataclass(frozen=True, slots=True)
class World:
    snapshot: FleetSnapshot
    settings: FleetSettings
    monotonic: float
    """CLOCK_MONOTONIC, against which ages of samples count."""
    now: float
    """Unix time."""
    who: str = ""
    """user@machine."""
    stale_ok: bool = False
    """The operator said: also on a host whose data is old."""
    images: Mapping[str, ImageFacts] = field(default_factory=dict)
    """By what the action calls them."""
    promised: Mapping[str, int] = field(default_factory=dict)
    """Bytes of memory on each host that plans made just before this one will take."""
    new_uuid: Callable[[], str] = new_uuid
    new_mac: Callable[[], str] = new_mac
