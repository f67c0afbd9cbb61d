"""What one comparison of a filter means for each kind of field: tests on values, made once, run per row.

Each function gives a `Test`: row -> bool. What a value or operator can't mean
raises QueryError with the place in the text.
"""

from __future__ import annotations

import ipaddress
import operator
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from virtfleet.errors import QueryError
from virtfleet.query.field import Field, Unit
from virtfleet.query.filter_parser import Compare, Word
from virtfleet.query.naming import natural_key
from virtfleet.query.patterns import globber, is_glob, searcher
from virtfleet.query.units import parse_number

Test = Callable[[Any], bool]
_OfText = Callable[[str], bool]
_Get = Callable[[Any], Any]
"""A field's getter; its unit says what comes."""

_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
_YES = frozenset({"yes", "true", "on", "1"})
_NO = frozenset({"no", "false", "off", "0"})
_EXACT = frozenset({Unit.COUNT, Unit.BYTES, Unit.TIME})
_NEAR = 0.5
ADDRESSES = "addresses"
"""The field whose values are IP addresses."""


def is_none(word: Word) -> bool:
    """Whether a value stands for "unknown or empty"."""
    return not word.quoted and word.text.lower() in ("none", "-")


def compare(field: Field[Any], term: Compare, text: str) -> Test:
    """The test for `term` on `field`; `text` is the whole filter, for errors."""
    try:
        if field.unit is Unit.LIST:
            return _of_list(field, term)
        if field.unit is Unit.TEXT:
            return _of_text(field, term)
        if field.unit is Unit.BOOL:
            return _of_bool(field, term)
        return _of_number(field, term)
    except _Wrong as wrong:
        raise QueryError(wrong.message, text=text, column=wrong.word.column) from None


class _Wrong(Exception):  # noqa: N818 - never leaves this module
    def __init__(self, message: str, word: Word) -> None:
        super().__init__(message)
        self.message = message
        self.word = word


# ---- numbers


def _of_number(field: Field[Any], term: Compare) -> Test:
    get: _Get = field.get
    sign = term.operator
    if sign in ("~", "!~"):
        raise _Wrong(f"{field.name} is a number: use = != > >= < <=, not {sign}", term.field)
    if sign in _ORDER:
        bound = _number(field, _only(term))
        holds = _ORDER[sign]

        def ordered(row: Any) -> bool:
            value = get(row)
            return value is not None and holds(value, bound)

        return ordered
    known = [_number(field, word) for word in term.values if not is_none(word)]
    none = any(is_none(word) for word in term.values)
    near = 0.0 if field.unit in _EXACT else _NEAR

    def equal(row: Any) -> bool:
        value = get(row)
        if value is None:
            return none
        return any(value == each or abs(value - each) < near for each in known)

    if sign != "!=":
        return equal

    def unequal(row: Any) -> bool:
        value = get(row)
        return value is not None and not any(value == each or abs(value - each) < near for each in known)

    return unequal


def _number(field: Field[Any], word: Word) -> float:
    try:
        return parse_number(word.text, field.unit)
    except (ValueError, OverflowError) as error:
        raise _Wrong(f"{field.name}: {error}", word) from None


def _only(term: Compare) -> Word:
    if len(term.values) > 1:
        raise _Wrong(f"{term.operator} takes one value, not a list", term.values[1])
    if is_none(term.values[0]):
        raise _Wrong("unknown values have no order: use = or != with none", term.values[0])
    return term.values[0]


# ---- yes and no


def _of_bool(field: Field[Any], term: Compare) -> Test:
    get = field.get
    if term.operator not in ("=", "!=", ":"):
        raise _Wrong(f"{field.name} is yes or no: use = or !=, not {term.operator}", term.field)
    wanted: set[bool | None] = set()
    for word in term.values:
        low = word.text.lower()
        if is_none(word):
            wanted.add(None)
        elif low in _YES or low in _NO:
            wanted.add(low in _YES)
        else:
            raise _Wrong(f"{field.name} is yes, no or none, not {word.text!r}", word)
    if term.operator != "!=":
        return lambda row: get(row) in wanted
    unwanted = wanted | {None}
    return lambda row: get(row) not in unwanted


# ---- words


