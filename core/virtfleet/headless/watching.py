"""`watch`: what changes, as JSON lines, or as a live table of one noun on a terminal.

    {"time": 1714560000.1, "kind": "vm", "change": "new", "item": {"name": ..., "host": ..., ...}}

`change` is new (the item has all fields), changed (name, host and the fields
that changed) or gone (what names it); events are of kind event and always new.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from virtfleet.errors import QueryError
from virtfleet.headless import formats, output, session, table
from virtfleet.headless.changes import EVER_CHANGING, Tracker
from virtfleet.headless.diagnostics import Exit
from virtfleet.headless.listing import Listing, style_of
from virtfleet.headless.options import Options
from virtfleet.headless.top import summary
from virtfleet.query.clock import Clock
from virtfleet.query.columns import parse_columns
from virtfleet.query.field import Field
from virtfleet.query.filter import compile_filter
from virtfleet.query.nouns import NOUNS, Noun

if TYPE_CHECKING:
    from virtfleet.engine import Engine
    from virtfleet.model import Delta, Event, FleetSnapshot

USUAL = ("host", "vm", "pool", "network", "event")
"""Without asking: all but volumes, of which there may be very many; those that know the fields named."""

_WHOLE = frozenset({"pool", "volume"})
"""Storage is shared between hosts, so that its rows belong to the fleet and not to one host."""


class Watch:
    """Gathers what the engine tells, and turns it into lines when asked."""

    def __init__(self, kinds: Sequence[str], options: Options) -> None:
        """QueryError: the filter or the columns fit none of `kinds`; or, if kinds were given, not all."""
        clock = Clock(time.monotonic, time.time)
        self._trackers: dict[str, Tracker] = {}
        self._nouns: dict[str, Noun[Any]] = {}
        self._event_fields: Sequence[Field[Any]] | None = None
        refused: QueryError | None = None
        for kind in kinds or USUAL:
            noun = NOUNS[kind].with_clock(clock)
            try:
                fields = parse_columns(options.columns, noun) if options.columns else noun.fields
                test = compile_filter(options.filter, noun).matches
            except QueryError as error:
                if kinds:
                    raise
                refused = refused or error
                continue
            self._nouns[kind] = noun
            if kind == "event":
                self._event_fields = [field for field in fields if field.name not in EVER_CHANGING]
                self._event_test = test
            else:
                self._trackers[kind] = Tracker(noun, fields, test)
        if refused and not self._nouns:
            raise refused
        self._events: list[Event] = []
        self._dirty: set[str] = set()
        self._storage = False
        self._stale: dict[str, bool] = {}

    def delta(self, delta: Delta) -> None:
        self._dirty.add(delta.host)
        self._storage = self._storage or bool(delta.groups & {"pools", "volumes", "state"})

    def event(self, event: Event) -> None:
        if self._event_fields is not None and self._event_test(event):
            self._events.append(event)

    def lines(self, snapshot: FleetSnapshot) -> Iterator[dict[str, Any]]:
        """Everything since the last call."""
        now = time.monotonic()
        for name, host in snapshot.hosts.items():
            # Time alone makes a row stale; no delta tells it.
            stale = host.is_stale(now)
            if self._stale.get(name) is not stale:
                self._stale[name] = stale
                self._dirty.add(name)
                self._storage = True
        dirty, self._dirty = self._dirty, set()
        storage, self._storage = self._storage, False
        wall = round(time.time(), 3)
        for kind, tracker in self._trackers.items():
            parts = [("", snapshot)] if kind in _WHOLE and storage else []
            if kind not in _WHOLE:
                parts = [(name, _part(snapshot, name)) for name in snapshot.hosts if name in dirty]
            for part, rows in parts:
                for change, item in tracker.look(part, self._nouns[kind].rows(rows)):
                    yield {"time": wall, "kind": kind, "change": change, "item": item}
        events, self._events = self._events, []
        for event in events:
            item = formats.item(event, self._event_fields or ())
            yield {"time": wall, "kind": "event", "change": "new", "item": item}


def _part(snapshot: FleetSnapshot, name: str) -> FleetSnapshot:
    """The fleet as if this host were all of it."""
    return type(snapshot)(snapshot.generation, {name: snapshot.hosts[name]})


def run(kinds: Sequence[str], options: Options, *, every: float = 1.0, duration: float | None = None) -> int:
    """`virtfleet watch` as JSON lines, every `every` seconds, for `duration` seconds or until interrupted."""
    watch = Watch(kinds, options)
    settings = options.settings()

    async def work(engine: Engine) -> int:
        engine.subscribe(watch.delta)
        engine.subscribe_events(watch.event)
        ends = None if duration is None else time.monotonic() + duration
        while True:
            found = b"".join(formats.to_json(line, pretty=False) for line in watch.lines(engine.snapshot))
            if found:
                output.data(found)
            now = time.monotonic()
            if ends is not None and now >= ends:
                return Exit.DONE
            await asyncio.sleep(every if ends is None else max(0.0, min(every, ends - now)))

    return session.run(options, settings, work)


def run_table(kind: str, options: Options, *, every: float = 1.0, duration: float | None = None) -> int:
    """`virtfleet watch -o table`: the rows of one noun, live on the terminal."""
    listing = Listing(kind, options)
    settings = session.sampled_every(options.settings(), max(every, 1.0))

    async def work(engine: Engine) -> int:
        ends = None if duration is None else time.monotonic() + duration
        with output.Screen() as screen:
            while True:
                now, wall = time.monotonic(), time.time()
                noun = listing.noun_at(Clock.at(now, wall))
                rows = listing.select(engine.snapshot, noun)
                if not engine.prompts.pending:
                    head = summary(engine.snapshot, now, wall, settings)
                    body = table.render(rows, listing.fields(noun), noun, style_of(options), now)
                    screen.paint([head, *body])
                if ends is not None and now >= ends:
                    return Exit.DONE
                await asyncio.sleep(every)

    return session.run(options, settings, work)
