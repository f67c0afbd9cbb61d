"""YAML read into a tree that remembers its lines, so that every later error can name one.

Built from parser events instead of PyYAML's constructor: duplicate keys are
errors, no tag can create an object, nesting and the expansion of aliases are
bounded before anything is expanded, and a plain scalar is a boolean, a decimal
number or text (no octal 022, no sexagesimal 1:30, no dates).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import yaml

from virtfleet.errors import ConfigError

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MAX_DEPTH = 32
MAX_NODES = 1_000_000
_TOO_DEEP = f"nested more than {MAX_DEPTH} deep"

Scalar = str | int | float | bool | None
_NULL = {"", "~", "null", "Null", "NULL"}
_TRUE = {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"}
_FALSE = {"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"}
_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?([0-9]{1,18}\.[0-9]{0,18}|\.[0-9]{1,18})([eE][-+]?[0-9]{1,3})?")
_STR_TAG = "tag:yaml.org,2002:str"


@dataclass(frozen=True, slots=True)
class Node:
    """One value of a file. For a value in a mapping, `line` (1-based) is that of its key."""

    value: Scalar | list[Node] | dict[str, Node]
    file: str
    line: int
    size: int = 1
    """Nodes in it when every alias is expanded."""

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"

    @property
    def found(self) -> str:
        """What it is, for the sentence "found ..."."""
        match self.value:
            case None:
                return "nothing"
            case bool():
                return f"the boolean {str(self.value).lower()}"
            case int() | float():
                return f"the number {self.value}"
            case str():
                return f"the text {shown(self.value)}"
            case list():
                return "a list"
            case _:
                return "a mapping"


def shown(text: str) -> str:
    """`text` in quotes, escaped, and not too long for a message."""
    return ascii(text if len(text) <= 60 else text[:59] + "…") if not text.isprintable() else (
        f'"{text}"' if len(text) <= 60 else f'"{text[:59]}…"'
    )  # fmt: skip


def parse(text: str, file: str) -> Node | None:
    """The tree of the only document in `text`; None: there is nothing in it but comments.

    ConfigError: not YAML, a duplicate key, a tag, a second document, too deep or too large.
    """
    loader = _LOADER(text)
    try:
        return _Composer(loader, file).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{file}:{mark.line + 1}" if mark else file
        if "nesting depth" in (error.problem or ""):  # newer libraries have a limit of their own
            raise ConfigError(_TOO_DEEP, where=where) from None
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(f"not valid YAML: {problem}", where=where) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"not valid YAML: {str(error).splitlines()[0]}", where=file) from None
    finally:
        loader.dispose()


class _Composer:
    def __init__(self, loader: Any, file: str) -> None:
        self._loader = loader
        self._file = file
        self._anchors: dict[str, Node] = {}
        self._open: set[str] = set()
        """Anchors whose node is not complete: an alias to one would be endless."""

    def document(self) -> Node | None:
        get = self._loader.get_event
        get()
        if isinstance(self._loader.peek_event(), yaml.StreamEndEvent):
            return None
        get()
        node = self._node(get(), 0)
        get()
        extra = get()
        if not isinstance(extra, yaml.StreamEndEvent):
            raise self._error(extra, "a second YAML document in one file; use a folder of files instead")
        return None if node.value is None else node

    def _error(self, event: Any, message: str) -> ConfigError:
        return ConfigError(message, where=f"{self._file}:{event.start_mark.line + 1}")

    def _node(self, event: Any, depth: int) -> Node:
        line = event.start_mark.line + 1
        if depth > MAX_DEPTH:
            raise self._error(event, _TOO_DEEP)
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in self._open:
                raise self._error(event, f"the alias *{event.anchor} stands inside what it repeats")
            if event.anchor not in self._anchors:
                raise self._error(
                    event, f"the alias *{event.anchor} repeats nothing: there is no &{event.anchor}"
                )
            return replace(self._anchors[event.anchor], line=line)
        if event.anchor:
            self._open.add(event.anchor)
        if event.tag not in (None, "!") and not (
            isinstance(event, yaml.ScalarEvent) and event.tag == _STR_TAG
        ):
            raise self._error(event, f"the tag {event.tag} is not accepted")
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            node = Node(_scalar(event), self._file, line)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(event, line, depth)
        else:
            node = self._mapping(event, line, depth)
        if node.size > MAX_NODES:
            raise self._error(event, f"more than {MAX_NODES:,} values once its aliases are expanded")
        if event.anchor:
            self._open.discard(event.anchor)
            self._anchors[event.anchor] = node
        return node

    def _sequence(self, start: Any, line: int, depth: int) -> Node:
        items: list[Node] = []
        while not isinstance(event := self._loader.get_event(), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return Node(items, self._file, line, 1 + sum(item.size for item in items))

    def _mapping(self, start: Any, line: int, depth: int) -> Node:
        items: dict[str, Node] = {}
        merged: list[Node] = []
        while not isinstance(event := self._loader.get_event(), yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            value = replace(self._node(self._loader.get_event(), depth + 1), line=key.line)
            name = key.value
            if not isinstance(name, str):
                raise ConfigError(
                    f"found {key.found} as a key; accepted: text (put it in quotes)", where=key.where
                )
            if name == "<<":
                merged += value.value if isinstance(value.value, list) else [value]
                continue
            if name in items:
                raise ConfigError(
                    f"the key {shown(name)} is given twice; first on line {items[name].line}", where=key.where
                )
            items[name] = value
        for base in merged:
            if not isinstance(base.value, dict):
                raise ConfigError(
                    f"found {base.found} after <<; accepted: an alias of a mapping", where=base.where
                )
            items = {**items, **{name: node for name, node in base.value.items() if name not in items}}
        return Node(items, self._file, line, 1 + sum(1 + node.size for node in items.values()))


def _scalar(event: yaml.ScalarEvent) -> Scalar:
    text: str = event.value
    plain = event.implicit[0] and event.tag is None
    if not plain:
        return text
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
