"""Which fleet is meant: a file, one URI, or the demo. The same answer for the console and the command."""

from __future__ import annotations

from virtfleet.config import load
from virtfleet.config.settings import FleetSettings
from virtfleet.errors import ConfigError


def choose(fleet: str | None = None, connect: str | None = None, demo: bool = False) -> FleetSettings | None:
    """The fleet that these options name; without any, the user's own file. None: there is none.

    Raises ConfigError: the file is wrong or missing, or more than one of the options was given.
    """
    given = [name for name, value in (("--fleet", fleet), ("--connect", connect), ("--demo", demo)) if value]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} exclude each other", cure="give one of them")
    if demo:
        return demo_fleet()
    if connect:
        return load.from_uri(connect)
    path = load.find(fleet)
    return load.load(path) if path is not None else None


def demo_fleet() -> FleetSettings:
    from virtfleet.config.demo import demo_fleet as make

    return make()
