"""Bars, capacity and sparklines: the right length, and exactly as many cells as asked."""

from __future__ import annotations

import math
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from virtfleet_tui.widgets import glyphs
from virtfleet_tui.widgets.bars import bar, capacity, load_meaning, percent_bar, percent_spark, sparkline
from virtfleet_tui.widgets.palette import centred, fit, fit_pieces, width_of, wrapped

amounts = st.none() | st.floats(0, 1e15)
widths = st.integers(0, 60)


@pytest.mark.parametrize(
    ("fraction", "shown"),
    [
        (0.0, "░░░░░░░░░░"),
        (0.001, "▏░░░░░░░░░"),
        (0.25, "██▌░░░░░░░"),
        (0.5, "█████░░░░░"),
        (0.91, "█████████▏"),
        (1.0, "██████████"),
        (7.0, "██████████"),
        (None, "┄┄┄┄┄┄┄┄┄┄"),
        (math.nan, "┄┄┄┄┄┄┄┄┄┄"),
    ],
)
def test_a_bar_is_exact_to_an_eighth(fraction: float | None, shown: str) -> None:
    assert bar(fraction, 10) == shown


def text(pieces: list[tuple[str, str]]) -> str:
    return "".join(each for each, _ in pieces)


def test_capacity_shows_used_promised_and_free() -> None:
    assert text(capacity(50, 80, 100, 10)) == "█████▒▒▒░░"
    assert text(capacity(90, 20, 100, 10)) == "█████████░"
    assert text(capacity(None, 80, 100, 10)) == "┄┄┄┄┄┄┄┄┄┄"
    assert text(capacity(1, 2, None, 10)) == "┄┄┄┄┄┄┄┄┄┄"


def test_capacity_promised_twice_shows_where_the_limit_is() -> None:
    pieces = capacity(50, 200, 100, 20, "warning")
    assert text(pieces) == "█████▒▒▒▒▒│▒▒▒▒▒▒▒▒▒"
    assert pieces[0] == ("█████", "warning")
    assert ("│", "bad") in pieces


@given(amounts, amounts, amounts, widths)
def test_every_picture_fills_its_cells(
    used: float | None, promised: float | None, limit: float | None, width: int
) -> None:
    assert width_of(capacity(used, promised, limit, width)) == width
    assert cell_len(bar(used, width)) == width
    if width >= 5:
        for pieces in (percent_bar(37.0, width), percent_spark([used, promised, limit], 37.0, width)):
            assert width_of(pieces) == width
            assert text(pieces).endswith("37 %")


@given(st.lists(st.none() | st.just(math.nan) | st.floats(-1e9, 1e9), max_size=80), widths)
def test_a_sparkline_keeps_gaps_and_width(values: list[float | None], width: int) -> None:
    line = sparkline(values, width)
    assert cell_len(line) == width
    shown = values[-width:] if width else []
    gaps = sum(value is None or math.isnan(value) for value in shown)
    assert line.count("┄") == gaps


def test_a_sparkline_rises() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([0, None, 100], 5, 0, 100) == "  ▁┄█"
    assert sparkline([0, 0], 2) == "▁▁"


def test_meaning_of_a_load() -> None:
    assert [load_meaning(value) for value in (None, 20.0, 85.0, 95.0)] == ["", "", "warning", "bad"]


def test_plain_terminals_get_ascii_only() -> None:
    glyphs.use(glyphs.for_terminal({"TERM": "linux"}))
    try:
        drawn = bar(0.5, 10) + text(capacity(50, 200, 100, 20)) + sparkline([1, None, 3], 3)
        assert drawn.isascii()
        assert bar(0.5, 10) == "#####....."
    finally:
        glyphs.use(glyphs.UNICODE)
    assert glyphs.for_terminal({"TERM": "xterm-256color"}) is glyphs.UNICODE


hostile = st.text(st.characters(codec="utf-8") | st.sampled_from("日本語e\u0301\u202e\x1b[] \t"), max_size=60)


@given(hostile, st.integers(0, 40), st.booleans())
def test_text_fits_exactly_whatever_it_is(name: str, width: int, right: bool) -> None:
    shown = fit(name, width, right)
    assert cell_len(shown) == width
    assert not any(unicodedata.category(char) in ("Cc", "Cf", "Cs") for char in shown)


@given(st.lists(st.tuples(hostile, st.just("good")), max_size=5), st.integers(0, 40), st.booleans())
def test_pieces_fit_exactly(pieces: list[tuple[str, str]], width: int, right: bool) -> None:
    assert width_of(fit_pieces(pieces, width, right)) == width


def test_a_cut_says_so() -> None:
    assert fit("database-01", 8) == "databas…"
    assert fit("日本語", 5) == "日本…"
    assert fit("日本語", 4) == "日… "
    assert text(fit_pieces([("ab", ""), ("cd", "bad"), ("ef", "")], 4)) == "abc…"


def test_messages_are_wrapped_at_words_and_centred() -> None:
    assert wrapped("one two three\nfour", 8) == ["one two", "three", "four"]
    assert [centred(["ab"], 6, 3, y) for y in range(3)] == ["      ", "  ab  ", "      "]
