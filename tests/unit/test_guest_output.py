"""A guest's bytes on their way to somebody's terminal: what passes, what never does, however they are cut."""

from __future__ import annotations

import re

import pyte
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from virtfleet.model.guest_output import BellLimit, Sieve

HARMLESS = re.compile(
    r"\x1b(?:[78DEM=>]|[()][0AB]|\[!p"
    r"|\[[0-9;]*m"
    r"|\[[0-9;]*[@A-IK-MPSXZ`abdefr]|\[[012]?(?:;[0-9]*)*J|\[[0-9]*T|\[[su]"
    r"|\[\?(?:1|5|6|7|12|25|2004|47|1047|1049)(?:;(?:1|5|6|7|12|25|2004|47|1047|1049))*[hl]"
    r"|\[(?:4|20)(?:;(?:4|20))*[hl])"
)
"""Written apart from the sieve on purpose: every sequence that may come out of it."""

PIECES = [
    b"\x1b", b"[", b"]", b"P", b"_", b"^", b"X", b"k", b"\\", b"\x07", b"0;", b"52;c;", b"?", b">", b"!",
    b"$", b" ", b"m", b"h", b"l", b"c", b"n", b"t", b"J", b"3", b"6", b"38:2::1:2:3", b"4:3", b"1049",
    b"1000", b"2004", b"1;2", b"\x18", b"\x1a", b"\x9b", b"\xc2\x9b", b"\xc2\x9d", b"\xe2\x80\xae", b"\xff",
    b"\xe4\xb8", b"\xad", b"\r\n", b"text", b"(", b"0", b"#8", b"%G", b"\x0e", b"\x00", b"\x7f", b"9" * 80,
    b";" * 40,
]  # fmt: skip
HOSTILE = st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=6)), max_size=60).map(b"".join)


def through(*pieces: bytes) -> str:
    sieve = Sieve()
    return "".join(sieve.feed(piece) for piece in pieces)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted(place % (len(data) + 1) for place in places)
    return [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True)]


@given(HOSTILE, st.lists(st.integers(0, 10_000), max_size=12))
@example(b"a\x1b]0;title\x07b", [3, 9])
@example(b"\xe4\xb8\xad", [1])
def test_how_the_stream_is_cut_makes_no_difference(data: bytes, places: list[int]) -> None:
    assert through(*cut(data, places)) == through(data)


@given(HOSTILE)
def test_only_what_is_known_to_be_harmless_comes_out(data: bytes) -> None:
    left = HARMLESS.sub("", through(data))
    assert not re.search(r"[\x00-\x06\x10-\x1f\x7f-\x9f]", left)
    assert not re.search("[\u200b-\u200f\u202a-\u202e\u2066-\u2069]", left)


@given(HOSTILE)
def test_what_came_out_passes_again_unchanged(data: bytes) -> None:
    once = through(data)
    assert through(once.encode()) == once


@pytest.mark.parametrize(
    ("hostile", "left"),
    [
        (b"\x1b]0;owned\x07", ""),
        (b"\x1b]2;owned\x1b\\", ""),
        (b"\x1b]52;c;cm0gLXJmIC8=\x07", ""),
        (b"\x1bP$qm\x1b\\", ""),
        (b"\x1b_app\x1b\\\x1b^pm\x1b\\\x1bXsos\x1b\\\x1bktitle\x1b\\", ""),
        (b"\x1b[c\x1b[>c\x1b[=c\x1b[5n\x1b[6n\x1b[?6n\x1b[x\x1bZ", ""),
        (b"\x1b[21t\x1b[14t\x1b[8;1;1t", ""),
        (b"\x1b[?1000h\x1b[?1003h\x1b[?1006h\x1b[?1004h", ""),
        (b"\x1b[2h\x1b[12h", ""),
        (b"\x1b[5i\x1b[?5i", ""),
        (b"\x1b[?3h", ""),
        (b"\x1b[3J", ""),
        (b"\x1b[>4;1m", ""),
        (b"\x1b[?4m", ""),
        (b"\xc2\x9d0;owned\x07", ""),
        ("\u202egnp.exe".encode(), "gnp.exe"),
        (b"\x1b]0;cut off\x1b[31mred", "\x1b[31mred"),
        pytest.param(b"\x1b]0;" + b"x" * 5000, "x" * 905, id="no end"),
        (b"\x1b[?25;1000;7l", "\x1b[?25;7l"),
        (b"\x1b[38:2::255:0:9mx", "\x1b[38;2;255;0;9mx"),
        (b"\x1b[38:5:196;4:3mx", "\x1b[38;5;196;4mx"),
        (b"\x1b[4:0m", "\x1b[24m"),
        (b"\x1b[99999999999999999A", "\x1b[9999A"),
        (b"\x1b[1\n2Ab", "\n2Ab"),
        (b"\x1b[12\x18Ab", "Ab"),
        (b"\x1b(0lqk\x1b(B", "\x1b(0lqk\x1b(B"),
        (b"\x1b%G\x1b#3\x1b#8\x1b*0", ""),
        ("größer 中 ─".encode(), "größer 中 ─"),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
def test_what_is_left_of(hostile: bytes, left: str) -> None:
    assert through(hostile) == left


def test_a_reset_leaves_the_readers_terminal_its_own_settings() -> None:
    assert "\x1bc" not in through(b"\x1bc")
    assert through(b"\x1bc").endswith("\x1b[H\x1b[2J")


@given(HOSTILE)
def test_the_end_puts_a_terminal_right(data: bytes) -> None:
    screen = pyte.Screen(20, 5)
    stream = pyte.Stream(screen)
    before = set(screen.mode)
    sieve = Sieve()
    shown = sieve.feed(data)
    # pyte itself fails on some sequences that terminals know; modes and colours are what is looked at here.
    for each in HARMLESS.findall(shown):
        if each.endswith(("h", "l", "m")) and "[" in each and "?6" not in each:
            stream.feed(each)
    stream.feed(sieve.undo())
    assert screen.mode - {mode << 5 for mode in (47, 1047, 1049)} == before
    assert screen.cursor.attrs == pyte.Screen(1, 1).cursor.attrs
    assert not screen.cursor.hidden


def test_the_other_screen_is_left_only_by_who_entered_it() -> None:
    sieve = Sieve()
    sieve.feed(b"\x1b[?1049h")
    assert "\x1b[?1049l" in sieve.undo()
    sieve.feed(b"\x1b[?1049l")
    assert "1049" not in sieve.undo()
    assert "\x1b[r" not in sieve.undo(), "it would move the cursor"
    sieve.feed(b"\x1b[2;5r")
    assert "\x1b[r" in sieve.undo()


def test_bells_are_rationed() -> None:
    limit = BellLimit(0.5)
    assert limit.pass_on("a\ab\ac", 1.0) == "a\abc"
    assert limit.pass_on("\a\a", 1.4) == ""
    assert limit.pass_on("\a", 1.6) == "\a"
    assert limit.pass_on("no bell", 1.6) == "no bell"
