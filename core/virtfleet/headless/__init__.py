"""The command line: the same engine as the console, without a screen.

Kept light: `main` imports what a command needs when it is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from virtfleet.hypervisor.zygote import Zygote

__all__ = ["main", "overview"]


def main(arguments: Sequence[str], *, zygote: Zygote | None = None) -> int:
    """Run one command to its end and leave the process: this does not return, but for tests that replace
    `output.leave`. `zygote`: one that was started early; the engine takes it over."""
    from virtfleet.headless import diagnostics, output

    try:
        from virtfleet.headless.cli import run

        code = run(list(arguments), zygote)
    except KeyboardInterrupt:
        code = diagnostics.Exit.INTERRUPTED
    return output.leave(code)


def overview(arguments: Sequence[str], *, zygote: Zygote | None = None) -> int:
    """What `virtfleet` does without a terminal: print the fleet once and say on stderr why. Like `main`."""
    from virtfleet.headless import diagnostics

    diagnostics.note("no terminal here, so instead of the console this prints the fleet once")
    return main([*_without_theme(arguments), "overview", "--or-demo"], zygote=zygote)


def _without_theme(arguments: Sequence[str]) -> list[str]:
    """The console's options without the one that means nothing here."""
    kept: list[str] = []
    rest = iter(arguments)
    for word in rest:
        if word == "--theme":
            next(rest, None)
        elif not word.startswith("--theme="):
            kept.append(word)
    return kept
