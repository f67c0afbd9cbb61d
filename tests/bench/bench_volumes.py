"""The pool of a volume among 1,000 pools on 250 hosts."""

from __future__ import annotations

import argparse
import random
import statistics
import time
from types import MappingProxyType

import msgspec

from bench.figures import Figure, run, say
from virtfleet.config.settings import FleetSettings, HostSettings, PoolSelector, VolumeType
from virtfleet.decide.pool_table import PoolTable
from virtfleet.decide.volumes import VolumeAsk, choose, explain
from virtfleet.model import FleetSnapshot, HostState, HostView, Pool, PoolState, Volume

GIB = 1 << 30
HOSTS, POOLS, VOLUMES = 250, 4, 50


def _view(name: str, rng: random.Random) -> HostView:
    pools, volumes = [], []
    for number in range(POOLS):
        size = rng.randrange(1, 20) << 40
        pools.append(
            Pool(
                uuid=f"{name}-{number}", name=f"pool{number}", type=rng.choice(("dir", "logical", "rbd")),
                state=PoolState.RUNNING, identity=f"{name}/{number}" if number else f"shared{name[-1]}",
                capacity=size, available=int(size * rng.random()), allocation=0,
            )
        )  # fmt: skip
        volumes += [
            Volume(f"pool{number}", f"v{each}", capacity=rng.randrange(1, 500) * GIB)
            for each in range(VOLUMES)
        ]
    traits = ("ssd",) if rng.random() < 0.5 else ()
    return HostView(
        name=name, uri="", state=HostState.UP, traits=traits, pools=tuple(pools), volumes=tuple(volumes)
    )


def measure(options: argparse.Namespace) -> list[Figure]:
    rng = random.Random(7)
    views = {f"hv{n}": _view(f"hv{n}", rng) for n in range(HOSTS)}
    settings = FleetSettings(hosts={name: HostSettings(name=name, uri="") for name in views})
    snapshot = FleetSnapshot(1, MappingProxyType(views))
    table = PoolTable(settings)
    began = time.process_time()
    table.follow(snapshot)
    say(f"{(time.process_time() - began) * 1e3:.1f} ms for the table of {len(table)} pools at first")
    began = time.process_time()
    table.follow(snapshot.with_host(msgspec.structs.replace(views["hv7"], volumes=())))
    say(f"{(time.process_time() - began) * 1e3:.2f} ms after the volumes of one host have changed")
    kinds = [
        VolumeType(),
        VolumeType(provisioning="thick", reserved_percentage=5.0),
        VolumeType(pools=PoolSelector(traits=("ssd",), names=("pool1", "pool2")), max_over_subscription=3.0),
    ]
    taken, fits = [], 0
    for number in range(30 if options.quick else 600):
        ask = VolumeAsk(size=rng.randrange(1, 900) * GIB, kind=kinds[number % 3], promised={"hv3/1": GIB})
        began = time.process_time()
        fits += len(choose(table, ask))
        taken.append((time.process_time() - began) * 1e3)
    say(f"{fits / len(taken):.0f} pools fit on average; worst decision {max(taken):.2f} ms")
    began = time.process_time()
    explain(table, VolumeAsk(size=GIB, kind=kinds[1]))
    say(f"{(time.process_time() - began) * 1e3:.1f} ms to explain all of them")
    return [
        Figure(f"volume scheduling over {len(table):,} pools", "≤ 1 ms", f"{statistics.median(taken):.2f} ms")
    ]


if __name__ == "__main__":
    run(__doc__, measure)
