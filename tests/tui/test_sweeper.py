"""Garbage is collected between keys, and sooner or later in any case."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from virtfleet_tui.hands import Hands
from virtfleet_tui.sweeper import Sweeper


@pytest.fixture(autouse=True)
def without_pythons_own() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


class Desk:
    def __init__(self) -> None:
        self.now = 1000.0
        self.collected: list[int] = []
        self.hands = Hands(lambda: self.now)
        self.sweeper = Sweeper(self.hands, lambda: self.now, self.collected.append)

    def seconds(self, count: int, *, keys: bool = False) -> list[int]:
        self.collected.clear()
        for _ in range(count):
            self.now += 1.0
            if keys:
                self.hands.moved()
            self.sweeper.sweep()
        return list(self.collected)


def test_young_objects_often_older_ones_rarely() -> None:
    desk = Desk()
    swept = desk.seconds(1200)
    assert swept.count(2) == 2
    assert 36 <= swept.count(1) <= 40
    assert 540 <= swept.count(0) <= 600


def test_keys_put_it_off_but_not_for_ever() -> None:
    desk = Desk()
    swept = desk.seconds(300, keys=True)
    assert swept.count(1) == 1
    assert 70 <= swept.count(0) <= 75
    assert 2 not in swept


def test_where_python_collects_nobody_else_does() -> None:
    gc.enable()
    assert Desk().seconds(100) == []
