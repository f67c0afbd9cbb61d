"""Ctrl-P: the table of keys and the `:` verbs as commands that can be found by name."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.types import IgnoreReturnCallbackType

from virtfleet_tui.commands import VERBS, VIEWS
from virtfleet_tui.keys import KEYS
from virtfleet_tui.screens.base import FleetScreen


class Found(NamedTuple):
    title: str
    doc: str
    run: IgnoreReturnCallbackType


class ConsoleCommands(Provider):
    """What applies to the screen from which the palette was opened."""

    def _commands(self) -> Iterator[Found]:
        screen = self.screen
        if not isinstance(screen, FleetScreen):
            return
        for key in screen.active_keys():
            if key.action == "command_palette":
                continue
            run: Any
            if key.bound:
                run = partial(self.app.run_action, key.action, screen)
            elif key.action in ("open", "mark", "mark_all"):
                run = partial(self.app.simulate_key, key.keys.split(",")[0])
            else:
                continue
            yield Found(f"{key.title}  {key.label}", key.doc, run)
        with_key = {key.action for key in KEYS}
        for verb in VERBS:
            if verb.name not in VIEWS or f"view('{verb.name}')" in with_key:
                continue
            if screen.check_action("view", (verb.name,)) is not False:
                go = partial(screen.action_view, verb.name)
                yield Found(f"{verb.name}  :{verb.name}", verb.doc, go)
        for name in ("dark", "light"):
            yield Found(f"theme {name}", f"Colours for a {name} terminal", partial(screen.set_theme, name))

    async def discover(self) -> Hits:
        for each in self._commands():
            yield DiscoveryHit(each.title, each.run, help=each.doc)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for each in self._commands():
            score = max(matcher.match(each.title), matcher.match(each.doc) * 0.8)
            if score > 0:
                yield Hit(score, matcher.highlight(each.title), each.run, help=each.doc)
