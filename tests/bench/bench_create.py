"""VMs created from one image on the hosts of a lab, against virsh one after another, in one run.

virsh as a script would: vol-create-as, vol-upload, define, start, for each VM, over the same SSH.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import tempfile
import time
from pathlib import Path

from bench.figures import Figure, run, say
from lab.fleet import Lab, Plan
from virtfleet.config.load import load
from virtfleet.engine import Engine
from virtfleet.model.action import CreateVm, DeleteVm, VmRef
from virtfleet.model.job import JobState
from virtfleet.model.plan import Plan as ActionPlan

MIB = 1 << 20
HOSTS = 4
VMS = 20
_XML = """<domain type='qemu'><name>{name}</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>
<os><type arch='x86_64'>hvm</type></os><devices>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/srv/local/{name}.qcow2'/>
<target dev='vda' bus='virtio'/></disk></devices></domain>"""


def _virsh(lab: Lab, image: Path, count: int) -> float:
    """Seconds for `count` VMs, one after another."""
    hosts = list(load(lab.fleet_file).hosts.values())
    qemu = [each for each in hosts if each.uri.startswith("qemu")]
    size = image.stat().st_size
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            host = qemu[number % len(qemu)]
            name = f"virsh-{number}"
            xml = Path(folder) / "vm.xml"
            xml.write_text(_XML.format(name=name))
            key, known = host.ssh.identity[0], host.ssh.known_hosts[0]
            place = host.uri.replace("qemu+ssh", "qemu+libssh2")
            uri = f"{place}?keyfile={key}&known_hosts={known}&sshauth=privkey"
            for words in (
                ["vol-create-as", "local", f"{name}.qcow2", str(size), "--format", "qcow2"],
                ["vol-upload", f"{name}.qcow2", str(image), "--pool", "local"],
                ["define", str(xml)],
                ["start", name],
            ):
                subprocess.run(["virsh", "-q", "-c", uri, *words], check=True, capture_output=True)
    return time.monotonic() - began


async def _ours(lab: Lab, image: Path, count: int, name: str) -> tuple[float, int]:
    """Seconds from a cold start of the engine until `count` VMs run, and the bytes that were sent."""
    began = time.monotonic()
    engine = Engine(load(lab.fleet_file), keep_history=False)
    await engine.start()
    try:
        await engine.settled(("stats", "facts", "pools", "volumes", "networks"), timeout=30.0)
        plans: list[ActionPlan] = []
        for number in range(count):
            action = CreateVm(name=f"{name}-{number}", image=str(image), memory=16 * MIB, pool="local")
            plans.append(await engine.plan(action, beside=plans))
        jobs = [await engine.apply(plan) for plan in plans]
        ended = [await engine.jobs.wait(job.id) for job in jobs]
        took = time.monotonic() - began
        assert all(job.state is JobState.DONE for job in ended), [job.error for job in ended]
        results = [record.result for job in ended for record in job.records]
        return took, sum(each.get("sent", 0) for each in results if isinstance(each, dict))
    finally:
        await engine.stop()


async def _delete(lab: Lab) -> None:
    engine = Engine(load(lab.fleet_file), keep_history=False)
    await engine.start()
    try:
        await engine.settled(("stats", "facts", "pools", "volumes", "networks"), timeout=30.0)
        jobs = []
        for view in engine.snapshot.hosts.values():
            for vm in view.vms:
                action = DeleteVm(vm=VmRef(view.name, vm.uuid, vm.name), volumes="own", force=True)
                jobs.append(await engine.apply(await engine.plan(action)))
        for job in jobs:
            await engine.jobs.wait(job.id)
    finally:
        await engine.stop()


def measure(options: argparse.Namespace) -> list[Figure]:
    hosts, count = (2, 4) if options.quick else (HOSTS, VMS)
    plan = Plan(hosts=hosts, guests=0, off=1, containers=0, shared=False)
    with Lab.start(plan) as lab:
        image = lab.image
        virsh = _virsh(lab, image, count)
        say(f"virsh     {virsh:6.1f} s for {count} VMs, one after another")
        asyncio.run(_delete(lab))
        ours, sent = asyncio.run(_ours(lab, image, count, "ours"))
        say(f"virtfleet {ours:6.1f} s for {count} VMs, {sent:,} bytes sent")
        asyncio.run(_delete(lab))
        again, resent = asyncio.run(_ours(lab, image, count, "again"))
        say(f"virtfleet {again:6.1f} s with the image cached, {resent:,} bytes sent")
    return [
        Figure(
            f"{count} VMs created from one image on {hosts} lab hosts, against virsh one after another",
            "≤ 0.4",
            f"{ours / virsh:.2f} ({ours:.1f} s, {virsh:.1f} s)",
        ),
        Figure("the same with the image cached: bytes sent", "only seeds", f"{resent:,} (no seed asked for)"),
    ]


if __name__ == "__main__":
    run(__doc__, measure)
