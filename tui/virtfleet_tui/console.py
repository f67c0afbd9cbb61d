"""What every screen is given: the fleet, the operator's taste, and the way from view to view."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from virtfleet.query.tally import Tally
from virtfleet_tui.bridge import Fleet
from virtfleet_tui.guest_consoles import GuestConsoles
from virtfleet_tui.hands import Hands
from virtfleet_tui.reckoner import Reckoner
from virtfleet_tui.state import Taste


@dataclass(frozen=True, slots=True)
class Subject:
    """An object of the fleet, held by its row's key: it may change or vanish, this stays."""

    kind: str
    """host, vm, pool, volume or network."""
    key: Hashable
    name: str
    host: str
    """The host it is on, or one of the hosts that see it."""
    uuid: str = ""

    @property
    def title(self) -> str:
        return self.name if self.kind == "host" else f"{self.name} on {self.host}"


@dataclass(frozen=True, slots=True)
class Place:
    """A view that can be gone to, and back to with `[` and `]`."""

    view: str
    """A name of commands.VIEWS, or "detail" or "xml"."""
    subject: Subject | None = None
    filter: str = ""


class History:
    """Places in the order they were visited, and where in it we are."""

    LIMIT = 100

    def __init__(self, start: Place) -> None:
        self._places = [start]
        self._at = 0

    @property
    def here(self) -> Place:
        return self._places[self._at]

    def visit(self, place: Place) -> None:
        """A new place: what was ahead is forgotten, as in a browser."""
        if place == self.here:
            return
        del self._places[self._at + 1 :]
        self._places.append(place)
        del self._places[: -self.LIMIT]
        self._at = len(self._places) - 1

    def step(self, by: int) -> Place | None:
        """Go `by` places; None: there is no such place."""
        if not 0 <= self._at + by < len(self._places):
            return None
        self._at += by
        return self.here


@dataclass
class Console:
    """The app, for its screens. No screen reaches for the app's own class."""

    fleet: Fleet
    taste: Taste
    read_only: bool
    demo: bool
    go: Callable[[Place], None]
    """Show a place and remember it in the history."""
    back: Callable[[], None]
    """Leave the view in front for the one under it."""
    step: Callable[[int], None]
    """Go back (-1) or forward (1) in the history."""
    keep: Callable[[], None]
    """The taste changed: write it to the state folder, soon."""
    tally: Tally = field(init=False)
    """Totals of the fleet."""
    reckoner: Reckoner = field(init=False)
    """What placement makes of the fleet."""
    consoles: GuestConsoles = field(init=False)
    """Of guests, those that are open."""
    hands: Hands = field(default_factory=Hands)
    """Whether keys are being pressed: work that nobody waits for lets them pass."""

    def __post_init__(self) -> None:
        self.tally = Tally(self.fleet.settings.groups)
        self.reckoner = Reckoner(self.fleet)
        self.consoles = GuestConsoles(self.fleet)
