"""The terminal in memory: what a guest's bytes look like, and that no bytes break it or make it grow."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from unit.test_guest_output import HOSTILE
from virtfleet_tui.widgets.emulator import PLAIN, SCROLLBACK, Emulator
from virtfleet_tui.widgets.terminal_keys import key_bytes, paste_bytes

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def shown(data: bytes, columns: int = 20, lines: int = 5) -> Emulator:
    emulator = Emulator(columns, lines)
    emulator.feed(data)
    return emulator


def test_text_and_looks() -> None:
    emulator = shown(b"plain \x1b[1;31mred\x1b[0m \x1b[38;5;196;48;2;1;2;3mx\x1b[m\r\n\x1b[7;4mrev\x1b[m")
    assert emulator.text()[:2] == ["plain red x", "rev"]
    assert emulator.line(0)[0] == ("plain ", PLAIN)
    assert emulator.line(0)[1] == ("red", ("red", "default", True, False, False, False, False, False))
    assert emulator.line(0)[3][1][:2] == ("ff0000", "010203")
    assert emulator.line(1)[0][1][4:7] == (True, False, True)


def test_colours_with_colons() -> None:
    assert shown(b"\x1b[38:2::255:0:9mx").line(0)[0][1][0] == "ff0009"


def test_what_scrolls_away_is_kept_but_not_for_ever() -> None:
    emulator = shown(b"".join(b"line %d\r\n" % number for number in range(SCROLLBACK + 100)))
    assert emulator.scrolled == SCROLLBACK
    assert emulator.ever_scrolled == SCROLLBACK + 96
    assert emulator.line(-1) == ((f"line {SCROLLBACK + 95}", PLAIN),)
    assert emulator.line(-SCROLLBACK - 1) == ()


def test_the_other_screen_hides_the_first_and_keeps_nothing() -> None:
    emulator = shown(b"before\r\n\x1b[?1049h\x1b[H" + b"full\r\n" * 30)
    assert emulator.scrolled == 0
    assert "before" not in emulator.text()
    emulator.feed(b"\x1b[?1049l")
    assert emulator.text()[0] == "before"
    assert emulator.cursor == (0, 1)


def test_a_smaller_screen_keeps_the_lines_about_the_cursor() -> None:
    emulator = shown(b"1\r\n2\r\n3\r\n4\r\n5", lines=5)
    emulator.resize(20, 3)
    assert emulator.text() == ["3", "4", "5"]
    assert [emulator.line(-2), emulator.line(-1)] == [(("1", PLAIN),), (("2", PLAIN),)]
    emulator.resize(40, 5)
    assert emulator.text() == ["3", "4", "5", "", ""]
    emulator.feed(b"\r\n6")
    assert emulator.text()[:4] == ["3", "4", "5", "6"]


def test_a_smaller_screen_with_room_below_loses_nothing() -> None:
    emulator = shown(b"1\r\n2", lines=10)
    emulator.resize(20, 3)
    assert emulator.text() == ["1", "2", ""]
    assert emulator.scrolled == 0


def test_sequences_that_pyte_lacks() -> None:
    assert shown(b"ab\x1b[3bc").text()[0] == "abbbbc"
    assert shown(b"1\r\n2\r\n3\x1b[2S").text()[:2] == ["3", ""]
    assert shown(b"1\r\n2\x1b[T").text()[:3] == ["", "1", "2"]
    assert shown(b"a\x1b[sbc\x1b[uX").text()[0] == "aXc"
    assert shown(b"a\tb\x1b[2ZX").text()[0] == "X       b"
    assert shown(b"ab\x1bEc").text()[:2] == ["ab", "c"]
    assert shown(b"\x1b(0lqk\x1b(B").text()[0] == "┌─┐"
    assert shown(b"\x1b[31mx\x1b[!py").line(0)[1][1] == PLAIN


def test_a_cursor_can_be_saved_once_and_restored_often() -> None:
    emulator = shown(b"\x1b7" * 10_000 + b"abc\x1b8X\x1b8Y")
    assert emulator.text()[0] == "Ybc"


def test_nothing_is_answered_and_no_title_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    emulator = Emulator(20, 5)
    monkeypatch.setattr(emulator._screen, "write_process_input", sent.append)
    emulator.feed(b"\x1b[c\x1b[5n\x1b[6n\x1b]0;title\x07\x1b]52;c;eA==\x07\x1bP+q\x1b\\ok")
    assert sent == []
    assert emulator._screen.title == ""
    assert emulator.text()[0] == "ok"


def test_bells_are_told() -> None:
    rung: list[int] = []
    Emulator(20, 5, bell=lambda: rung.append(1)).feed(b"a\x07b")
    assert rung == [1]


def test_marks_are_not_piled_up() -> None:
    emulator = shown("e\u0301".encode() + b"x" + "\u0300".encode() * 100_000)
    assert emulator.text()[0] == "éx"


def test_half_of_a_wide_character_leaves_the_line_as_wide_as_it_was() -> None:
    emulator = shown("中中x\r中\x1b[1Gy".encode())
    assert [cell_len(text) for text in emulator.text()[:1]] == [5]
    assert shown("\x1b[20G中".encode()).line(0)[-1][0].strip() in ("", "中")


def test_a_failure_of_pyte_resets_the_screen_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    emulator = shown(b"before")

    def fail(*_: object) -> None:
        raise TypeError

    monkeypatch.setattr(emulator._screen, "erase_in_line", fail)
    emulator._stream._initialize_parser()
    emulator.feed(b"\x1b[K")
    assert emulator.failures == 1
    assert "screen reset" in "".join(emulator.text())
    emulator.feed(b"after")
    assert "after" in "".join(emulator.text())


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.one_of(HOSTILE, st.binary(max_size=40)), max_size=6), st.integers(2, 30), st.integers(2, 12)
)
def test_no_bytes_break_it(pieces: list[bytes], columns: int, lines: int) -> None:
    emulator = Emulator(20, 5)
    for number, piece in enumerate(pieces):
        emulator.feed(piece)
        if number == 2:
            emulator.resize(columns, lines)
    for y in range(-emulator.scrolled, emulator.lines):
        width = sum(cell_len(text) for text, _ in emulator.line(y))
        assert y < 0 or width <= emulator.columns
        assert not any(CONTROL.search(text) for text, _ in emulator.line(y))
    assert emulator.failures == 0
    assert len(emulator._screen.savepoints) <= 1
    cursor = emulator.cursor
    assert cursor is None or (0 <= cursor[0] < emulator.columns and 0 <= cursor[1] < emulator.lines)


def test_keys_as_a_terminal_sends_them() -> None:
    sent = {
        ("a", "a"): b"a", ("enter", "\r"): b"\r", ("backspace", "\x7f"): b"\x7f", ("tab", "\t"): b"\t",
        ("escape", "\x1b"): b"\x1b", ("ctrl+c", "\x03"): b"\x03", ("ctrl+z", None): b"\x1a",
        ("up", None): b"\x1b[A", ("f1", None): b"\x1bOP", ("f5", None): b"\x1b[15~", ("f20", None): b"",
        ("delete", None): b"\x1b[3~", ("shift+tab", None): b"\x1b[Z", ("ctrl+right", None): b"\x1b[1;5C",
        ("shift+f5", None): b"\x1b[15;2~", ("alt+x", "x"): b"\x1bx", ("alt+up", None): b"\x1b[1;3A",
        ("question_mark", "?"): b"?", ("plus", "+"): b"+", ("ö", "ö"): "ö".encode(),
        ("ctrl+@", None): b"\x00", ("ctrl+underscore", None): b"\x1f", ("f12", None): b"\x1b[24~",
    }  # fmt: skip
    assert {key: key_bytes(*key) for key in sent} == sent
    assert key_bytes("up", None, application=True) == b"\x1bOA"


def test_what_is_pasted_ends_no_brackets() -> None:
    assert paste_bytes("a\nb\r\nc\td\x1b[201~\x03", bracketed=False) == b"a\rb\rc\td[201~"
    assert paste_bytes("x\x1b[201~y", bracketed=True) == b"\x1b[200~x[201~y\x1b[201~"
