"""What a guest writes on its console, made harmless for the terminal of the person who reads it.

A guest may write anything: sequences that set the window's title or the
clipboard, ask the terminal to type an answer, lock the keyboard, print. So
nothing passes but what is listed here: text, movements of the cursor, colours,
erasing and a few modes that `Sieve.undo` takes back. The rest is dropped whole,
with its argument. The parser works on a stream: how the bytes were cut into
pieces on their way makes no difference.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from functools import lru_cache

_PLAIN = re.compile(r"[^\x00-\x1f\x7f-\x9f]+")
_CONTROLS = frozenset("\a\b\t\n\v\f\r")
_SHIFTS = frozenset("\x0e\x0f")
_STRINGS = frozenset("]PX^_k")
"""After ESC: title, clipboard, device control, messages; `k` is screen's title."""
_C1 = {"\x9b": "[", "\x90": "P", "\x98": "X", "\x9d": "]", "\x9e": "^", "\x9f": "_"}
_C1 |= {"\x84": "D", "\x85": "E", "\x8d": "M"}
_SIMPLE = frozenset("78DEM=>")
"""After ESC: save and restore the cursor, line feeds both ways, the keypad's two modes."""
_CHARSETS = frozenset("0AB")
_LONGEST_STRING = 4096
"""Characters after which a string without an end is text again: noise must hide nothing for long."""
_LONGEST_CSI = 64
_MOST_NUMBERS = 32
_CSI = re.compile(r"(\??)([0-9;:]*)(!?)")
_MOVES = frozenset("@ABCDEFGHIJKLMPSTXZ`abdefr")
_HIDDEN = frozenset({"Cf", "Zl", "Zp", "Cs", "Cc"})
_ALTERNATE = (47, 1047, 1049)
_PRIVATE = frozenset({1, 5, 6, 7, 12, 25, 2004, *_ALTERNATE})
"""Cursor keys, reverse video, origin, wrapping, cursor, pasting, the other screen. No mouse, no reports, no
132 columns."""
_PUBLIC = frozenset({4, 20})
"""Insertion, line feeds. Not the one that locks the keyboard."""
_SOFT_RESET = "\x1b[!p"

_GROUND, _ESCAPE, _CSI_BODY, _CSI_DROP, _STRING, _STRING_END, _DESIGNATE, _SKIP = range(8)


