"""Opens the console: reads the fleet file, makes the engine and the application, and runs them."""

from __future__ import annotations

import argparse

from virtfleet.config.choose import choose, demo_fleet
from virtfleet.errors import ConfigError
from virtfleet.headless import diagnostics
from virtfleet.hypervisor.zygote import Zygote


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

    engine = Engine(settings, read_only=options.read_only, zygote=zygote)
    app = VirtfleetApp(engine, read_only=options.read_only, theme=options.theme)
    app.run()
    return app.return_code or 0