def _of_text(field: Field[Any], term: Compare) -> Test:
    get: _Get = field.get
    sign = term.operator
    if sign in _ORDER:
        holds, bound = _ORDER[sign], natural_key(_only(term).text)

        def ordered(row: Any) -> bool:
            value = get(row)
            return bool(value) and holds(natural_key(value), bound)

        return ordered
    none = sign not in ("~", "!~") and any(is_none(word) for word in term.values)
    test = _text_test(sign.lstrip("!"), term.values)

    def positive(row: Any) -> bool:
        value = get(row)
        return test(value) if value else none

    if not sign.startswith("!"):
        return positive
    return lambda row: not positive(row)


def _text_test(sign: str, words: Sequence[Word]) -> _OfText:
    """Whether a text, not empty, fits one of `words`."""
    if sign == "~":
        return _pattern(words[0])
    words = [word for word in words if not is_none(word)]
    folded = [word.text.casefold() for word in words]
    if sign == ":":
        if len(folded) == 1:
            part = folded[0]
            return lambda value: part in value.casefold()
        return lambda value: any(part in value.casefold() for part in folded)
    globs = [globber(word.text) for word in words if not word.quoted and is_glob(word.text)]
    if len(words) == len(globs) == 1:
        only = globs[0]
        return lambda value: only(value.casefold())
    exact = frozenset(
        text for text, word in zip(folded, words, strict=True) if word.quoted or not is_glob(word.text)
    )
    if not globs:
        return lambda value: value.casefold() in exact

    def fits(value: str) -> bool:
        value = value.casefold()
        return value in exact or any(glob(value) for glob in globs)

    return fits


def _pattern(word: Word) -> _OfText:
    try:
        return searcher(word.text)
    except ValueError as error:
        raise _Wrong(str(error), word) from None


# ---- lists


def _of_list(field: Field[Any], term: Compare) -> Test:
    get: _Get = field.get
    sign = term.operator
    if sign in _ORDER:
        raise _Wrong(f"{field.name} is a list: use = != ~ !~ or :, not {sign}", term.field)
    none = sign not in ("~", "!~") and any(is_none(word) for word in term.values)
    if field.name == ADDRESSES and sign in ("=", "!="):
        test = _address_test(term.values)
    elif field.name == ADDRESSES:
        test = _text_test(sign.lstrip("!"), term.values)
    else:
        # A tag is there or not: for other lists : means = .
        test = _text_test("~" if sign.endswith("~") else "=", term.values)

    def positive(row: Any) -> bool:
        values = get(row)
        if not values:
            return none
        # A loop, not any(): this runs for every row.
        for value in values:  # noqa: SIM110
            if test(value):
                return True
        return False

    if not sign.startswith("!"):
        return positive
    return lambda row: not positive(row)


_Address = tuple[int, int]
"""Version and number: what is compared for every row must be plain."""


@lru_cache(maxsize=65536)
def _address(text: str) -> _Address | None:
    """The address in `10.0.0.7`, `10.0.0.1/24`, `fe80::1%eth0`; None: there is none."""
    try:
        address = ipaddress.ip_address(text.partition("/")[0].partition("%")[0])
    except ValueError:
        return None
    return address.version, int(address)


def _range(word: Word) -> tuple[int, int, int] | None:
    """Version, first and last number of a network."""
    if "/" not in word.text:
        return None
    try:
        net = ipaddress.ip_network(word.text, strict=False)
    except ValueError:
        raise _Wrong(f"{word.text!r} is not a network; write 10.0.0.0/24 or fd00::/64", word) from None
    return net.version, int(net.network_address), int(net.broadcast_address)


def _address_test(words: Sequence[Word]) -> _OfText:
    """Whether an address is in one of the networks, is one of the addresses, begins with one of the whole
    parts (10.0.3 means 10.0.3.x, not 10.0.33.x), or fits a glob."""
    nets: list[tuple[int, int, int]] = []
    exact: set[_Address] = set()
    starts: list[str] = []
    globs: list[_OfText] = []
    for word in words:
        if is_none(word):
            continue
        if is_glob(word.text):
            globs.append(globber(word.text))
        elif net := _range(word):
            nets.append(net)
        elif address := _address(word.text):
            exact.add(address)
        else:
            start = word.text.casefold()
            starts += [start] if start.endswith((".", ":")) else [f"{start}.", f"{start}:"]

    begins = tuple(starts)

    def fits(value: str) -> bool:
        if nets or exact:
            address = _address(value)
            if address is not None:
                if address in exact:
                    return True
                version, number = address
                for kind, first, last in nets:
                    if kind == version and first <= number <= last:
                        return True
        if not begins and not globs:
            return False
        folded = value.casefold()
        return folded.startswith(begins) or any(glob(folded) for glob in globs)

    return fits