class Sieve:
    """Takes a guest's bytes, gives text that a terminal may be sent."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._state = _GROUND
        self._body = ""
        """Parameters of the sequence that has begun; how a charset is designated."""
        self._length = 0
        """Characters of the string that has begun."""
        self._set: set[int] = set()
        """Private modes that are not as they were."""
        self._margins = False

    def feed(self, data: bytes) -> str:
        """The harmless part of what came. What has only begun is kept for the next call."""
        text = self._decoder.decode(data)
        out: list[str] = []
        at, end = 0, len(text)
        while at < end:
            if self._state == _GROUND and (run := _PLAIN.match(text, at)):
                out.append(run[0] if run[0].isascii() else _shown(run[0]))
                at = run.end()
            elif self._step(text[at], out):
                at += 1
        return "".join(out)

    def undo(self) -> str:
        """Puts a terminal that was sent all this right again, without moving the cursor where it can."""
        home = 6 in self._set or self._margins
        alternate = "".join(f"\x1b[?{mode}l" for mode in _ALTERNATE if mode in self._set)
        return (
            f"{alternate}\x0f\x1b(B\x1b)B\x1b[m\x1b[4l\x1b[20l\x1b[?1l\x1b>\x1b[?5l\x1b[?7h\x1b[?12l\x1b[?25h"
            "\x1b[?2004l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1004l\x1b[?1006l"
            + ("\x1b7\x1b[?6l\x1b[r\x1b8\x1b[?6l" if home else "")
        )

    # ---- one character; False: it is to be looked at again, in the state that is now

    def _step(self, char: str, out: list[str]) -> bool:
        state = self._state
        if state == _STRING:
            return self._in_string(char)
        if char in "\x18\x1a":  # CAN and SUB end whatever has begun
            self._state = _GROUND
            return True
        if state == _STRING_END:
            self._state = _ESCAPE
            return char == "\\" and self._ground()
        if state == _GROUND:
            return self._in_ground(char, out)
        if not " " <= char <= "~":  # a control or foreign character breaks a sequence off
            self._state = _GROUND
            return False
        if state == _ESCAPE:
            return self._after_escape(char, out)
        if state in (_CSI_BODY, _CSI_DROP):
            return self._in_csi(char, out)
        if state == _SKIP:
            if char >= "0":
                self._state = _GROUND
            return True
        if char in _CHARSETS:  # how the charset just named is designated
            out.append(f"\x1b{self._body}{char}")
        return self._ground()

    def _ground(self) -> bool:
        self._state = _GROUND
        return True

    def _in_ground(self, char: str, out: list[str]) -> bool:
        if char == "\x1b":
            self._state = _ESCAPE
        elif char in _C1:
            self._after_escape(_C1[char], out)
        elif char in _CONTROLS or char in _SHIFTS:
            out.append(char)
        return True

    def _in_string(self, char: str) -> bool:
        """The string itself goes nowhere."""
        self._length += 1
        if char == "\x1b":
            self._state = _STRING_END
        elif char in "\a\x18\x1a\x9c" or self._length > _LONGEST_STRING:
            self._state = _GROUND
        return True

    def _after_escape(self, char: str, out: list[str]) -> bool:
        self._state = _GROUND
        if char == "[":
            self._state, self._body = _CSI_BODY, ""
        elif char in _STRINGS:
            self._state, self._length = _STRING, 0
        elif char in "()":
            self._state, self._body = _DESIGNATE, char
        elif char < "0":
            self._state = _SKIP
        elif char in _SIMPLE:
            out.append(f"\x1b{char}")
        elif char == "c":  # a full reset would take the reader's own settings along
            self._margins = False
            self._set &= set(_ALTERNATE)
            out.append(f"{_SOFT_RESET}\x1b[m\x1b[?7h\x1b[H\x1b[2J")
        return True

    def _in_csi(self, char: str, out: list[str]) -> bool:
        if char < "@":
            self._body += char
            if len(self._body) > _LONGEST_CSI:
                self._state, self._body = _CSI_DROP, ""
            return True
        if self._state == _CSI_BODY:
            out.append(self._allowed(self._body, char))
        return self._ground()

    # ---- what a sequence may be

    def _allowed(self, body: str, final: str) -> str:
        """The control sequence in plain form, or nothing."""
        found = _CSI.fullmatch(body)
        if found is None:
            return ""
        private, numbers, bang = found.groups()
        if bang:
            return _SOFT_RESET if final == "p" and not private and not numbers else ""
        if final == "m" and not private:
            return f"\x1b[{_rendition(numbers)}m"
        if ":" in numbers:
            return ""
        given = [_capped(each) for each in numbers.split(";")[:_MOST_NUMBERS]]
        if final in "hl":
            return self._mode(private, given, final)
        if private:
            return ""
        if final in "su":
            return "" if numbers else f"\x1b[{final}"
        if final not in _MOVES or (final == "J" and "3" in given) or (final == "T" and len(given) > 1):
            return ""  # erasing what has scrolled away is not the guest's business
        if final == "r":
            self._margins = True
        return f"\x1b[{';'.join(given)}{final}"

    def _mode(self, private: str, given: list[str], final: str) -> str:
        allowed = _PRIVATE if private else _PUBLIC
        modes = [int(each) for each in given if each and int(each) in allowed]
        if not modes:
            return ""
        if private:
            self._set = self._set | set(modes) if final == "h" else self._set - set(modes)
        return f"\x1b[{private}{';'.join(map(str, modes))}{final}"


def _capped(number: str) -> str:
    return str(min(int(number), 9999)) if number else ""


def _rendition(numbers: str) -> str:
    """Colours and attributes with semicolons alone; the colons of ISO 8613-6 are not known everywhere."""
    out: list[str] = []
    for each in numbers.split(";")[:_MOST_NUMBERS]:
        parts = each.split(":")
        if len(parts) == 1:
            out.append(_capped(each))
        elif parts[0] in ("38", "48") and parts[1] == "5" and len(parts) == 3:
            out += ["" if not part else _capped(part) for part in parts]
        elif parts[0] in ("38", "48") and parts[1] == "2" and len(parts) in (5, 6):
            out += [parts[0], "2", *(_capped(part) or "0" for part in parts[-3:])]
        elif parts[0] == "4":
            out.append("24" if parts[1] == "0" else "4")
    return ";".join(out)


def _shown(run: str) -> str:
    return "".join(char for char in run if char.isascii() or _is_shown(char))


@lru_cache(maxsize=4096)
def _is_shown(char: str) -> bool:
    """Not what turns the direction of writing or hides."""
    return unicodedata.category(char) not in _HIDDEN


class BellLimit:
    """Takes bells out of safe text when they come too often. The clock is the caller's."""

    def __init__(self, seconds: float = 0.5) -> None:
        self._seconds = seconds
        self._not_before = float("-inf")

    def pass_on(self, text: str, now: float) -> str:
        """`text` with at most one bell, and with none so soon after the last one."""
        if "\a" not in text:
            return text
        head, _, tail = text.partition("\a")
        if now < self._not_before:
            return head + tail.replace("\a", "")
        self._not_before = now + self._seconds
        return f"{head}\a{tail.replace(chr(7), '')}"
