"""What fifteen minutes of history of 500 hosts × 20 VMs cost: bytes, and µs for each sample."""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable

import numpy as np

from bench.figures import Figure, run, say
from virtfleet.fleet.history import HOST, History
from virtfleet.model import HostStats, VmState, VmStats

HOSTS, VMS, INTERVAL, SPAN = 500, 20, 2.0, 900.0


def measure(_: argparse.Namespace) -> list[Figure]:
    rng = np.random.default_rng(1)
    names = [
        [HOST, *(f"{host:04}-{vm:04}-aaaa-bbbb-cccccccccccc" for vm in range(VMS))] for host in range(HOSTS)
    ]
    values = rng.random((VMS + 1, 6), np.float32)
    stats = [VmStats(uuid, VmState.RUNNING, cpu_pct=1.0, memory_used=1 << 30) for uuid in names[0][1:]]
    load = HostStats(cpu_pct=1.0, memory_used=1 << 30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    history = History()
    took, count, now = 0.0, 0, 0.0
    for tick in range(int(SPAN / INTERVAL) + 1):
        now = 1000.0 + tick * INTERVAL
        started = time.process_time()
        for host in range(HOSTS):
            history.record_vms(f"hv{host}", now, names[host], values)
        took += time.process_time() - started
        count += HOSTS
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    say(f"{HOSTS * VMS} VMs × 6 metrics, {SPAN / 60:.0f} min: {history.nbytes / 1e6:.1f} MB")
    say(f"growth of the process: {(after - before) / 1024:.1f} MB")
    say(f"one sample of a host with {VMS} VMs: {took / count * 1e6:.1f} µs")
    say(f"all of them each {INTERVAL:.0f} s: {took / count * HOSTS / INTERVAL * 100:.2f} % of a core")

    def each(what: str, times: int, call: Callable[[], object]) -> None:
        started = time.process_time()
        for _ in range(times):
            call()
        say(f"{what}: {(time.process_time() - started) / times * 1e6:.1f} µs")

    other = History()
    clock = iter(np.arange(0.0, 1e6, INTERVAL))
    each(f"VmStats of {VMS} VMs to rings", 2000, lambda: other.record_sample("a", next(clock), load, stats))
    each("series of 15 minutes", 2000, lambda: history.series("vm", "hv7", names[7][3], "cpu_pct", now))
    each("sparkline of 8", 20000, lambda: history.sparkline("vm", "hv7", names[7][3], "cpu_pct"))
    share = took / count * HOSTS / INTERVAL * 100
    what = f"history of {SPAN / 60:.0f} minutes, {HOSTS * VMS:,} VMs × 6 metrics"
    return [Figure(what, "about 40 MB", f"{history.nbytes / 1e6:.0f} MB, {share:.1f} % of a core")]


if __name__ == "__main__":
    run(__doc__, measure)
