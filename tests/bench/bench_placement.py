"""What choosing hosts costs: one decision, many, an update; simulated hosts with 20 VMs each, CPU time."""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from types import MappingProxyType

import msgspec

from bench.figures import Figure, run, say
from virtfleet.config.settings import Flavor, FleetSettings, HostSettings
from virtfleet.decide import capacity
from virtfleet.decide.ask import Ask
from virtfleet.decide.ledger import Ledger, Promise
from virtfleet.decide.place import place, place_many
from virtfleet.model import (
    FleetSnapshot,
    Freshness,
    HostFacts,
    HostState,
    HostStats,
    HostView,
    Network,
    Pool,
    PoolState,
    Vm,
    VmInfo,
    VmState,
    VmStats,
)

GIB = 1 << 30
NOW = 1000.0
_VMS = 20


def fleet(hosts: int) -> FleetSnapshot:
    """Hosts of 64 CPUs and 512 GiB, a pool and a network, unequally full; the same each time."""
    dice = random.Random(7)
    views = {}
    for number in range(hosts):
        name = f"hv{number:05d}"
        pool = Pool(
            uuid=f"p{number}", name="default", type="dir", state=PoolState.RUNNING,
            identity=f"local:{name}", capacity=8192 * GIB, available=dice.randrange(1000, 8000) * GIB,
            allocation=0,
        )  # fmt: skip
        views[name] = HostView(
            name=name,
            uri="",
            state=HostState.UP,
            facts=HostFacts(cpus=64, hypervisor="QEMU", hypervisor_version="7.2.0", arch="x86_64"),
            stats=HostStats(
                cpu_pct=dice.uniform(0, 90), memory_total=512 * GIB, memory_used=dice.randrange(400) * GIB
            ),
            freshness=Freshness(NOW, NOW, NOW, NOW),
            pools=(pool,),
            networks=(Network(uuid="n", name="default", active=True),),
            vms=tuple(_vm(f"{number}-{n}", dice) for n in range(_VMS)),
        )
    return FleetSnapshot(1, MappingProxyType(views))


def _vm(name: str, dice: random.Random) -> Vm:
    info = VmInfo(
        uuid=f"u{name}",
        name=f"vm{name}",
        vcpus_max=dice.choice((1, 2, 4, 8)),
        memory_max=dice.choice((1, 2, 4, 8, 16)) * GIB,
    )
    return Vm(info, VmStats(info.uuid, VmState.RUNNING, cpu_pct=1.0))


def _ledger(snapshot: FleetSnapshot) -> Ledger:
    ledger = Ledger(FleetSettings(hosts={name: HostSettings(name=name, uri="") for name in snapshot.hosts}))
    ledger.follow(snapshot)
    return ledger


def _ask(name: str = "new") -> Ask:
    return Ask(
        name=name,
        vcpus=2,
        memory=4 * GIB,
        disk=20 * GIB,
        room=GIB,
        images=(("virtfleet-0123456789abcdef.qcow2", GIB),),
        networks=("default",),
    )


def _promise(number: int) -> Promise:
    return Promise("", f"new-{number}", f"new-{number}", 2, 4 * GIB, 20 * GIB, GIB)


def _median(work: Callable[[], object], times: int) -> float:
    """Milliseconds of CPU."""
    taken = []
    for _ in range(times):
        began = time.process_time()
        work()
        taken.append((time.process_time() - began) * 1000)
    return statistics.median(taken)


def _decision(ledger: Ledger) -> float:
    numbers = iter(range(1_000_000))

    def work() -> None:
        number = next(numbers)
        chosen = place(ledger, _ask(), NOW)
        ledger.promise(_promise(number)._replace(host=chosen.host, pool="default"))

    return _median(work, 201)


def measure(_: argparse.Namespace) -> list[Figure]:
    thousand = fleet(1000)
    found = [
        Figure(
            "one placement, all filters and weighers, claim included, 1,000 hosts",
            "≤ 1 ms",
            f"{_decision(_ledger(thousand)):.2f} ms",
        ),
        Figure("the same, 10,000 hosts", "≤ 5 ms", f"{_decision(_ledger(fleet(10_000))):.2f} ms"),
    ]
    ledger = _ledger(thousand)

    def one_by_one() -> None:
        for number in range(1000):
            chosen = place(ledger, _ask(f"new-{number}"), NOW)
            ledger.promise(_promise(number)._replace(host=chosen.host, pool="default"))
        for number in range(1000):
            ledger.release(f"new-{number}")

    asks = [_ask(f"new-{number}") for number in range(1000)]
    promises = [_promise(number) for number in range(1000)]
    found.append(
        Figure(
            "1,000 VMs placed one after another on 1,000 hosts",
            "≤ 1 s",
            f"{_median(one_by_one, 3) / 1000:.2f} s",
        )
    )
    together = _median(lambda: place_many(ledger, asks, promises, NOW), 3)
    found.append(Figure("the same as one request of 1,000", "≤ 0.3 s", f"{together / 1000:.2f} s"))
    found.append(Figure("update after one VM changed", "≤ 0.1 ms", f"{_update(ledger, thousand):.3f} ms"))
    found += _capacity()
    say(f"{len(thousand.hosts):,} hosts with {_VMS} VMs each")
    return found


def _capacity() -> list[Figure]:
    flavors = {
        f"f{number}": Flavor(vcpus=2 ** (number % 4), memory=(number + 1) * GIB, disk=(number + 1) * 10 * GIB)
        for number in range(10)
    }
    many, hundred = _ledger(fleet(500)), _ledger(fleet(100))
    room = _median(lambda: capacity.room(many, flavors, NOW), 11)
    deaths = _median(lambda: capacity.deaths(hundred, flavors, NOW), 5)
    return [
        Figure("N+1 for 100 hosts × 20 VMs", "≤ 0.2 s", f"{deaths / 1000:.3f} s"),
        Figure("capacity view of 500 hosts × 10 flavors", "≤ 20 ms", f"{room:.1f} ms"),
    ]


def _update(ledger: Ledger, snapshot: FleetSnapshot) -> float:
    view = snapshot.hosts["hv00500"]
    changes = []
    for number in range(501):
        info = msgspec.structs.replace(view.vms[0].info, memory_max=(number % 7 + 1) * GIB)
        vms = (Vm(info, view.vms[0].stats), *view.vms[1:])
        changes.append(msgspec.structs.replace(view, vms=vms))
    following = iter(changes)
    return _median(lambda: ledger.update(500, next(following)), 501)


if __name__ == "__main__":
    run(__doc__, measure)
