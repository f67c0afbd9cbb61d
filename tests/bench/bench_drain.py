"""What planning the draining of hosts costs: 1 of 100 hosts, 10 of 100; 20 VMs each, CPU time."""

from __future__ import annotations

import argparse

from bench.bench_placement import NOW, _ledger, _median, fleet
from bench.figures import Figure, run, say
from virtfleet.decide.ask import Ask
from virtfleet.decide.drain import Drain, Leaving, drain
from virtfleet.decide.ledger import Promise
from virtfleet.model import FleetSnapshot


def _leaving(snapshot: FleetSnapshot, hosts: list[str]) -> list[Leaving]:
    found = []
    for name in hosts:
        for vm in snapshot.hosts[name].vms:
            info = vm.info
            ask = Ask(
                name=vm.name,
                vcpus=info.vcpus_max,
                memory=info.memory_max,
                networks=("default",),
                moving=vm.uuid,
            )
            promise = Promise("", vm.uuid, vm.name, info.vcpus_max, info.memory_max)
            found.append(Leaving(name, vm.uuid, vm.name, ask, promise, busy=0.1))
    return found


def measure(_: argparse.Namespace) -> list[Figure]:
    snapshot = fleet(100)
    ledger = _ledger(snapshot)
    names = list(snapshot.hosts)

    def plan(hosts: list[str], odd: bool = False) -> Drain:
        def barred(vm: Leaving, host: str) -> str:
            return "it does not see its disks" if odd and host.endswith(("1", "3", "5", "7", "9")) else ""

        return drain(ledger, hosts, _leaving(snapshot, hosts), NOW, barred=barred)

    one = _median(lambda: plan(names[50:51]), 21)
    odd = _median(lambda: plan(names[50:51], odd=True), 11)
    ten = _median(lambda: plan(names[40:50]), 5)
    found = plan(names[50:51])
    say(f"100 hosts with 20 VMs each; {len(found.going)} of 20 go, in {found.waves} waves")
    return [
        Figure("plan to drain 1 of 100 hosts (20 VMs each)", "≤ 50 ms", f"{one:.1f} ms"),
        Figure("the same, half of the hosts do not see their disks", "", f"{odd:.1f} ms"),
        Figure("plan to drain 10 of 100 hosts at once", "", f"{ten:.1f} ms"),
    ]


if __name__ == "__main__":
    run(__doc__, measure)
