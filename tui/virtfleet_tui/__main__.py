"""The command `virtfleet`: without arguments on a terminal the console, else the command line.

The first act is to start the zygote: its imports (libvirt, paramiko) then
overlap with ours. Only what a command needs is imported after that; a
command-line call never imports Textual.
"""

from __future__ import annotations

import os
import sys

_NO_HOSTS = {"--help", "-h", "--version", "completion"}
_CONSOLE = {"--fleet", "--connect", "--demo", "--read-only", "--theme"}
_WITH_VALUE = {"--fleet", "--connect", "--theme"}


def main() -> int:
    """Runs and returns the exit status."""
    arguments = sys.argv[1:]
    zygote = None
    if not _NO_HOSTS & set(arguments) and "_VIRTFLEET_COMPLETE" not in os.environ:
        from virtfleet.config.folders import state_dir
        from virtfleet.hypervisor.zygote import Zygote

        zygote = Zygote.start(state_dir() / "workers.log")
    try:
        if not wants_console(arguments):
            from virtfleet.headless import main as command_line

            return command_line(arguments, zygote=zygote)
        if not (sys.stdin.isatty() and sys.stderr.isatty() and sys.stdout.isatty()):
            from virtfleet.headless import overview

            return overview(arguments, zygote=zygote)
        from virtfleet_tui.launch import run

        return run(arguments, zygote=zygote)
    finally:
        if zygote is not None:
            zygote.close()


def wants_console(arguments: list[str]) -> bool:
    """Whether there is nothing but options that the console takes: no noun, no other option."""
    rest = iter(arguments)
    for word in rest:
        name, given, _ = word.partition("=")
        if name not in _CONSOLE:
            return False
        if name in _WITH_VALUE and not given and next(rest, None) is None:
            return False
    return True


if __name__ == "__main__":
    sys.exit(main())
