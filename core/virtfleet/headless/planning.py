"""Plans on the terminal, and the question whether they shall be carried out."""

from __future__ import annotations

import os
import textwrap
import time
from collections.abc import Sequence

from virtfleet.headless import diagnostics, output
from virtfleet.headless.listing import emit
from virtfleet.headless.options import Options
from virtfleet.headless.table import BOLD, RESET
from virtfleet.model.plan import Danger, Plan
from virtfleet.query import plans

_YELLOW, _DIM = "\x1b[33m", "\x1b[2m"
_PAINT = {"warning": _YELLOW, "effect": _DIM, "reason": _DIM}
_WIDTH = 100


def describe(plan: Plan, *, colour: bool, width: int | None) -> list[str]:
    """The lines of a plan for a person."""
    head = f"{plans.sign(plan)} {plan.title}"
    found = [f"{BOLD}{head}{RESET}" if colour else head]
    for line in plans.lines(plan):
        wrapped = textwrap.wrap(line.text, max(40, (width or _WIDTH) - 7)) or [""]
        paint = _PAINT.get(line.kind, "") if colour else ""
        for index, part in enumerate(wrapped):
            mark = line.mark if index == 0 else ""
            found.append(f"{paint}  {mark:>3}  {part}{RESET if paint else ''}")
    return found


def show(plans_: Sequence[Plan], options: Options) -> None:
    """Print plans as data: `--dry-run`, `plan FILE`."""
    if options.output == "table":
        for index, plan in enumerate(plans_):
            lines = describe(plan, colour=output.colour(), width=output.width())
            output.lines([*([""] if index else []), *lines])
        return
    items = [plans.item(plan) for plan in plans_]
    if options.output == "csv":
        for each in items:
            for key, value in each.items():
                if isinstance(value, list):
                    each[key] = [
                        str(part.get("title", part)) if isinstance(part, dict) else part for part in value
                    ]
    emit(options, "plan", items, (), time.monotonic(), list(items[0]) if items else [])


def tell(plans_: Sequence[Plan], why: str) -> None:
    """Show plans on the terminal, beside the data: the operator must see them before he is asked."""
    for plan in plans_:
        for line in describe(plan, colour=colours(), width=_WIDTH):
            diagnostics.plain(line)
    if why:
        diagnostics.plain(why)


def confirm(plans_: Sequence[Plan]) -> bool:
    """Ask on the terminal. What can't be undone wants the name of the object, several of them the number."""
    worst = [plan for plan in plans_ if plan.danger is Danger.IRREVERSIBLE]
    if not worst:
        return diagnostics.ask(
            f"Do {'this' if len(plans_) == 1 else f'these {len(plans_)}'}? [y/N] "
        ).lower() in (
            "y",
            "yes",
        )
    wanted = worst[0].name if len(worst) == 1 else str(len(worst))
    what = "the name" if len(worst) == 1 else "how many objects it is about"
    answer = diagnostics.ask(f"Data will be lost for good. Type {what} ({wanted}) to go on: ")
    return answer.strip() == wanted


def can_ask() -> bool:
    """Whether somebody is there to answer."""
    try:
        return os.isatty(0) and os.isatty(2)
    except OSError:
        return False


def colours() -> bool:
    """Whether what stands beside the data, on the terminal, may be coloured."""
    try:
        return os.isatty(2) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    except OSError:
        return False
