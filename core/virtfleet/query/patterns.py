"""Regular expressions and globs that can't freeze the screen.

Python's matcher backtracks: `(a+)+$` needs centuries for thirty letters, and a
filter runs in the console's loop with every key. So the texts are cut, and a
pattern is refused when the ways in which it could split such a text, as its
parsed form tells, are too many. Where it starts is one choice, unless it
begins with `^`; every free repeat is another; three choices pass, and cost
tens of milliseconds with the worst of texts. Possessive repeats (`a++`) are none.
"""

from __future__ import annotations

import fnmatch
import re
import warnings
from collections.abc import Callable, Iterable
from functools import lru_cache
from importlib import import_module
from typing import Any

MAX_PATTERN = 200
MAX_TEXT = 256
"""Characters of a text that a pattern is held against; half of it with a pattern of three choices."""
_FREE = 75
"""Weight of a free repeat. Several share the text, so that k of them split n characters in n^k/k! ways; this
is the third root of that for three of them and half a text."""
_TWO_CHOICES = _FREE**2
_MAX_WAYS = _FREE**3

# The parsed form has no public name; it is the same in all Pythons that we run on, and tests hold it.
_parser: Any = import_module("re._parser")
_ANYWHERE: tuple[Any, Any] = ("MAX_REPEAT", (0, MAX_TEXT, []))


def _ways(items: Iterable[tuple[Any, Any]]) -> int:
    """In about how many ways the parsed `items` could match a long text."""
    ways = 1
    for op, argument in items:
        match str(op):
            case "MAX_REPEAT" | "MIN_REPEAT":
                low, high, inner = argument
                ways *= _repeated(_ways(inner), int(low), int(high))
            case "SUBPATTERN":
                ways *= _ways(argument[3])
            case "BRANCH":
                ways *= sum(_ways(each) for each in argument[1])
            case "ASSERT" | "ASSERT_NOT":
                ways *= _ways(argument[1])
            case "ATOMIC_GROUP":
                ways *= _ways(argument)
            case "POSSESSIVE_REPEAT":
                ways *= _ways(argument[2])
            case "GROUPREF" | "GROUPREF_IGNORE" | "GROUPREF_EXISTS":
                raise ValueError("a pattern may not refer back to its groups")
            case _:
                pass
        if ways > _MAX_WAYS:
            raise ValueError(
                "this pattern could take too long: begin it with ^, use fewer * and +, none within another, "
                "or *+ and ++ where nothing must be given back"
            )
    return ways


def _repeated(inner: int, low: int, high: int) -> int:
    if inner == 1:
        return min(high - low + 1, _FREE)
    # Anything above the limit is equally bad: no need for numbers of 2,000 digits.
    return int(min(_MAX_WAYS + 1, inner ** min(high, 64) * min(high - low + 1, _FREE)))


@lru_cache(maxsize=256)
def searcher(pattern: str) -> Callable[[str], bool]:
    """A test for "`pattern` is found in the text", in any case. ValueError says what is wrong with it."""
    if len(pattern) > MAX_PATTERN:
        raise ValueError(f"a pattern may have {MAX_PATTERN} characters, this has {len(pattern)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `[[a]` is odd, and no concern of the operator's
            parsed = _parser.parse(pattern, re.IGNORECASE)
            anchored = bool(parsed) and str(parsed[0][0]) == "AT" and "BEGINNING" in str(parsed[0][1])
            start = [] if anchored else [_ANYWHERE]
            limit = MAX_TEXT if _ways([*start, *parsed]) <= _TWO_CHOICES else MAX_TEXT // 2
            search = re.compile(pattern, re.IGNORECASE).search
    except re.error as error:
        raise ValueError(f"not a regular expression: {error.msg}") from None
    except (RecursionError, OverflowError):
        raise ValueError("this pattern is nested too deeply") from None
    return lambda text: search(text[:limit]) is not None


def is_glob(text: str) -> bool:
    return "*" in text or "?" in text


@lru_cache(maxsize=256)
def globber(pattern: str, *, anywhere: bool = False) -> Callable[[str], bool]:
    """A test for a folded text against a glob of `*` and `?`; brackets mean themselves, since hosts allow
    them in names. `fnmatch` makes atomic groups of the stars, so that it is linear in each of them."""
    folded = pattern.casefold().replace("[", "[[]")
    if anywhere:
        folded = f"*{folded}*"
    match = re.compile(fnmatch.translate(folded)).match
    return lambda text: match(text) is not None
