"""What a person writes to choose and order columns, and the sorting itself.

    -o name,state,cpu      fields in this order; `all` stands for every field, `default` for the usual ones
    --sort cpu:desc,name   most important first; `-cpu` is the same as `cpu:desc`

A sort is kept as names of fields, "-" before a descending one: ("-cpu_pct", "name").
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from virtfleet.errors import QueryError
from virtfleet.query.field import Field
from virtfleet.query.filter import unknown_field
from virtfleet.query.nouns import Noun

T = TypeVar("T")

_DIRECTIONS = {"": "", "asc": "", "up": "", "desc": "-", "down": "-"}
_ON_REQUEST = 8


def default_columns(noun: Noun[T]) -> tuple[Field[T], ...]:
    """Those fields of a listing for which nobody has to ask."""
    return tuple(field for field in noun.fields if field.priority < _ON_REQUEST)


def _pieces(text: str) -> Iterable[tuple[str, int]]:
    """The words between the commas, with their columns."""
    at = 0
    for piece in text.split(","):
        yield piece.strip(), at + len(piece) - len(piece.lstrip())
        at += len(piece) + 1


def parse_columns(text: str, noun: Noun[T]) -> tuple[Field[T], ...]:
    """The fields that `text` names, each once. QueryError: unknown, or none at all."""
    chosen: dict[str, Field[T]] = {}
    for word, column in _pieces(text):
        if not word:
            continue
        if word.lower() == "all":
            several: Sequence[Field[T]] = noun.fields
        elif word.lower() == "default":
            several = default_columns(noun)
        else:
            field = noun.field(word)
            if field is None:
                raise unknown_field(word, noun, text=text, column=column)
            several = (field,)
        chosen.update((field.name, field) for field in several if field.name not in chosen)
    if not chosen:
        raise QueryError("no column is named", text=text, cure="Write names with commas: name,state,cpu")
    return tuple(chosen.values())


def parse_sort(text: str, noun: Noun[Any]) -> tuple[str, ...]:
    """The sort that `text` asks for, by full names. QueryError: unknown field or direction."""
    spec: dict[str, str] = {}
    for word, column in _pieces(text):
        if not word:
            continue
        name, _, direction = word.partition(":")
        sign = _DIRECTIONS.get(direction.strip().lower())
        if sign is None:
            where = column + len(name) + 1
            message = f"{direction!r} is no direction"
            raise QueryError(message, text=text, column=where, cure="Write asc or desc")
        if name.startswith("-"):
            sign = "" if sign else "-"
            name, column = name[1:], column + 1
        field = noun.field(name.strip())
        if field is None:
            raise unknown_field(name.strip(), noun, text=text, column=column)
        spec.setdefault(field.name, sign + field.name)
    return tuple(spec.values())


def sort_rows(rows: Iterable[T], spec: Sequence[str], fields: Sequence[Field[T]]) -> list[T]:
    """`rows` by `spec`; rows that are equal stay in their order, unknown values come last either way.

    Names that are not among `fields` raise QueryError.
    """
    ordered = list(rows)
    by_name = {field.name: field for field in fields}
    for name in reversed(spec):
        bare = name.removeprefix("-")
        field = by_name.get(bare)
        if field is None:
            raise QueryError(f"there is no field {bare!r} to sort by", text=",".join(spec))
        ordered = _by(ordered, field, descending=name.startswith("-"))
    return ordered


def _by(rows: list[T], field: Field[T], *, descending: bool) -> list[T]:
    of = field.sort_key or field.get
    known: list[tuple[Any, T]] = []
    unknown: list[T] = []
    for row in rows:
        key = of(row)
        # Not a number is no place in an order either.
        if key is None or key != key:
            unknown.append(row)
        else:
            known.append((key, row))
    known.sort(key=_first, reverse=descending)
    return [row for _, row in known] + unknown


def _first(pair: tuple[Any, Any]) -> Any:
    return pair[0]
