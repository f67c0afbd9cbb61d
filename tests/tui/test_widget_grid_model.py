"""The promises of a grid without a screen: order, and that nothing jumps."""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtfleet.query.field import Field, Unit
from virtfleet_tui.widgets.grid_model import GridModel, Patience, new_top


class Row(NamedTuple):
    key: str
    cpu: float | None
    state: str


FIELDS: tuple[Field[Row], ...] = (
    Field("name", "NAME", Unit.TEXT, "", lambda r: r.key),
    Field("cpu", "CPU", Unit.PERCENT, "", lambda r: r.cpu),
    Field("state", "STATE", Unit.TEXT, "", lambda r: r.state),
)
keys = st.sampled_from([f"vm-{n}" for n in range(12)])
rows = st.builds(
    Row, keys, st.none() | st.just(math.nan) | st.integers(0, 5).map(float), st.sampled_from("abc")
)
sorts = st.sampled_from([(), ("cpu",), ("-cpu",), ("state", "-cpu"), ("-state", "name"), ("-name",)])


def model(sort: tuple[str, ...] = ()) -> GridModel[Row]:
    return GridModel(FIELDS, lambda row: row.key, lambda row: row.state == "c", sort)


def expected(given: dict[str, Row], sort: tuple[str, ...]) -> list[str]:
    """The order by definition: unknown values last either way, ties by key."""
    order = sorted(given)
    get = {field.name: field.get for field in FIELDS}
    for name in reversed(sort):
        value = {key: get[name.removeprefix("-")](given[key]) for key in order}
        known = [key for key in order if value[key] is not None and value[key] == value[key]]
        unknown = [key for key in order if key not in known]
        known.sort(key=lambda key: value[key], reverse=name.startswith("-"))  # type: ignore[arg-type,return-value]
        order = known + unknown
    return order


@given(st.lists(st.lists(rows, max_size=10), max_size=6), sorts, sorts)
def test_order_is_that_of_sorted_however_the_rows_came(
    batches: list[list[Row]], first: tuple[str, ...], second: tuple[str, ...]
) -> None:
    grid, truth = model(first), dict[str, Row]()
    for index, batch in enumerate(batches):
        grid.upsert(batch)
        truth.update({row.key: row for row in batch})
        if index == 2:
            grid.sort = second
        grid.reorder()
        assert grid.order == expected(truth, grid.sort)


@given(st.lists(rows, max_size=12), st.lists(rows, max_size=12), st.sets(keys), st.booleans(), st.booleans())
def test_filters_show_exactly_what_passes(
    before: list[Row], after: list[Row], allowed: set[str], only: bool, first: bool
) -> None:
    grid = model(("-cpu",))
    grid.upsert(before)
    grid.reorder()
    grid.filter = lambda row: row.key in allowed
    grid.faults_only, grid.faults_first = only, first
    grid.reorder()
    grid.upsert(after)
    grid.reorder()
    truth = {row.key: row for row in [*before, *after]}
    shown = {k: r for k, r in truth.items() if k in allowed and (r.state == "c" or not only)}
    order = expected(shown, ("-cpu",))
    if first:
        order = [k for k in order if shown[k].state == "c"] + [k for k in order if shown[k].state != "c"]
    assert grid.order == order
    grid.filter, grid.faults_only, grid.faults_first = None, False, False
    grid.reorder()
    assert grid.order == expected(truth, ("-cpu",))


@given(st.lists(rows, min_size=1), st.integers(0, 20), st.lists(rows), st.sets(keys))
def test_cursor_and_marks_stay_on_their_objects(
    before: list[Row], at: int, after: list[Row], gone: set[str]
) -> None:
    grid = model(("-cpu",))
    grid.upsert(before)
    grid.reorder()
    grid.move_to(at)
    chosen = grid.cursor
    assert chosen is not None
    grid.marks = {chosen}
    grid.upsert(after)
    grid.reorder()
    assert grid.cursor == chosen
    assert grid.order[grid.index] == chosen
    grid.drop(gone)
    if chosen in gone:
        assert grid.marks == set()
    else:
        assert grid.cursor == chosen
        assert grid.marks == {chosen}
    if grid.order:
        assert grid.order[grid.index] == grid.cursor
    else:
        assert (grid.cursor, grid.index) == (None, -1)


