"""A sparse image of 1 GiB with 100 MiB of data uploaded over SSH, against `virsh vol-upload --sparse`.

Both with connecting, in turn, the median of each. virsh uses libssh2, as a script on this machine would; ours
is an engine from a cold start, which also reads the pools and volumes, plans, keeps a journal and hashes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from bench.figures import Figure, run, say, spread
from lab.fleet import Lab, Plan
from virtfleet.config.load import load
from virtfleet.engine import Engine
from virtfleet.model.action import FileRef
from virtfleet.model.action_volumes import UploadVolume
from virtfleet.model.job import JobState

MIB = 1 << 20
GROUPS = ("stats", "pools", "volumes")


def _image(path: Path, size: int, data: int) -> None:
    """Ten pieces of data, far apart."""
    with path.open("wb") as file:
        for number in range(10):
            file.seek(number * (size // 10))
            file.write(os.urandom(data // 10))
        file.truncate(size)


def _virsh(lab: Lab, image: Path) -> float:
    host = next(iter(load(lab.fleet_file).hosts.values()))
    key, known = host.ssh.identity[0], host.ssh.known_hosts[0]
    place = host.uri.replace("qemu+ssh", "qemu+libssh2")
    uri = f"{place}?keyfile={key}&known_hosts={known}&sshauth=privkey"
    size = str(image.stat().st_size)
    began = time.monotonic()
    commands = (
        f"vol-create-as local theirs {size} --format raw --allocation 0",
        f"vol-upload theirs {image} --pool local --sparse",
    )
    subprocess.run(["virsh", "-q", "-c", uri, "; ".join(commands)], check=True, capture_output=True)
    return time.monotonic() - began


async def _ours(lab: Lab, image: Path) -> float:
    began = time.monotonic()
    engine = Engine(load(lab.fleet_file), keep_history=False)
    await engine.start()
    try:
        await engine.settled(GROUPS, timeout=30.0)
        file = FileRef(str(image), "", image.stat().st_size)
        plan = await engine.plan(UploadVolume(file=file, name="ours", pool="local", host="hv1"))
        ended = await engine.jobs.wait((await engine.apply(plan)).id)
        took = time.monotonic() - began
        assert ended.state is JobState.DONE, ended.error
        return took
    finally:
        await engine.stop()


def measure(options: argparse.Namespace) -> list[Figure]:
    size, data, rounds = (64 * MIB, 10 * MIB, 1) if options.quick else (1024 * MIB, 100 * MIB, 5)
    plan = Plan(hosts=1, guests=0, off=0, containers=0, shared=False)
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder, Lab.start(plan) as lab:
        os.environ["XDG_STATE_HOME"] = folder
        image = Path(folder) / "image.raw"
        _image(image, size, data)
        for _ in range(rounds):
            theirs.append(_virsh(lab, image))
            ours.append(asyncio.run(_ours(lab, image)))
            host = lab.hosts["hv1"]
            host.exec(["cmp", "/srv/local/ours", "/srv/local/theirs"], check=True)
            host.virsh("pool-refresh local", "vol-delete theirs local", "vol-delete ours local")
    say(f"virsh     {spread(theirs)}")
    say(f"virtfleet {spread(ours)}")
    ratio = statistics.median(ours) / statistics.median(theirs)
    return [
        Figure(
            f"{size >> 20} MiB sparse image with {data >> 20} MiB of data uploaded over SSH, "
            "against virsh vol-upload --sparse",
            "≤ 1.1",
            f"{ratio:.2f} ({statistics.median(ours):.2f} s, {statistics.median(theirs):.2f} s)",
        )
    ]


if __name__ == "__main__":
    run(__doc__, measure)
