"""Sizes, rates, durations: read from what people write, shown in the cells there are."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtfleet.query.display import cell_width, fit, format_age, format_duration, format_value
from virtfleet.query.field import Unit
from virtfleet.query.naming import natural_key
from virtfleet.query.units import (
    format_size,
    parse_count,
    parse_duration,
    parse_number,
    parse_percent,
    parse_rate,
    parse_size,
    parse_time,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512MiB", 512 * 1024**2),
        ("10GiB", 10 * 1024**3),
        ("10 g", 10 * 1024**3),
        ("1.5T", 3 * 1024**4 // 2),
        ("4096", 4096),
        ("4096b", 4096),
        ("1KB", 1000),
        ("2GB", 2 * 1000**3),
        ("0", 0),
        (".5k", 512),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "-1G", "1e3", "1,5G", "1Z", "1GiBs", "٣", "1 2", "1" * 40])
def test_what_is_not_a_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size; write"):
        parse_size(text)


@given(st.integers(min_value=0, max_value=2**70))
def test_an_exact_size_is_read_back(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("2m", 120),
        ("1h30m", 5400),
        ("1h 30min", 5400),
        ("0.5h", 1800),
        ("5d", 432000),
        ("1w", 604800),
        ("500ms", 0.5),
        ("90", 90),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "m", "1h30", "soon", "1x", "-5s"])
def test_what_is_not_a_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


def test_other_numbers() -> None:
    assert parse_rate("80M") == parse_rate("80MiB/s") == 80 * 1024**2
    assert parse_count("10k") == 10_000
    assert parse_percent("80%") == parse_percent("80") == 80
    assert parse_time("1700000000") == 1_700_000_000
    assert parse_time("2024-05-01T12:30:00+00:00") == 1714566600
    with pytest.raises(ValueError, match="not counted"):
        parse_number("1", Unit.TEXT)


@pytest.mark.parametrize(
    ("value", "unit", "width", "shown"),
    [
        (None, Unit.BYTES, 6, "—"),
        (math.nan, Unit.PERCENT, 6, "—"),
        (math.inf, Unit.RATE, 6, "—"),
        (0, Unit.BYTES, 6, "0"),
        (812, Unit.BYTES, 6, "812"),
        (4096, Unit.BYTES, 6, "4.0K"),
        (15139783049, Unit.BYTES, 6, "14.1G"),
        (15139783049, Unit.BYTES, 4, "14G"),
        (210 * 1024**2, Unit.RATE, 6, "210M"),
        (1023 * 1024**2, Unit.RATE, 6, "1.0G"),
        (873, Unit.IOPS, 4, "873"),
        (1234, Unit.IOPS, 4, "1234"),
        (12345, Unit.IOPS, 4, "12k"),
        (1234567, Unit.COUNT, 5, "1.2M"),
        (81.4, Unit.PERCENT, 6, "81 %"),
        (100.0, Unit.PERCENT, 4, "100%"),
        (99.97, Unit.PERCENT, 6, "99 %"),
        (0.012, Unit.SECONDS, 6, "12ms"),
        (2.1, Unit.SECONDS, 6, "2.1s"),
        (12000, Unit.SECONDS, 6, "3h20m"),
        (12000, Unit.SECONDS, 3, "3h"),
        (1.5, Unit.LOAD, 6, "1.50"),
        (True, Unit.BOOL, 4, "yes"),
        (False, Unit.BOOL, 4, "no"),
        (("a", "b"), Unit.LIST, 8, "a, b"),
        (("alpha", "beta"), Unit.LIST, 8, "alpha, …"),
        ("漢字の名前", Unit.TEXT, 6, "漢字…"),
        (123456, Unit.LOAD, 4, "…"),
        (1e300, Unit.TIME, 8, "—"),
    ],
)
def test_values_in_cells(value: object, unit: Unit, width: int, shown: str) -> None:
    assert format_value(value, unit, width) == shown  # type: ignore[arg-type]


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.text(),
    st.lists(st.text()).map(tuple),
    st.integers(min_value=-(2**70), max_value=2**70),
    st.floats(),
)


@given(VALUES, st.sampled_from(Unit), st.integers(min_value=1, max_value=40))
def test_a_value_never_leaves_its_cell(value: object, unit: Unit, width: int) -> None:
    assert cell_width(format_value(value, unit, width)) <= width  # type: ignore[arg-type]


@given(st.text(), st.integers(min_value=0, max_value=20))
def test_a_cut_text_begins_as_the_text(text: str, width: int) -> None:
    cut = fit(text, width)
    assert cell_width(cut) <= width
    assert cut == text or text.startswith(cut.removesuffix("…"))


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, "—"), (-3, "0s"), (59.9, "59s"), (60, "1m"), (7199, "1h"), (5 * 86400, "5d")],
)
def test_ages_are_rounded_down(seconds: float | None, shown: str) -> None:
    assert format_age(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0s"), (0.9999, "1.0s"), (9.96, "10s"), (59.4, "59s"), (59.6, "1m"), (86400, "1d"), (-60, "-1m")],
)
def test_spans(seconds: float, shown: str) -> None:
    assert format_duration(seconds) == shown


def test_names_in_natural_order() -> None:
    names = ["hv10", "HV2", "hv1", "db", "hv01b", "hv1a", "7", "10"]
    assert sorted(names, key=natural_key) == ["7", "10", "db", "hv1", "hv1a", "hv01b", "HV2", "hv10"]


@given(st.integers(min_value=0), st.integers(min_value=0), st.text(alphabet="abc-"))
def test_numbers_in_names_count(first: int, second: int, rest: str) -> None:
    keys = natural_key(f"vm{first}{rest}"), natural_key(f"vm{second}{rest}")
    assert (keys[0] < keys[1]) == (first < second)
