"""All that a plan may look at: values, prepared beforehand, so that planning itself is pure and quick."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING

from virtfleet.actions.given import GivenXml
from virtfleet.config.settings import FleetSettings
from virtfleet.images.facts import ImageFacts
from virtfleet.model import FleetSnapshot
from virtfleet.model.plan import Plan
from virtfleet.model.project import Claim, Use

if TYPE_CHECKING:
    from virtfleet.decide.ledger import Ledger
    from virtfleet.decide.pool_table import PoolTable
    from virtfleet.images.probe import Probed

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
    given: GivenXml | None = None
    """Of a VM that is to be made from XML."""
    beside: tuple[Plan, ...] = ()
    """Plans made just before this one, which saw the same snapshot and not each other."""
    running: tuple[Plan, ...] = ()
    """Of jobs that are not over: what they take may not be seen yet."""
    avoid: tuple[str, ...] = ()
    """Hosts that a VM was refused by just now; of a volume, pools as HOST/POOL."""
    place_on: str = ""
    """The host that was chosen for it together with others."""
    ledger: Ledger | None = None
    """Of the fleet, kept from plan to plan; None: one is made."""
    pools: PoolTable | None = None
    """The same for volumes."""
    owners: Mapping[str, str] = field(default_factory=dict)
    """Projects for which volumes were made, as far as jobs tell; by the volume's id."""
    upload: Probed | None = None
    """Of a file that is to become a volume."""
    dice: Random | None = None
    new_uuid: Callable[[], str] = new_uuid
    new_mac: Callable[[], str] = new_mac

    def with_fleet(
        self, ledger: Ledger, running: tuple[Plan, ...], avoid: tuple[str, ...], place_on: str, dice: Random
    ) -> World:
        return replace(self, ledger=ledger, running=running, avoid=avoid, place_on=place_on, dice=dice)

    def followed(self) -> Ledger:
        """The ledger as of this snapshot."""
        ledger = self.ledger
        if ledger is None:
            from virtfleet.decide.ledger import Ledger

            ledger = Ledger(self.settings)
        ledger.follow(self.snapshot)
        return ledger

    def with_pools(
        self, pools: PoolTable, running: tuple[Plan, ...], avoid: tuple[str, ...], owners: Mapping[str, str]
    ) -> World:
        return replace(self, pools=pools, running=running, avoid=avoid, owners=owners)

    def followed_pools(self) -> PoolTable:
        """The table of pools as of this snapshot."""
        table = self.pools
        if table is None:
            from virtfleet.decide.pool_table import PoolTable

            table = PoolTable(self.settings)
        table.follow(self.snapshot)
        return table

    @property
    def claims(self) -> list[Claim]:
        """What the plans beside this one will take."""
        return [claim for plan in self.beside for claim in plan.claims]

    def promised(self, host: str) -> Use:
        """What the plans beside this one will take on a host."""
        found = Use()
        for plan in self.beside:
            if plan.host == host:
                for claim in plan.claims:
                    found = found.plus(claim.use)
        return found
