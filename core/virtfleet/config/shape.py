"""From a YAML tree to settings, led by the types of `settings.py`; every mistake names its place.

msgspec's own errors leave out the keys of mappings and know no lines, so the
tree is checked here against msgspec's description of the types, and msgspec
builds the values from what passed.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import msgspec.inspect as mi

from virtfleet.config.secret import Secret, open_private
from virtfleet.config.yamltree import Node, shown
from virtfleet.errors import ConfigError
from virtfleet.model.action import FileRef
from virtfleet.query.units import parse_size

_NOTHING: dict[str, Any] = {}


def shape(node: Node, kind: type, path: str, base: Path, *, partial: bool = False) -> Any:
    """Plain data of `node` that msgspec can convert to `kind`. ConfigError: the first mistake in it.

    `path` is where the node stands in the file (hosts.hv1); `base` the folder of relative paths.
    `partial`: required keys may be missing (a section of defaults).
    """
    return _Shaper(base, partial).value(node, _described(kind), path, _NOTHING)


def unknown_key(node: Node, name: str, path: str, accepted: Iterable[str]) -> ConfigError:
    """The error for a key `name` whose value is `node`, with the key that was probably meant."""
    names = sorted(accepted)
    close = difflib.get_close_matches(name, names, 1, 0.6)
    hint = f'; did you mean "{close[0]}"?' if close else ""
    here = f"{path}: " if path else ""
    return ConfigError(
        f"{here}unknown key {shown(name)}{hint} (accepted: {', '.join(names)})", where=node.where
    )


def wrong(node: Node, path: str, accepted: str) -> ConfigError:
    return ConfigError(f"{path}: found {node.found}; accepted: {accepted}", where=node.where)


@cache
def _described(kind: type) -> mi.Type:
    return mi.type_info(kind)


class _Shaper:
    def __init__(self, base: Path, partial: bool) -> None:
        self._base = base
        self._partial = partial

    def value(self, node: Node, kind: mi.Type, path: str, marks: dict[str, Any]) -> Any:
        match kind:
            case mi.Metadata():
                return self.value(node, kind.type, path, {**marks, **(kind.extra or {})})
            case mi.UnionType():
                return self._union(node, kind, path, marks)
            case mi.StructType(cls=cls) if cls is FileRef:
                # A file is written as its path; what reads it makes the hash.
                return {
                    "path": self._path(node, self._text(node, mi.StrType(), path, {}), path, {"path": True})
                }
            case mi.StructType():
                return self._struct(node, kind, path)
            case mi.DictType():
                return self._mapping(node, kind, path)
            case mi.VarTupleType():
                # One word stands for a list of one.
                items = node.value if isinstance(node.value, list) else [node]
                if isinstance(node.value, dict) or node.value is None:
                    raise wrong(node, path, "a list, or one value")
                return [
                    self.value(item, kind.item_type, f"{path}[{i}]", marks) for i, item in enumerate(items)
                ]
            case mi.CustomType(cls=cls) if cls is Secret:
                return self._secret(node, path)
            case _:
                return self._scalar(node, kind, path, marks)

    def _union(self, node: Node, kind: mi.UnionType, path: str, marks: dict[str, Any]) -> Any:
        members = [each for each in kind.types if not isinstance(each, mi.NoneType)]
        if node.value is None and len(members) < len(kind.types):
            return None
        if len(members) == 1:
            return self.value(node, members[0], path, marks)
        if isinstance(node.value, str | int | float):
            return node.value
        lists = [each for each in members if isinstance(each, mi.VarTupleType)]
        if isinstance(node.value, list) and lists:
            return self.value(node, lists[0], path, marks)
        raise wrong(node, path, "text, a number or a boolean" + (" or a list" if lists else ""))

    def _struct(self, node: Node, kind: mi.StructType, path: str) -> dict[str, Any]:
        fields = {field.name: field for field in kind.fields if not _internal(field)}
        if node.value is None:
            node = Node({}, node.file, node.line)
        if not isinstance(node.value, dict):
            raise wrong(node, path, f"a mapping with the keys {', '.join(sorted(fields))}")
        plain: dict[str, Any] = {}
        for name, child in node.value.items():
            if name not in fields:
                raise unknown_key(child, name, path, fields)
            plain[name] = self.value(child, fields[name].type, f"{path}.{name}", _NOTHING)
        if not self._partial:
            for field in fields.values():
                if field.required and field.name not in plain:
                    raise ConfigError(f'{path}: the key "{field.name}" is missing', where=node.where)
        return plain

    def _mapping(self, node: Node, kind: mi.DictType, path: str) -> dict[str, Any]:
        if node.value is None:
            return {}
        if not isinstance(node.value, dict):
            raise wrong(node, path, "a mapping")
        return {
            name: self.value(child, kind.value_type, f"{path}.{name}", _NOTHING)
            for name, child in node.value.items()
        }

    def _secret(self, node: Node, path: str) -> Secret:
        text = node.value if isinstance(node.value, str) else ""
        try:
            return Secret.parse(text, self._base)
        except ValueError as error:
            raise ConfigError(f"{path}: {error}", where=node.where) from None

    def _scalar(self, node: Node, kind: mi.Type, path: str, marks: dict[str, Any]) -> Any:
        value = node.value
        match kind:
            case mi.StrType():
                return self._text(node, kind, path, marks)
            case mi.BoolType():
                if isinstance(value, bool):
                    return value
                raise wrong(node, path, "true or false")
            case mi.IntType() if marks.get("bytes"):
                return _size(node, path)
            case mi.IntType() | mi.FloatType():
                accepted = _number_words(kind)
                whole = isinstance(kind, mi.IntType)
                if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
                    raise wrong(node, path, accepted)
                if not _within(value, kind):
                    raise wrong(node, path, accepted)
                return value
            case mi.LiteralType():
                if value in kind.values:
                    return value
                raise wrong(node, path, ", ".join(str(each) for each in kind.values))
            case _:
                raise TypeError(f"settings use a type that the fleet file can't express: {kind}")

    def _text(self, node: Node, kind: mi.StrType, path: str, marks: dict[str, Any]) -> str:
        value = node.value
        if isinstance(value, bool) and "reason" in marks:
            return str(marks["reason"]) if value else ""
        if not isinstance(value, str):
            quotes = " (put it in quotes)" if isinstance(value, bool | int | float) else ""
            raise wrong(node, path, f"text{quotes}")
        if not value.isprintable():
            raise ConfigError(f"{path}: found control characters in {shown(value)}", where=node.where)
        if kind.pattern and not _matches(kind.pattern, value):
            raise wrong(node, path, f"text like {kind.pattern}")
        return self._path(node, value, path, marks) if marks.get("path") else value

    def _path(self, node: Node, value: str, path: str, marks: dict[str, Any]) -> str:
        if not value or "://" in value:
            return value
        try:
            full = self._base / Path(value).expanduser()
            if marks.get("private"):
                _check_key(full)
        except (ValueError, RuntimeError) as error:
            raise ConfigError(f"{path}: {error}", where=node.where) from None
        return str(full)


def _check_key(path: Path) -> None:
    """ValueError: no such key, or a private one that others can read."""
    if path.suffix == ".pub":
        if not path.is_file():
            raise ValueError(f"the file {path} can't be read: No such file or directory")
        return
    os.close(open_private(path))


def _internal(field: mi.Field) -> bool:
    return isinstance(field.type, mi.Metadata) and bool((field.type.extra or {}).get("internal"))


def _size(node: Node, path: str) -> int:
    accepted = "a size like 512MiB, 10GiB or a number of bytes"
    value = node.value
    if isinstance(value, str):
        try:
            value = parse_size(value)
        except ValueError:
            raise wrong(node, path, accepted) from None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 63:
        raise wrong(node, path, accepted)
    return value


def _within(value: float, kind: mi.IntType | mi.FloatType) -> bool:
    return (
        math.isfinite(value)
        and abs(value) < 1 << 63
        and (kind.ge is None or value >= kind.ge)
        and (kind.gt is None or value > kind.gt)
        and (kind.le is None or value <= kind.le)
    )


def _number_words(kind: mi.IntType | mi.FloatType) -> str:
    words = "a whole number" if isinstance(kind, mi.IntType) else "a number"
    if kind.ge is not None:
        words += f" from {kind.ge}"
    if kind.gt is not None:
        words += f" above {kind.gt}"
    if kind.le is not None:
        words += f" to {kind.le}" if kind.ge is not None else f", at most {kind.le}"
    return words


def _matches(pattern: str, value: str) -> bool:
    return re.search(pattern, value) is not None
