"""Opens the console: reads the fleet file, makes the engine and the application, and runs them."""

from __future__ import annotations

import argparse
import gc
import os
import select
import signal
import threading
import time

from virtfleet.config.choose import choose, demo_fleet
from virtfleet.errors import ConfigError
from virtfleet.headless import diagnostics
from virtfleet.hypervisor.zygote import Zygote

_LAST_WORDS = 5.0
"""Seconds that an end by SIGHUP may take."""


def run(arguments: list[str], *, zygote: Zygote | None = None) -> int:
    """Runs the console until it is closed; returns the exit status. Without a fleet file: the demo fleet."""
    parser = argparse.ArgumentParser(prog="virtfleet", add_help=False, allow_abbrev=False)
    parser.add_argument("--fleet")
    parser.add_argument("--connect")
    parser.add_argument("--demo", action="store_true")
    parser.add_argument("--read-only", action="store_true")
    parser.add_argument("--theme", default="")
    options = parser.parse_args(arguments)
    try:
        settings = choose(options.fleet, options.connect, options.demo) or demo_fleet()
    except ConfigError as error:
        return diagnostics.report(error)

    from virtfleet.engine import Engine
    from virtfleet_tui.app import VirtfleetApp
    from virtfleet_tui.styles.themes import check

    try:
        check(options.theme, "--theme")
        check(settings.ui.theme, f"{settings.path or 'the fleet file'}: ui.theme")
    except ConfigError as error:
        return diagnostics.report(error)
    end_with_the_terminal()
    engine = Engine(settings, read_only=options.read_only, zygote=zygote)
    app = VirtfleetApp(engine, read_only=options.read_only, theme=options.theme)
    rarely_collect()
    app.run()
    return app.return_code or 0


def rarely_collect() -> None:
    """What is imported stays and is looked at no more; for the rest see sweeper.py."""
    gc.collect()
    gc.freeze()
    gc.disable()


def end_with_the_terminal(fd: int = 0, every: float = 2.0) -> None:
    """Ends this process when its terminal is gone: a console that nobody sees must not go on watching hosts.

    The kernel's SIGHUP does that where the terminal is the controlling one;
    where it isn't, Textual's threads would spin on the dead file for ever, and
    block the loop, so this is a thread of its own.
    """
    poll = select.poll()
    poll.register(fd, 0)  # POLLHUP and POLLERR are always told

    def watch() -> None:
        while not poll.poll(0):
            time.sleep(every)
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(_LAST_WORDS)
        os._exit(128 + signal.SIGHUP)  # somebody had it ignored: nohup

    threading.Thread(target=watch, name="terminal", daemon=True).start()
