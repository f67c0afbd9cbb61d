"""Choosing columns and sorting by them."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unit.query_objects import host, row, vm
from virtfleet.errors import QueryError
from virtfleet.model import VmState
from virtfleet.query.columns import default_columns, parse_columns, parse_sort, sort_rows
from virtfleet.query.nouns import NOUNS
from virtfleet.query.rows import VmRow

VM = NOUNS["vm"]


def _names(text: str) -> list[str]:
    return [field.name for field in parse_columns(text, VM)]


def test_columns() -> None:
    assert _names("name, STATE,cpu,name") == ["name", "state", "cpu_pct"]
    assert _names("uuid,default")[:3] == ["uuid", "name", "host"]
    assert _names("all") == [field.name for field in VM.fields]
    assert "uuid" not in [field.name for field in default_columns(VM)]


@pytest.mark.parametrize(
    ("text", "column", "cure"),
    [("name, stat", 6, "Did you mean state"), ("zzz", 0, "Fields: name"), (",", 0, "Write")],
)
def test_wrong_columns(text: str, column: int, cure: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse_columns(text, VM)
    assert caught.value.column == column
    assert caught.value.cure.startswith(cure)


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("cpu:desc,name", ("-cpu_pct", "name")),
        ("-cpu, name:asc", ("-cpu_pct", "name")),
        ("-cpu:desc", ("cpu_pct",)),
        ("cpu,cpu:desc", ("cpu_pct",)),
        ("", ()),
    ],
)
def test_sort_specs(text: str, spec: tuple[str, ...]) -> None:
    assert parse_sort(text, VM) == spec


@pytest.mark.parametrize(("text", "column"), [("name,cpu:sideways", 9), ("-nam", 1), ("name,x", 5)])
def test_wrong_sort_specs(text: str, column: int) -> None:
    with pytest.raises(QueryError) as caught:
        parse_sort(text, VM)
    assert caught.value.column == column


def test_sorting_by_a_field_that_is_not_there() -> None:
    with pytest.raises(QueryError, match="no field 'x'"):
        sort_rows([], ("x",), VM.fields)


def test_names_in_natural_order_and_trouble_first() -> None:
    rows = [
        row(vm("vm10", VmState.SHUTOFF), host("hv2")),
        row(vm("vm2"), host("hv10")),
        row(vm("vm2", VmState.CRASHED), host("hv2")),
    ]
    by_name = sort_rows(rows, ("name", "host"), VM.fields)
    assert [(each.vm.name, each.host.name) for each in by_name] == [
        ("vm2", "hv2"),
        ("vm2", "hv10"),
        ("vm10", "hv2"),
    ]
    by_state = sort_rows(rows, ("state",), VM.fields)
    assert [each.vm.state for each in by_state] == ["crashed", "running", "shutoff"]


loads = st.none() | st.just(math.nan) | st.integers(0, 3).map(float)


@given(st.lists(loads, max_size=30), st.booleans())
def test_sorting_is_stable_with_the_unknown_last(values: list[float | None], descending: bool) -> None:
    rows: list[VmRow] = [row(vm(f"vm{n}", cpu=value)) for n, value in enumerate(values)]
    spec = ("-cpu_pct",) if descending else ("cpu_pct",)
    got = [(each.vm.stats.cpu_pct, each.vm.name) for each in sort_rows(rows, spec, VM.fields)]
    known = [(value, f"vm{n}") for n, value in enumerate(values) if value is not None and value == value]
    unknown = [f"vm{n}" for n, value in enumerate(values) if value is None or value != value]
    expected = sorted(known, key=lambda pair: -pair[0] if descending else pair[0])
    assert got[: len(known)] == expected
    assert [name for _, name in got[len(known) :]] == unknown


@given(st.lists(st.tuples(loads, st.integers(0, 3)), max_size=20))
def test_the_second_key_decides_among_equals(values: list[tuple[float | None, int]]) -> None:
    rows = [row(vm(f"vm{number}", cpu=load)) for load, number in values]
    got = sort_rows(rows, ("-cpu_pct", "name"), VM.fields)
    for first, second in pairwise(got):
        if first.vm.stats.cpu_pct == second.vm.stats.cpu_pct:
            assert first.vm.name <= second.vm.name
