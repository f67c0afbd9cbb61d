"""What changed between two looks at the fleet, object by object and field by field: for `watch`."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any

from virtfleet.headless.formats import Item, item
from virtfleet.query.field import Field
from virtfleet.query.nouns import Noun

IDENTITY = {
    "host": ("name",),
    "vm": ("name", "host", "uuid"),
    "pool": ("name", "identity"),
    "volume": ("name", "pool", "pool_identity"),
    "network": ("name", "host", "uuid"),
}
"""Fields that every line about an object has."""

EVER_CHANGING = frozenset({"age_s", "state_s", "calls_per_s", "latency_s"})
"""Fields about our watching; they would make a line of each sample and tell nothing of the object."""

Change = tuple[str, Item]
"""(new, changed or gone; the identity with all fields, the changed fields, or nothing more)."""


class Tracker:
    """Remembers the last values of one noun's objects."""

    def __init__(self, noun: Noun[Any], fields: Sequence[Field[Any]], matches: Callable[[Any], bool]) -> None:
        names = IDENTITY[noun.name]
        self._identity = [field for field in noun.fields if field.name in names]
        self._fields = [field for field in fields if field.name not in EVER_CHANGING]
        self._noun = noun
        self._matches = matches
        self._known: dict[Hashable, tuple[Item, Item]] = {}
        self._of: dict[str, set[Hashable]] = {}

    def look(self, part: str, rows: Iterable[Any]) -> Iterator[Change]:
        """The changes of `part` (a host, or "" for what is looked at as a whole): `rows` are all it has now.

        A row that no longer passes the filter is gone.
        """
        before = self._of.get(part, set())
        now: set[Hashable] = set()
        for row in rows:
            if not self._matches(row):
                continue
            key = self._noun.key_of(row)
            now.add(key)
            identity = item(row, self._identity)
            values = item(row, self._fields)
            known = self._known.get(key)
            if known is None:
                yield "new", {**identity, **values}
            else:
                changed = {name: value for name, value in values.items() if known[1].get(name) != value}
                if changed:
                    yield "changed", {**identity, **changed}
            self._known[key] = (identity, values)
        for key in before - now:
            yield "gone", self._known.pop(key)[0]
        self._of[part] = now
