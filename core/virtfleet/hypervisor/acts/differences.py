"""What of one definition another has not, in a few words: for who is told that somebody was quicker."""

from __future__ import annotations

from virtfleet.hypervisor.views.vmdata import JOB
from virtfleet.model.text import clean

_MOST = 5
_LONGEST = 160


def what_is_new(present: str, other: str) -> str:
    """Lines of `present` that `other` lacks; if it has them all, what it has besides. Claims are left out."""
    now, then = _lines(present), _lines(other)
    if new := [line for line in now if line not in then]:
        return f"it has now {_some(new)}"
    if gone := [line for line in then if line not in now]:
        return f"it has no longer {_some(gone)}"
    return "its parts stand in another order"


def _lines(xml: str) -> dict[str, None]:
    """Each line once, in their order."""
    lines = (line.strip() for line in xml.splitlines())
    return dict.fromkeys(line for line in lines if line and JOB not in line and "metadata>" not in line)


def _some(lines: list[str]) -> str:
    more = f" and {len(lines) - _MOST} lines more" if len(lines) > _MOST else ""
    return ", ".join(clean(line, _LONGEST) for line in lines[:_MOST]) + more
