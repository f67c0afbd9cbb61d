"""The filter language, one for grids and command line:

    state=running cpu>80 host~^hv ip=10.0.0.0/24 tag:web !project=test free text

Terms are all to hold; `or` or `|` between terms, `not` or `!` before one, and
parentheses do what they say; `!` binds tightest, then the space, then `or`.
Names of fields are those of JSON and columns, in any case, or short: cpu, mem,
ip, tag, net, uptime, full, size ... Words are compared without regard to case.

    =  !=     words: the same, or a glob (name=web-*); numbers: equal (measured ones within a half);
              several: state=running,paused holds for any of them, and != for none of them
    :         words: contains; lists: has it (tag:web, globs too); addresses: contains; numbers: as =
    ~  !~     a regular expression is found, or not (host~^hv[0-9]+$)
    > >= < <= numbers with their units: cpu>80 memory>=4GiB read>10M uptime>1d vcpus>4;
              words in natural order: libvirt>=9.0
    ip=       a network, an address, whole leading parts (10.0.3) or a glob
    is:       is:fault, is:stale, a state (is:running), or a field of yes and no (is:autostart)
    none  -   unknown or empty: project=none, cpu!=none; "none" in quotes is the word
    other     free text, found in name, host, state, addresses, tags, project ...; globs too

Unknown: a number or a yes-or-no that is not known fits no comparison, not even
`!=`, only `=none`. A word or list that is empty is different from every word:
project!=web holds for a VM without a project. The grammar is in
`virtfleet.query.filter_parser`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from virtfleet.errors import QueryError
from virtfleet.query.clock import Clock
from virtfleet.query.field import Unit
from virtfleet.query.filter_match import Test, compare, is_none
from virtfleet.query.filter_parser import Both, Compare, Either, Is, Node, Not, Parser, Text, Word
from virtfleet.query.nouns import NOUNS, Noun
from virtfleet.query.patterns import globber, is_glob

_LIVE = Clock(time.monotonic, time.time)


@dataclass(frozen=True, slots=True)
class Filter:
    text: str
    matches: Callable[[Any], bool]
    """Whether a row of the noun passes."""
    empty: bool = False
    """Whether everything passes, because nothing (complete) is asked."""
    error: QueryError | None = None
    """Lenient only: the first thing that was left out, and why."""


def compile_filter(text: str, noun: Noun[Any] | str, *, lenient: bool = False) -> Filter:
    """The filter that `text` asks for, on rows of `noun`.

    A noun given by its name has the clock's fields (age, stale) on the clock
    of this moment. QueryError has the column of the mistake, and in `cure`
    what was perhaps meant; `lenient`, for text that is still being typed,
    never raises and leaves out what is not complete or not right.
    """
    if isinstance(noun, str):
        noun = NOUNS[noun].with_clock(_LIVE)
    parser = Parser(text, lambda word: noun.field(word) is not None, lenient=lenient)
    compiler = _Compiler(text, noun, lenient)
    tree = parser.parse()
    test = None if tree is None else compiler.test(tree)
    error = parser.error or compiler.error
    if test is None:
        return Filter(text, lambda row: True, empty=True, error=error)
    return Filter(text, test, error=error)


def suggest(word: str, known: Iterable[str]) -> str:
    """`Did you mean x or y?`, or nothing."""
    close = get_close_matches(word.lower(), sorted(set(known)), n=3, cutoff=0.6)
    return f"Did you mean {' or '.join(close)}?" if close else ""


def unknown_field(word: str, noun: Noun[Any], *, text: str, column: int) -> QueryError:
    """The error for a word that names no field of `noun`."""
    names = [field.name for field in noun.fields]
    cure = suggest(word, [*names, *noun.short]) or f"Fields: {', '.join(names)}"
    return QueryError(f"{noun.plural} have no field {word!r}", text=text, column=column, cure=cure)


class _Compiler:
    def __init__(self, text: str, noun: Noun[Any], lenient: bool) -> None:
        self.text = text
        self.noun = noun
        self.lenient = lenient
        self.error: QueryError | None = None

    def test(self, node: Node) -> Test | None:
        """The test for `node`; None (lenient only): nothing of it is right."""
        match node:
            case Both(parts):
                return _both([test for part in parts if (test := self.test(part))])
            case Either(parts):
                return _either([test for part in parts if (test := self.test(part))])
            case Not(part):
                inner = self.test(part)
                return None if inner is None else _not(inner)
            case _:
                try:
                    return self._term(node)
                except QueryError as error:
                    if not self.lenient:
                        raise
                    self.error = self.error or error
                    return None

    def _term(self, node: Compare | Is | Text) -> Test:
        match node:
            case Text(word):
                return _free_text(self.noun, word)
            case Is(words):
                tests = [self._is(word) for word in words]
                return _either(tests) or _never
            case Compare(word, _, _):
                field = self.noun.field(word.text)
                if field is None:
                    raise unknown_field(word.text, self.noun, text=self.text, column=word.column)
                if field.name == "state" and node.operator in ("=", "!=") and self.noun.states:
                    self._check_states(node.values)
                return compare(field, node, self.text)

    def _check_states(self, words: Iterable[Word]) -> None:
        """A state that does not exist would quietly match nothing."""
        for word in words:
            known = word.text.lower() in self.noun.states or is_none(word)
            if not known and (word.quoted or not is_glob(word.text)):
                cure = suggest(word.text, self.noun.states) or f"States: {', '.join(self.noun.states)}"
                message = f"{self.noun.plural} have no state {word.text!r}"
                raise QueryError(message, text=self.text, column=word.column, cure=cure)

    def _is(self, word: Word) -> Test:
        name = word.text.lower()
        if name == "fault" and (fault := self.noun.field("fault")):
            of_fault = fault.get
            return lambda row: of_fault(row) is not None
        field = self.noun.field(name)
        if field is not None and field.unit is Unit.BOOL:
            get = field.get
            return lambda row: get(row) is True
        state = self.noun.field("state")
        if state is not None and name in self.noun.states:
            of_state = state.get
            return lambda row: of_state(row) == name
        known = [each.name for each in self.noun.fields if each.unit is Unit.BOOL]
        if self.noun.field("fault"):
            known.insert(0, "fault")
        known += self.noun.states
        cure = suggest(name, known) or f"Known: {', '.join(known)}"
        message = f"{self.noun.plural} can't be {word.text!r}"
        raise QueryError(message, text=self.text, column=word.column, cure=cure)


def _never(row: Any) -> bool:
    return False


def _not(test: Test) -> Test:
    return lambda row: not test(row)


def _both(tests: list[Test]) -> Test | None:
    if not tests:
        return None
    if len(tests) == 1:
        return tests[0]
    if len(tests) == 2:
        first, second = tests
        return lambda row: first(row) and second(row)
    return lambda row: all(test(row) for test in tests)


def _either(tests: list[Test]) -> Test | None:
    if not tests:
        return None
    if len(tests) == 1:
        return tests[0]
    return lambda row: any(test(row) for test in tests)


def _free_text(noun: Noun[Any], word: Word) -> Test:
    fields = [field for name in noun.text_fields if (field := noun.field(name))]
    # In two loops, because this runs for every row and asks most of it.
    texts: list[Callable[[Any], Any]] = [field.get for field in fields if field.unit is Unit.TEXT]
    lists: list[Callable[[Any], Any]] = [field.get for field in fields if field.unit is Unit.LIST]
    part = word.text.casefold()
    glob = globber(part, anywhere=True) if not word.quoted and is_glob(part) else None

    def anywhere(row: Any) -> bool:
        for get in texts:
            value = get(row)
            if value and part in value.casefold():
                return True
        for get in lists:
            for value in get(row) or ():
                if part in value.casefold():
                    return True
        return False

    def fits_anywhere(row: Any) -> bool:
        values = [value for get in texts if (value := get(row))]
        values += [value for get in lists for value in get(row) or ()]
        return glob is not None and any(glob(value.casefold()) for value in values)

    return anywhere if glob is None else fits_anywhere
