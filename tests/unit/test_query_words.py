"""Values in words: what one object is told with."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtfleet.query.field import Unit, Value
from virtfleet.query.words import describe, describe_age, describe_duration, describe_size

GIB = 1024**3


@pytest.mark.parametrize(
    ("size", "told"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (812, "812 bytes"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (4097, "4.0 KiB (4,097 bytes)"),
        (8 * GIB, "8.0 GiB"),
        (15139783049, "14.1 GiB (15,139,783,049 bytes)"),
        (GIB - 1, "1.0 GiB (1,073,741,823 bytes)"),
        (1 << 81, "2097152E"),
        (-5, "-5"),
    ],
)
def test_sizes(size: int, told: str) -> None:
    assert describe_size(size) == told


@given(st.integers(min_value=0, max_value=2**79))
def test_a_size_is_told_exactly(size: int) -> None:
    told = describe_size(size)
    if exact := re.search(r"\(([\d,]+) bytes\)", told):
        assert int(exact[1].replace(",", "")) == size
    else:
        number, name = told.split(" ")
        factor = 1 if name.startswith("byte") else 1024 ** ("KMGTPEZ".index(name[0]) + 1)
        assert round(float(number) * 10) * factor == size * 10


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "0 seconds"),
        (0.0004, "less than a millisecond"),
        (0.012, "12 milliseconds"),
        (1, "1 second"),
        (2.14, "2.1 seconds"),
        (59.6, "59 seconds"),
        (90, "1 minute and 30 seconds"),
        (12000, "3 hours and 20 minutes"),
        (86399.9, "23 hours and 59 minutes"),
        (90061, "1 day and 1 hour"),
        (45 * 86400, "45 days"),
        (400 * 86400, "1 year and 35 days"),
        (-90, "minus 1 minute and 30 seconds"),
        (1e300, "—"),
        (math.nan, "—"),
    ],
)
def test_durations(seconds: float, told: str) -> None:
    assert describe_duration(seconds) == told


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (None, "never"),
        (-3, "just now"),
        (0.9, "just now"),
        (2.9, "2 seconds ago"),
        (7199, "1 hour and 59 minutes ago"),
        (math.nan, "—"),
        (math.inf, "—"),
    ],
)
def test_ages(seconds: float | None, told: str) -> None:
    assert describe_age(seconds) == told


@pytest.mark.parametrize(
    ("value", "unit", "told"),
    [
        (1_482_000, Unit.RATE, "1.4 MiB/s"),
        (12345, Unit.COUNT, "12,345"),
        (12000, Unit.SECONDS, "3 hours and 20 minutes"),
        (81.4, Unit.PERCENT, "81 %"),
        (True, Unit.BOOL, "yes"),
        ("x", Unit.TEXT, "x"),
        (None, Unit.BYTES, "—"),
        (math.inf, Unit.BYTES, "—"),
    ],
)
def test_values(value: Value, unit: Unit, told: str) -> None:
    assert describe(value, unit) == told


@given(st.one_of(st.none(), st.booleans(), st.text(), st.integers(), st.floats()), st.sampled_from(Unit))
def test_there_are_words_for_everything(value: Value, unit: Unit) -> None:
    assert isinstance(describe(value, unit), str)
