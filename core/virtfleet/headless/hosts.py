"""Verbs on hosts: connect to what they need, plan, show, ask, do, tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

from virtfleet.config.settings import FleetSettings
from virtfleet.errors import NotFoundError, VirtfleetError
from virtfleet.headless import acting, diagnostics, session
from virtfleet.headless.options import Options
from virtfleet.model.action import Action

if TYPE_CHECKING:
    from virtfleet.engine import Engine

_GROUPS = ("stats",)
"""What must be known: with a host's first sample comes what is said of it."""


def known(names: Sequence[str], settings: FleetSettings) -> tuple[list[str], list[VirtfleetError]]:
    """Those that are in the fleet, each once; and an error for each that is not."""
    errors: list[VirtfleetError] = []
    for name in names:
        if name not in settings.hosts:
            near = get_close_matches(name, list(settings.hosts), 3, 0.6)
            cure = f"did you mean {' or '.join(near)}?" if near else ""
            errors.append(NotFoundError(f"no host {name} in this fleet", cure=cure))
    return [name for name in dict.fromkeys(names) if name in settings.hosts], errors


def act(names: Sequence[str], options: Options, make: Callable[[str], Action]) -> int:
    """Do what `make` says to each of these hosts; no other is connected to."""
    settings = options.settings()
    found, errors = known(names, settings)
    settings = session.only(settings, found)

    async def work(engine: Engine) -> int:
        await engine.settled(_GROUPS, timeout=options.timeout)
        diagnostics.unreachable(session.missing(engine.snapshot, _GROUPS, options.timeout))
        return await acting.carry_out(engine, [make(name) for name in found], options, errors)

    return session.run(options, settings, work)