def test_when_the_selected_object_goes_the_next_one_takes_its_line() -> None:
    grid = model()
    grid.upsert([Row(name, 0, "a") for name in "abcde"])
    grid.reorder()
    grid.move_to(2)
    grid.drop({"c"})
    assert (grid.cursor, grid.index) == ("d", 2)
    grid.drop({"d", "e"})
    assert (grid.cursor, grid.index) == ("b", 1)


@given(st.integers(1, 60), st.integers(0, 100), st.integers(0, 300), st.integers(0, 300), st.integers(1, 301))
def test_the_selected_object_keeps_its_line_of_the_screen(
    height: int, top: int, old: int, new: int, count: int
) -> None:
    new = min(new, count - 1)
    after = new_top(top, height, old, new, count)
    assert 0 <= after <= max(0, count - height)
    if 0 <= old - top < height:
        assert 0 <= new - after < height, "it stays in view"
        wanted = new - (old - top)
        if 0 <= wanted <= count - height:
            assert new - after == old - top, "and on its line, unless an end of the table is in the way"
    elif top <= count - height:
        assert after == top


def test_a_replacement_keeps_marks_and_cursor_of_what_is_still_there() -> None:
    grid = model(("name",))
    grid.replace([Row(name, 1, "a") for name in "abc"])
    grid.reorder()
    grid.move_to(1)
    grid.marks = {"a", "b"}
    former = grid.replace([Row(name, 2, "a") for name in "bcd"])
    assert former == {"b": Row("b", 1, "a"), "c": Row("c", 1, "a"), "d": None}
    assert grid.marks == {"b"}
    assert grid.cursor == "b"
    assert grid.order == ["b", "c"], "what is new waits for its moment"
    grid.reorder()
    assert grid.order == ["b", "c", "d"]


def test_marked_rows_come_in_order_with_hidden_ones_last() -> None:
    grid = model(("-cpu",))
    grid.upsert([Row("a", 1, "a"), Row("b", 2, "a"), Row("c", 3, "a")])
    grid.filter = lambda row: row.key != "c"
    grid.reorder()
    grid.marks = {"a", "b", "c"}
    assert [row.key for row in grid.marked_rows()] == ["b", "a", "c"]


def test_values_of_different_kinds_do_not_stop_it() -> None:
    odd: Field[Row] = Field("odd", "ODD", Unit.TEXT, "", lambda r: 1 if r.key == "a" else "x")
    grid = GridModel[Row]((odd,), lambda row: row.key, None, ("odd",))
    grid.upsert([Row("b", 0, ""), Row("a", 0, "")])
    grid.reorder()
    assert grid.order == ["a", "b"]


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(KeyError, match="nonsense"):
        model(("-nonsense",))


def test_sort_values_are_computed_once_per_change() -> None:
    seen: list[str] = []

    def get(row: Row) -> float | None:
        seen.append(row.key)
        return row.cpu

    grid = GridModel[Row]((Field("cpu", "CPU", Unit.PERCENT, "", get),), lambda row: row.key, None, ("cpu",))
    grid.upsert([Row(f"{n}", n % 3, "a") for n in range(100)])
    grid.reorder()
    assert len(seen) == 100
    grid.upsert([Row("7", 9, "a")])
    assert grid.reorder()
    assert seen[100:] == ["7"]
    grid.upsert([Row("7", 9, "b")])
    assert not grid.reorder(), "nothing it is sorted by has changed"


def test_patience_waits_for_quiet_and_sorts_rarely() -> None:
    patience = Patience()
    assert patience.delay(100.0, arrivals=False) == 0
    patience.pressed(100.0)
    assert patience.delay(100.5, arrivals=False) == pytest.approx(1.0)
    assert patience.delay(100.5, arrivals=True) == pytest.approx(1.0)
    patience.sorted(102.0)
    assert patience.delay(102.0, arrivals=False) == pytest.approx(2.0)
    assert patience.delay(102.0, arrivals=True) == pytest.approx(0.25)
    assert patience.delay(105.0, arrivals=False) == 0
