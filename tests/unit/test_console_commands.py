"""The `:` line, the kept taste and the history of views: pure decisions of the console."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtfleet.actions.verbs import VERBS as VM_VERBS
from virtfleet.errors import QueryError
from virtfleet_tui import state
from virtfleet_tui.app import VirtfleetApp
from virtfleet_tui.commands import VERBS, Command, Words, complete, parse
from virtfleet_tui.console import History, Place
from virtfleet_tui.keys import ANYWHERE, GRID, KEYS, OBJECT, VM, keys_for
from virtfleet_tui.screens.base import FleetScreen
from virtfleet_tui.screens.detail import Detail
from virtfleet_tui.screens.happenings import AlertsScreen, EventsScreen
from virtfleet_tui.screens.lists import OneList
from virtfleet_tui.screens.overview import Overview
from virtfleet_tui.screens.xml import XmlScreen

WORDS = Words({"fields": lambda: ["name", "cpu", "cpu_pct"], "themes": lambda: ["dark", "light"]})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vms", Command("vms")),
        ("vm cpu>80 state=running", Command("vms", "cpu>80 state=running")),
        (":hosts", Command("hosts")),
        ("  Q ", Command("quit")),
        ("theme light", Command("theme", "light")),
        ("sort -cpu", Command("sort", "-cpu")),
        ("netw", Command("networks")),
        ("  ", None),
    ],
)
def test_lines_mean_commands(text: str, expected: Command | None) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "column", "part"),
    [
        ("vsm", 0, "vms"),
        (" xyzzy", 1, "no command"),
        ("theme", 5, "needs NAME"),
        ("quit now", 5, "takes nothing"),
        ("h:", 0, "no command"),
    ],
)
def test_mistakes_are_placed(text: str, column: int, part: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse(text)
    assert caught.value.column == column
    assert part in caught.value.message


@given(st.text(max_size=40))
def test_any_line_is_a_command_nothing_or_a_placed_mistake(text: str) -> None:
    column = 0
    try:
        parse(text)
    except QueryError as error:
        column = error.column
    assert 0 <= column <= len(text)
    for line in complete(text, WORDS):
        assert line.startswith(text[: len(text) - len(text.lstrip(" :"))])


def test_completion_offers_whole_lines() -> None:
    assert complete("vo", WORDS) == ["volumes"]
    assert complete("ski", WORDS) == ["skin"]
    assert complete("sort c", WORDS) == ["sort cpu", "sort cpu_pct"]
    assert complete("columns name c", WORDS) == ["columns name cpu", "columns name cpu_pct"]
    assert complete("theme ", WORDS) == ["theme dark", "theme light"]
    assert complete("quit ", WORDS) == []


def test_names_of_verbs_are_unique() -> None:
    names = [name for verb in VERBS for name in verb.names]
    assert len(names) == len(set(names))


def test_no_key_is_bound_twice_where_both_apply() -> None:
    seen: dict[tuple[str, str], str] = {}
    for key in KEYS:
        for each in key.keys.split(","):
            assert (key.where, each) not in seen, f"{each} is {key.action} and {seen[key.where, each]}"
            seen[key.where, each] = key.action


def test_no_key_means_two_things_where_vms_are() -> None:
    together = [key for key in KEYS if key.where in (ANYWHERE, GRID, OBJECT, VM)]
    used = [each for key in together for each in key.keys.split(",")]
    assert len(used) == len(set(used))
    assert {verb.key for verb in VM_VERBS if verb.key} <= set(used)


def test_history_is_a_browsers() -> None:
    history = History(Place("overview"))
    history.visit(Place("vms"))
    history.visit(Place("vms"))
    history.visit(Place("pools"))
    assert history.step(-1) == Place("vms")
    assert history.step(-1) == Place("overview")
    assert history.step(-1) is None
    assert history.step(1) == Place("vms")
    history.visit(Place("events"))
    assert history.step(1) is None
    assert history.step(-1) == Place("vms")


def test_taste_survives(tmp_path: Path) -> None:
    taste = state.Taste(theme="virtfleet-light", dismissed=["demo"])
    taste.of("vm").columns = ["name", "cpu_pct"]
    taste.of("vm").widths = {"name": 30}
    assert state.write(tmp_path / "new", state.encode(taste))
    assert state.load(tmp_path / "new") == taste
    assert [path.name for path in (tmp_path / "new").iterdir()] == [state.FILE_NAME]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"theme": 3}', b'{"lists": {"vm": {"widths": {"a": "x"}}}}', b"\xff"]
)
def test_broken_state_is_ignored(tmp_path: Path, content: bytes) -> None:
    (tmp_path / state.FILE_NAME).write_bytes(content)
    assert state.load(tmp_path) == state.Taste()


def test_absurd_widths_are_bounded(tmp_path: Path) -> None:
    (tmp_path / state.FILE_NAME).write_bytes(
        b'{"lists": {"vm": {"widths": {"a": 99999, "b": -4}}}, "later": 1}'
    )
    assert state.load(tmp_path).of("vm").widths == {"a": 200, "b": 1}


def test_a_folder_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert not state.write(tmp_path / "file", b"{}")
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("screen", [Overview, OneList, Detail, XmlScreen, EventsScreen, AlertsScreen])
def test_every_key_has_somebody_who_does_it(screen: type[FleetScreen]) -> None:
    # Lists without a filter and the like switch these keys off.
    partly = screen in (EventsScreen, AlertsScreen)
    for key in keys_for({ANYWHERE} if partly else screen.contexts):
        name = key.action.partition("(")[0]
        owner = VirtfleetApp if name.startswith("app.") or name == "command_palette" else screen
        if key.bound:
            assert hasattr(owner, f"action_{name.removeprefix('app.')}"), key
