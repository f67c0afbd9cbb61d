"""The console on a simulated fleet of any size: `simulated.py [--jobs N] HOSTS VMS STATUS [SOCKET...]`.

The same steps as `virtfleet --demo` (virtfleet_tui/__main__.py, launch.py), which has a fleet of one size.
Each SOCKET is the libvirt socket of one host more, which bench_fleet.py makes hang.
On SIGUSR1 it appends a line of JSON to the file STATUS: how many changes there were, in which states the
hosts are, and how old their samples; with --jobs also what was done since SIGUSR2, from which on N jobs are
always under way (labour.py).
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from virtfleet.config.folders import state_dir
from virtfleet.hypervisor.zygote import Zygote


def main(hosts: int, vms: int, status: Path, sockets: list[str], jobs: int) -> int:
    zygote = Zygote.start(state_dir() / "workers.log")
    try:
        import msgspec
        from msgspec.structs import replace

        from bench.labour import Labour
        from virtfleet.config.demo import demo_fleet
        from virtfleet.config.settings import HostSettings
        from virtfleet.engine import Engine
        from virtfleet_tui.app import VirtfleetApp
        from virtfleet_tui.launch import rarely_collect

        fleet = demo_fleet(hosts, vms)
        more = {
            f"silent{number}": HostSettings(name=f"silent{number}", uri=f"qemu+unix:///system?socket={path}")
            for number, path in enumerate(sockets, 1)
        }
        engine = Engine(replace(fleet, hosts={**fleet.hosts, **more}), zygote=zygote)
        labour = Labour(engine, jobs)

        def tell(*_: object) -> None:
            now, views = time.monotonic(), engine.snapshot.hosts.values()
            line = {
                "now": now,
                "generation": engine.snapshot.generation,
                "states": Counter(view.state.value for view in views),
                "ages": sorted(
                    now - view.freshness.stats for view in views if view.freshness.stats is not None
                ),
                "jobs": labour.told(),
            }
            with status.open("ab") as file:
                file.write(msgspec.json.encode(line) + b"\n")

        signal.signal(signal.SIGUSR1, tell)
        app = VirtfleetApp(engine)
        signal.signal(signal.SIGUSR2, lambda *_: app.call_later(labour.begin))
        rarely_collect()
        app.run()
        return app.return_code or 0
    finally:
        zygote.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=0)
    parser.add_argument("hosts", type=int)
    parser.add_argument("vms", type=int)
    parser.add_argument("status", type=Path)
    parser.add_argument("sockets", nargs="*")
    given = parser.parse_args()
    sys.exit(main(given.hosts, given.vms, given.status, given.sockets, given.jobs))
