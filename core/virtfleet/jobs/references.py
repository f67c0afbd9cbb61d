"""`{"$from": STEP, "key": KEY}` in the arguments of a step: a value that an earlier step gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from virtfleet.errors import RefusedError

_NOTHING = object()


def resolved(args: Mapping[str, Any], results: Mapping[str, Any], *, lenient: bool = False) -> dict[str, Any]:
    """`args` with each reference replaced by that value of the step's result, also inside mappings and lists.

    `lenient`: what has no result is left out, for the undo of a step that
    perhaps was never done. Else RefusedError.
    """
    found = {name: _resolve(value, results, lenient) for name, value in args.items()}
    return {name: value for name, value in found.items() if value is not _NOTHING}


def _resolve(value: Any, results: Mapping[str, Any], lenient: bool) -> Any:
    if isinstance(value, Mapping) and "$from" in value:
        result = results.get(value["$from"])
        if isinstance(result, Mapping) and value["key"] in result:
            return result[value["key"]]
        if lenient:
            return _NOTHING
        raise RefusedError(f"the step {value['$from']} gave no {value['key']}")
    if isinstance(value, Mapping):
        return resolved(value, results, lenient=lenient)
    if isinstance(value, list | tuple):
        return [each for item in value if (each := _resolve(item, results, lenient)) is not _NOTHING]
    return value
