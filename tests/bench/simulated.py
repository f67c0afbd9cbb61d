"""The console on a simulated fleet of any size: `simulated.py HOSTS VMS STATUS [SOCKET...]`.

The same steps as `virtfleet --demo` (virtfleet_tui/__main__.py, launch.py), which has a fleet of one size.
Each SOCKET is the libvirt socket of one host more, which bench_fleet.py makes hang.
On SIGUSR1 it appends a line of JSON to the file STATUS: how many changes there were, in which states the
hosts are, and how old their samples.
"""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from pathlib import Path

from virtfleet.config.folders import state_dir
from virtfleet.hypervisor.zygote import Zygote


def main(hosts: int, vms: int, status: Path, sockets: list[str]) -> int:
    zygote = Zygote.start(state_dir() / "workers.log")
    try:
        import msgspec
        from msgspec.structs import replace

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

        def tell(*_: object) -> None:
            now, views = time.monotonic(), engine.snapshot.hosts.values()
            line = {
                "now": now,
                "generation": engine.snapshot.generation,
                "states": Counter(view.state.value for view in views),
                "ages": sorted(
                    now - view.freshness.stats for view in views if view.freshness.stats is not None
                ),
            }
            with status.open("ab") as file:
                file.write(msgspec.json.encode(line) + b"\n")

        signal.signal(signal.SIGUSR1, tell)
        app = VirtfleetApp(engine)
        rarely_collect()
        app.run()
        return app.return_code or 0
    finally:
        zygote.close()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:]))
