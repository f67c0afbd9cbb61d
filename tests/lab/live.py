"""A lab for as long as one command runs: `python -m lab.live --hosts 3 -- virtfleet` (what `make live` does).

The command finds the lab by $VIRTFLEET_FLEET. Its exit code is ours.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys

from lab.errors import LabError
from lab.fleet import Lab, Plan


def _on_signal(number: int, frame: object) -> None:
    """Ctrl-C belongs to the command while it runs; a handler, unlike SIG_IGN, is not inherited by it."""


def main() -> int:
    """Build, run, take down."""
    parser = argparse.ArgumentParser(prog="python -m lab.live", description=__doc__)
    parser.add_argument("--hosts", type=int, default=3, help="how many (3)")
    parser.add_argument("--guests", type=int, default=2, help="running guests on each host (2)")
    parser.add_argument("--off", type=int, default=1, help="guests on each host that are shut off (1)")
    parser.add_argument("--lxc", type=int, default=1, help="LXC containers on the first host (1)")
    parser.add_argument("command", nargs="+")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    plan = Plan(
        hosts=args.hosts, guests=args.guests, off=args.off, containers=args.lxc, empty=False
    )  # fmt: skip
    try:
        with Lab.start(plan) as lab:
            signal.signal(signal.SIGINT, _on_signal)
            environment = {**os.environ, "VIRTFLEET_FLEET": str(lab.fleet_file)}
            code = subprocess.run(args.command, env=environment, check=False).returncode
            return code if code >= 0 else 128 - code
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
