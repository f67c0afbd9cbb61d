"""The grammar of filters: from text to a small tree. What the terms mean is in `virtfleet.query.filter`.

    filter  = [ either ]
    either  = both { ( "or" | "|" ) both }
    both    = unary { [ "and" ] unary }
    unary   = ( "!" | "not" ) unary | "(" either ")" | term
    term    = field operator value { "," value }    cpu>80   state=running,paused   name="my vm"
            | "is:" word { "," word }               is:fault
            | word                                  free text
    operator = "=" | "!=" | "~" | "!~" | ">" | ">=" | "<" | "<=" | ":"

Spaces may stand around an operator where the word before it is a field. A
value in double quotes may contain anything (`\\"` and `\\\\` stand for a quote
and a backslash) and is taken literally: no glob, no list, not the word none.
A bare pattern after `~` reaches to the next space, or to a `)` that it did not
open itself; a comma and a bar in it belong to it.

A lenient parser serves an operator who is still typing: it never raises,
leaves out terms that are not complete, and closes what is open.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from virtfleet.errors import QueryError

MAX_LENGTH = 2000
MAX_DEPTH = 40

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_OPERATOR = re.compile(r"!=|!~|>=|<=|==|=|~|>|<|:")
_COLONS = re.compile(r"[0-9a-fA-F:.]*:[0-9a-fA-F.]*:[0-9a-fA-F:.]*")
"""A hardware address or an IPv6 address: free text, though it looks like field:value."""
_END_OF_WORD = re.compile(r"[\s()|]")
_END_OF_VALUE = re.compile(r"[\s(),|]")
_NOT = re.compile(r"not(?=[\s(!])", re.IGNORECASE)
_AND = re.compile(r"and(?=[\s()|]|\Z)", re.IGNORECASE)
_OR = re.compile(r"\|\|?|or(?=[\s()|]|\Z)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Word:
    text: str
    column: int
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Compare:
    field: Word
    operator: str
    values: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Is:
    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Text:
    word: Word


@dataclass(frozen=True, slots=True)
class Not:
    part: Node


@dataclass(frozen=True, slots=True)
class Both:
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Either:
    parts: tuple[Node, ...]


Node = Compare | Is | Text | Not | Both | Either


class Parser:
    def __init__(self, text: str, is_field: Callable[[str], bool], *, lenient: bool = False) -> None:
        """`is_field` tells whether a word names a field, for the spaces around an operator."""
        self.text = text
        self.is_field = is_field
        self.lenient = lenient
        self.error: QueryError | None = None
        """Lenient only: the first thing that was left out, and why."""
        self._at = 0

    def parse(self) -> Node | None:
        """The tree; None for a filter that is empty. QueryError unless lenient."""
        if len(self.text) > MAX_LENGTH:
            error = self._error(f"a filter may have {MAX_LENGTH} characters", MAX_LENGTH)
            if not self.lenient:
                raise error
            self.error = error
            return None
        parts: list[Node] = []
        self._space()
        while self._at < len(self.text):
            if self.text[self._at] == ")":
                self._complain(self._error("nothing is open that this could close", self._at))
                self._at += 1
            elif (node := self._either(0)) is not None:
                parts.append(node)
            self._space()
        return _joined(Both, parts)

    # ---- levels of the grammar

    def _either(self, depth: int) -> Node | None:
        parts = [self._both(depth)]
        while match := self._take(_OR):
            if parts[-1] is None:
                self._complain(self._error(f"a term is missing before {match!r}", self._at - len(match)))
            parts.append(self._both(depth))
            if parts[-1] is None:
                self._complain(self._error(f"a term is missing after {match!r}", self._at))
        return _joined(Either, [part for part in parts if part is not None])

    def _both(self, depth: int) -> Node | None:
        parts: list[Node] = []
        while True:
            self._space()
            if self._at >= len(self.text) or self.text[self._at] == ")" or _OR.match(self.text, self._at):
                return _joined(Both, parts)
            start = self._at
            if self._take(_AND):
                self._space()
                if not parts or self._at >= len(self.text):
                    side = "after" if parts else "before"
                    self._complain(self._error(f"a term is missing {side} 'and'", start))
                continue
            try:
                node = self._unary(depth)
            except QueryError as error:
                if not self.lenient:
                    raise
                self.error = self.error or error
                self._resume(start)
                continue
            if node is not None:
                parts.append(node)

    def _unary(self, depth: int) -> Node | None:
        if depth > MAX_DEPTH:
            raise self._error("nested too deeply", self._at)
        self._space()
        if self.text.startswith("!", self._at):
            self._at += 1
            node = self._unary(depth + 1)
            return None if node is None else Not(node)
        if self._take(_NOT):
            node = self._unary(depth + 1)
            return None if node is None else Not(node)
        if self.text.startswith("(", self._at):
            return self._parenthesis(depth)
        return self._term()

    def _parenthesis(self, depth: int) -> Node | None:
        opened = self._at
        self._at += 1
        node = self._either(depth + 1)
        self._space()
        if self.text.startswith(")", self._at):
            self._at += 1
        else:
            self._complain(self._error("this is never closed", opened))
        if node is None:
            self._complain(self._error("there is nothing between these", opened))
        return node

    # ---- terms

    def _term(self) -> Node:
        start = self._at
        if self.text.startswith('"', start):
            return Text(self._quoted())
        key = _KEY.match(self.text, start)
        if key and not self._is_address(start):
            name = Word(key[0], start)
            self._at = key.end()
            if self.is_field(key[0]):
                self._space()
            if operator := self._take(_OPERATOR):
                operator = "=" if operator == "==" else operator
                if key[0].lower() == "is" and operator in (":", "="):
                    return Is(self._values(operator))
                return Compare(name, operator, self._values(operator))
            self._at = start
        if operator := self._take(_OPERATOR):
            raise self._error(f"a field is missing before {operator!r}", start)
        word = self._bare(_END_OF_WORD)
        if not word.text:
            raise self._error("a term is missing here", start)
        self._must_end()
        return Text(word)

    def _is_address(self, at: int) -> bool:
        return _COLONS.fullmatch(self.text, at, self._end(_END_OF_WORD, at)) is not None

    def _values(self, operator: str) -> tuple[Word, ...]:
        self._space()
        if operator in ("~", "!~"):
            value = self._quoted() if self.text.startswith('"', self._at) else self._pattern()
            values = [value]
        else:
            values = [self._value()]
            while self.text.startswith(",", self._at):
                self._at += 1
                self._space()
                values.append(self._value())
        whole = [each for each in values if each.text or each.quoted]
        if len(whole) < len(values):
            error = self._error(f"a value is missing after {operator!r}", self._at)
            if not whole:
                raise error
            self._complain(error)
        self._must_end()
        return tuple(whole)

    def _value(self) -> Word:
        return self._quoted() if self.text.startswith('"', self._at) else self._bare(_END_OF_VALUE)

    def _bare(self, ends: re.Pattern[str]) -> Word:
        start, self._at = self._at, self._end(ends, self._at)
        return Word(self.text[start : self._at], start)

    def _quoted(self) -> Word:
        start = self._at
        out: list[str] = []
        at = start + 1
        while at < len(self.text) and self.text[at] != '"':
            if self.text[at] == "\\" and self.text[at + 1 : at + 2] in ('"', "\\"):
                at += 1
            out.append(self.text[at])
            at += 1
        self._at = min(at + 1, len(self.text))
        if at >= len(self.text):
            self._complain(self._error("this quote is never closed", start))
        return Word("".join(out), start, quoted=True)

    def _pattern(self) -> Word:
        """A bare regular expression: to the next space, or to a `)` that closes what it did not open."""
        start = at = self._at
        depth = 0
        while at < len(self.text) and not self.text[at].isspace():
            char = self.text[at]
            if char == "\\":
                at += 1
            elif char == "(":
                depth += 1
            elif char == ")":
                if not depth:
                    break
                depth -= 1
            at += 1
        self._at = min(at, len(self.text))
        return Word(self.text[start : self._at], start)

    # ---- small things

    def _end(self, ends: re.Pattern[str], at: int) -> int:
        """Where what `ends` ends does end, from `at` on."""
        match = ends.search(self.text, at)
        return match.start() if match else len(self.text)

    def _space(self) -> None:
        while self._at < len(self.text) and self.text[self._at].isspace():
            self._at += 1

    def _take(self, what: re.Pattern[str]) -> str:
        match = what.match(self.text, self._at)
        if not match:
            return ""
        self._at = match.end()
        return match[0]

    def _must_end(self) -> None:
        """After a term comes a space, a `)` or a `|`; anything else would be read as a second term."""
        rest = self.text[self._at : self._at + 1]
        if rest and not rest.isspace() and rest not in ")|":
            raise self._error(f"a space is missing before {rest!r}, or quotes around the value", self._at)

    def _resume(self, start: int) -> None:
        """Lenient: go on behind a term that was left out."""
        self._at = self._end(_END_OF_WORD, max(self._at, start + 1))
        if self.text.startswith("(", self._at):
            self._at += 1

    def _complain(self, error: QueryError) -> None:
        if not self.lenient:
            raise error
        self.error = self.error or error

    def _error(self, message: str, column: int) -> QueryError:
        return QueryError(message, text=self.text, column=column)


def _joined(kind: type[Both] | type[Either], parts: list[Node]) -> Node | None:
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else kind(tuple(parts))
